"""The published results come out of our scorer: the figures are the paper's, or were worked out from its table."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import emigbench
from emigbench import submission
from emigbench.predictions import read_predictions

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
LABELS = emigbench.load_labels("full")


def scored(slug: str, split: str) -> emigbench.Score:
    predictions = read_predictions(SUBMISSIONS / slug / "predictions.csv", LABELS)
    return emigbench.score(predictions[split], LABELS, split)


@pytest.mark.parametrize(
    ("slug", "split", "r2", "mae"),
    [
        ("devi2026-model-3", "official", 0.7027, 0.2607),
        ("devi2026-mace-relax", "official", 0.1849, 0.3397),
        ("devi2026-model-1", "official-train", 0.5616, 0.2406),
        ("devi2026-model-2", "official-train", 0.5789, 0.2175),
        ("devi2026-model-3", "official-train", 0.9406, 0.0854),
        ("devi2026-model-4", "official-train", 0.8338, 0.1662),
    ],
)
def test_published_figures_to_the_last_digit(slug, split, r2, mae):
    metrics = scored(slug, split).metrics
    assert round(metrics["r2"].value, 4) == r2
    assert round(metrics["mae"].value, 4) == mae
    assert metrics["mae"].low < mae < metrics["mae"].high
    assert metrics["r2"].low < r2 < metrics["r2"].high


def test_confusion_of_model_3():
    found = scored("devi2026-model-3", "official")
    assert dict(found.confusion[0.65]) == {"tp": 24, "fp": 5, "fn": 7, "tn": 24}
    figures = found.classification[0.65]
    assert figures["accuracy"].value == pytest.approx(0.8)
    assert figures["precision_good"].value == pytest.approx(0.828, abs=5e-4)
    assert figures["recall_good"].value == pytest.approx(0.774, abs=5e-4)


def test_training_confusion_of_model_3():
    counts = scored("devi2026-model-3", "official-train").confusion[0.65]
    assert dict(counts) == {"tp": 271, "fp": 16, "fn": 21, "tn": 251}


@pytest.mark.parametrize(
    ("subset", "mean"), [("scenario-a", 0.289), ("scenario-b", 0.177), ("leak-free", 0.268), ("same-cell", 0.240)]
)
def test_model_3_on_the_subsets(subset, mean):
    _, figures = scored("devi2026-model-3", "official").subsets[subset]
    assert figures["mae"].value == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize(
    ("slug", "n", "r2", "mae"),
    [
        ("bheemaguli2026-orb-v3", 55, 0.819, 0.157),
        ("bheemaguli2026-sevennet", 55, 0.786, 0.177),
        ("bheemaguli2026-mace-mp-0", 51, 0.789, 0.190),
        ("devi2026-mace-no-relax", 57, -60.3, 1.716),
    ],
)
def test_rows_with_gaps_on_the_paths_that_they_have(slug, n, r2, mae):
    covered, figures = scored(slug, "official").subsets["covered"]
    assert covered == n
    assert figures["r2"].value == pytest.approx(r2, rel=1e-3)
    assert figures["mae"].value == pytest.approx(mae, abs=6e-4)


def test_mace_relax_over_both_sides():
    """R2 0.0997 and MAE 0.3634 over the 616 paths with a value, of which 60 are in test and 556 in train."""
    seeds = read_predictions(SUBMISSIONS / "devi2026-mace-relax" / "predictions.csv", LABELS)
    given = {p.id: p.e_m for of_split in seeds.values() for p in of_split[0] if p.e_m is not None}
    frame = pd.DataFrame({"e_m": {i: LABELS.by_id[i].e_m_ev for i in given}, "predicted": given})
    error = frame.predicted - frame.e_m
    assert len(frame) == 616
    assert round(error.abs().mean(), 4) == 0.3634
    assert round(1 - (error**2).sum() / ((frame.e_m - frame.e_m.mean()) ** 2).sum(), 4) == 0.0997


def test_median_floor():
    """A constant train median has a test MAE of 0.471 eV."""
    metrics = scored("train-median", "official").metrics
    assert metrics["mae"].value == pytest.approx(0.471, abs=5e-4)
    assert metrics["r2"].value == pytest.approx(-0.174, abs=5e-4)


def test_predictions_are_those_of_the_authors_table(source_dir, tmp_path):
    from emigbench_baselines import published

    table = source_dir / "TABULATION-GIT-HUB.xlsx"
    for slug, splits in published.from_table(table):
        published.write(tmp_path / slug, splits, table.name)
        ours = (tmp_path / slug / "predictions.csv").read_bytes()
        assert ours == (SUBMISSIONS / slug / "predictions.csv").read_bytes(), slug
        assert submission.read_run(tmp_path / slug, LABELS)["copied_from"] == table.name


def test_every_submission_is_valid():
    folders = sorted(card.parent for card in SUBMISSIONS.glob("*/submission.yaml"))
    assert len(folders) >= 10
    for folder in folders:
        submission.read(folder, LABELS)


def test_the_committed_leaderboard_is_what_the_submissions_give():
    program = [sys.executable, "-c", "from emigbench.cli import main; main()", "leaderboard", "build", "--check"]
    done = subprocess.run(program, cwd=SUBMISSIONS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
