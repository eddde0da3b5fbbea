import math
import warnings

import numpy as np
import pytest

from emigbench.metrics import BY_NAME, METRICS, Sample
from emigbench.statistics import (
    Estimate,
    accelerated_interval,
    bootstrap_weights,
    difference_interval,
    estimate,
    leave_one_out_weights,
    percentile_interval,
    rank_intervals,
    resampled,
    seed_spread,
    studentized_interval,
    two_sided_p,
    widened_level,
    wilson_interval,
)

MAE, ACCURACY = BY_NAME["mae"], BY_NAME["accuracy"]


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


def test_percentiles_of_a_hundred_and_one():
    assert percentile_interval(np.arange(101.0)[::-1]) == pytest.approx((2.5, 97.5))
    assert percentile_interval(np.arange(101.0), level=0.5) == pytest.approx((25, 75))


def test_undefined_resamples_are_left_out_until_they_are_most():
    values = np.array([1.0, 2.0, 3.0, np.nan, np.nan, np.nan])
    assert percentile_interval(values) == pytest.approx((1.05, 2.95))
    low, high = percentile_interval(np.append(values, np.nan))
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(percentile_interval(np.array([]))[0])


def test_widened_levels_are_those_of_student():
    """10 groups: t = 2.262157, times sqrt(10 / 9) = 2.384516, of which the normal holds 98.29%."""
    assert widened_level(0.95, 10) == pytest.approx(0.98290, abs=5e-6)
    assert widened_level(0.95, 10_000) == pytest.approx(0.95, abs=1e-4)
    assert math.isnan(widened_level(0.95, 1))


def test_difference_interval_spans_the_widened_level():
    values = np.arange(10_001.0)
    low, high = difference_interval(values, 10)
    assert (high - low) / 10_000 == pytest.approx(0.98290, abs=1e-5)
    assert low == pytest.approx(10_000 - high)
    assert all(math.isnan(bound) for bound in difference_interval(values, 1))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 2.1, 2.5, 3.0])
def test_p_is_below_five_percent_where_the_interval_leaves_zero_out(shift):
    values = np.random.default_rng(0).normal(shift, 1, 20_000)
    low, _ = difference_interval(values, 30)
    assert (two_sided_p(values, shift, 30) < 0.05) == (low > 0)
    assert two_sided_p(values, shift, 30) == two_sided_p(-values, -shift, 30)


def test_p_by_hand():
    """5 of 99 resamples at or below zero: 2 * 6 / 100 = 0.12, which stays so with very many groups."""
    values = np.array([-1.0] * 4 + [0.0] + [1.0] * 94)
    assert two_sided_p(values, 0.9, 10**6) == pytest.approx(0.12, abs=1e-5)
    assert two_sided_p(values, 0.9, 10) > 0.12


def test_p_is_never_zero_and_one_for_no_difference_at_all():
    assert two_sided_p(np.zeros(1000), 0.0, 30) == 1
    far = np.random.default_rng(0).normal(50, 1, 1000)
    assert 0 < two_sided_p(far, 50, 30) < 1e-6
    assert two_sided_p(np.ones(1000), 1.0, 30) > 0  # no spread to judge by: the count alone
    assert math.isnan(two_sided_p(np.full(10, np.nan), 0.0, 30))
    assert math.isnan(two_sided_p(far, 50, 1))


def test_accelerated_interval_of_a_symmetric_score_is_the_widened_percentiles():
    values = np.concatenate([-np.arange(1, 5001.0), [0.0], np.arange(1, 5001.0)])
    without = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    low, high = accelerated_interval(values, 0.0, without)
    assert (low, high) == pytest.approx(difference_interval(values, 5))


def test_accelerated_interval_leans_to_the_long_tail():
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(0, 1, 40)
    weights = bootstrap_weights(range(40), 4000, seed=0)
    plain = percentile_interval(weights @ sizes / 40)
    low, high = accelerated_interval(weights @ sizes / 40, sizes.mean(), leave_one_out_weights(range(40)) @ sizes / 39)
    assert low > plain[0]
    assert high > plain[1]


def test_studentized_interval_scales_and_needs_ten_groups():
    rng = np.random.default_rng(0)
    sizes, groups = rng.lognormal(0, 1, 40), np.arange(40) // 2
    weights = bootstrap_weights(groups, 2000, seed=0)
    low, high = studentized_interval(sizes, weights, groups)
    assert low < sizes.mean() < high
    assert studentized_interval(1000 * sizes, weights, groups) == pytest.approx((1000 * low, 1000 * high))
    few = np.arange(40) % 9
    assert math.isnan(studentized_interval(sizes, bootstrap_weights(few, 100, seed=0), few)[0])
    assert math.isnan(studentized_interval(np.zeros(40), weights, groups)[0])


def test_the_order_of_rows_does_not_matter_to_the_interval():
    [sample] = seeds(1)
    order = np.random.default_rng(1).permutation(len(sample))
    moved = Sample(sample.e_m[order], sample.predicted[order], sample.material[order])
    for metric in (MAE, BY_NAME["r2"]):
        found = [estimate(metric, [s], bootstrap_weights(s.material, 300, seed=0)) for s in (sample, moved)]
        assert (found[0].low, found[0].high) == pytest.approx((found[1].low, found[1].high))


def test_wilson_by_hand():
    """48 of 60: centre (0.8 + 0.032012) / 1.064024, half width 1.959964 * 0.054161 / 1.064024."""
    assert wilson_interval(48, 60) == pytest.approx((0.68218, 0.88172), abs=5e-5)


def test_wilson_at_the_ends():
    """For 0 of n the upper bound is z2 / (n + z2): 3.841459 / 13.841459."""
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert wilson_interval(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(7, 23), (1, 2), (12.4, 19.6), (300, 619)])
def test_wilson_bounds_solve_the_score_equation(successes, n):
    """Its definition: the p at which the observed share lies z standard errors away."""
    for bound in wilson_interval(successes, n, level=0.9):
        z = abs(successes / n - bound) / math.sqrt(bound * (1 - bound) / n)
        assert z == pytest.approx(1.6448536)


def test_wilson_undefined_and_impossible():
    assert all(math.isnan(bound) for bound in wilson_interval(0, 0))
    assert all(math.isnan(bound) for bound in wilson_interval(math.nan, 5))
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(6, 5)


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
        sample = Sample(np.zeros(120), rng.normal(size=30)[groups], groups)
        for name, weights in (("group", by_group), ("path", by_path)):
            interval = estimate(BY_NAME["bias"], [sample], weights, groups=groups if name == "group" else range(120))
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["group"] / n_trials == pytest.approx(0.945, abs=0.022)
    assert covered["path"] / n_trials == pytest.approx(0.66, abs=0.05)


# --- Estimates


def test_estimate_of_one_seed():
    [sample] = seeds(1)
    weights = bootstrap_weights(sample.material, 500, seed=0)
    result = estimate(MAE, [sample], weights)
    assert result.value == pytest.approx(np.abs(sample.error).mean())
    assert (result.low, result.high) == studentized_interval(np.abs(sample.error), weights, sample.material)
    assert result.low < result.value < result.high
    assert result.unit == "eV"


def test_scores_that_are_no_means_get_an_accelerated_interval():
    [sample] = seeds(1)
    weights, rmse = bootstrap_weights(sample.material, 500, seed=0), BY_NAME["rmse"]
    result = estimate(rmse, [sample], weights)
    without = rmse(sample, leave_one_out_weights(sample.material))
    assert (result.low, result.high) == accelerated_interval(rmse(sample, weights), result.value, without)


def test_seeds_are_averaged_under_the_same_resample():
    samples = seeds(3)
    weights = bootstrap_weights(samples[0].material, 100, seed=0)
    each = [[np.average(np.abs(s.error), weights=w) for w in weights] for s in samples]
    np.testing.assert_allclose(resampled(MAE, samples, weights), np.mean(each, axis=0))
    result = estimate(MAE, samples, weights)
    assert result.value == pytest.approx(np.mean([np.abs(s.error).mean() for s in samples]))
    sizes = np.mean([np.abs(s.error) for s in samples], axis=0)
    assert (result.low, result.high) == pytest.approx(studentized_interval(sizes, weights, samples[0].material))


def test_equal_seeds_change_nothing():
    [sample] = seeds(1)
    weights = bootstrap_weights(sample.material, 100, seed=0)
    for metric in (MAE, ACCURACY):
        once, thrice = (estimate(metric, [sample] * k, weights, 0.65) for k in (1, 3))
        assert (once.value, once.low, once.high) == pytest.approx((thrice.value, thrice.low, thrice.high))


def test_proportions_get_wilson_with_their_own_denominator():
    """Two seeds: precision 1/2 of 2 and 1/1 of 1 called good; mean 0.75 of a mean of 1.5."""
    e_m, weights = [0.1, 0.9, 0.9, 0.1], bootstrap_weights(range(4), 100, seed=0)
    samples = [Sample(e_m, predicted, range(4)) for predicted in ([0, 0, 1, 1], [0, 1, 1, 1])]
    result = estimate(BY_NAME["precision_good"], samples, weights, 0.65)
    assert result == Estimate(0.75, *wilson_interval(0.75 * 1.5, 1.5), "")
    accuracy = estimate(ACCURACY, samples, weights, 0.65)
    assert accuracy == Estimate(0.625, *wilson_interval(2.5, 4), "")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_an_estimate(metric):
    rng = np.random.default_rng(0)
    samples = [Sample(s.e_m, s.predicted, s.material, rng.gamma(2, 0.1, len(s))) for s in seeds(2)]
    weights = bootstrap_weights(samples[0].material, 300, seed=0)
    result = estimate(metric, samples, weights, 0.65)
    assert result.low <= result.value <= result.high


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_undefined_estimates_are_nan_without_a_warning(metric):
    empty = Sample([], [], [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = estimate(metric, [empty, empty], np.ones((10, 0)), 0.65)
        assert np.isnan([result.value, result.low, result.high]).all()
        assert math.isnan(seed_spread(metric, [empty, empty], 0.65))


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


def test_samples_and_weights_must_fit():
    samples = seeds(2)
    with pytest.raises(ValueError, match="40 paths, expected 3"):
        estimate(ACCURACY, samples, np.ones((5, 3)), 0.65)
    with pytest.raises(ValueError, match="20 paths, expected 40"):
        seed_spread(MAE, [samples[0], seeds(1, n=20)[0]])
    for call in (lambda: resampled(MAE, [], np.ones((5, 3))), lambda: seed_spread(MAE, [])):
        with pytest.raises(ValueError, match="no sample"):
            call()


# --- Ranks


def test_clearly_separated_models_have_one_rank_each():
    values = np.array([[3.0], [1.0], [2.0]]) + np.random.default_rng(0).uniform(0, 0.5, (3, 1000))
    assert rank_intervals(values, "lower") == [(3, 3), (1, 1), (2, 2)]
    assert rank_intervals(values, "higher") == [(1, 1), (3, 3), (2, 2)]


def test_identical_models_share_their_ranks():
    same = np.random.default_rng(0).uniform(size=1000)
    assert rank_intervals(np.array([same, same, same + 1]), "lower") == [(1, 2), (1, 2), (3, 3)]


def test_models_alike_but_for_chance_may_hold_any_rank():
    values = np.random.default_rng(0).uniform(size=(4, 1000))
    assert rank_intervals(values, "higher") == [(1, 4)] * 4


def test_rare_swaps_do_not_widen_the_interval():
    """The two swap in 2% of the resamples, which is less than the 2.5% on that side; in 3%, more."""
    better, worse = np.zeros(1000), np.ones(1000)
    for n_swaps, expected in ((20, [(1, 1), (2, 2)]), (30, [(1, 2), (1, 2)])):
        values = np.array([better, worse])
        values[:, :n_swaps] = values[::-1, :n_swaps]
        assert rank_intervals(values, "lower") == expected


def test_an_undefined_resample_ranks_last():
    values = np.array([[np.nan, np.nan], [1.0, 1.0]])
    assert rank_intervals(values, "lower") == rank_intervals(values, "higher") == [(2, 2), (1, 1)]


def test_a_metric_without_a_direction_ranks_nobody():
    with pytest.raises(ValueError, match="target"):
        rank_intervals(np.zeros((2, 5)), "target")
