import copy
import dataclasses
import json
import math

import numpy as np
import pytest
from helpers import FULL, SPINELS, constant, one_sentence

from emigbench import EmigbenchError, Labels, Prediction, comparison, score, scoring, splits
from emigbench.metrics import BY_NAME, METRICS, Sample
from emigbench.predictions import grouped, read_predictions, write_predictions
from emigbench.report import terminal
from emigbench.scoring import COVERED, THRESHOLDS_EV, Figure, mean_sample, part_of

TRAIN = {"t1": 0.1, "t2": 0.3, "t3": 1.1}  # median 0.3
TEST = {"a": 0.2, "b": 0.6, "c": 1.0, "d": 0.8}


def labels_of(e_m, **others):
    """Made-up labels: id -> barrier, with further facts as id -> value."""
    template = dataclasses.replace(SPINELS[0], duplicate_of="")
    facts = {
        path_id: dataclasses.replace(
            template,
            id=path_id,
            e_m_ev=value,
            split="test" if path_id in TEST else "train",
            material_id=path_id,
            **{name: values[path_id] for name, values in others.items()},
        )
        for path_id, value in e_m.items()
    }
    return Labels("toy", "0", "no hash", facts)


TOY = labels_of(TRAIN | TEST)


def predicted(values, **others):
    """Predictions for id -> barrier, where None is a failed one."""
    return [Prediction(i, v, status="failed" if v is None else "ok", **others) for i, v in values.items()]


# --- Failures

ONE_FAILED = predicted({"a": 0.3, "b": None, "c": 0.8, "d": 0.8})


def test_a_failed_path_gets_the_train_median_and_lowers_the_coverage():
    found = score(ONE_FAILED, TOY)
    # errors 0.1, 0.3 - 0.6 = -0.3, -0.2, 0.0
    assert found.metrics["mae"].value == pytest.approx(0.6 / 4)
    assert found.metrics["max_abs_error"].value == pytest.approx(0.3)
    assert found.metrics["bias"].value == pytest.approx(-0.4 / 4)
    assert found.coverage == 0.75
    assert found.not_converged == 0
    assert found.n == 4


def test_numbers_that_are_no_barriers_count_as_failed():
    given = [Prediction("a", 0.3), Prediction("b", 1e5), Prediction("c", 0.8), Prediction("d", 0.8)]
    assert score(given, TOY).to_json() == score(ONE_FAILED, TOY).to_json()
    given[1] = Prediction("b", 0.6, std=1e3)
    assert score(given, TOY).to_json() == score(ONE_FAILED, TOY).to_json()


def test_the_paths_with_a_value_are_a_subset_of_their_own():
    n, figures = score(ONE_FAILED, TOY).subsets[COVERED]
    assert n == 3
    assert figures["mae"].value == pytest.approx(0.3 / 3)
    assert COVERED not in score(predicted(TEST), TOY).subsets
    assert score({0: predicted(TEST), 1: ONE_FAILED}, TOY).subsets[COVERED][0] == 3  # those with a value for every seed


def test_a_score_in_one_line():
    ends = {"low": 0.13149, "high": math.inf}
    assert str(Figure(0.18651, **ends, unit="eV")) == "0.187 eV [0.131, inf]"
    assert str(Figure(0.18651, **ends, unit="")) == "0.187 [0.131, inf]"
    assert str(Figure(0.18651, math.nan, math.nan, "eV")) == "0.187 eV"
    found = score(constant(FULL), FULL)
    line = str(found)
    assert line.startswith(f"official, 60 paths: MAE {found.metrics['mae']}, R² {found.metrics['r2']}, accuracy ")
    assert line.endswith(f"{found.classification[0.65]['accuracy']} at 0.65 eV; coverage 100.0%")


def test_a_failed_path_gets_the_median_of_its_own_fold():
    e_m = {"a": 0.2, "b": 0.6, "c": 1.0, "d": 0.8}
    own = {path_id: path_id for path_id in e_m}
    folds = {"a": 0, "b": 0, "c": 1, "d": 1}
    labels = labels_of(e_m, material_cv_fold=folds, framework=own, framework_cluster=own)
    found = score([Prediction(i, None, status="failed") for i in e_m], labels, "material-cv")
    # a and b get the median 0.9 of c and d; c and d get the median 0.4 of a and b
    assert found.metrics["mae"].value == pytest.approx((0.7 + 0.3 + 0.6 + 0.4) / 4)
    assert found.coverage == 0


def test_a_failed_path_gets_no_median_of_what_its_fold_leaves_out():
    ions = dict.fromkeys(TRAIN, "Li") | dict.fromkeys(TEST, "Na")
    bands = dict.fromkeys(ions, "") | {"t3": "t3", "a": "t3"}
    labels = labels_of(TRAIN | TEST, mobile_ion=ions, duplicate_of=bands)
    found = score([Prediction(i, None, status="failed") for i in ions], labels, "leave-ion-out")
    # t3 has the band of a, so a to d get the median 0.2 of t1 and t2 alone, and t1 to t3 the median 0.8 of b to d
    of_na, of_li = (0, 0.4, 0.8, 0.6), (0.7, 0.5, 0.3)
    assert found.metrics["mae"].value == pytest.approx(sum(of_na + of_li) / 7)


@pytest.mark.parametrize("given", [[0.5] * 4, {"a": 0.5}, {0: [0.5] * 4}, 0.5])
def test_numbers_are_no_predictions(given):
    with pytest.raises(EmigbenchError) as error:
        score(given, TOY)
    assert "A prediction is a float; give one emigbench.Prediction" in one_sentence(error)


def test_seeds_are_numbers_and_a_dataset_is_one():
    with pytest.raises(EmigbenchError) as error:
        score({"a": constant(FULL)}, FULL)
    assert "'a' is no seed" in one_sentence(error)
    with pytest.raises(EmigbenchError) as error:
        score(constant(FULL), "full")
    assert "type str is no dataset; give what emigbench.load" in one_sentence(error)


@pytest.mark.parametrize("seed", [-3, 10**9, 0.5, None])
def test_a_seed_that_no_file_can_hold_is_refused(seed):
    with pytest.raises(EmigbenchError) as error:
        score({seed: predicted(TEST)}, TOY)
    assert f"'{seed}' is no seed; seeds are whole numbers from 0 to 999999999" in one_sentence(error)


def test_predictions_of_several_splits_are_scored_one_by_one():
    found = {split: {0: constant(SPINELS, split)} for split in ("official", "material-cv")}
    for asked, told in (("official", "official"), ("material-cv", "material-cv"), ("leave-ion-out", "official")):
        with pytest.raises(EmigbenchError) as error:
            score(found, SPINELS, asked)
        assert "by split (official, material-cv)" in one_sentence(error)
        assert f"score(predictions['{told}'], data, '{told}')." in str(error.value)


def test_failures_of_one_seed_count_for_that_seed():
    found = score({0: ONE_FAILED, 1: predicted(TEST)}, TOY)
    assert found.coverage == pytest.approx(7 / 8)
    assert found.metrics["mae"].value == pytest.approx((0.15 + 0) / 2)
    n, figures = found.subsets[COVERED]
    assert n == 3
    assert figures["mae"].value == pytest.approx((0.3 / 3 + 0) / 2)


def test_what_did_not_converge_is_kept_and_counted():
    given = [*predicted({"a": 0.2, "c": 1.0, "d": 0.8}), Prediction("b", 2.6, status="not_converged")]
    found = score(given, TOY)
    assert found.not_converged == 0.25
    assert found.coverage == 1
    assert found.metrics["mae"].value == pytest.approx(2.0 / 4)


def test_what_did_not_converge_is_a_share_of_all_seeds():
    converged, not_converged = predicted(TEST), predicted(TEST | {"b": 2.6})
    not_converged[1] = Prediction("b", 2.6, status="not_converged")
    assert score({0: converged, 1: not_converged}, TOY).not_converged == 1 / 8


def test_a_model_that_always_fails_scores_as_the_train_median():
    failed = [Prediction(i, None, status="failed") for i in splits.held_out(FULL, "official")]
    median = float(np.median([facts.e_m_ev for facts in FULL if facts.split == "train"]))
    found, constant_one = score(failed, FULL), score(constant(FULL, value=median), FULL)
    assert found.to_json()["metrics"] == constant_one.to_json()["metrics"]
    assert found.coverage == 0
    assert constant_one.metrics["mae"].value == pytest.approx(0.471, abs=5e-4)


# --- Seeds


def test_several_seeds():
    first = {"a": 0.2, "b": 0.6, "c": 1.0, "d": 1.2}  # one error of 0.4
    second = {"a": 0.2, "b": 0.6, "c": 1.0, "d": 0.0}  # one error of -0.8
    found = score({0: predicted(first), 5: predicted(second)}, TOY)
    mae = found.metrics["mae"]
    assert found.seeds == (0, 5)
    assert mae.value == pytest.approx((0.1 + 0.2) / 2)
    assert mae.seed_sd == pytest.approx(0.1 / math.sqrt(2))
    assert mae.of_mean_prediction == pytest.approx(0.2 / 4)  # d: the mean is 0.6
    assert math.isnan(mae.low)  # three of four paths have no error: many resamples have none at all


def test_confusion_is_the_mean_over_seeds():
    first = {"a": 0.2, "b": 0.6, "c": 1.0, "d": 0.8}
    second = first | {"d": 0.5}
    cells = score({0: predicted(first), 1: predicted(second)}, TOY).confusion[0.65]
    assert cells == {"tp": 2, "fp": 0.5, "fn": 0, "tn": 1.5}


def test_a_single_seed_has_no_spread():
    mae = score(predicted(TEST), TOY).metrics["mae"]
    assert mae.seed_sd is None
    assert mae.of_mean_prediction is None


def test_equal_seeds_are_no_further_evidence():
    given = predicted({"a": 0.3, "b": 0.5, "c": 0.7, "d": 0.9})
    one, three = score(given, TOY), score({seed: given for seed in range(3)}, TOY)
    for name, figure in one.metrics.items():
        again = three.metrics[name]
        for bound in ("value", "low", "high"):
            assert getattr(again, bound) == pytest.approx(getattr(figure, bound), nan_ok=True)
        assert again.of_mean_prediction == pytest.approx(figure.value, nan_ok=True)
        assert math.isnan(figure.value) or again.seed_sd == pytest.approx(0)


def test_std_of_the_mean_prediction_holds_the_spread_of_the_seeds():
    seeds = {s: predicted({i: v + shift for i, v in TEST.items()}, std=0.3) for s, shift in ((0, -0.4), (1, 0.4))}
    found = score(seeds, TOY).metrics["nll"]
    # the mean prediction is exact; its variance is 0.3^2 within and 0.4^2 between the seeds, that is 0.5^2
    assert found.of_mean_prediction == pytest.approx(math.log(0.5) + math.log(2 * math.pi) / 2)


WITH_INTERVALS = [Prediction(i, v, low=v - 0.1, high=v + 0.2) for i, v in TEST.items()]


def test_intervals_are_scored_where_all_paths_have_one():
    found = score(WITH_INTERVALS, TOY).metrics
    assert found["interval_coverage"].value == 1
    assert found["interval_width"].value == pytest.approx(0.3)
    assert found["interval_score"].value == pytest.approx(0.3)
    assert not {"nll", "crps"} & set(found)
    assert "interval_width" not in score(predicted(TEST), TOY).metrics
    assert "interval_width" not in score([*WITH_INTERVALS[:-1], Prediction("d", 0.8)], TOY).metrics
    assert "interval_width" not in score({0: WITH_INTERVALS, 1: predicted(TEST)}, TOY).metrics
    seeds = {0: WITH_INTERVALS, 1: [Prediction(i, v, low=v, high=v + 1) for i, v in TEST.items()]}
    assert score(seeds, TOY).metrics["interval_width"].value == pytest.approx((0.3 + 1) / 2)


def test_a_failed_path_gets_the_interval_of_the_training_labels():
    failed = score([*WITH_INTERVALS[:-1], Prediction("d", None, status="failed")], TOY)
    low, high = 0.1 + 0.1 * 0.2, 0.3 + 0.9 * 0.8  # 5% and 95% of 0.1, 0.3 and 1.1
    spelt_out = score([*WITH_INTERVALS[:-1], Prediction("d", 0.3, low=low, high=high)], TOY)
    for name in ("interval_coverage", "interval_width", "interval_score"):
        assert failed.metrics[name].value == pytest.approx(spelt_out.metrics[name].value, abs=1e-7)


def test_an_interval_beyond_all_measure_is_a_failure():
    odd = Prediction("d", 0.8, low=0.5, high=1e4)
    assert score([*WITH_INTERVALS[:-1], odd], TOY).coverage == 0.75


def test_std_of_some_paths_alone_is_no_std():
    with_std = predicted(TEST, std=0.1)
    assert "nll" in score(with_std, TOY).metrics
    assert "nll" not in score([*with_std[:-1], Prediction("d", 0.8)], TOY).metrics
    assert "nll" not in score({0: with_std, 1: predicted(TEST)}, TOY).metrics


def test_a_failed_path_gets_the_deviation_of_the_training_labels():
    with_std = predicted(TEST, std=0.1)[:-1]
    failed = score([*with_std, Prediction("d", None, status="failed")], TOY)
    spelt_out = score([*with_std, Prediction("d", 0.3, std=math.sqrt(0.56 / 3))], TOY)  # 0.1, 0.3, 1.1 around 0.5
    assert failed.metrics["nll"].value == pytest.approx(spelt_out.metrics["nll"].value, abs=1e-7)
    assert failed.coverage == 0.75
    assert "nll" not in score([Prediction(i, None, status="failed") for i in TEST], TOY).metrics


def test_what_is_scored_is_what_a_file_of_it_would_say(tmp_path):
    """Nine digits decide whether 0.65 eV is at most 0.65 eV."""
    given = predicted(dict.fromkeys(TEST, 0.65 + 1e-12))
    write_predictions({"official": {0: given}}, tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv", TOY)["official"]
    assert score(given, TOY).to_json() == score(read, TOY).to_json()
    assert score(given, TOY).confusion[0.65]["fp"] == 2


# --- What goes in


def test_the_order_of_predictions_and_seeds_does_not_matter():
    rng = np.random.default_rng(0)
    ids = list(splits.held_out(FULL, "official"))
    seeds = {seed: predicted({i: rng.uniform(0, 2) for i in ids}, std=0.2) for seed in (0, 1)}
    shuffled = {seed: [seeds[seed][k] for k in rng.permutation(len(ids))] for seed in (1, 0)}
    assert score(shuffled, FULL).to_json() == score(seeds, FULL).to_json()


def test_inputs_are_left_as_they_were():
    given = {1: predicted(TEST, std=0.1), 0: list(reversed(predicted(TEST, std=0.2)))}
    before = copy.deepcopy(given)
    score(given, TOY)
    assert given == before
    assert list(given) == [1, 0]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ([], "no predictions"),
        ({}, "no predictions"),
        ({0: predicted(TEST), 1: []}, "seed 1"),
        (predicted(TEST)[1:], "'a'"),
        (predicted(TEST | {"x": 1.0}), "'x'"),
        (predicted(TEST) + predicted({"c": 1.0}), "'c' is given twice"),
    ],
)
def test_wrong_ids(given, part):
    with pytest.raises(EmigbenchError) as error:
        score(given, TOY)
    assert part in one_sentence(error)


def test_unknown_split():
    with pytest.raises(EmigbenchError) as error:
        score(predicted(TEST), TOY, split="random")
    assert "'random'" in one_sentence(error)


# --- What comes out


def test_spinels_are_scored_on_their_own_paths():
    found = score(constant(SPINELS), SPINELS)
    assert found.n == sum(facts.split == "test" for facts in SPINELS) == 11
    assert found.dataset["name"] == "spinels"
    truth = np.array([facts.e_m_ev for facts in SPINELS if facts.split == "test"])
    assert found.metrics["mae"].value == pytest.approx(np.abs(0.5 - truth).mean())
    assert 0 < len(found.subsets) <= 6


def test_subsets_come_with_the_official_split_alone():
    found = score(constant(FULL), FULL)
    names = ["scenario-a", "scenario-b", "scenario-c", "leak-free", "same-cell", "single-path"]
    assert list(found.subsets) == names
    assert {name: n for name, (n, _) in found.subsets.items()} == {
        name: len(ids) for name, ids in splits.subsets(FULL, "official").items()
    }
    assert found.subsets["leak-free"][0] == 57
    assert score(constant(FULL, "material-cv"), FULL, "material-cv").subsets == {}


def test_a_subset_is_scored_on_its_paths():
    rng = np.random.default_rng(1)
    values = {i: rng.uniform(0, 2) for i in splits.held_out(FULL, "official")}
    found = score(predicted(values), FULL)
    for name, ids in splits.subsets(FULL, "official").items():
        mae = np.mean([abs(values[i] - FULL.by_id[i].e_m_ev) for i in ids])
        assert found.subsets[name][1]["mae"].value == pytest.approx(mae)


def test_pairs_of_equal_barriers_cannot_be_ranked():
    labels = labels_of({**TRAIN, "a": 0.2, "b": 0.6, "c": 0.6, "d": 0.8})
    facts = {i: dataclasses.replace(each, material_id="m" if i in "abc" else i) for i, each in labels.by_id.items()}
    found = score(predicted(TEST), dataclasses.replace(labels, by_id=facts))
    assert (found.n_pairs, found.n_ranked_pairs) == (3, 2)  # ab, ac and bc
    shown = [line for line in terminal.table(found).splitlines() if line.startswith("Pairs")]
    assert [" ".join(line.split()[:5]) for line in shown] == ["Pairs told apart (of 3)", "Pairs ranked right (of 2)"]
    assert found.metrics["pairs_ranked_right"].value == 1


def test_a_mean_over_seeds_keeps_materials_and_clusters():
    names = {"material": np.array(["a", "b"]), "cluster": np.array(["x", "y"])}
    mean = mean_sample([Sample(np.ones(2), np.full(2, predicted), **names) for predicted in (0, 1)])
    assert mean.predicted.tolist() == [0.5, 0.5]
    assert (mean.material.tolist(), mean.cluster.tolist()) == (["a", "b"], ["x", "y"])


def test_a_part_of_a_sample_has_all_that_belongs_to_its_paths():
    columns = {name: np.array([0.1, 0.2, 0.4]) + shift for name, shift in (("e_m", 0), ("predicted", 1), ("std", 2))}
    columns |= {"low": columns["e_m"] - 1, "high": columns["e_m"] + 3, "material": list("abc"), "cluster": list("xyz")}
    part = part_of(Sample(**columns), [2, 0])
    for name, values in columns.items():
        assert getattr(part, name).tolist() == [values[2], values[0]]


@pytest.mark.parametrize(("split", "fact"), [("leave-group-out", "structural_group"), ("leave-ion-out", "mobile_ion")])
def test_what_is_held_out_as_a_whole_is_resampled_as_a_whole(split, fact):
    """Against a bootstrap of whole groups or ions by sums, for an error that is the same all over each of them."""
    rng = np.random.default_rng(7)
    of_cluster = {name: rng.uniform(0.05, 1) for name in sorted({getattr(facts, fact) for facts in FULL})}
    errors = {facts.id: of_cluster[getattr(facts, fact)] for facts in FULL}
    given = [Prediction(i, FULL.by_id[i].e_m_ev + error) for i, error in errors.items()]
    sizes = {name: sum(getattr(facts, fact) == name for facts in FULL) for name in of_cluster}
    drawn = rng.choice(list(of_cluster), size=(20_000, len(of_cluster)))
    size, error = np.vectorize(sizes.get)(drawn), np.vectorize(of_cluster.get)(drawn)
    expected = ((size * error).sum(axis=1) / size.sum(axis=1)).std()
    floor = [Prediction(i, FULL.by_id[i].e_m_ev) for i in errors]
    a, b = (comparison.contender(name, grouped_as(split, p), FULL, split) for name, p in [("a", given), ("b", floor)])
    assert comparison.paired_difference(comparison.MAE, a, b).sd == pytest.approx(expected, rel=0.03)
    other = comparison.contender("a", grouped_as("material-cv", given), FULL, "material-cv")
    found, by_material = (scoring.figure(comparison.MAE, each.samples) for each in (a, other))
    assert found.value == pytest.approx(by_material.value)
    assert found.high - found.low > 1.5 * (by_material.high - by_material.low)
    pairs = [BY_NAME["pairs_told_apart"].trials(each.samples[0]) for each in (a, other)]
    assert pairs[0] == pairs[1]  # paths are paired by material on every split


def grouped_as(split, predictions):
    return grouped(((split, 0, p) for p in predictions), FULL, "The predictions")[split]


def test_json_has_the_documented_schema():
    content = score({s: constant(FULL, std=0.2) for s in (0, 1)}, FULL).to_json()
    assert list(content) == [
        *(
            "dataset",
            "split",
            "n",
            "n_pairs",
            "n_ranked_pairs",
            "seeds",
            "coverage",
            "not_converged",
            "metrics",
            "classification",
            "subsets",
        ),
    ]
    assert content["dataset"] == {"name": "full", "version": FULL.version, "sha256": FULL.sha256}
    assert (content["split"], content["n"], content["n_pairs"], content["seeds"]) == ("official", 60, 1, [0, 1])
    keys = {"value", "low", "high", "unit", "seed_sd", "of_mean_prediction"}
    by_needs = {
        needs: {m.name for m in METRICS if m.needs == needs} for needs in ("value", "paths", "std", "threshold")
    }
    assert set(content["metrics"]) == by_needs["value"] | by_needs["paths"] | by_needs["std"]
    assert list(content["classification"]) == ["0.65", "0.525", "0.5"] == [f"{t:g}" for t in THRESHOLDS_EV]
    for figures in content["classification"].values():
        assert set(figures) == by_needs["threshold"] | {"confusion"}
        assert sum(figures["confusion"].values()) == 60
    for figure in content["metrics"].values():
        assert set(figure) == keys
        assert figure["unit"] in ("eV", "")
    for subset in content["subsets"].values():
        assert set(subset) == {"n", "metrics"}
        assert set(subset["metrics"]) == {"mae", "rmse", "r2"}


@pytest.mark.parametrize(
    "given",
    [
        predicted(dict.fromkeys(TEST, 0.5), std=0.0),
        predicted(dict.fromkeys(TEST, None)),
        predicted(dict.fromkeys(TEST, 1e300)),
        {seed: predicted(dict.fromkeys(TEST, 0.5)) for seed in (0, 1)},
    ],
    ids=["no std to divide by", "all failed", "beyond the largest float", "several seeds"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_json_is_strict_and_none_is_undefined(given):
    content = score(given, TOY).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["metrics"]["spearman"]["value"] is None  # a constant has no rank correlation
    assert content["metrics"]["pairs_ranked_right"]["low"] is None  # no material has two paths
    assert content["classification"]["0.65"]["mcc"]["value"] is None
