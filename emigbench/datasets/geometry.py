"""Periodic geometry: minimum images, distances, surroundings.

All coordinates are fractional, all lengths are in Å, lattices have their vectors as rows.
"""

from __future__ import annotations

from itertools import count, product

import numpy as np
from numpy.typing import NDArray

from emigbench.records import FloatArray

NEIGHBOUR_CELLS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)
NEAR_CELLS = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)), dtype=float)


def wrapped(coords: FloatArray) -> FloatArray:
    """(n, 3) coordinates moved into [0, 1) by whole cells."""
    inside: FloatArray = coords - np.floor(coords)
    inside[inside >= 1.0] = 0.0  # -1e-17 - floor(-1e-17) is 1.0
    return inside


def near_images(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Images (n, 125, 3) of each fractional displacement (n, 3) that hold its shortest, however skewed the cell.

    Two cells in every direction are searched, by LLL-reduced vectors.
    """
    from pymatgen.core.lattice import Lattice

    basis = np.round(Lattice(lattice).get_lll_reduced_lattice().matrix @ np.linalg.inv(lattice))
    inside = delta @ np.linalg.inv(basis)
    inside -= np.round(inside)
    images: FloatArray = (inside[:, None, :] + NEAR_CELLS) @ basis
    return images


def image_lengths(delta: FloatArray, lattice: FloatArray) -> FloatArray:
    """Lengths of a fractional displacement (3,) over the nearest lattice translations, sorted, in Å."""
    lengths: FloatArray = np.sort(np.linalg.norm(near_images(delta[None], lattice)[0] @ lattice, axis=1))
    return lengths


def shortest_lattice_vector(lattice: FloatArray) -> float:
    """Length in Å of the shortest translation of a (3, 3) cell."""
    return float(image_lengths(np.zeros(3), lattice)[1])


def nearest_image(coords: FloatArray, reference: FloatArray, lattice: FloatArray) -> FloatArray:
    """Move each row of `coords` (n, 3) by whole cells to the image nearest to its row of `reference`."""
    reduced = coords - np.round(coords - reference)
    lengths = np.linalg.norm((reduced - reference + NEIGHBOUR_CELLS[:, None]) @ lattice, axis=2)
    # among images of equal distance keep the unshifted one, so that ties do not depend on the last bit
    lengths[len(NEIGHBOUR_CELLS) // 2] -= 1e-6
    nearest: FloatArray = reduced + NEIGHBOUR_CELLS[lengths.argmin(axis=0)]
    return nearest


def distances(a: FloatArray, b: FloatArray, lattice: FloatArray) -> FloatArray:
    """Minimum-image distances (len(a), len(b)) in Å, exact in any description of the cell."""
    from pymatgen.core.lattice import Lattice

    lengths: FloatArray = Lattice(lattice).get_all_distances(a, b)
    return lengths


def near_pairs(
    a: FloatArray, b: FloatArray, lattice: FloatArray, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Atoms at (n, 3) coordinates `a` and (m, 3) coordinates `b` within `cutoff` Å of each other, over all images.

    Exact in skewed cells.

    Returns:
        Indices into `a`, indices into `b`, and distances in Å; a pair comes once for each image.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cell = np.ascontiguousarray(lattice)
    points, centres = (np.ascontiguousarray((coords % 1.0) @ cell) for coords in (b, a))
    first, second, _, lengths = find_points_in_spheres(points, centres, cutoff, np.ones(3, dtype=np.int64), cell)
    return first, second, lengths


def plane_spacings(lattice: FloatArray) -> FloatArray:
    """(3,) distances in Å between the planes that a lattice's vectors step between: a cell's thickness along each."""
    spacings: FloatArray = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    return spacings


def surroundings(
    point: FloatArray, species: tuple[str, ...], coords: FloatArray, lattice: FloatArray, n: int
) -> dict[str, FloatArray]:
    """Sorted distances (n,) in Å from a point (3,) to its nearest `n` atoms of each species, over periodic images.

    Cells are added around the point until all of these are surely among them, so that the answer is the same
    for every choice of cell and origin.
    """
    reduced = coords - point
    reduced -= np.round(reduced)
    names = np.array(species)
    plane_spacing = plane_spacings(lattice).min()
    for shells in count(1):
        cells = np.array(list(product(range(-shells, shells + 1), repeat=3)))
        lengths = np.linalg.norm((reduced[:, None, :] + cells) @ lattice, axis=2)
        nearest = {s: np.sort(lengths[names == s], axis=None)[:n] for s in sorted(set(species))}
        complete_to = (shells + 0.5) * plane_spacing
        if all(len(found) == n and found[-1] < complete_to for found in nearest.values()):
            return nearest
    raise AssertionError("unreachable: the shells never end")
