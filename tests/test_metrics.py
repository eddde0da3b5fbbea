import dataclasses
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from emigbench.metrics import BY_NAME, METRICS, Confusion, Sample, confusion
from emigbench.metrics.weighted import product

THRESHOLD = 0.65
AT_THRESHOLD = [metric.at(THRESHOLD) for metric in METRICS]
OVER_PATHS = [metric for metric in AT_THRESHOLD if metric.needs != "paths"]
OVER_PAIRS = [metric for metric in AT_THRESHOLD if metric.needs == "paths"]


def by_name(metric):
    return metric.name


def score(name, sample, weights=None, threshold=THRESHOLD):
    return BY_NAME[name].at(threshold)(sample, weights)


def sample_of(e_m, predicted, material=None, std=None, low=None, high=None):
    material = list(range(len(e_m))) if material is None else material
    return Sample(e_m, predicted, material, std, low=low, high=high)


def random_sample(seed, n=40):
    """Two decimals, so that truths, predictions and sizes of errors all have ties."""
    rng = np.random.default_rng(seed)
    e_m = rng.gamma(2, 0.3, n).round(1)
    predicted = (e_m + rng.normal(0, 0.2, n)).round(1)
    low, high = predicted - rng.gamma(2, 0.1, n).round(1), predicted + rng.gamma(2, 0.1, n).round(1)
    return sample_of(e_m, predicted, rng.integers(0, n // 3, n), rng.gamma(2, 0.1, n) + 0.01, low, high)


@st.composite
def samples(draw):
    """Samples on a coarse grid: ties, constant columns and single paths all turn up."""
    n = draw(st.integers(1, 9))
    column = st.lists(st.integers(0, 12), min_size=n, max_size=n)
    e_m, predicted, std, material, below, above = (np.array(draw(column)) for _ in range(6))
    low, high = (predicted - below) / 10, (predicted + above) / 10
    return sample_of(e_m / 10, predicted / 10, material // 5, std / 10 + 0.05, low, high)


def rows(sample, index):
    std, low, high = (None if each is None else each[index] for each in (sample.std, sample.low, sample.high))
    return sample_of(sample.e_m[index], sample.predicted[index], sample.material[index], std, low, high)


# --- Cases worked by hand


def test_intervals_by_hand():
    """On the lower end, on the upper, 0.1 eV above, 0.2 below; widths 0.4, 0.2, 0.3, 0.1; 20 times what is outside."""
    sample = sample_of([0.3, 0.6, 0.9, 0.1], [0.5, 0.5, 0.7, 0.3], low=[0.3, 0.4, 0.5, 0.3], high=[0.7, 0.6, 0.8, 0.4])
    assert score("interval_coverage", sample) == 0.5
    assert score("interval_width", sample) == pytest.approx(0.25)
    assert score("interval_score", sample) == pytest.approx(0.25 + 20 * (0.1 + 0.2) / 4)


def test_the_interval_score_is_best_for_the_true_quantiles():
    """It is proper: of all intervals around a normal's mean, that of 1.645 standard deviations has the lowest."""
    e_m = np.random.default_rng(3).normal(0, 1, 20_000)
    by_half = {
        half: float(score("interval_score", sample_of(e_m, 0 * e_m, low=0 * e_m - half, high=0 * e_m + half)))
        for half in (1.2, 1.4, 1.645, 1.9, 2.2)
    }
    assert min(by_half, key=by_half.get) == 1.645


# errors -0.1, 0.2, 0.0, -0.4, 0.3 eV; good at 0.65 eV are the first three, called good are 1, 3 and 4
HAND = sample_of(
    e_m=[0.2, 0.6, 0.4, 1.0, 0.8],
    predicted=[0.1, 0.8, 0.4, 0.6, 1.1],
    material=["a", "a", "a", "b", "b"],
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", 1.0 / 5),  # (0.1 + 0.2 + 0.0 + 0.4 + 0.3) / 5
        ("rmse", 0.06**0.5),  # (0.01 + 0.04 + 0 + 0.16 + 0.09) / 5 = 0.06
        ("r2", 0.25),  # mean 0.6; 0.16 + 0 + 0.04 + 0.16 + 0.04 = 0.4; 1 - 0.30 / 0.40
        ("median_abs_error", 0.2),  # of 0.0 0.1 0.2 0.3 0.4
        ("max_abs_error", 0.4),
        ("bias", 0.0),
        ("spearman", 0.7),  # ranks 1 3 2 5 4 and 1 4 2 3 5: d2 = 0 + 1 + 0 + 4 + 1; 1 - 6 * 6 / (5 * 24)
        ("share_below_100_mev", 1 / 5),  # 0.0
        ("share_100_300_mev", 3 / 5),  # 0.1, 0.2, 0.3: both ends count
        ("share_above_300_mev", 1 / 5),  # 0.4
        ("accuracy", 3 / 5),  # tp 2, fp 1, fn 1, tn 1
        ("precision_good", 2 / 3),
        ("precision_bad", 1 / 2),
        ("recall_good", 2 / 3),
        ("recall_bad", 1 / 2),
        ("f1", 4 / 6),  # 2 * 2 / (2 * 2 + 1 + 1)
        ("mcc", 1 / 6),  # (2 * 1 - 1 * 1) / sqrt(3 * 3 * 2 * 2)
        ("roc_auc", 5 / 6),  # of 3 x 2 pairs only 0.8 against 0.6 is the wrong way round
        ("pairs_told_apart", 1.0),  # three pairs of a, one of b, all differ
        ("pairs_ranked_right", 3 / 4),  # b is the wrong way round
    ],
)
def test_hand_worked(name, expected):
    assert score(name, HAND) == pytest.approx(expected, abs=1e-12)


def test_coverage_by_hand():
    """|error| / std is 0.5, 0.99, 1.0, 1.95, 1.97; the bounds are 0.99446 (68%) and 1.95996 (95%)."""
    sample = sample_of(np.zeros(5), [0.05, -0.198, 0.1, -0.39, 0.197], std=[0.1, 0.2, 0.1, 0.2, 0.1])
    assert score("coverage_68", sample) == pytest.approx(2 / 5)
    assert score("coverage_95", sample) == pytest.approx(4 / 5)


def test_published_confusion_of_model_3():
    """TP 24, FP 5, FN 7, TN 24 on 60 test paths, as published, and what follows from it."""
    e_m = np.repeat([0.3, 0.9, 0.3, 0.9], [24, 5, 7, 24])
    predicted = np.repeat([0.3, 0.3, 0.9, 0.9], [24, 5, 7, 24])
    sample = sample_of(e_m, predicted)
    assert confusion(sample, THRESHOLD) == Confusion(tp=24, fp=5, fn=7, tn=24)
    assert score("accuracy", sample) == pytest.approx(48 / 60)
    assert score("precision_good", sample) == pytest.approx(24 / 29)
    assert score("precision_bad", sample) == pytest.approx(24 / 31)
    assert score("recall_good", sample) == pytest.approx(24 / 31)
    assert score("recall_bad", sample) == pytest.approx(24 / 29)
    assert score("f1", sample) == pytest.approx(48 / 60)
    assert score("mcc", sample) == pytest.approx((24 * 24 - 5 * 7) / (29 * 31))


def test_a_barrier_at_the_threshold_is_good():
    sample = sample_of([0.65, 0.65, 0.66, 0.5], [0.65, 0.66, 0.65, 0.65])
    assert confusion(sample, 0.65) == Confusion(2, 1, 1, 0)
    assert score("accuracy", sample, threshold=0.65) == 2 / 4
    assert score("recall_good", sample, threshold=0.65) == 2 / 3


def test_weights_beyond_single_precision_are_summed_exactly():
    """2**24 + 1 is no number of single precision, though both parts are."""
    weights, table = np.array([[2.0**24, 1.0]]), np.array([[1.0, 0.5], [1.0, 1.0]])
    np.testing.assert_array_equal(product(weights, table), [[2**24 + 1, 2**23 + 1]])


def test_bias_is_positive_where_predictions_are_too_high():
    assert score("bias", sample_of([0.2, 0.4], [0.5, 0.5])) == pytest.approx(0.2)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two():
    assert score("median_abs_error", sample_of(np.zeros(4), [0.1, -0.2, 0.4, 0.9])) == pytest.approx(0.3)


def test_ends_of_the_error_bins_hold_in_spite_of_rounding():
    """0.4 - 0.3 is a hair above 0.1 in binary, 0.5 - 0.4 a hair below, 0.9 - 0.6 too; all are between."""
    sample = sample_of([0.3, 0.4, 0.6, 0.1, 0.0], [0.4, 0.5, 0.9, 0.4, 0.1])
    assert score("share_100_300_mev", sample) == 1.0
    assert score("share_below_100_mev", sample) == score("share_above_300_mev", sample) == 0.0


def test_auc_counts_a_tie_as_half():
    """Pairs of good 0.5 and 0.7 with bad 0.5 and 0.9: half, right, wrong, right."""
    assert score("roc_auc", sample_of([0.1, 0.2, 0.8, 0.9], [0.5, 0.7, 0.5, 0.9])) == pytest.approx(2.5 / 4)


def test_pairs_by_hand():
    """Material a: equal predictions, 1 meV and 1.1 meV apart; b: equal labels; c: a single path."""
    sample = sample_of(
        e_m=[0.10, 0.20, 0.30, 0.50, 0.50, 0.90],
        predicted=[0.3, 0.3, 0.301, 0.7, 0.7011, 0.2],
        material=["a", "a", "a", "b", "b", "c"],
    )
    # a-1 a-2 tie; a-1 a-3 and a-2 a-3 are 1 meV apart, which is not more than 1 meV; b is 1.1 meV apart
    assert score("pairs_told_apart", sample) == pytest.approx(1 / 4)
    # the tie is not right; the other two of a are, however close; b does not count
    assert score("pairs_ranked_right", sample) == pytest.approx(2 / 3)
    assert BY_NAME["pairs_told_apart"].trials(sample) == 4
    assert BY_NAME["pairs_ranked_right"].trials(sample) == 3
    equal = sample_of([0.1, 0.1, 0.2], [0.3, 0.3, 0.4], ["a", "a", "a"])  # nor where the predictions are equal, too
    assert score("pairs_ranked_right", equal) == 1


def test_a_pair_weighs_what_its_material_weighs():
    """One pair of a (right) three times, one of b (wrong) once, c not drawn."""
    sample = sample_of([0.1, 0.2] * 3, [0.1, 0.2, 0.2, 0.1, 0.1, 0.2], ["a", "a", "b", "b", "c", "c"])
    assert score("pairs_ranked_right", sample, np.array([3, 3, 1, 1, 0, 0])) == pytest.approx(3 / 4)


def test_crps_and_nll_at_the_mean():
    """At zero error the CRPS is std (sqrt 2 - 1) / sqrt pi = 0.2336950 std, the NLL log(std) + 0.9189385."""
    sample = sample_of([0.5], [0.5], std=[0.1])
    assert score("crps", sample) == pytest.approx(0.02336950, abs=1e-8)
    assert score("nll", sample) == pytest.approx(np.log(0.1) + 0.91893853)


def test_crps_of_a_certain_prediction_is_its_absolute_error():
    sample = sample_of([0.5, 0.5, 0.5], [0.8, 0.5, 0.2], std=[0.0, 0.0, 0.0])
    assert score("crps", sample) == pytest.approx(0.2)


# --- Other people's code as the oracle


def classes(sample):
    return sample.e_m <= THRESHOLD, sample.predicted <= THRESHOLD


ORACLES = {
    "mae": lambda s: sklearn.metrics.mean_absolute_error(s.e_m, s.predicted),
    "rmse": lambda s: sklearn.metrics.root_mean_squared_error(s.e_m, s.predicted),
    "r2": lambda s: sklearn.metrics.r2_score(s.e_m, s.predicted),
    "median_abs_error": lambda s: sklearn.metrics.median_absolute_error(s.e_m, s.predicted),
    "max_abs_error": lambda s: sklearn.metrics.max_error(s.e_m, s.predicted),
    "spearman": lambda s: scipy.stats.spearmanr(s.e_m, s.predicted).statistic,
    "accuracy": lambda s: sklearn.metrics.accuracy_score(*classes(s)),
    "precision_good": lambda s: sklearn.metrics.precision_score(*classes(s)),
    "precision_bad": lambda s: sklearn.metrics.precision_score(*classes(s), pos_label=False),
    "recall_good": lambda s: sklearn.metrics.recall_score(*classes(s)),
    "recall_bad": lambda s: sklearn.metrics.recall_score(*classes(s), pos_label=False),
    "f1": lambda s: sklearn.metrics.f1_score(*classes(s)),
    "mcc": lambda s: sklearn.metrics.matthews_corrcoef(*classes(s)),
    "roc_auc": lambda s: sklearn.metrics.roc_auc_score(s.e_m <= THRESHOLD, -s.predicted),
    "nll": lambda s: -scipy.stats.norm.logpdf(s.e_m, s.predicted, s.std).mean(),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_and_scipy(name, seed):
    sample = random_sample(seed)
    assert score(name, sample) == pytest.approx(ORACLES[name](sample), abs=1e-12)


@pytest.mark.parametrize(("error", "std"), [(0.0, 0.2), (0.3, 0.1), (-0.7, 0.4), (2.0, 0.05)])
def test_crps_agrees_with_its_integral(error, std):
    def below(x):
        return scipy.stats.norm.cdf(x, error, std) ** 2

    def above(x):
        return scipy.stats.norm.sf(x, error, std) ** 2

    integral = scipy.integrate.quad(below, error - 20 * std, 0, points=[error] if error < 0 else None)[0]
    integral += scipy.integrate.quad(above, 0, error + 20 * std, points=[error] if error > 0 else None)[0]
    assert score("crps", sample_of([0.0], [error], std=[std])) == pytest.approx(integral, abs=1e-6)


def test_confusion_agrees_with_scikit_learn():
    sample = random_sample(1)
    tn, fp, fn, tp = sklearn.metrics.confusion_matrix(*classes(sample)).ravel()
    assert confusion(sample, THRESHOLD) == Confusion(tp, fp, fn, tn)


def test_every_error_is_in_one_share():
    """Of -0.50 to 0.50 eV in steps of 0.01, 19 are below 0.1 eV in size, 21 on either side up to 0.3 and 20 above."""
    sample = sample_of(np.zeros(101), np.linspace(-0.5, 0.5, 101))
    names = ("share_below_100_mev", "share_100_300_mev", "share_above_300_mev")
    assert [score(name, sample) * 101 for name in names] == pytest.approx([19, 42, 40])


# --- What holds for every metric


@pytest.mark.parametrize("metric", OVER_PATHS, ids=by_name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_counts_equal_the_expanded_sample(metric, data):
    sample = data.draw(samples())
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(sample), max_size=len(sample))))
    expanded = rows(sample, np.repeat(np.arange(len(sample)), counts))
    expected = metric(expanded)
    assert metric(sample, counts) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", OVER_PAIRS, ids=by_name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_counts_of_materials_equal_materials_under_new_names(metric, data):
    sample = data.draw(samples())
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3)))
    copies = [np.flatnonzero(sample.material == str(m)) for m in range(3) for _ in range(counts[m])]
    index = np.concatenate([np.empty(0, dtype=int), *copies])
    copy_of = np.concatenate([np.empty(0, dtype=int), *(np.full(len(c), i) for i, c in enumerate(copies))])
    expanded = sample_of(sample.e_m[index], sample.predicted[index], copy_of)
    weights = counts[sample.material.astype(int)]
    assert metric(sample, weights) == pytest.approx(float(metric(expanded)), nan_ok=True)


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
def test_a_block_of_weights_equals_its_rows_one_by_one(metric):
    sample = random_sample(3)
    block = np.random.default_rng(0).integers(0, 4, (2, 3, len(sample))).astype(float)
    values = metric(sample, block)
    assert values.shape == (2, 3)
    one_by_one = [[metric(sample, weights) for weights in row] for row in block]
    np.testing.assert_allclose(values, one_by_one, rtol=1e-12)


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
def test_ones_are_the_default_and_scale_does_not_matter(metric):
    sample = random_sample(4)
    value = metric(sample)
    assert value.shape == ()
    assert np.isfinite(value)
    assert metric(sample, np.ones(len(sample))) == value
    assert metric(sample, np.full(len(sample), 0.3)) == pytest.approx(float(value))


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_order_of_rows_does_not_matter(metric, data):
    sample = data.draw(samples())
    order = np.array(data.draw(st.permutations(range(len(sample)))))
    expected = float(metric(sample))
    shuffled = rows(sample, order)
    assert metric(shuffled) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
def test_inputs_are_unchanged(metric):
    sample = random_sample(5)
    before = [np.copy(getattr(sample, f.name)) for f in dataclasses.fields(sample)]
    weights = np.random.default_rng(0).integers(0, 3, (4, len(sample))).astype(float)
    weights_before = weights.copy()
    metric(sample, weights)
    np.testing.assert_array_equal(weights, weights_before)
    for f, values in zip(dataclasses.fields(sample), before, strict=True):
        np.testing.assert_array_equal(getattr(sample, f.name), values)


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
def test_no_path_is_undefined(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metric(sample_of([], [], std=[])))
        nothing = metric(random_sample(6), np.zeros((2, 40)))
    assert np.isnan(nothing).all()


ONLY_GOOD = sample_of([0.1, 0.2], [0.1, 0.3])
ONLY_BAD = sample_of([0.8, 0.9], [0.8, 0.7])
ALL_CALLED_GOOD = sample_of([0.1, 0.9], [0.2, 0.3])
ALL_CALLED_BAD = sample_of([0.1, 0.9], [0.8, 0.9])
CONSTANT = sample_of([0.1] * 3, [0.2, 0.3, 0.4])
CONSTANT_PREDICTION = sample_of([0.2, 0.3, 0.4], [0.1] * 3)


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("r2", CONSTANT),
        ("r2", sample_of([0.4], [0.3])),
        ("spearman", CONSTANT),
        ("spearman", CONSTANT_PREDICTION),
        ("spearman", sample_of([0.4], [0.3])),
        ("precision_good", ALL_CALLED_BAD),
        ("precision_bad", ALL_CALLED_GOOD),
        ("recall_good", ONLY_BAD),
        ("recall_bad", ONLY_GOOD),
        ("f1", ONLY_BAD),
        ("mcc", ONLY_GOOD),
        ("mcc", ALL_CALLED_GOOD),
        ("roc_auc", ONLY_GOOD),
        ("roc_auc", ONLY_BAD),
        ("pairs_told_apart", ONLY_GOOD),
        ("pairs_ranked_right", ONLY_GOOD),
        ("pairs_ranked_right", sample_of([0.3, 0.3], [0.1, 0.2], ["a", "a"])),
        ("coverage_68", ONLY_GOOD),
        ("coverage_95", ONLY_GOOD),
        ("nll", ONLY_GOOD),
        ("crps", ONLY_GOOD),
        ("nll", sample_of([0.1, 0.2], [0.1, 0.3], std=[0.0, 0.1])),
        ("nll", sample_of([0.1, 0.2], [0.2, 0.3], std=[1e-320, 0.1])),
    ],
)
def test_undefined_is_nan_without_a_warning(name, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(score(name, sample))
        assert np.isnan(score(name, sample, np.ones((3, len(sample))))).all()


@pytest.mark.parametrize("name", ["r2", "spearman"])
def test_a_resample_with_one_value_is_undefined_for_any_weights(name):
    """A variance would miss it: 0.1 times weights of 0.3 does not sum to a mean of exactly 0.1."""
    sample = sample_of([0.1, 0.1, 0.1, 0.7], [0.1, 0.2, 0.3, 0.4])
    assert np.isnan(score(name, sample, np.array([0.3, 0.7, 0.1, 0.0])))
    assert np.isfinite(score(name, sample, np.array([0.3, 0.7, 0.1, 0.2])))


# --- The table and the sample


def test_the_table_is_in_order():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.name.isidentifier()
        assert metric.label
        assert metric.description.endswith(".")
        assert (metric.target is not None) == (metric.better == "target")
        assert (metric.interval == "wilson") == all(map(math.isfinite, metric.bounds))
        assert (metric.interval == "studentized") == (metric.terms is not None)


@pytest.mark.parametrize("metric", AT_THRESHOLD, ids=by_name)
def test_a_perfect_model_is_best_and_on_the_bound(metric):
    """Of the density alone there is no best, since error bars may be ever shorter."""
    other, truth = random_sample(8), np.random.default_rng(8).gamma(2, 0.3, 40)
    poor = sample_of(truth, other.predicted, other.material, other.std, other.low, other.high)
    perfect = sample_of(truth, truth, other.material, np.full(40, 1e-9), truth, truth)
    found, best = (float(metric(sample)) for sample in (poor, perfect))
    low, high = metric.bounds
    assert low <= found <= high
    assert {"lower": best < found, "higher": best > found}.get(metric.better, True)
    if metric.better in ("lower", "higher") and metric.name != "nll":
        assert best == pytest.approx(low if metric.better == "lower" else high, abs=1e-9)


@pytest.mark.parametrize("metric", [m for m in AT_THRESHOLD if m.counts is not None], ids=by_name)
def test_trials_are_the_denominator(metric):
    sample = random_sample(7)
    hits = metric(sample) * metric.trials(sample)
    assert hits == pytest.approx(round(float(hits)))
    assert metric.unit == ""


def test_trials_of_each_class():
    """HAND has tp 2, fp 1, fn 1, tn 1."""
    names = ("accuracy", "precision_good", "precision_bad", "recall_good", "recall_bad")
    assert [BY_NAME[name].at(THRESHOLD).trials(HAND) for name in names] == [5, 3, 2, 3, 2]


def test_only_a_proportion_has_trials():
    with pytest.raises(ValueError, match="mae is not a proportion"):
        BY_NAME["mae"].trials(HAND)


def test_a_threshold_metric_needs_its_threshold():
    with pytest.raises(TypeError, match="threshold"):
        BY_NAME["accuracy"](HAND)
    with pytest.raises(TypeError, match="threshold"):
        BY_NAME["accuracy"].trials(HAND)


def test_sample_copies_and_freezes_its_arrays():
    e_m = np.array([0.1, 0.2])
    sample = sample_of(e_m, [0, 1], std=[1, 1], low=[0, 0], high=[1, 1])
    e_m[0] = 9.0
    assert sample.e_m[0] == 0.1
    assert sample.predicted.dtype == np.float64
    for f in dataclasses.fields(sample):
        with pytest.raises(ValueError, match="read-only"):
            getattr(sample, f.name)[0] = 0


def test_material_codes_are_equal_where_names_are():
    assert sample_of([0.0] * 4, [0.0] * 4, ["LiCoO2", "MgO", "LiCoO2", "CaO"]).material_code.tolist() == [
        1,
        2,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predicted": [0.1]}, "predicted has shape"),
        ({"material": ["a"]}, "e_m has shape"),
        ({"std": [0.1, 0.1, 0.1]}, "std has shape"),
        ({"cluster": ["a"]}, "cluster has shape"),
        ({"e_m": [0.1, np.nan]}, "e_m holds a value that is not finite"),
        ({"predicted": [0.1, np.inf]}, "predicted holds a value that is not finite"),
        ({"std": [0.1, -0.1]}, "std holds a negative value"),
        ({"low": [0.1, 0.1]}, "An interval has both ends"),
        ({"low": [0.1], "high": [0.3]}, "low has shape"),
    ],
)
def test_a_broken_sample_is_refused(changed, message):
    arguments = {"e_m": [0.1, 0.2], "predicted": [0.1, 0.2], "material": ["a", "b"], "std": [0.1, 0.1]}
    with pytest.raises(ValueError, match=message):
        Sample(**(arguments | changed))


def test_import_is_light():
    """In a fresh process: the two modules add no heavy package to what the package itself imports."""
    program = "import sys, emigbench; old = set(sys.modules); import emigbench.statistics; "
    program += "print(*{'scipy', 'sklearn', 'pandas', 'pymatgen'} & (set(sys.modules) - old))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""
