"""Shortest periodic images in any cell, however skewed."""

from __future__ import annotations

import numpy as np

from emigbench.datasets.geometry import near_images
from emigbench.records import FloatArray


def shortest(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Fractional displacements (n, 3) over the shortest of their images."""
    candidates = near_images(delta, lattice)
    best = np.linalg.norm(candidates @ lattice, axis=2).argmin(axis=1)
    chosen: FloatArray = candidates[np.arange(len(candidates)), best]
    return chosen


def shortest_ones(delta: FloatArray, lattice: FloatArray, slack: float) -> FloatArray:
    """All images (m, 3) of a fractional displacement (3,) that are at most `slack` Å longer than the shortest."""
    candidates = near_images(delta[None], lattice)[0]
    lengths = np.linalg.norm(candidates @ lattice, axis=1)
    chosen: FloatArray = candidates[lengths < lengths.min() + slack]
    return chosen
