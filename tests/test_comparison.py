import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import FULL, SPINELS, one_sentence, write_submission
from hypothesis import example, given
from hypothesis import strategies as st

from emigbench import EmigbenchError, Prediction, intervals, load_labels, scoring, splits, statistics
from emigbench.comparison import (
    MAE,
    Contender,
    contender,
    influence_of_paths,
    paired_difference,
    restricted,
    train_median,
)
from emigbench.comparison.board import compare_all
from emigbench.comparison.differences import LEVEL, detectable_difference, holm
from emigbench.comparison.error_bars import CALIBRATION_LEVELS, calibration
from emigbench.comparison.influence import group_influence
from emigbench.comparison.ties import possible_ranks, tie_groups, tie_letters
from emigbench.metrics import BY_NAME, Sample, coverage_of
from emigbench.predictions import read_split
from emigbench.report import compare as report
from emigbench.report import leaderboard, markdown, terminal

SUBMISSIONS = Path(__file__).parents[1] / "submissions"


def model(slug, predicted, e_m, material=None, has_value=None):
    """A contender with one array of predictions a seed."""
    predicted = np.atleast_2d(np.asarray(predicted, dtype=float))
    n = predicted.shape[1]
    material = [f"m{k}" for k in range(n)] if material is None else material
    has_value = np.ones(n, dtype=bool) if has_value is None else np.array(has_value)
    samples = tuple(Sample(e_m, values, material) for values in predicted)
    return Contender(slug, tuple(f"p{k}" for k in range(n)), samples, has_value)


def noisy(slug, scale, seed, n=60, shift=0.0):
    rng = np.random.default_rng(seed)
    return model(slug, shift + rng.normal(0, scale, n), np.zeros(n), [f"m{k // 2}" for k in range(n)])


def published(slug, split="official"):
    return contender(slug, read_split(SUBMISSIONS / slug / "predictions.csv", FULL, split), FULL, split)


# --- Two models


def test_difference_by_hand():
    """Errors 0.1, 0.3, four of 0.2 and 0.2, 0.5, 0.5, thrice 0.4: means 0.2 and 0.4. One path counted gives its own."""
    a = model("a", [0.1, -0.3, 0.2, 0.2, 0.2, 0.2], [0] * 6)
    b = model("b", [-0.2, 0.5, 0.5, 0.4, 0.4, 0.4], [0] * 6)
    weights = np.vstack([6 * np.eye(6), np.ones(6)])
    found = paired_difference(MAE, a, b, weights)
    assert (found.a, found.b, found.n) == ("a", "b", 6)
    assert found.value == pytest.approx(-0.2)
    drawn = np.array([-0.1, -0.2, -0.3, -0.2, -0.2, -0.2, -0.2])
    assert found.sd == pytest.approx(np.std(drawn, ddof=1))
    assert (found.low, found.high) == pytest.approx(intervals.percentile_interval(drawn, 6))
    assert found.p == pytest.approx(intervals.two_sided_p(drawn, -0.2, 6))
    assert found.p_holm is None


def test_seeds_are_averaged():
    """MAE over seeds: 0.1, 0.3 and 0.8 make 0.4; the averaged prediction, 0.1, -0.3 and 0.8, would make 0.2."""
    a, b = model("a", [[0.1, 0.1], [-0.3, -0.3], [0.8, 0.8]], [0, 0]), model("b", [0.5, 0.5], [0, 0])
    assert paired_difference(MAE, a, b, np.array([[1.0, 1.0], [2.0, 0.0]])).value == pytest.approx(-0.1)


def test_a_small_p_is_that_of_whole_clusters_averaged_over_seeds():
    """Fifteen clusters of two materials of two paths each, and two seeds."""
    rng = np.random.default_rng(0)
    cluster = np.arange(60) // 4
    errors = {"a": rng.normal(0, 0.2, (2, 60)), "b": rng.normal(0, 0.4, (1, 60))}
    a, b = (
        Contender(
            slug,
            tuple(f"p{k}" for k in range(60)),
            tuple(Sample(np.zeros(60), error, np.arange(60) // 2, cluster=cluster) for error in of_seeds),
            np.ones(60, dtype=bool),
        )
        for slug, of_seeds in errors.items()
    )
    parts = np.abs(errors["a"]).mean(axis=0) - np.abs(errors["b"][0])
    weights = statistics.bootstrap_weights(cluster, 500, seed=0)
    drawn, totals = weights @ parts / weights.sum(axis=1), parts.reshape(15, 4).sum(axis=1)
    found = paired_difference(MAE, a, b, weights)
    assert found.p < intervals.COUNTED
    assert found.p == pytest.approx(intervals.two_sided_p(drawn, parts.mean(), 15, totals))
    assert found.sd == pytest.approx(drawn.std(ddof=1))


def test_swapping_the_models_swaps_the_sign():
    a, b = noisy("a", 0.2, 0), noisy("b", 0.5, 1)
    there, back = paired_difference(MAE, a, b), paired_difference(MAE, b, a)
    assert there.p == back.p
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    swapped = there.swapped()
    assert (swapped.a, swapped.b) == ("b", "a")
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((back.value, back.low, back.high))


def test_the_order_of_the_paths_does_not_matter():
    rng = np.random.default_rng(0)
    e_m, first, second = rng.gamma(2, 0.3, 60), rng.gamma(2, 0.3, 60), rng.gamma(2, 0.3, 60)
    material = np.array([f"m{k // 2}" for k in range(60)])
    order = rng.permutation(60)
    found = [
        paired_difference(MAE, model("a", first[o], e_m[o], material[o]), model("b", second[o], e_m[o], material[o]))
        for o in (np.arange(60), order)
    ]
    assert found[0].p == found[1].p
    for name in ("value", "low", "high", "sd"):
        assert getattr(found[0], name) == pytest.approx(getattr(found[1], name))


def test_a_model_against_itself():
    a = noisy("a", 0.3, 0)
    found = paired_difference(MAE, a, a)
    assert (found.value, found.low, found.high, found.sd, found.p) == (0, 0, 0, 0, 1)
    assert not found.told_apart


def test_one_material_tells_nothing():
    a, b = (model(s, p, [0, 0], ["m", "m"]) for s, p in (("a", [0.1, 0.1]), ("b", [0.9, 0.9])))
    found = paired_difference(MAE, a, b)
    assert found.value == pytest.approx(-0.8)
    assert all(math.isnan(x) for x in (found.low, found.high, found.sd, found.p))
    assert not found.told_apart


def test_other_paths_are_refused():
    with pytest.raises(ValueError, match="same paths"):
        paired_difference(MAE, noisy("a", 1, 0), noisy("b", 1, 0, n=58))


def on_common_paths(*models):
    """Both on the paths that both have a value for."""
    both = np.flatnonzero(np.all([each.has_value for each in models], axis=0)).tolist()
    return [restricted(each, both) for each in models]


def test_restricted_to_common_paths():
    a = model("a", [0.1, 0.2, 9, 0.4], [0] * 4, has_value=[1, 1, 0, 1])
    b = model("b", [0.5, 9, 0.5, 0.5], [0] * 4, has_value=[1, 0, 1, 1])
    first, second = on_common_paths(a, b)
    assert first.ids == second.ids == ("p0", "p3")
    assert first.has_value.tolist() == second.has_value.tolist() == [True, True]
    assert paired_difference(MAE, first, second).value == pytest.approx(0.25 - 0.5)


def test_influence_of_paths_by_hand():
    """Differences of |errors| 0.3, 0, 0: the mean is 0.1, without the first 0, without another 0.15."""
    a, b = model("a", [0.4, 0.1, 0.1], [0] * 3), model("b", [0.1] * 3, [0] * 3)
    parts = influence_of_paths(MAE, a, b)
    assert [path_id for path_id, _ in parts] == ["p0", "p1", "p2"]
    assert [part for _, part in parts] == pytest.approx([0.1, -0.05, -0.05])
    assert influence_of_paths(MAE, b, a)[0] == ("p0", pytest.approx(-0.1))  # the largest, whatever its sign
    tied = influence_of_paths(MAE, model("a", [0.3, 0.1 + 0.2, 0.0], [0] * 3), model("b", [0] * 3, [0] * 3))
    assert tied[2][1] > tied[1][1]  # by the last bit
    assert [path_id for path_id, _ in tied] == ["p2", "p0", "p1"]


def test_detectable_difference():
    """(1.959964 + 0.841621) sd at 5% and 80%; of nine groups Student's (2.306004 + 0.888890) and sqrt(9/8)."""
    assert detectable_difference(1.0, 10**9) == pytest.approx(2.801585, abs=1e-6)
    assert detectable_difference(0.1, 9) == pytest.approx(0.1 * math.sqrt(9 / 8) * (2.306004 + 0.888890), abs=1e-6)
    assert math.isnan(detectable_difference(0.1, 1))


@pytest.mark.parametrize("n_groups", [9, 27])
def test_detectable_difference_of_few_groups_is_found_as_often_as_it_says(n_groups):
    """Of independent normal differences: the resampled mean has a variance of (n - 1) / n^2."""
    rng, trials = np.random.default_rng(5), 400
    weights = statistics.bootstrap_weights(np.arange(n_groups), 400, seed=0)
    sd = math.sqrt(n_groups - 1) / n_groups
    drawn = rng.normal(detectable_difference(sd, n_groups), 1, (trials, n_groups))
    p = [intervals.two_sided_p(weights @ each / n_groups, float(each.mean()), n_groups, each) for each in drawn]
    assert np.mean(np.array(p) < LEVEL) == pytest.approx(0.8, abs=0.06)


def test_detectable_difference_is_found_as_often_as_it_says():
    rng, found, trials = np.random.default_rng(3), 0, 400
    sd = 0.2 * math.sqrt((1 - 2 / math.pi) * 2 / 80)  # of the difference of two means of |normal| of 80 paths
    scale = 0.2 * (1 + detectable_difference(sd, 80) / (0.2 * math.sqrt(2 / math.pi)))
    weights = statistics.bootstrap_weights([f"m{k}" for k in range(80)], 400, seed=0)
    for _ in range(trials):
        a, b = (model(s, rng.normal(0, x, 80), np.zeros(80)) for s, x in (("a", 0.2), ("b", scale)))
        found += paired_difference(MAE, a, b, weights).told_apart
    assert 0.6 < found / trials < 0.9  # the sd of the worse one is larger than that of two equals


# --- Published rows


def test_model_3_against_mace_relax():
    """The audit: dMAE 0.079, 95% about -0.04 to 0.23, and 0.19 eV to be seen at 80% power."""
    found = paired_difference(MAE, published("devi2026-mace-relax"), published("devi2026-model-3"))
    assert found.value == pytest.approx(0.0790, abs=5e-5)
    assert found.low == pytest.approx(-0.04, abs=0.01)
    assert found.high == pytest.approx(0.23, abs=0.01)
    assert found.p > 0.2
    assert found.detectable == pytest.approx(0.19, abs=0.01)
    assert not found.told_apart


def test_orb_v3_is_ahead_of_model_3_on_the_paths_that_it_has():
    orb, model_3 = published("bheemaguli2026-orb-v3"), published("devi2026-model-3")
    assert not paired_difference(MAE, orb, model_3).told_apart
    common = on_common_paths(orb, model_3)
    assert [round(float(MAE(each.samples[0])), 3) for each in common] == [0.157, 0.259]
    found = paired_difference(MAE, *common)
    assert found.n == 55
    assert found.high < 0
    assert found.told_apart


# --- Holm


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 is lifted to 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([0.01, math.nan])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lies_between_plain_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert min(1, p) <= q <= min(1, len(p_values) * p) + 1e-12
    for (p, q), (r, s) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
        assert (p - r) * (q - s) >= 0


# --- Tie groups


def table_of(n, pairs):
    table = np.zeros((n, n), dtype=bool)
    for i, j in pairs:
        table[i, j] = table[j, i] = True
    return table


@pytest.mark.parametrize(
    ("n", "told_apart", "letters"),
    [
        (3, [], ["a", "a", "a"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (3, [(0, 1)], ["a", "b", "ab"]),  # the last is too uncertain to be told from either
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        (1, [], ["a"]),
        (0, [], []),
    ],
)
def test_letters_by_hand(n, told_apart, letters):
    assert tie_letters(table_of(n, told_apart)) == letters


@example((6, {(0, 4), (1, 3), (2, 5)}))  # the greedy cover makes a group more than are needed
@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(pairs_of(n))))))
def test_two_rows_share_a_letter_if_and_only_if_they_are_not_told_apart(case):
    n, told_apart = case
    table = table_of(n, [pair for pair in told_apart if pair[0] != pair[1]])
    groups = tie_groups(table)
    for i, j in itertools.combinations(range(n), 2):
        assert any(i in group and j in group for group in groups) == (not table[i, j])
    assert {i for group in groups for i in group} == set(range(n))
    for group in groups:  # none can be made larger
        assert all(any(table[i, j] for j in group) for i in set(range(n)) - set(group))
        others = [other for other in groups if other != group]  # and none can be left out
        pairs = list(itertools.combinations(group, 2))
        assert not pairs or any(not any({i, j} <= set(other) for other in others) for i, j in pairs)


def test_ranks_by_hand():
    """a and b tie, and so do b and c, but a is better than c; d is worse than all."""
    assert possible_ranks(table_of(4, [(0, 2), (0, 3), (1, 3), (2, 3)])) == [(1, 2), (1, 3), (2, 3), (4, 4)]
    assert possible_ranks(table_of(3, [])) == [(1, 3)] * 3


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(pairs_of(n))))))
def test_every_true_order_that_agrees_with_what_is_told_apart_keeps_to_the_ranks(case):
    n, told_apart = case
    told_apart = [(i, j) for i, j in told_apart if i != j]
    ranks = possible_ranks(table_of(n, told_apart))
    for order in itertools.permutations(range(n)):  # order[i] is the true place of row i
        if all(order[i] < order[j] for i, j in told_apart):
            assert all(best <= place + 1 <= worst for place, (best, worst) in zip(order, ranks, strict=True))


def pairs_of(n):
    return list(itertools.combinations(range(n), 2)) or [(0, 0)]


def test_many_groups_stay_quick_and_have_names():
    """Twenty pairs told apart: 2^20 maximal groups, of which a few hundred are enough."""
    table = table_of(40, [(2 * k, 2 * k + 1) for k in range(20)])
    letters = tie_letters(table)
    assert len(tie_groups(table)) < 800
    assert all(letters)
    assert tie_letters(table_of(60, pairs_of(60)))[51:53] == ["Z", "a2"]


# --- Boards


def board(*models, n=60):
    return compare_all(models, ["g"] * (n // 2) + ["h"] * (n - n // 2))


def test_identical_models_tie_and_separate_ones_do_not():
    found = board(noisy("worst", 2.0, 2), noisy("b", 0.1, 0), noisy("a", 0.1, 0))
    assert found.slugs == ("a", "b", "worst")
    assert found.letters == {"a": "a", "b": "a", "worst": "b"}
    assert found.ranks == {"a": (1, 2), "b": (1, 2), "worst": (3, 3)}
    assert found.difference("a", "b").p_holm == 1
    assert found.difference("worst", "a").value > 0
    assert found.difference("worst", "a") == found.difference("a", "worst").swapped()


def test_p_values_of_a_board_are_corrected_for_all_its_pairs():
    found = board(*(noisy(f"m{k}", 0.2 + 0.03 * k, k) for k in range(5)))
    assert len(found.differences) == 10
    plain = [d.p for d in found.differences.values()]
    assert [d.p_holm for d in found.differences.values()] == holm(plain)
    told_apart = [d.told_apart for d in found.differences.values()]
    assert told_apart == [p < 0.05 for p in holm(plain)] != [p < 0.05 for p in plain]
    assert found.detectable == pytest.approx(np.median([d.detectable for d in found.differences.values()]))


def test_models_whose_errors_add_up_in_another_order_stand_by_name_and_share_a_rank():
    """Of equal errors the last bit, which processors add up to differently, decides nothing."""
    a, b = model("a", [0.1, 0.2, 0.3], [0] * 3), model("b", [0.3, 0.2, 0.1], [0] * 3)
    assert MAE(a.samples[0]) > MAE(b.samples[0])
    found = compare_all([b, a], ["g", "g", "g"])
    assert found.slugs == ("a", "b")
    assert found.difference("a", "b").value == 0
    assert found.influence.full_ranks.tolist() == [1, 1]


def test_a_board_does_not_depend_on_the_order_of_its_models():
    models = [noisy(f"m{k}", 0.2 + 0.05 * (k % 3), k) for k in range(5)]
    first, second = board(*models), board(*reversed(models))
    assert (first.slugs, first.letters, first.ranks) == (second.slugs, second.letters, second.ranks)
    assert first.differences == second.differences


def test_a_board_of_one():
    found = board(noisy("only", 0.2, 0))
    assert (found.letters, found.ranks) == ({"only": "a"}, {"only": (1, 1)})
    assert math.isnan(found.detectable)
    assert found.differences == found.common == {}


def test_pairs_with_gaps_are_also_compared_on_what_both_have():
    rows = [published(s) for s in ("devi2026-model-3", "bheemaguli2026-orb-v3", "devi2026-mace-relax")]
    found = compare_all(rows, [FULL.by_id[i].structural_group for i in rows[0].ids])
    assert set(found.common) == {pair for pair in found.differences if "bheemaguli2026-orb-v3" in pair}
    common = found.difference_on_common("bheemaguli2026-orb-v3", "devi2026-model-3")
    assert (common.n, round(common.value, 3)) == (55, -0.102)
    assert found.difference_on_common("devi2026-model-3", "bheemaguli2026-orb-v3") == common.swapped()
    assert found.difference_on_common("devi2026-model-3", "devi2026-mace-relax").n == 60
    weights = scoring.resampling(rows[1].samples[0].cluster)[:, rows[1].has_value]
    assert common == paired_difference(MAE, *on_common_paths(rows[1], rows[0]), weights)


def test_two_that_have_no_path_in_common(few_resamples):
    """Each lacks what the other has, which is another thing than that neither lacks any."""
    ids = list(splits.held_out(FULL, "official"))

    def failing_on(slug, failed):
        given = [Prediction(i, None, status="failed") if i in failed else Prediction(i, 0.5) for i in ids]
        return contender(slug, {0: given}, FULL, "official")

    a, b, whole = failing_on("a", ids[:30]), failing_on("b", ids[30:]), failing_on("whole", [])
    found = compare_all([a, b, whole], ["g"] * 60)
    assert found.difference_on_common("a", "b").n == found.difference_on_common("b", "a").n == 0
    duel = report.compare(a, b, FULL, "official")
    assert (duel.n_common, duel.common_paths) == (0, None)
    text = report.in_words(duel)
    assert "All 60 paths; a failed path counts with the train median:" in text
    assert "There is no path that both have a value for." in text
    assert "value for" not in report.in_words(report.compare(whole, whole, FULL, "official"))


def test_leaving_a_group_out_by_hand():
    """Without h, a is 0.1 and b and c 0.2 and 0.3; without g, a is 0.9: the best is the worst."""
    a, b, c = model("a", [0.1, 0.1, 0.9], [0] * 3), model("b", [0.2] * 3, [0] * 3), model("c", [0.3] * 3, [0] * 3)
    found = group_influence([a, b, c], ["g", "g", "h"])
    assert found.groups == ("g", "h")
    np.testing.assert_allclose(found.values, [[0.9, 0.1], [0.2, 0.2], [0.3, 0.3]])
    np.testing.assert_array_equal(found.ranks, [[3, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(found.full_ranks, [3, 1, 2])
    group, change = found.largest(0)
    assert (group, change) == ("g", pytest.approx(0.9 - 1.1 / 3))
    assert found.rank_range(0) == (1, 3)
    better_without_g = group_influence([model("d", [0.9, 0.9, 0.3], [0] * 3)], ["g", "g", "h"])
    assert better_without_g.largest(0) == ("g", pytest.approx(0.3 - 0.7))


def spread_of(one):
    return compare_all([one], ["GROUP"] * len(one)).spread[one.slug]


def test_spread_tells_seeds_from_paths():
    rng = np.random.default_rng(0)
    steady = model("steady", [rng.normal(0, 0.3, 60)] * 4, np.zeros(60))
    found = spread_of(steady)
    assert found.seed_sd == pytest.approx(0, abs=1e-12)
    assert found.sampling_sd > 0.01
    uneven = spread_of(model("uneven", [np.full(60, x) for x in (0.1, 0.2, 0.3, 0.4)], np.zeros(60)))
    assert uneven.sampling_sd == pytest.approx(0, abs=1e-12)
    assert uneven.seed_sd == pytest.approx(np.std([0.1, 0.2, 0.3, 0.4], ddof=1))
    assert uneven.seed_sd_of_mean == pytest.approx(uneven.seed_sd / 2)
    assert spread_of(noisy("one", 0.2, 0)).seed_sd is None


# --- Calibration


def test_calibration_of_honest_and_of_bold_error_bars():
    rng = np.random.default_rng(0)
    std = rng.gamma(2, 0.2, 4000)
    error = rng.normal(0, std)
    weights = statistics.bootstrap_weights(range(4000), 300, seed=0)
    honest, bold = (calibration([Sample(np.zeros(4000), error, range(4000), s)], weights) for s in (std, std / 2))
    assert [row.expected for row in honest.rows] == list(CALIBRATION_LEVELS)
    for row in honest.rows:
        assert row.observed == pytest.approx(row.expected, abs=0.03)
        assert row.low < row.observed < row.high
    assert (honest.z_mean, honest.z_sd) == pytest.approx((0, 1), abs=0.05)
    assert bold.z_sd == pytest.approx(2, abs=0.1)
    assert all(row.observed < row.expected for row in bold.rows)


def test_calibration_of_few_groups_that_err_together_is_as_unsure_as_the_table_of_metrics():
    """20 groups of 50 paths that are all in or all out: as much as 20 paths tell, not 1000."""
    group = np.repeat(np.arange(20), 50)
    error = np.random.default_rng(0).normal(size=20)[group]
    [sample] = [Sample(np.zeros(1000), error, group, np.ones(1000))]
    weights = statistics.bootstrap_weights(group, 1000, seed=0)
    found = calibration([sample], weights).rows[4]
    table = statistics.estimate(coverage_of(0.5), [sample], weights)
    assert (found.observed, found.low, found.high) == (table.value, table.low, table.high)
    assert found.high - found.low > 0.3


def test_calibration_by_hand():
    """Errors of -1, 0 and 3 standard deviations: (1 + 0 + 9 - 3 * (2/3)**2) / 2 = 13/3; the other seed's are 0 to 2."""
    seeds = [Sample(np.zeros(3), np.array(z) * 0.1, ["a", "b", "c"], [0.1] * 3) for z in ([-1, 0, 3], [0, 1, 2])]
    found = calibration(seeds, np.ones((9, 3)))
    assert found.z_mean == pytest.approx((2 / 3 + 1) / 2)
    assert found.z_sd == pytest.approx((math.sqrt(13 / 3) + 1) / 2)


def test_calibration_needs_error_bars():
    without, with_std = Sample([0.0], [0.1], ["a"]), Sample([0.0], [0.1], ["a"], [0.1])
    assert calibration([without], np.ones((9, 1))) is calibration([with_std, without], np.ones((9, 1))) is None
    certain = calibration([Sample([0.0, 0.0], [0.2, 0.0], ["a", "b"], [0.0, 0.1])], np.ones((9, 2)))
    assert math.isnan(certain.z_mean)
    assert math.isnan(certain.z_sd)
    assert certain.rows[0].observed == 0.5


# --- From predictions to a board, and in words


def test_contender_knows_which_paths_failed():
    ids = list(splits.held_out(FULL, "official"))
    seeds = {k: [Prediction(i, 0.5) for i in ids] for k in range(2)}
    seeds[1][3] = Prediction(ids[3], None, status="failed")
    seeds[0][4] = Prediction(ids[4], 0.5, status="not_converged")  # doubtful, and yet a value
    found = contender("a", seeds, FULL, "official")
    assert [i for i, has in zip(found.ids, found.has_value, strict=True) if not has] == [ids[3]]
    assert len(found) == 60


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 300)


def test_results_hold_what_the_board_says(tmp_path, few_resamples):
    truth = {i: FULL.by_id[i].e_m_ev for i in splits.held_out(FULL, "official")}
    for slug, shift in (("good", 0.01), ("twin", 0.01), ("bad", 3.0)):
        write_submission(tmp_path, {i: e + shift for i, e in truth.items()}, card={"slug": slug})
    found = leaderboard.boards(leaderboard.read_entries(tmp_path, FULL), FULL)
    content = json.loads(leaderboard.to_json(found, FULL))
    rows = {row["slug"]: row for row in content["boards"]["official"]}
    assert {slug: row["tied"] for slug, row in rows.items()} == {"good": "a", "twin": "a", "bad": "b"}
    assert rows["good"]["spread"]["seed_sd"] is None
    pairs = content["comparisons"]["official"]["differences"]
    assert [(pair["a"], pair["b"], pair["told_apart"]) for pair in pairs] == [
        ("good", "twin", False),
        ("good", "bad", True),
        ("twin", "bad", True),
    ]
    page = markdown.to_markdown(found, FULL)
    assert "These paths tell 2 of 3 pairs of rows apart" in page
    assert "| Tied" in page


def test_in_words():
    pair = [published(s) for s in ("bheemaguli2026-orb-v3", "devi2026-model-3")]
    text = report.in_words(report.compare(*pair, FULL, "official"))
    assert "0.157 eV" in text
    assert "0.259 eV" in text
    assert "Not resolved: these 60 paths" in text
    assert "Resolved: bheemaguli2026-orb-v3 is better" in text
    assert "The 55 paths" in text
    r2 = report.in_words(report.compare(*pair, FULL, "official", BY_NAME["r2"]))
    assert "R²" in r2
    assert "eV, 95%" not in r2
    assert "Intervals of a difference in R² are short" in r2
    assert "are short" not in text
    assert "(its part in eV; errors in eV):" in text
    assert "(its part; errors in eV):" in r2


def test_what_is_better_higher_is_won_by_the_higher(few_resamples):
    pair = [published(s) for s in ("train-median", "emig-best")]
    accuracy = report.metric_named("accuracy", 0.65)
    for a, b in (pair, pair[::-1]):
        assert "Resolved: emig-best is better" in report.in_words(report.compare(a, b, FULL, "official", accuracy))


def test_a_better_fit_to_the_training_paths_is_called_no_test(few_resamples):
    pair = [published(s, splits.FITTED) for s in ("devi2026-model-1", "devi2026-model-3")]
    text = report.in_words(report.compare(*pair, FULL, splits.FITTED))
    no_test = "on the training paths, which is no test of a model fitted to them."
    assert f"Resolved: devi2026-model-3 is better {no_test}" in text
    assert "paths like these" not in text


def test_the_parts_of_a_difference_show_mean_errors_over_seeds(few_resamples):
    facts = [FULL.by_id[i] for i in splits.held_out(FULL, "official")]

    def off_by(slug, *first):
        """One prediction a seed: the first path is off by what is given, all others by 0.1 eV."""
        return contender(
            slug,
            {
                seed: [Prediction(f.id, f.e_m_ev + (error if f is facts[0] else 0.1)) for f in facts]
                for seed, error in enumerate(first)
            },
            FULL,
            "official",
        )

    part = report.compare(off_by("a", 0.9, 0.5), off_by("b", -0.2), FULL, "official").parts[0]
    assert (part.id, part.group, part.e_m) == (facts[0].id, facts[0].structural_group, facts[0].e_m_ev)
    assert (part.error_a, part.error_b) == pytest.approx((0.7, -0.2))
    assert part.part == pytest.approx((0.7 - 0.2) / 60)


def test_two_groups_decide_nothing():
    spinels = load_labels("spinels")
    pair = [
        contender(name, {0: [Prediction(facts.id, e_m) for facts in spinels]}, spinels, "leave-group-out")
        for name, e_m in (("a", 0.5), ("b", 0.6))
    ]
    text = report.in_words(report.compare(*pair, spinels, "leave-group-out"))
    assert "undefined: these paths are of fewer than 6 materials, groups or ions" in text
    assert "nan" not in text


@pytest.mark.parametrize("metric", report.CHOICES)
def test_every_choice_of_metric_is_strict_json(metric, few_resamples):
    given = BY_NAME[metric].needs in report.WANTED
    pair = [
        published(s) for s in (("emig-best", "path-forest") if given else ("devi2026-mace-relax", "devi2026-model-3"))
    ]
    duel = report.compare(*pair, FULL, "official", report.metric_named(metric, 0.65))
    content = json.loads(json.dumps(duel.to_json(), allow_nan=False))
    assert content["all_paths"]["difference"]["n"] == 60
    assert report.in_words(duel).endswith("\n")


def test_models_are_compared_as_classifiers_at_a_threshold():
    """Of four paths, a calls three right at 0.5 eV and b one; at 2 eV all are good for both."""
    e_m, material = [0.2, 0.4, 0.6, 0.8], list("wxyz")
    a, b = (
        Contender(name, tuple(material), (Sample(e_m, predicted, material),), np.ones(4, dtype=bool))
        for name, predicted in [("a", [0.3, 0.7, 0.9, 0.9]), ("b", [0.7, 0.7, 0.4, 0.9])]
    )
    by_half, by_two = (report.metric_named("accuracy", threshold) for threshold in (0.5, 2.0))
    assert paired_difference(by_half, a, b).value == pytest.approx(3 / 4 - 1 / 4)
    assert paired_difference(by_two, a, b).value == 0
    assert by_half.label == "Accuracy at 0.5 eV"
    assert BY_NAME["mae"].at(0.5) is BY_NAME["mae"]


def test_models_are_compared_by_their_own_intervals():
    """Of labels 0.4 and 0.7 eV, the first model's intervals hold one, and miss the other by 0.1: 0.4 + 20 × 0.1 / 2."""
    e_m, low = [0.4, 0.7], np.array([0.2, 0.2])
    a, b = (
        Contender(
            name, ("y", "z"), (Sample(e_m, [0.4, 0.4], ["y", "z"], None, None, low, low + width),), np.ones(2, bool)
        )
        for name, width in [("a", 0.4), ("b", 0.8)]
    )
    by_score = report.metric_named("interval_score", 0.65)
    assert paired_difference(by_score, a, b).value == pytest.approx(0.4 + 1.0 - 0.8)
    with pytest.raises(EmigbenchError) as error:
        report.compare(published("emig-best"), published("random-forest"), FULL, "official", by_score)
    assert "random-forest does not give an interval of its own for every path of official" in one_sentence(error)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.inf, math.nan])
def test_a_threshold_is_a_barrier(threshold):
    with pytest.raises(EmigbenchError, match="A threshold is a barrier"):
        report.metric_named("accuracy", threshold)


def test_a_largest_error_decides_between_no_two_models():
    with pytest.raises(EmigbenchError, match="no metric 'max_abs_error' to compare by"):
        report.metric_named("max_abs_error", 0.65)


def test_what_is_no_merit_by_itself_decides_between_no_two_models():
    """Narrow intervals that miss are no better than wide ones that hold."""
    for name in ("interval_width", "share_100_300_mev"):
        with pytest.raises(EmigbenchError, match=f"no metric '{name}' to compare by"):
            report.metric_named(name, 0.65)


def test_beside_the_training_median():
    """What the median has is what the submission of that name has; fold by fold, too."""
    for split in ("official", "material-cv"):
        floor = train_median(FULL, split)
        assert floor.has_value.sum() == 0
        of_file = published("train-median", split)
        np.testing.assert_allclose(floor.samples[0].predicted, of_file.samples[0].predicted)
    best = paired_difference(BY_NAME["mae"], published("emig-best"), train_median(FULL, "official"))
    text = terminal.beside_the_median(best)
    assert text.startswith(f"The MAE is {-best.value:.3f} eV below that of the training median (difference [-")
    assert text.endswith(f"told apart from it, p = {best.p:.0e}).\n")
    worse = terminal.beside_the_median(replace(best.swapped(), low=-0.1, p=0.2))
    assert "above that of the training median (difference [-0.100" in worse
    assert "not told apart from it, p = 0.20)" in worse
    same = paired_difference(BY_NAME["mae"], published("train-median"), train_median(FULL, "official"))
    assert terminal.beside_the_median(same) == "The MAE is that of the training median.\n"
    assert terminal.plain(replace(best, low=math.nan))["low_ev"] is None


def test_a_models_own_comparisons_are_corrected_for_themselves(few_resamples):
    models = [noisy(f"m{k}", 1.0, k, shift=0.4 * k) for k in range(5)]
    found = compare_all(models, ["g"] * 60)
    own = found.own_differences("m2")
    assert list(own) == [slug for slug in found.slugs if slug != "m2"]
    assert [d.a for d in own.values()] == ["m2"] * 4
    assert [d.p_holm for d in own.values()] == holm([found.difference("m2", other).p for other in own])
    assert all(d.p_holm <= found.difference("m2", other).p_holm for other, d in own.items())
    assert any(d.p_holm < found.difference("m2", other).p_holm for other, d in own.items())


def test_finding_a_model(tmp_path):
    folder = write_submission(tmp_path, 0.5)
    csv = folder / "predictions.csv"
    for name in (str(folder), str(csv), "a-model"):
        assert report.find(name, tmp_path) == csv
    (tmp_path / "empty").mkdir()
    for name in ("nothing", str(tmp_path / "empty"), "../x", "a\nb"):
        with pytest.raises(EmigbenchError) as error:
            report.find(name, tmp_path)
        one_sentence(error)
    with pytest.raises(EmigbenchError) as error:
        report.metric_named("pairs_told_apart", 0.65)
    assert "accuracy" in one_sentence(error)
    assert report.common_dataset([str(csv), "a-model"], tmp_path, None) is FULL
    a, b = report.read_pair([str(folder), "a-model"], tmp_path, FULL, "official")
    assert a.slug != b.slug
    with pytest.raises(EmigbenchError) as error:
        read_split(csv, FULL, "material-cv")
    assert "material-cv" in one_sentence(error)


def test_a_huge_figure_leaves_the_table_narrow():
    sharp = [Prediction(i, 0.5, std=1e-6) for i in splits.held_out(FULL, "official")]
    lines = terminal.table(scoring.score(sharp, FULL, "official")).splitlines()
    (nll,) = (line for line in lines if line.startswith("NLL"))
    assert re.search(r"\d\.\d\de\+\d\d", nll)
    assert max(map(len, lines)) < 120


def test_figures_of_a_threshold_and_of_a_subset_are_indented():
    score = scoring.score([Prediction(i, 0.5) for i in splits.held_out(FULL, "official")], FULL, "official")
    text = terminal.table(score)
    assert re.search(r"^E_m <= 0.65 eV is good .*\n  Accuracy ", text, re.MULTILINE)
    assert re.search(r"^scenario A: .*\n  MAE ", text, re.MULTILINE)


def test_models_are_compared_on_the_dataset_of_their_runs(tmp_path):
    small = write_submission(tmp_path, labels=SPINELS, card={"slug": "small"})
    write_submission(tmp_path, card={"slug": "whole"})
    table = tmp_path / "table.csv"
    table.write_text((small / "predictions.csv").read_text())
    assert report.common_dataset(["small", str(table)], tmp_path, None) is SPINELS
    assert report.common_dataset([str(table), "whole"], tmp_path, None) is FULL
    assert report.common_dataset([str(table), str(table)], tmp_path, "spinels") is SPINELS
    for pair, asked, named in (
        (["small", "whole"], None, "whole is of dataset 'full', not 'spinels'"),
        (["small", "small"], "full", "small is of dataset 'spinels', not 'full'"),
    ):
        with pytest.raises(EmigbenchError) as error:
            report.common_dataset(pair, tmp_path, asked)
        assert named in one_sentence(error)
