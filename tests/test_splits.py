import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emigbench.datasets.labels import Labels, read
from emigbench.errors import EmigbenchError
from emigbench.splits import CURVE, FITTED, SCENARIOS, SPLITS, folds, held_out, leakage, prototype, scenario, subsets

FULL = read("full")
ONE = FULL[0]


def facts_of(**changes):
    same = {"material_id": "M", "framework": "CoO2", "mobile_ion": "Li", "state": "discharged", "structural_group": "G"}
    return replace(ONE, **(same | changes))


# --- Folds


@pytest.mark.parametrize("labels", [FULL, read("spinels")], ids=["full", "spinels"])
@pytest.mark.parametrize("split", SPLITS)
def test_each_fold_has_every_id_on_one_side(labels, split):
    for fold in folds(labels, split):
        assert sorted(fold.train + fold.held_out) == sorted(labels.by_id)
        assert fold.train
        assert fold.held_out


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


def test_a_small_dataset_has_no_large_part():
    assert 50 <= len(folds(read("spinels"), "official@50")[0].train) < 71
    with pytest.raises(EmigbenchError, match="spinels has 71 training paths"):
        folds(read("spinels"), "official@100")


@pytest.mark.parametrize("labels", [FULL, read("spinels")], ids=["full", "spinels"])
def test_each_id_is_held_out_once(labels):
    parts = folds(labels, "material-cv")
    assert [fold.name for fold in parts] == list("01234")
    assert Counter(i for fold in parts for i in fold.held_out) == dict.fromkeys(labels.by_id, 1)
    assert {i: fold.name for i, fold in held_out(labels, "material-cv").items()} == {
        facts.id: str(facts.material_cv_fold) for facts in labels
    }


@pytest.mark.parametrize("key", ["material_id", "duplicate_of", "framework", "framework_cluster"])
def test_nothing_is_on_both_sides_of_a_fold(key):
    for fold in folds(FULL, "material-cv"):
        sides = [{getattr(FULL.by_id[i], key) for i in side} - {""} for side in (fold.train, fold.held_out)]
        assert not set.intersection(*sides)


def test_no_leakage_is_found_in_material_cv():
    assert set(leakage(FULL, "material-cv")) == {"material", "duplicate band", "framework cluster", "framework formula"}
    assert not any(leakage(FULL, "material-cv").values())


def test_fitted_is_the_training_side():
    (fold,) = folds(FULL, FITTED)
    assert fold.train == fold.held_out == folds(FULL, "official")[0].train


@pytest.mark.parametrize("action", [folds, leakage, held_out])
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
    assert {k: set(v) for k, v in subsets(FULL, "official").items()} == {
        k: set(v) for k, v in subsets(turned, "official").items()
    }


# --- Subsets


def test_subset_sizes():
    sizes = {name: len(ids) for name, ids in subsets(FULL, "official").items()}
    expected = {"scenario-a": 22, "scenario-b": 13, "scenario-c": 23, "leak-free": 57, "same-cell": 50}
    assert sizes == expected | {"single-path": 45}


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
    assert counts == {"material": 22, "duplicate band": 3, "framework cluster": 44, "framework formula": 49}
    assert report["duplicate band"] == {
        "LiAlPO4F_1": ("LiAlPO4F_4",),
        "g-Li3PS4_5": ("g-Li3PS4_1",),
        "g-Li3PO4_7": ("g-Li3PO4_8",),
    }


def test_leakage_by_brute_force():
    keys = {"material": "material_id", "duplicate band": "duplicate_of", "framework cluster": "framework_cluster"}
    (fold,) = folds(FULL, "official")
    for kind, key in keys.items():
        for path_id in fold.held_out:
            mine = getattr(FULL.by_id[path_id], key)
            shared = sorted(i for i in fold.train if mine and getattr(FULL.by_id[i], key) == mine)
            assert sorted(leakage(FULL, "official")[kind].get(path_id, ())) == shared


def test_leakage_is_nested():
    """A shared band is in a shared material, a shared material in a shared cluster, and that in a shared formula."""
    report = leakage(FULL, "official")
    order = ["duplicate band", "material", "framework cluster", "framework formula"]
    for inner, outer in pairwise(order):
        for path_id, others in report[inner].items():
            assert set(others) <= set(report[outer][path_id])


def test_leakage_of_the_embedded_part():
    report = leakage(read("spinels"), "official")
    full = leakage(FULL, "official")
    for kind, shared in report.items():
        assert set(shared) <= set(full[kind])
        assert all(set(others) <= set(full[kind][path_id]) for path_id, others in shared.items())
    assert not any(leakage(read("spinels"), "material-cv").values())
