import math
import warnings

import numpy as np
import pytest

from emigbench import intervals
from emigbench.metrics import BY_NAME, METRICS, Sample
from emigbench.statistics import (
    bootstrap_weights,
    estimate,
    group_draws,
    group_totals,
    resampled,
    seed_spread,
)

MAE, ACCURACY = BY_NAME["mae"], BY_NAME["accuracy"].at(0.65)


def seeds(n_seeds, n=40, noise=0.2):
    rng = np.random.default_rng(0)
    e_m, material = rng.gamma(2, 0.3, n), rng.integers(0, n // 2, n)
    return [Sample(e_m, e_m + rng.normal(0, noise, n), material) for _ in range(n_seeds)]


# --- Group bootstrap

GROUPS = np.array(["b", "a", "b", "c", "a", "b", "d"])


def test_groups_stay_whole_and_as_many_are_drawn_as_there_are():
    weights = bootstrap_weights(GROUPS, 200, seed=0)
    assert weights.shape == (200, 7)
    first = [GROUPS.tolist().index(name) for name in GROUPS]
    np.testing.assert_array_equal(weights, weights[:, first])
    one_of_each = weights[:, [0, 1, 3, 6]]
    assert (one_of_each.sum(axis=1) == 4).all()
    assert (one_of_each == one_of_each.round()).all()


def test_each_group_is_drawn_as_often_as_chance_has_it():
    """Counts are binomial with 4 draws at 1/4: mean 1, variance 3/4, none with chance (3/4)^4 = 0.316."""
    weights = bootstrap_weights(GROUPS, 20_000, seed=1)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 0.75, atol=0.03)
    np.testing.assert_allclose((weights == 0).mean(axis=0), 0.316, atol=0.02)


def test_the_seed_decides_and_the_order_of_rows_does_not():
    weights = bootstrap_weights(GROUPS, 50, seed=3)
    np.testing.assert_array_equal(weights, bootstrap_weights(list(GROUPS), 50, seed=3))
    assert (weights != bootstrap_weights(GROUPS, 50, seed=4)).any()
    order = np.array([6, 2, 0, 1, 5, 4, 3])
    np.testing.assert_array_equal(weights[:, order], bootstrap_weights(GROUPS[order], 50, seed=3))


def test_the_draws_are_pinned():
    """Published intervals depend on these: 3 resamples of 3 groups under seed 0 draw 2 1 1, 0 0 0, 0 0 0."""
    expected = [[0, 2, 1], [3, 0, 0], [3, 0, 0]]
    np.testing.assert_array_equal(bootstrap_weights([0, 1, 2], 3, seed=0), expected)


def test_no_groups():
    assert bootstrap_weights([], 5, seed=0).shape == (5, 0)


# --- Intervals


def test_the_order_of_rows_does_not_matter_to_the_interval():
    [sample] = seeds(1)
    order = np.random.default_rng(1).permutation(len(sample))
    moved = Sample(sample.e_m[order], sample.predicted[order], sample.material[order])
    for metric in (MAE, BY_NAME["r2"]):
        found = [estimate(metric, [s], bootstrap_weights(s.material, 300, seed=0)) for s in (sample, moved)]
        assert (found[0].low, found[0].high) == pytest.approx((found[1].low, found[1].high))


def test_group_bootstrap_covers_and_the_plain_one_does_not():
    """Mean of 30 groups of 4 paths with one error a group: 95% intervals hold the truth about as often.

    Plain percentiles would hold it in 93.5%; these are widened for few groups. Resampling single paths takes 120
    paths for independent ones: intervals half as wide, 0.98 standard errors, which hold the truth 67% of the time.
    """
    rng = np.random.default_rng(7)
    groups, n_trials = np.repeat(np.arange(30), 4), 1200
    by_group, by_path = (bootstrap_weights(g, 1000, seed=0) for g in (groups, np.arange(120)))
    covered = {"group": 0, "path": 0}
    for _ in range(n_trials):
        predicted = rng.normal(size=30)[groups]
        for name, material, weights in (("group", groups, by_group), ("path", np.arange(120), by_path)):
            interval = estimate(BY_NAME["bias"], [Sample(np.zeros(120), predicted, material)], weights)
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["group"] / n_trials == pytest.approx(0.945, abs=0.022)
    assert covered["path"] / n_trials == pytest.approx(0.66, abs=0.05)


# --- Estimates


def by_hand(metric, samples, weights, value):
    """The interval of a score of a ratio, put together of its parts."""
    groups = samples[0].material
    upper, lower = (np.mean(parts, axis=0) for parts in zip(*(metric.terms(s) for s in samples), strict=True))
    totals = group_totals(upper, groups), group_totals(lower, groups)
    ratio, error = intervals.ratio_with_error(*totals, group_draws(weights, groups))
    scores = np.append(value, resampled(metric, samples, weights))
    errors = error / (2 * np.sqrt(ratio)) if metric.name == "rmse" else error
    effective = intervals.effective_groups(*totals)
    return intervals.studentized_interval(scores, errors, len(np.unique(groups)), effective, metric.bounds)


def test_estimate_of_one_seed():
    [sample] = seeds(1)
    weights = bootstrap_weights(sample.material, 500, seed=0)
    result = estimate(MAE, [sample], weights)
    assert result.value == pytest.approx(np.abs(sample.error).mean())
    assert result.low < result.value < result.high
    assert result.unit == "eV"


@pytest.mark.parametrize("name", ["mae", "rmse", "r2", "bias"])
def test_scores_of_a_ratio_get_a_studentized_interval(name):
    [sample], metric = seeds(1), BY_NAME[name]
    weights = bootstrap_weights(sample.material, 500, seed=0)
    result = estimate(metric, [sample], weights)
    expected = by_hand(metric, [sample], weights, result.value)
    assert (result.low, result.high) == pytest.approx(expected)


def test_the_terms_of_a_score_tell_it():
    [sample] = seeds(1)
    for name, of_ratio in (("mae", float), ("rmse", math.sqrt), ("r2", lambda x: 1 - x), ("bias", float)):
        upper, lower = BY_NAME[name].terms(sample)
        assert of_ratio(upper.sum() / lower.sum()) == pytest.approx(float(BY_NAME[name](sample)))


def test_the_largest_error_has_no_interval():
    result = estimate(BY_NAME["max_abs_error"], seeds(1), bootstrap_weights(seeds(1)[0].material, 100, seed=0))
    assert math.isfinite(result.value)
    assert math.isnan(result.low)


def test_seeds_are_averaged_under_the_same_resample():
    samples = seeds(3)
    weights = bootstrap_weights(samples[0].material, 100, seed=0)
    each = [[np.average(np.abs(s.error), weights=w) for w in weights] for s in samples]
    np.testing.assert_allclose(resampled(MAE, samples, weights), np.mean(each, axis=0))
    result = estimate(MAE, samples, weights)
    assert result.value == pytest.approx(np.mean([np.abs(s.error).mean() for s in samples]))
    expected = by_hand(MAE, samples, weights, result.value)
    assert (result.low, result.high) == pytest.approx(expected)


def test_intervals_are_over_clusters_whatever_the_materials():
    [sample], cluster = seeds(1), np.arange(40) // 4
    weights = bootstrap_weights(cluster, 300, seed=0)
    apart = Sample(sample.e_m, sample.predicted, range(40), cluster=cluster)
    as_one = Sample(sample.e_m, sample.predicted, cluster)
    for metric in (MAE, ACCURACY, BY_NAME["median_abs_error"]):
        assert estimate(metric, [apart], weights) == estimate(metric, [as_one], weights)


def test_equal_seeds_change_nothing():
    [sample] = seeds(1)
    weights = bootstrap_weights(sample.material, 100, seed=0)
    for metric in (MAE, ACCURACY):
        once, thrice = (estimate(metric, [sample] * k, weights) for k in (1, 3))
        assert (once.value, once.low, once.high) == pytest.approx((thrice.value, thrice.low, thrice.high))


def test_proportions_get_wilson_with_the_trials_that_the_resamples_tell():
    """Single paths, each right or wrong: nearly as many trials as paths. Twins that err together: half as many."""
    right = np.arange(60) % 3 > 0
    single = Sample(np.zeros(60), np.where(right, 0.0, 1.0), range(60))
    result = estimate(ACCURACY, [single], bootstrap_weights(range(60), 20_000, seed=0))
    z = intervals.student_quantile(60)
    assert (result.low, result.high) == pytest.approx(intervals.wilson_interval(2 / 3, 59, z), abs=0.003)
    twins = np.repeat(np.arange(60), 2)
    twice = Sample(single.e_m[twins], single.predicted[twins], twins)
    again = estimate(ACCURACY, [twice], bootstrap_weights(twins, 20_000, seed=0))
    assert (again.low, again.high) == pytest.approx((result.low, result.high))


def test_all_right_has_the_trials_that_there_are():
    """Precision 1 of two, one and one called good, 4/3 on average: Wilson's with that many, and Student's t."""
    e_m, weights = [0.1, 0.1, 0.9, 0.9], bootstrap_weights(range(4), 2000, seed=0)
    samples = [Sample(e_m, predicted, range(4)) for predicted in ([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1])]
    result = estimate(BY_NAME["precision_good"].at(0.65), samples, weights)
    assert (result.low, result.high) == intervals.wilson_interval(1, 4 / 3, intervals.student_quantile(4))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_an_estimate(metric):
    rng = np.random.default_rng(0)
    samples = []
    for s in seeds(2):
        std, below, above = rng.gamma(2, 0.1, (3, len(s)))
        samples.append(Sample(s.e_m, s.predicted, s.material, std, low=s.predicted - below, high=s.predicted + above))
    weights = bootstrap_weights(samples[0].material, 300, seed=0)
    result = estimate(metric.at(0.65), samples, weights)
    assert metric.interval == "none" or result.low <= result.value <= result.high


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_undefined_estimates_are_nan_without_a_warning(metric):
    empty = Sample([], [], [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = estimate(metric.at(0.65), [empty, empty], np.ones((10, 0)))
        assert np.isnan([result.value, result.low, result.high]).all()
        assert math.isnan(seed_spread(metric.at(0.65), [empty, empty]))


def test_one_group_has_no_interval():
    [sample] = seeds(1)
    result = estimate(MAE, [sample], bootstrap_weights(["a"] * len(sample), 100, seed=0))
    assert math.isfinite(result.value)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_seed_spread():
    """MAE 0.1, 0.2 and 0.6: mean 0.3, squares 0.04 + 0.01 + 0.09 over 2."""
    samples = [Sample([0.0], [predicted], ["a"]) for predicted in (0.1, 0.2, 0.6)]
    assert seed_spread(MAE, samples) == pytest.approx(math.sqrt(0.07))
    assert math.isnan(seed_spread(MAE, samples[:1]))


def test_equal_seeds_have_no_spread_to_the_last_bit():
    """Of three times 0.1 the mean is another number."""
    assert np.mean([0.1] * 3) != 0.1
    assert seed_spread(MAE, [Sample([0.0], [0.1], ["a"])] * 3) == 0


def test_seeds_whose_errors_add_up_in_another_order_have_no_spread():
    one, other = (Sample([0.0] * 3, errors, ["a", "b", "c"]) for errors in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]))
    assert MAE(one) != MAE(other)
    assert seed_spread(MAE, [one, other]) == 0


def test_samples_and_weights_must_fit():
    samples = seeds(2)
    with pytest.raises(ValueError, match="40 paths, expected 3"):
        estimate(ACCURACY, samples, np.ones((5, 3)))
    with pytest.raises(ValueError, match="20 paths, expected 40"):
        seed_spread(MAE, [samples[0], seeds(1, n=20)[0]])
    for call in (lambda: resampled(MAE, [], np.ones((5, 3))), lambda: seed_spread(MAE, [])):
        with pytest.raises(ValueError, match="no sample"):
            call()
