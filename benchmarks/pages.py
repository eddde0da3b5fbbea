"""How long the leaderboard of many submissions takes to be of use in a browser.

`python -m benchmarks.pages [--submissions N]`, with those that `benchmarks.submissions` makes up. Interactive is when
the script of the page has run: controls, sorting and filters work, and the largest view is painted. Needs chromium and
chromedriver.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median

from tabulate import tabulate

from benchmarks.submissions import build, make

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,900"
).split()
INTERACTIVE = """
const ready = () => document.documentElement.dataset.ready === "true";
const done = arguments[0];
const painted = () => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
const wait = () => ready() ? painted() : setTimeout(wait, 5);
wait();
"""
SWITCH = """
const done = arguments[0], started = performance.now(), select = document.getElementById("threshold");
select.value = "0.5";
select.dispatchEvent(new Event("change"));
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)));
"""


def in_browser(folder: Path, runs: int) -> list[list[str]]:
    """Times in headless Chromium, medians."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            rows = []
            model = next((folder / "models").glob("*.html"))
            for name, page in (("the index", folder / "index.html"), ("a model's page", model)):
                opened, switched = [], []
                for _ in range(runs):
                    driver.get("about:blank")
                    driver.get(page.as_uri())
                    opened.append(driver.execute_async_script(INTERACTIVE) / 1000)
                    if page.name == "index.html":
                        switched.append(driver.execute_async_script(SWITCH) / 1000)
                rows.append([f"{name}, until interactive", f"{median(opened):.2f} s", "2 s"])
                if switched:
                    rows.append([f"{name}, another threshold", f"{median(switched):.2f} s", ""])
            return rows
        finally:
            driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.submissions):
            make(folder / "submissions", number)
        build(folder)
        pages = folder / "leaderboard"
        size = sum(file.stat().st_size for file in pages.rglob("*") if file.is_file())
        rows = [
            [f"all files of {options.submissions} submissions", f"{size / 1e6:.1f} MB", ""],
            ["index.html", f"{(pages / 'index.html').stat().st_size / 1e6:.2f} MB", ""],
            *in_browser(pages, options.runs),
        ]
    print(tabulate(rows, headers=["what", "median", "limit"], disable_numparse=True))


if __name__ == "__main__":
    main()
