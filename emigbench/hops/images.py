"""Shortest periodic images in any cell, however skewed."""

from __future__ import annotations

import numpy as np

from emigbench.datasets.geometry import NEAR_CELLS
from emigbench.records import FloatArray


def shortest(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Fractional displacements (n, 3) over the shortest of their images."""
    candidates = _candidates(delta, lattice)
    best = np.linalg.norm(candidates @ lattice, axis=2).argmin(axis=1)
    chosen: FloatArray = candidates[np.arange(len(candidates)), best]
    return chosen


def shortest_ones(delta: FloatArray, lattice: FloatArray, slack: float) -> FloatArray:
    """All images (m, 3) of a fractional displacement (3,) that are at most `slack` Å longer than the shortest."""
    candidates = _candidates(delta[None], lattice)[0]
    lengths = np.linalg.norm(candidates @ lattice, axis=1)
    chosen: FloatArray = candidates[lengths < lengths.min() + slack]
    return chosen


def _candidates(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Images (n, 125, 3) of each displacement that hold its shortest: two cells around, by LLL-reduced vectors."""
    from pymatgen.core.lattice import Lattice

    basis = np.round(Lattice(lattice).get_lll_reduced_lattice().matrix @ np.linalg.inv(lattice))
    inside = delta @ np.linalg.inv(basis)
    inside -= np.round(inside)
    candidates: FloatArray = (inside[:, None, :] + NEAR_CELLS) @ basis
    return candidates
