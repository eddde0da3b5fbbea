"""How long the leaderboard of many submissions takes to build, and to be of use in a browser.

`python -m benchmarks.pages [--submissions N] [--resamples N]`. Interactive is when the script of the page has run:
controls, sorting and filters work, and the largest view is painted. Needs chromium and chromedriver for that part.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from tabulate import tabulate

from emigbench import Prediction, load_labels, scoring, splits
from emigbench.report import leaderboard, site
from emigbench.submission import Card

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


def entries(n: int, names: tuple[str, ...]) -> list[leaderboard.Entry]:
    """Made-up submissions of growing error on some splits."""
    labels, rng = load_labels("full"), np.random.default_rng(0)
    kinds = ("floor", "classical", "graph", "interatomic-potential", "hybrid", "published")
    found = []
    for k in range(n):
        predictions = {}
        for split in names:
            ids = list(splits.held_out(labels, split))
            errors = rng.normal(0, 0.1 + 0.005 * k, len(ids))
            predictions[split] = {
                0: [Prediction(i, labels.by_id[i].e_m_ev + float(e)) for i, e in zip(ids, errors, strict=True)]
            }
        card = Card(
            name=f"Made-up model {k}",
            slug=f"model-{k}",
            version="1",
            kind=kinds[k % len(kinds)],
            authors=["nobody"],
            source="",
            inputs="",
            training_data="",
        )
        found.append(leaderboard.Entry(card, predictions, "full"))
    return found


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
    parser.add_argument("--resamples", type=int, default=scoring.RESAMPLES)
    parser.add_argument("--split", action="append", choices=list(splits.SPLITS))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    scoring.RESAMPLES = options.resamples
    labels = load_labels("full")
    made_up = entries(options.submissions, tuple(options.split or ("official", "material-cv")))
    started = time.perf_counter()
    found = leaderboard.boards(made_up, labels)
    scored = time.perf_counter()
    files = site.files(made_up, found, labels)
    rendered = time.perf_counter()
    size = sum(len(text.encode()) for text in files.values()) / 1e6
    rows = [
        [f"score and compare {len(made_up)} submissions", f"{scored - started:.1f} s", ""],
        ["render their pages", f"{rendered - scored:.1f} s", ""],
        ["all files", f"{size:.1f} MB", ""],
        ["index.html", f"{len(files['index.html'].encode()) / 1e6:.2f} MB", ""],
    ]
    if shutil.which("chromium") and shutil.which("chromedriver"):
        with tempfile.TemporaryDirectory() as folder:
            site.write(Path(folder), files)
            rows += in_browser(Path(folder), options.runs)
    print(tabulate(rows, headers=["what", "median", "limit"], disable_numparse=True))


if __name__ == "__main__":
    main()
