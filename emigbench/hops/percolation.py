"""At which barrier the hops of a crystal join into endless paths, in one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from emigbench.hops.vacancies import Edge


def percolation_barriers(hops: Iterable[tuple[float, Edge]]) -> tuple[float | None, float | None, float | None]:
    """Smallest barriers at which an ion can travel without end along one, two and three independent directions.

    Hops are added from the lowest barrier on. Sites that they join form a cluster, each with its place, in cells,
    relative to the others. A hop between two sites of a cluster that leads to another copy of the cell than the
    places say closes an endless path. The number of independent such directions of a cluster is the dimension in
    which it percolates.

    Args:
        hops: (barrier in eV, hop), every equivalent of a hop among them.

    Returns:
        The barriers in eV for 1, 2 and 3 dimensions, None where all hops together do not percolate so.
    """
    place: dict[int, tuple[int, NDArray[np.int64]]] = {}
    members: dict[int, list[int]] = {}
    directions: dict[int, NDArray[np.int64]] = {}
    reached: list[float | None] = [None, None, None]
    for barrier, (i, j, cells) in sorted(hops, key=lambda hop: hop[0]):
        for site in (i, j):
            if site not in place:
                place[site], members[site], directions[site] = (site, np.zeros(3, int)), [site], np.zeros((0, 3), int)
        (first, at_i), (second, at_j) = place[i], place[j]
        offset = at_i + cells - at_j
        if first == second:
            directions[first] = _independent(np.vstack([directions[first], offset]))
        else:
            for site in members.pop(second):
                place[site] = (first, place[site][1] + offset)
                members[first].append(site)
            directions[first] = _independent(np.vstack([directions[first], directions.pop(second)]))
        for dimension in range(len(directions[first])):
            if reached[dimension] is None:
                reached[dimension] = barrier
    return reached[0], reached[1], reached[2]


def _independent(vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first rows that are linearly independent."""
    kept = vectors[:0]
    for row in vectors:
        if np.linalg.matrix_rank(np.vstack([kept, row])) > len(kept):
            kept = np.vstack([kept, row])
    return kept
