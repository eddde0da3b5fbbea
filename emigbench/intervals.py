"""95% intervals and p-values from resamples of whole groups, by the kind of score.

- A score that depends on a ratio of two sums over paths (MAE, RMSE, R², bias): a bootstrap-t interval (Efron &
  Tibshirani 1993, section 12.5), on the square root of the score's distance from its bound, no side shorter than
  Student's, and wider where few groups make most of the error (Satterthwaite's degrees of freedom).
- A score with two bounds (proportions, F1, MCC, rank correlation, ROC AUC): Wilson's score interval (1927) with as many
  trials as the resamples say that there effectively are (Korn & Graubard, Surv. Methodol. 24, 193, 1998).
- A median, and a difference between two models: percentiles, widened as Student's t is against the normal
  (Hesterberg 2015).
- A maximum: none. No resample exceeds the largest error seen, but other materials do.

`benchmarks/coverage.py` has how often they hold the truth, `benchmarks/p_values.py` how often p is small by chance.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from emigbench.records import FloatArray

CONFIDENCE = 0.95
"""Of every interval."""
FEWEST_GROUPS = 6
"""Of which percentiles and a p-value are told: 5 groups lean one way by chance in 1 of 16 samples, and the farthest of
all resamples hold the truth of normal samples in 92% instead of 95% (of 4 groups in 87%, of 2 in 48%)."""
SMALLEST_P = 1e-12
COUNTED = 0.02
"""Least p-value that is told by counting resamples; of some thousandths of them the number is a matter of luck."""
ROUNDING = 1e-12
"""Variances below this part of what they are the difference of are zero."""


def percentile_interval(values: FloatArray, n_groups: int) -> tuple[float, float]:
    """The central part of resampled values, widened for few groups.

    A resample of n groups varies less than the score itself, by (n - 1) / n in variance, and the normal's tails are
    shorter than Student's: the expanded percentiles of Hesterberg, Am. Stat. 69, 371 (2015), section 4. For 95%,
    they span 98.3% of the resamples of 10 groups, 95.7% of 59 and 95.1% of 439.

    Args:
        values: (B,) one score a resample, NaN where the resample leaves it undefined.
        n_groups: number of groups that were resampled.

    Returns:
        Low and high, from the defined values; NaN for fewer than `FEWEST_GROUPS`, or if more than half are undefined.
    """
    defined = _mostly_defined(values)
    if n_groups < FEWEST_GROUPS or not defined.size:
        return math.nan, math.nan
    z = math.sqrt(n_groups / (n_groups - 1)) * student_quantile(n_groups)
    low, high = np.quantile(defined, [NormalDist().cdf(-z), NormalDist().cdf(z)])
    return float(low), float(high)


def wilson_interval(share: float, trials: float, z: float = NormalDist().inv_cdf(0.975)) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    Args:
        share: the proportion.
        trials: number of independent trials that it is a share of; need not be whole.
        z: the normal's quantile, or Student's where `trials` is itself estimated.

    Returns:
        Low and high inside [0, 1]; NaN if there are no trials or `share` is NaN.

    Raises:
        ValueError: if `share` is not in [0, 1].
    """
    if math.isnan(share) or not trials > 0:
        return math.nan, math.nan
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is no proportion.")
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half_width = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return max(0.0, min(share, centre - half_width)), min(1.0, max(share, centre + half_width))


def bounded_interval(
    values: FloatArray, observed: float, bounds: tuple[float, float], n_groups: int, trials: float
) -> tuple[float, float]:
    """Wilson's interval of a score between two bounds, with the effective number of trials.

    The score is taken as a share p of the way between its bounds. n independent trials give it the variance
    p (1 - p) / n; so the variance v of the resamples says that there are p (1 - p) / v (Korn & Graubard 1998), fewer
    than paths where paths of one material err together. Student's quantile stands for the normal's.

    Args:
        values: (B,) one score a resample, NaN where undefined.
        observed: the score itself.
        bounds: the least and the largest value that the score can take.
        n_groups: number of groups that were resampled.
        trials: the number of trials where the resamples do not vary: all right, or all wrong.

    Returns:
        Low and high; NaN for fewer than 2 groups, or if more than half of the resamples are undefined.
    """
    low, high = bounds
    share = min(max((observed - low) / (high - low), 0.0), 1.0)
    variance = (bootstrap_error(values, n_groups) / (high - low)) ** 2
    if math.isnan(variance):
        return math.nan, math.nan
    if variance > ROUNDING and ROUNDING < share < 1 - ROUNDING:
        trials = share * (1 - share) / variance
    ends = wilson_interval(share, trials, student_quantile(n_groups))
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


def ratio_with_error(upper: FloatArray, lower: FloatArray, draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A ratio of two sums over paths, and its standard error, in the sample and in each resample.

    The error is the linearised one (Cochran 1977, chapter 6) of the groups that the resample holds, so a few large
    values widen it, too: it comes from the squares of each group's part u = upper - ratio * lower.

    Args:
        upper: (G,) numerators, totals of the groups.
        lower: (G,) denominators.
        draws: (1 + B, G) from `group_draws`.

    Returns:
        (1 + B,) ratios and (1 + B,) errors in the same unit.
    """
    n = draws.shape[1]
    below = draws @ lower
    with np.errstate(all="ignore"):
        values = (draws @ upper) / below
        squares = draws @ upper**2
        variance = squares - 2 * values * (draws @ (upper * lower)) + values**2 * (draws @ lower**2)
        variance[variance < ROUNDING * squares] = 0
        return values, np.sqrt(variance * (n / np.float64(n - 1))) / below


def power_errors(ratio: FloatArray, error: FloatArray, power: float) -> FloatArray:
    """Standard errors of a power of a ratio (the delta method): power * ratio^(power - 1) * error; 0 if that is 0."""
    with np.errstate(all="ignore"):
        return np.where(error == 0, 0, power * ratio ** (power - 1) * error)


def effective_groups(upper: FloatArray, lower: FloatArray) -> float:
    """How many groups tell the error of a ratio of two sums: 1 more than its degrees of freedom.

    The squared error is a sum of u^2 over groups (u as in `ratio_with_error`). Satterthwaite, Biometrics 2, 110 (1946)
    gives it 2 V^2 / var(V) degrees of freedom, V its value; and var(V) is at most about the sum of u^4. Resamples tell
    only in part how unsure V is, since none holds a larger u than the sample. 60 groups with normal u have about 40
    degrees of freedom; where one of them makes all of the error, about 2.

    Args:
        upper: (G,) numerators, totals of the groups.
        lower: (G,) denominators.

    Returns:
        At most G, and G where there is no error.
    """
    with np.errstate(all="ignore"):
        squares = (upper - upper.sum() / lower.sum() * lower) ** 2
        shares = squares / squares.sum()
        return float(np.fmin(len(upper), 1 + 2 / (shares @ shares)))


def t_quantiles(changes: FloatArray, errors: FloatArray, level: float = CONFIDENCE) -> tuple[float, float]:
    """How many of its own standard errors a resample is away from the sample: the ends of the central `level`.

    Args:
        changes: (B,) resampled value minus the sample's; NaN, where undefined, counts as far away to either side.
        errors: (B,) the resample's standard error.
        level: share of the resamples.

    Returns:
        The bootstrap's own Student quantiles, low and high. Infinite where more than half of the rest have no error on
        that side: they hold one group alone.
    """
    with np.errstate(all="ignore"):
        t = changes / errors
    t[changes == 0] = 0
    undefined, place = np.isnan(t), round((1 - level) / 2 * len(t))
    low, high = (np.sort(np.where(undefined, far, t)) for far in (-np.inf, np.inf))
    return float(low[place]), float(high[-1 - place])


def studentized_interval(
    scores: FloatArray,
    errors: FloatArray,
    n_groups: int,
    effective: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """The bootstrap-t interval of a score that depends on one ratio alone (Efron & Tibshirani 1993, section 12.5).

    Where one bound is finite, the square root of the distance from it is studentized: its errors are more even, and it
    keeps to the bound. The bootstrap's quantiles are widened as Student's is at the effective number of groups, and
    neither side is shorter than that: the resamples of a score near its best are all on one side.

    Where a few groups make nearly all of the error, resamples without them are hundreds of their own small errors away,
    and the far end is beyond all measure: it says no more than that the sample does not bound the score. The largest
    value of a group or a resample would bound it, but other groups do have larger errors (RMSE and R2 hold the truth
    too seldom as it is), and from where on a resample's error is too small to count is a matter of degree.

    Args:
        scores: (1 + B,) the score itself, then of each resample.
        errors: (1 + B,) their standard errors.
        n_groups: number of groups that were resampled.
        effective: how many of them tell the error, from `effective_groups`.
        bounds: the least and the largest value that the score can take.

    Returns:
        Low and high; the score itself where the sample does not vary; NaN where the resamples do not bound it: too few
        groups, or too few that make any of the error.
    """
    bound = next(filter(math.isfinite, bounds), None)
    if bound is not None:
        with np.errstate(all="ignore"):
            root = np.sqrt(np.abs(scores - bound))
            root_errors = np.where(errors == 0, 0, errors / (2 * root))
        near, far = np.maximum(studentized_interval(root, root_errors, n_groups, effective), 0) ** 2
        low, high = (bound + near, bound + far) if bound == bounds[0] else (bound - far, bound - near)
        return min(low, float(scores[0])), max(high, float(scores[0]))  # squares of roots are off by the last bit
    if errors[0] == 0:
        return float(scores[0]), float(scores[0])
    student = student_quantile(effective)
    wider = student / student_quantile(n_groups)
    low, high = t_quantiles(scores[1:] - scores[0], errors[1:])
    below, above = (max(student, wider * t) * float(errors[0]) for t in (high, -low))
    return (scores[0] - below, scores[0] + above) if math.isfinite(below + above) else (math.nan, math.nan)


def student_quantile(n_groups: float, below: float = (1 + CONFIDENCE) / 2) -> float:
    """Student's quantile for the mean of `n_groups` independent values; NaN for 1 or fewer.

    Args:
        n_groups: need not be whole.
        below: the probability below the quantile; that of a two-sided 95% interval by default.
    """
    from scipy.special import stdtrit

    return float(stdtrit(n_groups - 1, below)) if n_groups > 1 else math.nan


def two_sided_p(values: FloatArray, observed: float, n_groups: int, totals: FloatArray | None = None) -> float:
    """The p-value of "no difference": 1 minus the level at which `percentile_interval` just reaches zero.

    Twice the share of the resamples on the other side of zero, those at zero included (Efron & Tibshirani 1993,
    section 15.4), widened as the interval is. The correction for hundreds of pairs asks for shares so small that
    counting cannot tell them: for a p below `COUNTED` the share is worked out from the groups' totals
    (`share_at_odds`), and widened as Student's is at the effective number of groups; without totals, where no resample
    is on the other side, it is at most the normal's tail. No p is below that of all groups having one sign by chance,
    2^(1 - n): 0.004 for 9 groups.

    Args:
        values: (B,) one difference a resample, NaN where undefined.
        observed: the difference itself.
        n_groups: number of groups that were resampled.
        totals: (G,) each group's part of the difference, if it is a sum of such parts over the number of paths.

    Returns:
        p in (0, 1]; NaN for fewer than `FEWEST_GROUPS`, or if more than half of the resamples are undefined.
    """
    from scipy.special import ndtr

    defined = _mostly_defined(values)
    if n_groups < FEWEST_GROUPS or not defined.size:
        return math.nan
    beyond = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    share = min(0.5, (1 + beyond) / (1 + defined.size))
    p = _p_of(share, n_groups, n_groups)
    if p < COUNTED and totals is not None:
        effective = effective_groups(totals, np.ones(len(totals)))
        p = min(COUNTED, _p_of(share_at_odds(totals), n_groups, effective))
    elif beyond == 0 and (sd := float(defined.std(ddof=1))) > 0:
        p = min(p, _p_of(float(ndtr(-abs(observed) / sd)), n_groups, n_groups))
    return max(p, 2.0 ** (1 - n_groups), SMALLEST_P)


def _p_of(share: float, n_groups: int, effective: float) -> float:
    """Twice a share of resamples, widened as Student's t is with `effective` groups against the normal."""
    from scipy.special import ndtri, stdtr

    shrink = math.sqrt((n_groups - 1) / n_groups)
    return 2 * float(stdtr(effective - 1, shrink * float(ndtri(share))))


def share_at_odds(totals: FloatArray) -> float:
    """The larger of two shares of all resamples of whole groups that speak against a sum over them being what it is.

    One is of those whose sum is zero or has the other sign. One is of resamples of groups that are reweighted to a sum
    of zero, as little as possible (exponential tilting: Davison & Hinkley 1997, section 4.4), of those whose sum is as
    far off as the sample's. Where few groups make most of the difference the two are apart, and each by itself is too
    small for some shapes of it. Both are from the saddlepoint approximation (Lugannani & Rice, Adv. Appl. Probab. 12,
    475, 1980; Davison & Hinkley, section 9.5), within some percent of what counting approaches, however small.

    Args:
        totals: (G,) of the groups.

    Returns:
        In [0, 1], meant for shares well below a half; 1 if the sample's sum is zero.
    """
    from scipy.optimize import brentq
    from scipy.special import logsumexp, softmax

    n, total = len(totals), float(totals.sum())
    if total == 0:
        return 1.0
    x = totals / np.copysign(np.abs(totals).max(), total)
    if x.min() >= 0:
        return float(np.mean(x == 0) ** n)
    farthest = -1.0
    while softmax(farthest * x) @ x > 0:
        farthest *= 2
    tilt = float(brentq(lambda t: softmax(t * x) @ x, farthest, 0.0))
    cumulant = n * (float(logsumexp(tilt * x)) - math.log(n))
    sds = (math.sqrt(n * float(weights @ x**2 - (weights @ x) ** 2)) for weights in (softmax(tilt * x), np.ones(n) / n))
    depths = -cumulant, cumulant - tilt * float(x.sum())
    return max(_saddlepoint_tail(depth, -tilt * sd) for depth, sd in zip(depths, sds, strict=True))


def _saddlepoint_tail(depth: float, distance: float) -> float:
    """Lugannani and Rice's tail: `depth` is what the log-density has fallen by, `distance` the tilt times the sd."""
    from scipy.special import log_ndtr

    root = math.sqrt(2 * depth)
    density = math.exp(-depth) / math.sqrt(2 * math.pi)
    return min(1.0, max(0.0, math.exp(float(log_ndtr(-root))) + density * (1 / distance - 1 / root)))


def bootstrap_error(values: FloatArray, n_groups: int) -> float:
    """The standard error that resamples of `n_groups` tell: their standard deviation, times sqrt(n / (n - 1)).

    Args:
        values: (B,) NaN where the resample leaves it undefined.
        n_groups: number of groups that were resampled.

    Returns:
        NaN for fewer than 2 groups, or if more than half of the resamples are undefined.
    """
    defined = _mostly_defined(values)
    if n_groups < 2 or not defined.size:
        return math.nan
    return float(defined.std(ddof=1)) * math.sqrt(n_groups / (n_groups - 1))


def _mostly_defined(values: FloatArray) -> FloatArray:
    """The resampled values that are defined; none if those are fewer than half."""
    defined = values[~np.isnan(values)]
    return defined if 2 * defined.size >= values.size else defined[:0]
