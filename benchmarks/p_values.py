"""How often a p-value is small where nothing differs, as multiples of what it promises.

`python -m benchmarks.p_values [--trials N]`. Wanted: 1; more is too bold. `benchmarks/p_values.txt` has the last table.

The rows "real" take a pair of models of a board, shift the difference of their absolute errors so that its mean over
all paths is zero, and draw as many whole clusters from it, with replacement, as there are. The others draw independent
differences with a mean of zero, 59 or 179 of them. The letters of a board ask for a p below 1e-4, which resamples alone
cannot tell: of 10,000 one is beyond zero, or none.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from tabulate import tabulate

from benchmarks.coverage import LABELS, SHAPES, SUBMISSIONS, Floats
from emigbench import intervals, splits, statistics
from emigbench.predictions import PREDICTIONS_FILE, read_predictions

LEVELS = (0.05, 0.01, 0.001, 0.0001)
RESAMPLES = 1000
"""Of each trial; below `intervals.COUNTED` the p-value does not hang on them."""


def absolute_errors(split: str) -> Iterator[Floats]:
    """(n,) eV, mean over seeds, of each submission that has a value for all paths of a split."""
    ids = splits.held_out(LABELS, split)
    for file in sorted(SUBMISSIONS.glob(f"*/{PREDICTIONS_FILE}")):
        seeds = [{p.id: p.e_m for p in of_seed} for of_seed in read_predictions(file, LABELS).get(split, {}).values()]
        if seeds and all(seed[i] is not None for seed in seeds for i in ids):
            yield np.mean([[abs(seed[i] - LABELS.by_id[i].e_m_ev) for i in ids] for seed in seeds], axis=0)


def real(split: str) -> Callable[[np.random.Generator], Floats]:
    """How to draw a trial from the pairs of a board: each cluster's part of a difference whose true mean is zero."""
    clusters = splits.clusters(LABELS, split)
    sizes = statistics.group_totals(np.ones(len(clusters)), clusters)
    totals = [statistics.group_totals(errors, clusters) for errors in absolute_errors(split)]
    pairs = [a - b - sizes * (a - b).sum() / sizes.sum() for a, b in itertools.combinations(totals, 2)]
    pairs = [pair for pair in pairs if np.abs(pair).max() > 1e-9]
    return lambda rng: rng.choice(pairs[rng.integers(len(pairs))], len(sizes))


@cache
def resamples(n: int) -> Floats:
    """(B, n) how often each of n clusters counts."""
    return statistics.bootstrap_weights(np.arange(n), RESAMPLES, seed=0)


def p_value(totals: Floats) -> float:
    """Of the sum over clusters, as `emigbench.comparison` has it."""
    n = len(totals)
    return intervals.two_sided_p(resamples(n) @ totals / n, float(totals.mean()), n, totals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20_000)
    trials = parser.parse_args().trials
    cases = {f"real, {split}": real(split) for split in ("official", "material-cv")}
    for n, shape in itertools.product((59, 179), ("Gaussian", "Student 4", "gamma", "lognormal")):
        cases[f"{n}, {shape}"] = lambda rng, n=n, shape=shape: SHAPES[shape](rng, n)
    rows = []
    for name, draw in cases.items():
        rng = np.random.default_rng(1)
        p = np.array([p_value(draw(rng)) for _ in range(trials)])
        rows.append([name, *(f"{np.mean(p < level) / level:.1f}" for level in LEVELS)])
    head = ["", *(f"p < {level:g}" for level in LEVELS)]
    print(tabulate(rows, headers=head, disable_numparse=True, stralign="right"))
    errors = ", ".join(f"{math.sqrt(1 / (level * trials)):.1f}" for level in LEVELS)
    print(f"\n{trials} trials of {RESAMPLES} resamples; times what is promised; standard errors at 1: {errors}")


if __name__ == "__main__":
    main()
