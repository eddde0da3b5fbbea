"""What docs/report.md says is what the leaderboard and the labels say."""

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from helpers import FULL

import emigbench
from emigbench import scoring
from emigbench.metrics import BY_NAME, Sample
from emigbench.predictions import read_predictions

ROOT = Path(__file__).parents[1]
REPORT = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def test_every_row_is_the_leaderboards():
    page = (ROOT / "leaderboard" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in REPORT.splitlines() if re.match(r"\| \d+–\d+ ", line)]
    assert len(rows) >= 10
    for row in rows:
        assert any(line.startswith(row) for line in page), row


def test_the_difference_that_60_paths_resolve_is_the_leaderboards():
    page = (ROOT / "leaderboard" / "README.md").read_text(encoding="utf-8")
    resolved = re.search(r"chance of 80% to resolve one of (\S+ eV) in MAE", page)[1]
    assert f"four times in five is {resolved} between two typical rows" in REPORT
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"has to differ by about {resolved} to be told apart four times in five" in readme


def test_the_errors_by_ion_are_the_submissions():
    rows = [line.strip("| ").split(" | ") for line in REPORT.splitlines() if re.match(r"\| [A-Z][a-z]? \|", line)]
    assert len(rows) == 9
    slugs = "train-median", "path-forest", "mattersim-bands", "emig-best"
    found = {slug: read_predictions(ROOT / "submissions" / slug / "predictions.csv", FULL) for slug in slugs}
    median = {p.id: p.e_m for p in found["train-median"]["leave-ion-out"][0]}
    for ion, count, *told in rows:
        for slug, mae in zip(slugs, told, strict=True):
            seeds = found[slug]["leave-ion-out"].values()
            of_ion = [p for of_seed in seeds for p in of_seed if FULL.by_id[p.id].mobile_ion == ion]
            values = [(median[p.id] if p.e_m is None else p.e_m, FULL.by_id[p.id].e_m_ev) for p in of_ion]
            assert len(values) == int(count) * len(seeds)
            assert f"{fmean(abs(e_m - label) for e_m, label in values):.3f}" == mae


@pytest.mark.parametrize(("slug", "column", "points"), [("path-forest", 0, 5), ("frozen-model-3", 1, 4)])
def test_the_learning_curves_are_the_submissions(slug, column, points):
    labels = emigbench.load_labels("full")
    predictions = read_predictions(ROOT / "submissions" / slug / "predictions.csv", labels)
    rows = [line.strip("|").split("|") for line in REPORT.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(n) for n, *_ in rows] == [50, 100, 200, 400, 559]
    told = {n.strip(): maes[column].split()[0] for n, *maes in rows if maes[column].strip()}
    assert len(told) == points
    for n, mae in told.items():
        split = "official" if n == "559" else f"official@{n}"
        assert f"{emigbench.score(predictions[split], labels, split).metrics['mae'].value:.3f}" == mae


def test_what_the_labels_allow():
    labels = pd.read_csv(ROOT / "emigbench" / "datasets" / "labels.csv")
    twins = labels[labels.duplicate_of.notna()]
    of_band = twins.groupby("duplicate_of").e_m_ev
    medians = of_band.transform("median")
    best = float((twins.e_m_ev - medians).abs().mean())
    of_bands = Sample(twins.e_m_ev, medians, twins.material_id, cluster=twins.duplicate_of)
    interval = scoring.figure(BY_NAME["mae"], [of_bands])
    spread = of_band.agg(np.ptp)
    assert f"{len(twins)} paths are {len(spread)} bands" in REPORT
    assert f"{best:.3f} eV" in REPORT
    assert f"over the {len(spread)} bands its interval is [{interval.low:.3f}, {interval.high:.3f}]" in REPORT
    assert f"{int((spread > 0.05).sum())} of the {len(spread)}" in REPORT


def test_what_isotypic_frameworks_are_worth():
    labels = emigbench.load_labels("full")
    shared = {kind: set(paths) for kind, paths in emigbench.splits.leakage(labels, "material-cv").items()}
    told = f"{len(shared['prototype'])} of the {len(labels)} paths have one of their structural group"
    assert f"{told} and stoichiometry on their training side, {len(shared['prototype and ion'])} one with" in REPORT
    maes = []
    for slug in ("emig-best", "path-forest"):
        seeds = read_predictions(ROOT / "submissions" / slug / "predictions.csv", labels)["material-cv"].values()
        errors = {True: [], False: []}
        for prediction in (p for predictions in seeds for p in predictions):
            error = abs(prediction.e_m - labels.by_id[prediction.id].e_m_ev)
            errors[prediction.id in shared["prototype and ion"]].append(error)
        maes.append([f"{np.mean(errors[inside]):.3f}" for inside in (True, False)])
    (emig, emig_rest), (forest, forest_rest) = maes
    n = len(shared["prototype and ion"])
    assert f"On those {n} the MAE is {emig} eV (EMIG-best) and {forest} eV (path forest)" in REPORT
    assert f"on the other {len(labels) - n} it is {emig_rest} and {forest_rest} eV" in REPORT


def test_how_many_training_paths_are_no_plain_hops():
    record = json.loads((ROOT / "submissions" / "emig-best" / "run.json").read_text(encoding="utf-8"))
    (others,) = {559 - unit["details"]["n_plain_hops"] for unit in record["units"] if unit["split"] == "official"}
    assert f"{others} of the 559 official training paths are no plain hops" in REPORT


@pytest.mark.parametrize(("slug", "name"), [("emig-best", "EMIG-best"), ("path-forest", "Path forest")])
def test_what_the_models_know_of_their_errors(slug, name):
    section = REPORT[REPORT.index("## What the models know of their errors") :].partition("\n## ")[0]
    rows = section[section.index(f"| {name} | official") :].splitlines()[:4]
    results = json.loads((ROOT / "leaderboard" / "results.json").read_text(encoding="utf-8"))
    found = read_predictions(ROOT / "submissions" / slug / "predictions.csv", FULL)
    shares = []
    for row, split in zip(rows, ("official", "material-cv", "leave-group-out", "leave-ion-out"), strict=True):
        (own,) = (each for each in results["boards"][split] if each["slug"] == slug)
        metrics = own["score"]["metrics"]
        held, width, score = (metrics[f"interval_{what}"] for what in ("coverage", "width", "score"))
        told = f"{held['value']:.0%} [{100 * held['low']:.0f}, {100 * held['high']:.0f}]"
        assert row.endswith(f"| {told} | {width['value']:.2f} | {score['value']:.2f} |")
        high = [p for of_seed in found[split].values() for p in of_seed if FULL.by_id[p.id].e_m_ev > 1.5]
        shares.append(f"{fmean(p.low <= FULL.by_id[p.id].e_m_ev <= p.high for p in high):.0%}")
    assert all(share in section for share in shares[1:])


PAIRS = [
    ("docs/report.md", "official", "emig-best", "bagged-boosting", "differences"),
    ("docs/report.md", "official", "emig-best", "descriptor-boosting", "differences"),
    ("docs/report.md", "official", "emig-best", "bheemaguli2026-orb-v3", "on_common_paths"),
    ("docs/report.md", "official", "devi2026-model-3", "emig-best", "differences"),
    ("baselines/alignn/README.md", "official", "frozen-model-4", "devi2026-model-3", "differences"),
    ("baselines/alignn/README.md", "official", "frozen-model-4", "frozen-model-3", "differences"),
    ("baselines/alignn/README.md", "official", "frozen-model-4", "short-model-3-scratch", "differences"),
    ("baselines/alignn/README.md", "official", "short-model-3", "short-model-3-scratch", "differences"),
    ("baselines/alignn/README.md", "official", "frozen-model-1-add", "frozen-model-3", "differences"),
    ("baselines/alignn/README.md", "official", "frozen-model-1-cc", "frozen-model-3", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-cc", "frozen-model-3", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-cc", "train-median", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-sub", "train-mean", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-add", "train-median", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-add", "short-scratch-cc", "differences"),
    ("baselines/alignn/README.md", "official", "short-scratch-sub", "train-median", "differences"),
    ("docs/report.md", "material-cv", "emig-best", "path-forest", "differences"),
    ("docs/report.md", "material-cv", "bagged-boosting", "gradient-boosting", "differences"),
    ("docs/report.md", "material-cv", "descriptor-boosting", "bagged-boosting", "differences"),
    ("docs/report.md", "leave-group-out", "path-forest", "train-median", "differences"),
    ("docs/report.md", "leave-group-out", "emig-best", "path-forest", "differences"),
    ("docs/report.md", "leave-group-out", "emig-best", "devi2026-mace-relax", "differences"),
    ("docs/report.md", "leave-group-out", "emig-best", "mattersim-bands", "on_common_paths"),
    ("docs/report.md", "leave-ion-out", "path-forest", "train-median", "differences"),
    ("docs/report.md", "leave-ion-out", "emig-best", "path-forest", "differences"),
    ("docs/report.md", "leave-ion-out", "emig-best", "mattersim-bands", "differences"),
]


@pytest.mark.parametrize(("page", "split", "a", "b", "which"), PAIRS)
def test_the_differences_in_the_text_are_the_leaderboards(page, split, a, b, which):
    text = (ROOT / page).read_text(encoding="utf-8").replace("\u2212", "-").replace(" eV", "").replace("+", "")
    results = json.loads((ROOT / "leaderboard" / "results.json").read_text(encoding="utf-8"))
    (found,) = (pair for pair in results["comparisons"][split][which] if {pair["a"], pair["b"]} == {a, b})
    value, low, high = found["value"], found["low"], found["high"]
    told = [f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{-value:.3f} [{-high:.3f}, {-low:.3f}]"]
    assert any(each in text for each in told), told
