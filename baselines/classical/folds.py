"""Folds for choices inside the training paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

N_FOLDS = 5


def grouped_folds(groups: Sequence[str], *, seed: int) -> list[Fold]:
    """Five folds, as pairs of (train, test) row numbers, that never share a group.

    With fewer than five groups, as many folds as there are groups. Which groups share a fold depends on the order of
    their names.

    Raises:
        EmigbenchError: if there are fewer than two groups.
    """
    names, number = np.unique(groups, return_inverse=True)
    n_folds = min(N_FOLDS, len(names))
    if n_folds < 2:
        raise EmigbenchError(f"A search over folds needs paths of at least two materials, got {len(names)}.")
    fold_of_group = np.random.default_rng(seed).permutation(len(names)) % n_folds
    fold = fold_of_group[number]
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(n_folds)]
