"""How often the 95% intervals hold the truth, in data whose group structure and truth are known.

`python -m benchmarks.coverage [--trials N]`. Paths come in materials of the sizes of the official test set (60 paths)
or of the full dataset (619 paths). The error of a path is the sum of an effect of its material and one of its own, so
paths of one material are alike; in the rows "uneven" each material also has a scale of its own (lognormal), which
makes |errors| as skewed as those of real models. The rows "real errors" draw whole materials, with replacement, from
the errors of committed submissions on `material-cv`: there the truth is the score on all 619 paths, and the tail is
that of the real labels (a few barriers up to 8.8 eV), which 60 paths mostly miss.

The intervals of MAE (studentized, on the logarithm) and of the paired difference in MAE of two models (percentiles,
widened for few groups) are the package's own; beside them what others would have covered: BCa, which the package uses
for scores that are no means, and plain percentiles. Wanted: 92 to 97%. `benchmarks/coverage.txt` keeps the last table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from emigbench import load_labels, splits, statistics
from emigbench.metrics import BY_NAME, Sample
from emigbench.predictions import read_predictions

LABELS = load_labels("full")
SUBMISSIONS = Path(__file__).parents[1] / "submissions"
RESAMPLES = 2000
MAE = BY_NAME["mae"]
WANTED = (0.92, 0.97)

Trial = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Errors of two models in eV, and the material of each path."""


def materials(split: str) -> NDArray[np.int64]:
    """(n,) the number of each held-out path's material."""
    names = [LABELS.by_id[path_id].material_id for path_id in splits.held_out(LABELS, split)]
    return np.unique(names, return_inverse=True)[1]


def several(n_groups: int, n_paths: int) -> NDArray[np.int64]:
    """n paths spread over groups as evenly as they go."""
    return np.arange(n_paths) % n_groups


def made_up(
    groups: NDArray[np.int64], within: float, uneven: float
) -> tuple[Callable[[np.random.Generator], Trial], float, float]:
    """Two models with errors of 0.3 and 0.4 eV (sd) that correlate by 0.5.

    Args:
        groups: (n,) material of each path.
        within: correlation of two paths of one material.
        uneven: sd of the log of the materials' scales.

    Returns:
        A function that draws a trial, the true MAE of the first, and the true difference.
    """
    n_groups = int(groups.max()) + 1

    def effect(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.multivariate_normal([0, 0], [[0.09, 0.06], [0.06, 0.16]], size=n)

    def draw(rng: np.random.Generator) -> Trial:
        scale = np.exp(uneven * rng.normal(size=n_groups))[groups, None]
        errors = np.sqrt(within) * effect(rng, n_groups)[groups] + np.sqrt(1 - within) * effect(rng, len(groups))
        return scale[:, 0] * errors[:, 0], scale[:, 0] * errors[:, 1], groups

    mean_size = np.sqrt(2 / np.pi) * np.exp(uneven**2 / 2)
    return draw, 0.3 * mean_size, (0.3 - 0.4) * mean_size


def real(n_groups: int) -> tuple[Callable[[np.random.Generator], Trial], float, float]:
    """Errors of the random forest and of the nearest hop on material-cv, drawn by material."""
    errors = []
    for slug in ("random-forest", "nearest-hop"):
        given = read_predictions(SUBMISSIONS / slug / "predictions.csv", LABELS)["material-cv"][0]
        errors.append(np.array([p.e_m - LABELS.by_id[p.id].e_m_ev for p in given]))
    code = materials("material-cv")
    members = [np.flatnonzero(code == k) for k in range(code.max() + 1)]

    def draw(rng: np.random.Generator) -> Trial:
        drawn = [members[k] for k in rng.integers(len(members), size=n_groups)]
        rows = np.concatenate(drawn)
        return errors[0][rows], errors[1][rows], np.repeat(np.arange(n_groups), [len(rows) for rows in drawn])

    first, second = (float(np.abs(error).mean()) for error in errors)
    return draw, first, first - second


def coverage(case: tuple[Callable[[np.random.Generator], Trial], float, float], trials: int) -> list[float]:
    """Share of the trials in which each interval holds the truth: MAE by three methods, the difference by two."""
    draw, true_mae, true_difference = case
    rng, hits = np.random.default_rng(1), np.zeros(5)
    weights_of: dict[bytes, NDArray[np.float64]] = {}
    for trial in range(trials):
        a, b, groups = draw(rng)
        if (key := groups.tobytes()) not in weights_of:
            weights_of = {key: statistics.bootstrap_weights(groups, RESAMPLES, seed=trial)}
        weights, zeros = weights_of[key], np.zeros(len(a))
        n_groups = int(groups.max()) + 1
        samples = [Sample(zeros, error, groups) for error in (a, b)]
        drawn = [statistics.resampled(MAE, [sample], weights) for sample in samples]
        without = statistics.resampled(MAE, samples[:1], statistics.leave_one_out_weights(groups))
        intervals = [
            _interval(statistics.estimate(MAE, samples[:1], weights)),
            statistics.accelerated_interval(drawn[0], float(MAE(samples[0])), without),
            statistics.percentile_interval(drawn[0]),
            statistics.difference_interval(drawn[0] - drawn[1], n_groups),
            statistics.percentile_interval(drawn[0] - drawn[1]),
        ]
        truths = (true_mae, true_mae, true_mae, true_difference, true_difference)
        hits += [low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)]
    return (hits / trials).tolist()


def _interval(found: statistics.Estimate) -> tuple[float, float]:
    return found.low, found.high


def cases() -> dict[str, tuple[Callable[[np.random.Generator], Trial], float, float]]:
    """Name -> how to draw a trial, and the truth."""
    test, full = materials("official"), materials("material-cv")
    few = several(20, 60)
    return {
        "60 paths in 20 groups, within 0.5": made_up(few, 0.5, 0.0),
        "60 paths in 20 groups, within 0.9": made_up(few, 0.9, 0.0),
        "60 paths in 20 groups, within 0.5, uneven": made_up(few, 0.5, 0.5),
        "60 paths as in test, within 0.5": made_up(test, 0.5, 0.0),
        "60 paths as in test, within 0.5, uneven": made_up(test, 0.5, 0.7),
        "619 paths as in full, within 0.0": made_up(full, 0.0, 0.0),
        "619 paths as in full, within 0.5": made_up(full, 0.5, 0.0),
        "619 paths as in full, within 0.9": made_up(full, 0.9, 0.0),
        "619 paths as in full, within 0.5, uneven": made_up(full, 0.5, 0.7),
        "real errors, 59 materials": real(59),
        "real errors, 439 materials": real(439),
    }


def table(trials: int) -> Sequence[Sequence[str]]:
    rows = []
    for name, case in cases().items():
        found = coverage(case, trials)
        marks = ["" if WANTED[0] <= share <= WANTED[1] else " *" for share in found]
        rows.append([name, *(f"{share:.1%}{mark}" for share, mark in zip(found, marks, strict=True))])
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    head = ["data", "MAE", "by BCa", "by percentiles", "difference", "by percentiles"]
    print(tabulate(table(trials), headers=head, disable_numparse=True))
    print(f"{trials} trials of {RESAMPLES} resamples; standard error {np.sqrt(0.95 * 0.05 / trials):.1%} at 95%;")
    print(f"* outside of {WANTED[0]:.0%} to {WANTED[1]:.0%}")


if __name__ == "__main__":
    main()
