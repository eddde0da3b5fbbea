"""What the leakage report says is what the labels and the predictions give."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import FULL, SPINELS, write_submission

from emigbench import scoring, splits
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.report import leaderboard, leakage

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "leakage.md"


@pytest.fixture
def few(monkeypatch):
    """Intervals of 300 resamples, which are enough here."""
    monkeypatch.setattr(scoring, "RESAMPLES", 300)


def entries(tmp_path, values, split="official", labels=FULL):
    write_submission(tmp_path, values, split=split)
    return leaderboard.read_entries(tmp_path, labels)


def crossing(found, kind):
    return next(each for each in found.crossings if each.kind == kind)


def rows(*changes):
    made = [replace(FULL[0], id=str(k), duplicate_of="", **change) for k, change in enumerate(changes)]
    return Labels("full", "1.0.0", "0" * 64, {facts.id: facts for facts in made})


@pytest.fixture(scope="module")
def model_3():
    submissions = leaderboard.read_entries(ROOT / "submissions", FULL)
    return [entry for entry in submissions if entry.card.slug in ("devi2026-model-3", "train-median")]


def test_it_reports_what_the_splits_find():
    for split in splits.SPLITS:
        found = leakage.find(FULL, split)
        assert {each.kind: dict(each.paths) for each in found.crossings} == splits.leakage(FULL, split)
        assert sorted(found.fold_of) == sorted(splits.held_out(FULL, split))
        assert found.n_held_out == len(found.fold_of)
        for each in found.crossings:
            assert each.forbidden == (each.kind in splits.SPLITS[split].never_shared)
            assert not (each.forbidden and each.paths)
            assert each.scores == ()


def test_members_are_grouped_by_what_they_share():
    labels = rows(
        {"split": "train", "material_id": "M", "framework_cluster": "c"},
        {"split": "test", "material_id": "M", "framework_cluster": "c"},
        {"split": "train", "material_id": "N", "framework_cluster": "c"},
        {"split": "train", "material_id": "O", "framework_cluster": "d"},
    )
    found = leakage.find(labels, "official")
    assert dict(crossing(found, "material").members) == {"M": ("0", "1")}
    assert dict(crossing(found, "framework cluster").members) == {"c": ("0", "1", "2")}
    assert dict(crossing(found, "framework cluster").paths) == {"1": ("0", "2")}
    assert "- **c** · test: 1; train: 0 2" in leakage.to_markdown([found], labels)


def test_known_figures_of_model_3(few, model_3):
    """Scenario A is what shares its material: mean |error| 0.289 eV; 0.268 eV without the three leaked bands."""
    found = leakage.find(FULL, "official", model_3)
    scores = {each.kind: {parted.slug: parted for parted in each.scores} for each in found.crossings}
    assert scores["material"]["devi2026-model-3"].shared["mae"].value == pytest.approx(0.289, abs=6e-4)
    assert scores["duplicate band"]["devi2026-model-3"].rest["mae"].value == pytest.approx(0.268, abs=6e-4)


def test_scores_by_brute_force(few, model_3):
    found = leakage.find(FULL, "official", model_3)
    predicted = {p.id: p.e_m for p in model_3[0].predictions["official"][0]}
    frame = pd.DataFrame({"predicted": predicted, "true": {i: FULL.by_id[i].e_m_ev for i in predicted}})
    error = (frame["predicted"] - frame["true"]).abs()
    for each in found.crossings:
        shared = frame.index.isin(list(each.paths))
        parted = next(p for p in each.scores if p.slug == "devi2026-model-3")
        assert parted.shared["mae"].value == pytest.approx(error[shared].mean())
        assert parted.rest["mae"].value == pytest.approx(error[~shared].mean())
        rest = frame[~shared]
        explained = (
            1 - ((rest["predicted"] - rest["true"]) ** 2).sum() / ((rest["true"] - rest["true"].mean()) ** 2).sum()
        )
        assert parted.rest["r2"].value == pytest.approx(explained)
        assert parted.difference.value == pytest.approx(error[~shared].mean() - error[shared].mean())
        assert parted.difference.low < parted.difference.value < parted.difference.high


def test_a_model_that_remembers_is_seen(few, tmp_path):
    seen = splits.leakage(FULL, "official")["material"]
    rng = np.random.default_rng(0)
    values = {i: FULL.by_id[i].e_m_ev + (0 if i in seen else 0.5 + rng.normal(0, 0.1)) for i in FULL.by_id}
    (parted,) = crossing(leakage.find(FULL, "official", entries(tmp_path, values)), "material").scores
    assert parted.shared["mae"].value == pytest.approx(0)
    assert parted.difference.low > 0.4
    assert parted.difference.high < 0.6


def test_a_model_that_errs_everywhere_alike_shows_no_difference(few, tmp_path):
    values = {facts.id: facts.e_m_ev + 0.25 for facts in FULL}
    (parted,) = crossing(leakage.find(FULL, "official", entries(tmp_path, values)), "material").scores
    assert [parted.difference.value, parted.difference.low, parted.difference.high] == pytest.approx(
        [0, 0, 0], abs=1e-9
    )


def test_splits_of_many_folds_have_scores_too(few, tmp_path):
    found = leakage.find(FULL, "leave-ion-out", entries(tmp_path, 0.5, "leave-ion-out"))
    (parted,) = crossing(found, "framework cluster").scores
    shared = crossing(found, "framework cluster").paths
    error = [abs(FULL.by_id[i].e_m_ev - 0.5) for i in shared]
    assert parted.shared["mae"].value == pytest.approx(np.mean(error))
    assert crossing(found, "material").scores == ()  # nothing is shared, so there is no part


def test_models_stand_in_the_order_of_their_error(few, tmp_path):
    write_submission(tmp_path, {f.id: f.e_m_ev + 0.1 for f in FULL}, card={"slug": "b-good"})
    write_submission(tmp_path, {f.id: f.e_m_ev + 0.3 for f in FULL}, card={"slug": "a-bad"})
    found = leakage.find(FULL, "official", leaderboard.read_entries(tmp_path, FULL))
    assert all([parted.slug for parted in each.scores] == ["b-good", "a-bad"] for each in found.crossings)


def test_json_is_plain(few, tmp_path):
    found = leakage.find(FULL, "official", entries(tmp_path, 0.5))
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["shared"]["duplicate band"]["paths"]["LiAlPO4F_1"] == ["LiAlPO4F_4"]
    figures = content["shared"]["material"]["scores"]["a-model"]
    assert set(figures) == {"slug", "shared", "rest", "difference"}
    assert figures["rest"]["mae"]["value"] == pytest.approx(
        figures["difference"]["value"] + figures["shared"]["mae"]["value"]
    )
    assert sum(map(len, leakage.find(FULL, "leave-group-out").to_json()["unused"].values())) == 53


def test_every_id_is_on_the_page_and_few_without():
    found = [leakage.find(FULL, split) for split in splits.SPLITS]
    whole, short = (leakage.to_markdown(found, FULL, ids=ids) for ids in (True, False))
    words = set(re.split(r"[\s;:*]+", whole))
    for each in found:
        for ids in [*each.unused.values(), *(m for c in each.crossings for m in c.members.values())]:
            assert words.issuperset(ids)
    assert "LiAlPO4F_1" not in short
    assert "Unused paths" not in short
    assert len(short) < len(whole) / 5


def test_spinels(few, tmp_path):
    found = leakage.find(SPINELS, "official", [leaderboard.restricted(e, SPINELS) for e in entries(tmp_path, 0.5)])
    assert found.n_held_out == 11
    assert "`spinels`" in leakage.to_markdown([found], SPINELS)


@pytest.mark.parametrize("split", ["none", "official@50", "official-train"])
def test_a_split_without_a_report(split):
    with pytest.raises(EmigbenchError, match=f"no leakage report of '{split}'; there is one of each of official, "):
        leakage.find(FULL, split)


def test_the_committed_page_is_what_the_submissions_give():
    """After a change of a split or a submission: emigbench data leakage --out docs/leakage.md."""
    submissions = leaderboard.read_entries(ROOT / "submissions", FULL)
    found = [leakage.find(FULL, split, submissions) for split in splits.SPLITS]
    assert leakage.to_markdown(found, FULL) == PAGE.read_text(encoding="utf-8")
