"""Bands that a symmetry operation maps onto each other: one migration path under several ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np

from emigbench.datasets import geometry
from emigbench.records import N_IMAGES, FloatArray, MigrationPath

TOLERANCE_A = 1e-3
_NEIGHBOURS_PER_SPECIES = 48


def identical_bands(paths: Sequence[MigrationPath]) -> list[list[str]]:
    """Sets of ids whose bands are symmetry-identical, forward or reversed, each in the order given.

    Two bands are taken as identical when their cells have the same atoms and volume, their hops the same
    length, and every image the same sorted distances (within 0.001 Å) to the nearest 48 atoms of each species.
    That all images agree at once without a symmetry behind it does not happen in a crystal; the tests check it
    against pymatgen's StructureMatcher on the whole cells.
    """
    groups: list[list[MigrationPath]] = []
    by_cell: dict[tuple[object, ...], list[MigrationPath]] = {}
    for path in paths:
        by_cell.setdefault(_cell_key(path), []).append(path)
    for candidates in by_cell.values():
        if len(candidates) > 1:
            groups += _equal_sets(candidates)
    return [[path.id for path in group] for group in groups]


def _cell_key(path: MigrationPath) -> tuple[object, ...]:
    species = tuple(sorted(Counter(path.host_species).items()))
    return path.mobile_ion, species


def _equal_sets(candidates: list[MigrationPath]) -> list[list[MigrationPath]]:
    """Connected sets of two and more among paths of like cells."""
    from scipy.sparse.csgraph import connected_components

    n = len(candidates)
    print_of = cache(lambda k: fingerprint(candidates[k]))  # made when wanted: few pairs get that far
    same = np.zeros((n, n), dtype=bool)
    for i, j in combinations(range(n), 2):
        same[i, j] = _alike(candidates[i], candidates[j]) and _same(print_of(i), print_of(j))
    n_sets, set_of = connected_components(same)
    sets = [[candidates[k] for k in np.flatnonzero(set_of == number)] for number in range(n_sets)]
    return [members for members in sets if len(members) > 1]


def _alike(a: MigrationPath, b: MigrationPath) -> bool:
    volume_a, volume_b = (abs(float(np.linalg.det(path.lattice))) for path in (a, b))
    return abs(a.hop_length - b.hop_length) < TOLERANCE_A and abs(volume_a / volume_b - 1) < TOLERANCE_A


def fingerprint(path: MigrationPath) -> FloatArray:
    """Distances (5, m) in Å from each image to its surroundings; unchanged by any symmetry operation."""
    around = [
        geometry.surroundings(
            path.band_frac_coords[k],
            path.host_species,
            path.host_frac_coords,
            path.lattice,
            _NEIGHBOURS_PER_SPECIES,
        )
        for k in range(N_IMAGES)
    ]
    return np.array([np.concatenate(list(distances.values())) for distances in around])


def _same(a: FloatArray, b: FloatArray) -> bool:
    return bool(
        np.abs(a - b).max() < TOLERANCE_A or np.abs(a - b[::-1]).max() < TOLERANCE_A  # forward or reversed
    )
