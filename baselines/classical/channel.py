"""The best way round: how wide, how well bonded and how low in energy a curved path in the rigid host can be.

A straight band often runs into an anion that the real path goes round. Here a tube around the straight line is
covered with a grid, and for a quantity on it (free radius, bond valence mismatch, bond energy) the way between the
two ends is found whose worst point is best: the threshold at which both ends become connected (percolation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emigbench.records import FloatArray
from emigbench_baselines.classical.environment import Surroundings

Cells = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

SPACING = 0.25
"""Å, of the grid."""
TUBE_RADIUS = 1.8
"""Å; half the width of the tube, whose section is a square."""
BEYOND = 0.75
"""Å; how far the tube goes on behind each end."""
SITE = 0.75
"""Å; an end's own place is the best one at most so far from it in each direction."""
SAME = 1e-9
"""Values that differ by no more than this are equal but for rounding."""
REACH = 4.0
"""Å; atoms farther than this from the tube have no part in it."""
OFF_AXIS = 0.3
"""Å; an atom nearer to the line than this cannot give it a direction."""
AS_NEAR = 1e-4
"""Å; atoms whose distances from the middle differ by no more than this are equally near but for rounding."""
ALIGNED = 1e-7
"""Radians by which directions may differ from being parallel or at a right angle."""

CHANNEL_UNITS = {"radius": "Å", "bond valence mismatch": "v.u.", "bond energy": "eV"}
CHANNEL_STATISTICS = {
    "worst": "the worst point of the best way",
    "rise": "that point above the better end",
    "mean rise": "that point above the mean of the ends",
    "end difference": "between the two ends",
    "middle rise": "the best place of the middle plane above the mean of the ends",
}


def channel(around: Surroundings) -> dict[str, float]:
    """For each of CHANNEL_UNITS, each of CHANNEL_STATISTICS; radii count downwards, so that low is always good.

    "channel bend" is how far from the line, in Å, the lowest bond energy of the middle plane is. All of it is the mean
    over the grids that `_directions` gives. NaN for a quantity that is undefined around this ion.
    """
    middle = around.line.mean(axis=0)
    near = np.linalg.norm(around.atoms - middle, axis=1) <= _length(around) / 2 + TUBE_RADIUS + REACH
    host = _only(around, near & ~around.mobile)
    directions, counts = _distinct(_directions(around))
    of_each = [_on_grid(host, *_tube(around, first)) for first in directions]
    return {name: float(np.average([found[name] for found in of_each], weights=counts)) for name in of_each[0]}


def _on_grid(host: Surroundings, points: FloatArray, axes: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """What `channel` gives, on one grid.

    Args:
        host: the atoms near the tube that do not move.
        points: (l, t, t, 3) Å.
        axes: coordinates of the grid along and across the line, Å.
    """
    shape, points = points.shape[:3], points.reshape(-1, 3)
    distances = np.sqrt(np.maximum(_squared_distances(points, host.atoms), 1e-4))
    on_grid = {
        "radius": -(distances - host.radius).min(axis=1, initial=REACH),
        "bond valence mismatch": np.abs(np.minimum(host.valence(distances).sum(axis=1), 10.0) - host.ion_charge),
        "bond energy": np.minimum((host.morse(distances) + host.repulsion(distances)).sum(axis=1), 100.0),
    }
    found: dict[str, float] = {}
    for name, values in on_grid.items():
        found |= {f"channel {name} {k}": v for k, v in _best_way(values.reshape(shape), axes[0]).items()}
    plane = on_grid["bond energy"].reshape(shape)[shape[0] // 2]
    return found | {"channel bend": _bend(plane, axes[1])}


def _bend(plane: FloatArray, across: FloatArray) -> float:
    """Distance of the lowest value of the middle plane from the line, in Å; NaN where there is no lowest."""
    if np.isnan(plane).any():
        return float("nan")
    lowest = np.unravel_index(int(np.argmin(plane)), plane.shape)
    return float(np.hypot(across[lowest[0]], across[lowest[1]]))


def _length(around: Surroundings) -> float:
    return float(np.linalg.norm(around.line[-1] - around.line[0]))


def _along(around: Surroundings) -> FloatArray:
    along: FloatArray = (around.line[-1] - around.line[0]) / max(_length(around), 1e-9)
    return along


def _directions(around: Surroundings) -> FloatArray:
    """(k, 3) unit vectors across the line, to the host atom nearest to its middle, or all that are as near.

    A grid that is laid along it turns with the crystal.
    """
    along = _along(around)
    vectors = around.atoms[~around.mobile] - around.line.mean(axis=0)
    across = vectors - (vectors @ along)[:, None] * along
    lever = np.linalg.norm(across, axis=1)
    distances = np.where(lever > OFF_AXIS, np.linalg.norm(vectors, axis=1), np.inf)
    nearest = distances.min(initial=np.inf)
    if nearest == np.inf:
        return np.linalg.svd(along[None])[2][1:2]
    chosen = distances <= nearest + AS_NEAR
    return across[chosen] / lever[chosen, None]


def _distinct(directions: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Those of (k, 3) unit vectors in one plane that give different grids, and how many of all have the grid of each.

    A section is a square, so directions that are opposite or a right angle apart have one grid.
    """
    cosines = np.abs(directions @ directions.T)
    one_grid = cosines * np.sqrt(np.maximum(1 - cosines**2, 0.0)) < ALIGNED
    first, counts = np.unique(one_grid.argmax(axis=1), return_counts=True)
    return directions[first], counts


def _tube(around: Surroundings, first: FloatArray) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """(l, t, t, 3) Å points of a grid whose first direction across the line is given; its coordinates along and across.

    Both are symmetric about the middle, so that the reversed path has the same grid.
    """
    along, middle = _along(around), around.line.mean(axis=0)
    second = np.cross(along, first)
    half = _length(around) / 2 + BEYOND
    x = np.linspace(-half, half, 2 * int(np.ceil(half / SPACING - 1e-6)) + 1)
    t = np.linspace(-TUBE_RADIUS, TUBE_RADIUS, 2 * round(TUBE_RADIUS / SPACING) + 1)
    grid = np.stack(np.meshgrid(x, t, t, indexing="ij"), axis=-1)
    return middle + grid @ np.stack([along, first, second]), (x, t)


def _only(around: Surroundings, chosen: NDArray[np.bool_]) -> Surroundings:
    kept = ("atoms", "radius", "charge", "anion", "cation", "mobile", "bond", "polarisability")
    return Surroundings(around.ion, around.ion_charge, around.line, *(getattr(around, name)[chosen] for name in kept))


def _squared_distances(points: FloatArray, atoms: FloatArray) -> FloatArray:
    centre = points.mean(axis=0)
    p, a = points - centre, atoms - centre
    return (p**2).sum(axis=1)[:, None] + (a**2).sum(axis=1)[None] - 2 * p @ a.T


def _best_way(values: FloatArray, along: FloatArray) -> dict[str, float]:
    """The statistics of one quantity on the grid; NaN where it is undefined."""
    if np.isnan(values).any():
        return dict.fromkeys(CHANNEL_STATISTICS, float("nan"))
    half_length = along[-1] - BEYOND
    ends = [_best_places(values, along, at) for at in (-half_length, half_length)]
    at_ends = [float(values[end].min()) for end in ends]
    worst = _threshold(values, ends[0], ends[1])
    middle = float(values[len(along) // 2].min())
    return {
        "worst": worst,
        "rise": worst - min(at_ends),
        "mean rise": worst - sum(at_ends) / 2,
        "end difference": abs(at_ends[0] - at_ends[1]),
        "middle rise": middle - sum(at_ends) / 2,
    }


def _best_places(values: FloatArray, along: FloatArray, at: float) -> Cells:
    """The cells with the lowest value within SITE of one end of the path.

    An atom in the plane of the first direction across is equally far from cells on both sides of that plane, so there
    often are several, and which of them has a value that is lower by its last bit depends on the direction.
    """
    centre, reach = values.shape[1] // 2, int(SITE / SPACING)
    rows = np.flatnonzero(np.abs(along - at) <= SITE + 1e-9)
    across = slice(centre - reach, centre + reach + 1)
    block = values[rows[0] : rows[-1] + 1, across, across]
    i, j, k = np.nonzero(block <= block.min() + SAME)
    return i + rows[0], j + centre - reach, k + centre - reach


def _threshold(values: FloatArray, start: Cells, end: Cells) -> float:
    """The lowest level at which a cell of each end is connected by cells that are not above it (face to face)."""
    levels = np.unique(values[values >= max(values[start].max(), values[end].max())])
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        labels, _ = ndimage.label(values <= levels[middle])
        if np.isin(labels[start], labels[end]).any():
            high = middle
        else:
            low = middle + 1
    return float(levels[low])
