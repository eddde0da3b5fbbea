import csv
import io
import re
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emigbench.datasets.labels import Labels, read
from emigbench.errors import EmigbenchError
from emigbench.splits import (
    CURVE,
    FITTED,
    SCENARIOS,
    SHARED,
    SPLITS,
    clusters,
    compound,
    csv_text,
    folds,
    held_out,
    is_single_path,
    leakage,
    prototype,
    scenario,
    subsets,
)

FULL = read("full")
ONE = FULL[0]
KNOWN_CROSSINGS = Path(__file__).with_name("known_crossings_of_official.csv")


def facts_of(**changes):
    same = {"material_id": "M", "framework": "CoO2", "mobile_ion": "Li", "state": "discharged", "structural_group": "G"}
    return replace(ONE, **(same | changes))


# --- Folds


@pytest.mark.parametrize("labels", [FULL, read("spinels")], ids=["full", "spinels"])
@pytest.mark.parametrize("split", SPLITS)
def test_each_fold_has_every_id_once(labels, split):
    for fold in folds(labels, split):
        assert sorted(fold.train + fold.held_out + fold.unused) == sorted(labels.by_id)
        assert fold.train
        assert fold.held_out
        assert len(fold.unused) < len(fold.train)


def test_official_is_the_papers():
    (fold,) = folds(FULL, "official")
    assert (fold.name, len(fold.train), len(fold.held_out)) == ("test", 559, 60)
    assert all(FULL.by_id[i].split == "test" for i in fold.held_out)
    (fold,) = folds(read("spinels"), "official")
    assert (len(fold.train), len(fold.held_out)) == (71, 11)


def test_the_learning_curve_grows_by_whole_materials():
    (all_of_it,) = folds(FULL, "official")
    smaller = set()
    for name, size in CURVE.items():
        (fold,) = folds(FULL, name)
        assert fold.held_out == all_of_it.held_out
        train, material = set(fold.train), {FULL.by_id[i].material_id for i in fold.train}
        assert smaller < train < set(all_of_it.train)
        assert train == {i for i in all_of_it.train if FULL.by_id[i].material_id in material}
        assert size <= len(train) < size + 10
        smaller = train
    assert subsets(FULL, "official@100") == {}


def test_the_learning_curve_is_pinned():
    """Submissions were fitted to these paths."""
    trained_on = {name: " ".join(folds(FULL, name)[0].train) for name in CURVE}
    assert {name: (ids.count(" ") + 1, sha256(ids.encode()).hexdigest()[:8]) for name, ids in trained_on.items()} == {
        "official@50": (50, "41c08b3d"),
        "official@100": (100, "fad85911"),
        "official@200": (200, "629cffcf"),
        "official@400": (400, "a62a0280"),
    }


@pytest.mark.parametrize(
    ("split", "field"),
    [
        ("official", "material_id"),
        ("official@100", "material_id"),
        (FITTED, "material_id"),
        ("material-cv", "framework"),
        ("leave-group-out", "structural_group"),
        ("leave-ion-out", "mobile_ion"),
    ],
)
def test_intervals_are_over_what_is_new_in_the_test(split, field):
    assert clusters(FULL, split) == [getattr(FULL.by_id[i], field) for i in held_out(FULL, split)]


def test_a_small_dataset_has_no_large_part():
    assert 50 <= len(folds(read("spinels"), "official@50")[0].train) < 71
    with pytest.raises(EmigbenchError, match="spinels has 71 training paths"):
        folds(read("spinels"), "official@100")
    sides = {side: [facts for facts in FULL if facts.split == side] for side in ("train", "test")}
    just, more = (replace(FULL, by_id={f.id: f for f in (*sides["train"][:n], *sides["test"])}) for n in (50, 51))
    with pytest.raises(EmigbenchError, match="has 50 training paths"):  # all of them are no part
        folds(just, "official@50")
    assert len(folds(more, "official@50")) == 1


@pytest.mark.parametrize("labels", [FULL, read("spinels")], ids=["full", "spinels"])
def test_each_id_is_held_out_once(labels):
    parts = folds(labels, "material-cv")
    assert [fold.name for fold in parts] == list("01234")
    assert Counter(i for fold in parts for i in fold.held_out) == dict.fromkeys(labels.by_id, 1)
    assert {i: fold.name for i, fold in held_out(labels, "material-cv").items()} == {
        facts.id: str(facts.material_cv_fold) for facts in labels
    }


ALIKE = {"prototype", "prototype and ion"}
"""Kinds of sharing between materials that only are alike."""


@pytest.mark.parametrize("key", ["material_id", "duplicate_of", "framework", "framework_cluster"])
def test_nothing_is_on_both_sides_of_a_fold(key):
    for fold in folds(FULL, "material-cv"):
        sides = [{getattr(FULL.by_id[i], key) for i in side} - {""} for side in (fold.train, fold.held_out)]
        assert not set.intersection(*sides)


def test_no_leakage_is_found_in_material_cv():
    found = leakage(FULL, "material-cv")
    assert set(found) == set(SHARED)
    assert not any(found[kind] for kind in set(SHARED) - ALIKE)


def test_a_framework_held_out_may_have_isotypic_ones_in_train():
    found = leakage(FULL, "material-cv")
    assert {kind: len(found[kind]) for kind in ALIKE} == {"prototype": 512, "prototype and ion": 425}
    assert "O-LiFePO4" in found["prototype and ion"]["O-LiMnPO4"]
    assert "MgCr2S4" not in found["prototype"].get("LiMn2O4", ())  # thiospinels are a group of their own


@pytest.mark.parametrize(
    ("split", "field", "n_folds", "least_train"),
    [("leave-group-out", "structural_group", 27, 518), ("leave-ion-out", "mobile_ion", 9, 444)],
)
def test_a_fold_holds_all_of_a_group_or_an_ion_out(split, field, n_folds, least_train):
    parts = folds(FULL, split)
    assert [fold.name for fold in parts] == sorted({getattr(facts, field) for facts in FULL})
    assert len(parts) == n_folds
    assert min(len(fold.train) for fold in parts) == least_train
    assert Counter(i for fold in parts for i in fold.held_out) == dict.fromkeys(FULL.by_id, 1)
    for fold in parts:
        assert {getattr(FULL.by_id[i], field) for i in fold.held_out} == {fold.name}
        assert fold.name not in {getattr(FULL.by_id[i], field) for i in fold.train + fold.unused}


@pytest.mark.parametrize(
    ("split", "fields"),
    [
        ("material-cv", ["material_id", "duplicate_of", "framework_cluster", "framework"]),
        ("leave-group-out", ["material_id", "duplicate_of", "framework_cluster"]),
        ("leave-ion-out", ["material_id", "duplicate_of"]),
    ],
)
def test_what_never_crosses_and_only_that_is_unused(split, fields):
    """Unused are exactly the paths that share one of the fields with the held-out side."""
    for fold in folds(FULL, split):
        taken = [{getattr(FULL.by_id[i], name) for i in fold.held_out} - {""} for name in fields]

        def crosses(i, taken=taken):
            return any(getattr(FULL.by_id[i], name) in values for name, values in zip(fields, taken, strict=True))

        assert not any(map(crosses, fold.train))
        assert all(map(crosses, fold.unused))


def test_how_many_paths_are_unused():
    assert {split: sum(len(fold.unused) for fold in folds(FULL, split)) for split in SPLITS} == {
        "official": 0,
        "material-cv": 0,
        "leave-group-out": 53,
        "leave-ion-out": 0,
    }
    unused = {fold.name: fold.unused for fold in folds(FULL, "leave-group-out")}
    assert unused["SILICATES"] == ("Na2MnSiO4_pc_1", "Na2MnSiO4_pc_2")  # the material of its Na2MnSiO4_pn
    assert unused["NASICON"] == ("LiTi2P3O12", "NaTi2P3O12")  # NaSICONs that stand under ELECTROLYTES


def test_a_leak_between_groups_is_left_out_on_both_sides():
    rows = [
        facts_of(id="a", structural_group="G", material_id="M", framework_cluster="a", duplicate_of="a"),
        facts_of(id="b", structural_group="H", material_id="M", framework_cluster="b", duplicate_of=""),
        facts_of(id="c", structural_group="H", material_id="N", framework_cluster="a", duplicate_of=""),
        facts_of(id="d", structural_group="H", material_id="O", framework_cluster="d", duplicate_of="a"),
        facts_of(id="e", structural_group="H", material_id="P", framework_cluster="e", duplicate_of=""),
        facts_of(id="f", structural_group="K", material_id="Q", framework_cluster="f", duplicate_of=""),
    ]
    g, h, k = folds(Labels("full", "1", "", {row.id: row for row in rows}), "leave-group-out")
    assert (g.held_out, g.unused, g.train) == (("a",), ("b", "c", "d"), ("e", "f"))
    assert (h.held_out, h.unused, h.train) == (("b", "c", "d", "e"), ("a",), ("f",))
    assert (k.held_out, k.unused, k.train) == (("f",), (), ("a", "b", "c", "d", "e"))


def test_a_framework_may_host_another_ion_in_leave_ion_out():
    """It is what the split asks, and its description says so."""
    crossing = leakage(FULL, "leave-ion-out")
    assert len(crossing["framework cluster"]) == 299
    assert "framework may host another ion" in SPLITS["leave-ion-out"].description
    assert not crossing["composition"]


# --- Tables


@pytest.mark.parametrize("split", SPLITS)
def test_a_table_says_what_the_folds_say(split):
    """Read with other code than ours, from the text of the file."""
    frame = pd.read_csv(io.StringIO(csv_text(FULL, split)), dtype=str, keep_default_na=False)
    assert list(frame.columns) == ["split", "fold", "id", "side"]
    assert set(frame["split"]) == {split}
    parts = folds(FULL, split)
    assert len(frame) == len(parts) * len(FULL)
    for fold in parts:
        rows = frame[frame["fold"] == fold.name]
        for side in ("train", "held_out", "unused"):
            assert tuple(rows.loc[rows["side"] == side, "id"]) == getattr(fold, side)


def test_the_known_crossings_of_official_are_all_that_there_are():
    """A frozen list: a change of it is a change of the split, of a material's name or of the clusters."""
    with KNOWN_CROSSINGS.open(newline="") as stream:
        known = {(row["shared"], row["id"]): tuple(row["with"].split()) for row in csv.DictReader(stream)}
    found = leakage(FULL, "official")
    kinds = ("material", "duplicate band", "framework cluster")
    assert known == {(kind, i): others for kind in kinds for i, others in found[kind].items()}
    assert Counter(kind for kind, _ in known) == {"material": 22, "duplicate band": 3, "framework cluster": 44}


def test_the_known_crossings_against_the_audit(audit):
    """The materials are the audit's, which other code named; its clusters are tighter, so all but one are known."""
    test, train = (audit[audit["split"] == side] for side in ("test", "train"))
    with KNOWN_CROSSINGS.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    ours = {kind: {row["id"] for row in rows if row["shared"] == kind} for kind in ("material", "framework cluster")}
    assert ours["material"] == set(test.index[test["material_id"].isin(train["material_id"])])
    clusters = set(test.index[test["framework_cluster"].isin(train["framework_cluster"])])
    assert clusters <= ours["framework cluster"]


@pytest.mark.parametrize(
    ("composition", "expected"),
    [
        ("O-LiMnO2(MV)(in-plane)", "LiMnO2"),
        ("LiNiO2(dv)", "LiNiO2"),
        ("a1-VOPO4(Na)", "VOPO4(Na)"),
        ("Na-Fe(CN)3", "Na-Fe(CN)3"),
        ("Fe2(SO4)3 (Na)", "Fe2(SO4)3(Na)"),
        ("Li2MnSiO4(Pmn21)", "Li2MnSiO4"),
        ("O3-NaCoO2", "NaCoO2"),
        ("M-NaFePO4", "NaFePO4"),
    ],
)
def test_compound(composition, expected):
    assert compound(facts_of(composition=composition)) == expected


def test_fitted_is_the_training_side():
    (fold,) = folds(FULL, FITTED)
    assert fold.train == fold.held_out == folds(FULL, "official")[0].train


@pytest.mark.parametrize("action", [folds, leakage, held_out, csv_text])
@pytest.mark.parametrize("name", ["offical", "", "test"])
def test_unknown_split(action, name):
    with pytest.raises(EmigbenchError, match=f"There is no split '{name}'; there are official, material-cv"):
        action(FULL, name)


def test_order_of_the_table_decides_order_and_nothing_else():
    turned = Labels("full", "1", "", dict(reversed(FULL.by_id.items())))
    for split in SPLITS:
        for ours, theirs in zip(folds(FULL, split), folds(turned, split), strict=True):
            assert ours.train == theirs.train[::-1]
            assert ours.held_out == theirs.held_out[::-1]
            assert ours.unused == theirs.unused[::-1]
    assert {k: set(v) for k, v in subsets(FULL, "official").items()} == {
        k: set(v) for k, v in subsets(turned, "official").items()
    }


# --- Subsets


def test_subset_sizes():
    sizes = {name: len(ids) for name, ids in subsets(FULL, "official").items()}
    expected = {"scenario-a": 22, "scenario-b": 13, "scenario-c": 23, "leak-free": 57, "same-cell": 50}
    assert sizes == expected | {"single-path": 45}


def test_single_paths():
    names = ["NaCl", "NaCl_1", "NaCl_2", "NaCl_10", "NaCl_1_2", "Li2", "g-Li3PS4_1", "Li_100"]
    assert [is_single_path(name) for name in names] == [True, True, False, False, False, True, True, False]
    assert sum(is_single_path(facts.id) for facts in FULL if facts.split == "train") == 395


def test_subsets_are_of_the_held_out_side_in_its_order():
    order = folds(FULL, "official")[0].held_out
    for ids in subsets(FULL, "official").values():
        assert list(ids) == [i for i in order if i in ids]


def test_scenarios_exclude_each_other():
    parts = [subsets(FULL, "official")[f"scenario-{letter.lower()}"] for letter in SCENARIOS]
    assert len({i for ids in parts for i in ids}) == sum(map(len, parts)) == 58


def test_what_subsets_leave_out():
    test, found = set(folds(FULL, "official")[0].held_out), subsets(FULL, "official")
    assert test - set(found["leak-free"]) == {"LiAlPO4F_1", "g-Li3PS4_5", "g-Li3PO4_7"}
    assert test - set(found["same-cell"]) == {i for i in test if "final_relaxed_separately" in FULL.by_id[i].flags}
    multiple = {i for i in test if (number := re.search(r"_(\d+)$", i)) and int(number[1]) >= 2}
    assert test - set(found["single-path"]) == multiple
    assert len(multiple) == 15


def test_scenarios_against_the_audit(audit):
    """Its rules for B and C are its own; A is the paper's."""
    ours = {i: letter for letter in SCENARIOS for i in subsets(FULL, "official")[f"scenario-{letter.lower()}"]}
    theirs = audit.scenario[audit["split"] == "test"].to_dict()
    assert {i for i, letter in ours.items() if letter == "A"} == {i for i, letter in theirs.items() if letter == "A"}
    assert sum(ours.get(i, "none") == letter for i, letter in theirs.items()) >= 50


def test_only_official_has_subsets():
    assert subsets(FULL, "material-cv") == {}
    assert subsets(FULL, FITTED) == {}


def test_subsets_of_spinels():
    spinels = read("spinels")
    test = folds(spinels, "official")[0].held_out
    found = subsets(spinels, "official")
    assert set().union(*found.values()) <= set(test)
    assert found["leak-free"] == test
    full = subsets(FULL, "official")
    assert set(found["single-path"]) == set(test) & set(full["single-path"])
    # less to train on: what is not of scenario A in full cannot be here
    assert set(found["scenario-a"]) <= set(full["scenario-a"])


# --- Scenarios by hand


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, "A"),
        ({"material_id": "N", "state": "charged"}, "B"),
        ({"material_id": "N", "state": "charged", "mobile_ion": "Na"}, "C"),
        ({"material_id": "N"}, "C"),  # the same filling under another name: like a prototype
        ({"material_id": "N", "framework": "NiO2", "mobile_ion": "Na"}, "C"),
        ({"material_id": "N", "framework": "O2Ti"}, "C"),
        ({"material_id": "N", "framework": "CoO3"}, None),
        ({"material_id": "N", "structural_group": "H"}, None),
        ({"material_id": "N", "structural_group": "H", "state": "charged"}, None),
        ({"structural_group": "H", "framework": "X"}, "A"),
    ],
)
def test_scenario(other, expected):
    assert scenario(facts_of(), [facts_of(**other)]) == expected


def test_the_first_scenario_that_holds_counts():
    c, b, a = facts_of(material_id="N"), facts_of(material_id="N", state="charged"), facts_of()
    assert scenario(facts_of(), iter([c, b])) == "B"
    assert scenario(facts_of(), iter([c, b, a])) == "A"
    assert scenario(facts_of(), []) is None


@given(
    st.permutations([facts_of(material_id="N"), facts_of(material_id="N", state="charged"), facts_of(framework="X")])
)
def test_order_of_the_training_side_does_not_matter(train):
    assert scenario(facts_of(), train) == "A"
    assert scenario(facts_of(material_id="O"), train) == "B"


ELEMENTS = ["Li", "Co", "O", "S", "Ti", "C", "N", "Fe"]


def formula(counts):
    """As `framework_formula` writes it: alphabetical, 1 left out."""
    return "".join(element + (f"{n:g}" if n != 1 else "") for element, n in sorted(counts.items()))


@given(
    st.dictionaries(
        st.sampled_from(ELEMENTS), st.integers(1, 240) | st.sampled_from([0.5, 2.5]), min_size=1, max_size=5
    ),
    st.permutations(ELEMENTS),
)
def test_prototype_forgets_the_elements_and_nothing_else(counts, names):
    renamed = {names[ELEMENTS.index(element)]: n for element, n in counts.items()}
    assert prototype(formula(renamed)) == prototype(formula(counts)) == tuple(sorted(map(float, counts.values())))
    more = dict(counts)
    more[next(iter(more))] += 1
    assert prototype(formula(more)) != prototype(formula(counts))


@pytest.mark.parametrize(
    ("framework", "expected"),
    [("Cr2S4", (2, 4)), ("O2V", (1, 2)), ("O5PV", (1, 1, 5)), ("C3FeN3", (1, 3, 3)), ("", ())],
)
def test_prototype(framework, expected):
    assert prototype(framework) == expected


# --- Leakage


def test_leakage_of_the_official_split():
    report = leakage(FULL, "official")
    counts = {kind: len(shared) for kind, shared in report.items()}
    # 42 clusters in the audit, whose tolerances were tighter
    assert counts == {
        "material": 22,
        "duplicate band": 3,
        "framework cluster": 44,
        "framework formula": 49,
        "prototype": 58,
        "prototype and ion": 58,
        "composition": 28,
    }
    assert report["duplicate band"] == {
        "LiAlPO4F_1": ("LiAlPO4F_4",),
        "g-Li3PS4_5": ("g-Li3PS4_1",),
        "g-Li3PO4_7": ("g-Li3PO4_8",),
    }


def test_leakage_by_brute_force():
    keys = {"material": "material_id", "duplicate band": "duplicate_of", "framework cluster": "framework_cluster"}
    for split in ("official", "leave-ion-out"):
        found = leakage(FULL, split)
        for path_id, fold in held_out(FULL, split).items():
            for kind, key in keys.items():
                mine = getattr(FULL.by_id[path_id], key)
                shared = sorted(i for i in fold.train if mine and getattr(FULL.by_id[i], key) == mine)
                assert sorted(found[kind].get(path_id, ())) == shared


def test_leakage_is_nested():
    """A shared band is in a shared material, a shared material in a shared cluster, and that in a shared formula."""
    report = leakage(FULL, "official")
    order = ["duplicate band", "material", "framework cluster", "framework formula"]
    for inner, outer in [*pairwise(order), ("material", "composition"), ("composition", "framework formula")]:
        for path_id, others in report[inner].items():
            assert set(others) <= set(report[outer][path_id])


def test_leakage_of_the_embedded_part():
    report = leakage(read("spinels"), "official")
    full = leakage(FULL, "official")
    for kind, shared in report.items():
        assert set(shared) <= set(full[kind])
        assert all(set(others) <= set(full[kind][path_id]) for path_id, others in shared.items())
    in_folds = leakage(read("spinels"), "material-cv")
    assert not any(in_folds[kind] for kind in set(SHARED) - ALIKE)
