"""A leaderboard to look at, and a headless Chromium to look at it with."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import FULL

from emigbench import scoring, splits
from emigbench.records import Prediction
from emigbench.report import leaderboard, site
from emigbench.submission import Card

KINDS = ("floor", "classical", "graph", "interatomic-potential", "published")


def made_up(slug: str, kind: str, scale: float, names=("official",), seeds=1, std=False, failed=0, **card):
    """A submission that misses the barriers by a normal error."""
    rng = np.random.default_rng(sum(map(ord, slug)))
    predictions = {}
    for split in names:
        ids = list(splits.held_out(FULL, split))
        predictions[split] = {}
        for seed in range(seeds):
            values = [FULL.by_id[i].e_m_ev + float(e) for i, e in zip(ids, rng.normal(0, scale, len(ids)), strict=True)]
            given = [Prediction(i, round(v, 4), scale if std else None) for i, v in zip(ids, values, strict=True)]
            given[:failed] = [Prediction(i, None, scale if std else None, "failed") for i in ids[:failed]]
            predictions[split][seed] = given
    units = [
        {"split": split, "seed": seed, "fit_seconds": 10 * scale, "predict_seconds": 1.0, "n_held_out": 60}
        for split in names
        for seed in range(seeds)
    ]
    details = {
        "name": f"Model {slug}", "slug": slug, "version": "1", "kind": kind, "authors": ["A. Author"],
        "source": "https://example.org/code", "inputs": "a cell", "training_data": "train",
    }  # fmt: skip
    run = {"units": units, "hardware": {"processor": "Abacus", "cores": 2}}
    return leaderboard.Entry(Card(**(details | card)), predictions, FULL.name, run)


BOTH = ("official", "material-cv")
CURVE = ("official@50", "official@200")
ENTRIES = (
    ("best", "graph", 0.05, {"names": (*BOTH, *CURVE), "seeds": 3, "n_parameters": 4_000_000}),
    ("honest", "classical", 0.2, {"names": BOTH, "std": True}),
    ("gaps", "published", 0.25, {"failed": 5}),
    ("fitted", "published", 0.1, {"names": ("official-train",)}),
    ("wild", "interatomic-potential", 9.0, {}),
    ("mean", "floor", 0.6, {"names": BOTH, "n_parameters": 1}),
)


@pytest.fixture(scope="session")
def board(tmp_path_factory) -> Path:
    """The folder of a small leaderboard."""
    entries = [made_up(slug, kind, scale, **more) for slug, kind, scale, more in ENTRIES]
    usual, scoring.RESAMPLES = scoring.RESAMPLES, 300
    try:
        found = leaderboard.boards(entries, FULL)
        folder = tmp_path_factory.mktemp("board")
        site.write(folder, site.files(entries, found, FULL))
    finally:
        scoring.RESAMPLES = usual
    return folder


def program(*names: str) -> str:
    """The first of some programs that is here; the test is skipped where there is none."""
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip(f"no {' or '.join(names)} here: apt-get install chromium chromium-driver")


FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,900"
).split()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A running browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    yield driver
    driver.quit()
