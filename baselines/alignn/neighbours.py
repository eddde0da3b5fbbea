"""The nearest periodic neighbours of every atom of a cell: all that a crystal graph is made of.

Semantics are those of alignn's "k-nearest" strategy: every atom keeps all sites that are no farther
than its k-th nearest one, over all periodic images; sites within 0.15 Å are not neighbours. The original searches
within a cutoff (8 Å, or 3 Å for MODEL-4) and widens it until every atom has k neighbours; as it then cuts at the
k-th distance, the cutoff never shows in the result, so there is none here: the search radius is only a matter of speed.

Where a shell ends is decided in one of two ways:

- By default, sites up to `SHELL_TOLERANCE` beyond the k-th distance belong to its shell. Rounding then never splits a
  shell, and the graph does not depend on the origin, orientation, wrapping or order of the sites.
- With `original`, as jarvis-tools and alignn do it: exact comparison of distances that carry their roundings (the cell
  is rounded to 1e-5 Å for coordinates, but not for the vectors to other cells). Symmetric shells are then split at
  random, but the same as there: the graphs match edge by edge.

The original splits shells in most of the 619 bands. Entries in all of them by tolerance in Å: 973,980 at 1e-12,
975,855 at 1e-8, 980,498 at 1e-6, 981,897 at 1e-5, 984,819 at 1e-4, 1,011,415 at 1e-2. The default stands where the
count grows least: above the rounding of coordinates in files, below the differences that relaxation leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emigbench import EmigbenchError
from emigbench.datasets.geometry import plane_spacings
from emigbench_baselines.alignn.elements import LAST

SHELL_TOLERANCE = 1e-5
"""Å beyond the k-th distance that still count as its shell."""
FLOOR = 0.15
"""Å; sites as close as this, or closer, are not neighbours (jarvis-tools, `Atoms.get_all_neighbors`)."""
LEAST_SPACING = 0.1
"""Å between neighbouring lattice planes; a flatter cell, which is a slip, has more images around an atom than can be
searched. The least of our structures is 0.88 Å."""
LEAST_VOLUME = 0.5
"""Å³ of the cell for each atom, a tenth of that in diamond; a smaller one is in another unit."""

_SPARE = 20
"""Sites asked for beyond k at first: the rest of most shells, the site itself, and what is too close."""
_SLACK = 1e-4
"""Å by which the search reaches beyond the k-th distance: more than the tolerance and the original's roundings."""
_ORIGINAL_DECIMALS = 5
"""Decimals of Å that jarvis-tools keeps of a cell (`Lattice(round_off=5)`)."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Whom each atom of a cell counts among its nearest.

    Attributes:
        lattice: (3, 3) float64 Å, rows are the cell vectors; rounded where the original rounds it.
        atomic_numbers: (n,) uint8.
        frac_coords: (n, 3) float64 fractional, wrapped or not.
        centre: (m,) int32, the atom whose neighbour this is; non-decreasing.
        neighbour: (m,) int32, the neighbouring atom.
        image: (m, 3) int16, the cell that the neighbour is taken from, relative to `frac_coords` as they stand.
    """

    lattice: NDArray[np.float64]
    atomic_numbers: NDArray[np.uint8]
    frac_coords: NDArray[np.float64]
    centre: NDArray[np.int32]
    neighbour: NDArray[np.int32]
    image: NDArray[np.int16]

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.atomic_numbers)

    @cached_property
    def displacement(self) -> NDArray[np.float64]:
        """(m, 3) Å, from each centre to its neighbour."""
        moved = self.frac_coords[self.neighbour] + self.image
        return (moved - self.frac_coords[self.centre]) @ self.lattice

    def touching(self, n_first: int) -> Neighbours:
        """The entries whose centre or neighbour is among the first atoms, and only the atoms that they name.

        The atoms keep their order, so the first ones stay first.
        """
        kept = (self.centre < n_first) | (self.neighbour < n_first)
        atoms = np.unique([self.centre[kept], self.neighbour[kept]])
        place = np.zeros(self.n_atoms, dtype=np.int32)
        place[atoms] = np.arange(len(atoms))
        return Neighbours(
            self.lattice,
            self.atomic_numbers[atoms],
            self.frac_coords[atoms],
            place[self.centre[kept]],
            place[self.neighbour[kept]],
            self.image[kept],
        )


def nearest(
    lattice: ArrayLike,
    atomic_numbers: ArrayLike,
    frac_coords: ArrayLike,
    *,
    k: int,
    original: bool = False,
    name: str = "structure",
) -> Neighbours:
    """The k nearest sites of every atom and the rest of the last shell.

    Args:
        lattice: (3, 3) Å, rows are the cell vectors.
        atomic_numbers: (n,) from 1 to 100.
        frac_coords: (n, 3) fractional, wrapped or not.
        k: how many neighbours, before the shell is completed.
        original: end shells by the original's rule and arithmetic.
        name: what to call the structure in errors.

    Raises:
        EmigbenchError: if an element has no features, a number is not finite, or the cell has next to no volume.
    """
    cell = np.array(lattice, dtype=np.float64)
    frac = np.array(frac_coords, dtype=np.float64).reshape(-1, 3)
    numbers = _checked(cell, np.atleast_1d(np.asarray(atomic_numbers)), frac, name)
    centre, neighbour, image, distance = _candidates(cell, frac, k)
    if original:
        rounded = np.around(cell, _ORIGINAL_DECIMALS)
        distance = _original_distances(cell, rounded, frac, centre, neighbour, image)
        cell = rounded
    kept = _within_shell(centre, distance, k, 0.0 if original else SHELL_TOLERANCE)
    centre, neighbour, image = centre[kept], neighbour[kept], image[kept]
    order = np.lexsort((*image.T[::-1], neighbour, centre))
    return Neighbours(
        cell, numbers, frac, centre[order].astype(np.int32), neighbour[order].astype(np.int32), image[order]
    )


def _checked(
    lattice: NDArray[np.float64], atomic_numbers: NDArray[Any], frac_coords: NDArray[np.float64], name: str
) -> NDArray[np.uint8]:
    """The atomic numbers as bytes, once everything has been found to be sound."""
    if lattice.shape != (3, 3) or len(frac_coords) == 0 or len(frac_coords) != len(atomic_numbers):
        raise EmigbenchError(
            f"{name}: expected a (3, 3) cell and as many sites as elements, got a cell of shape {lattice.shape}, "
            f"{len(frac_coords)} sites and {len(atomic_numbers)} elements."
        )
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all()):
        raise EmigbenchError(f"{name}: a cell vector or coordinate is not finite; mend the structure.")
    lengths = np.linalg.norm(lattice, axis=1)
    if abs(np.linalg.det(lattice)) <= 1e-6 * lengths.prod():
        raise EmigbenchError(f"{name}: the cell has no volume; its three vectors lie in a plane.")
    _check_size(lattice, len(frac_coords), name)
    unknown = sorted({int(z) for z in atomic_numbers if not 1 <= z <= LAST})
    if unknown:
        raise EmigbenchError(
            f"{name}: atomic number {unknown[0]} has no CGCNN features; the graph models know 1 to {LAST}."
        )
    return atomic_numbers.astype(np.uint8)


def _check_size(lattice: NDArray[np.float64], n_atoms: int, name: str) -> None:
    volume, spacing = abs(np.linalg.det(lattice)), plane_spacings(lattice).min()
    if spacing < LEAST_SPACING:
        raise EmigbenchError(
            f"{name}: the cell is too flat, its lattice planes are {spacing:.1g} Å apart, where at least "
            f"{LEAST_SPACING} Å are expected; check its vectors."
        )
    if volume < LEAST_VOLUME * n_atoms:
        raise EmigbenchError(
            f"{name}: the cell has {volume / n_atoms:.1g} Å³ for each atom, where at least {LEAST_VOLUME} Å³ are "
            f"expected; give its vectors in Å."
        )


def _candidates(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16], NDArray[np.float64]]:
    """A few more sites than the k nearest ones of every atom: centre, neighbour, image and distance in Å.

    A tree of the sites around the cell answers. Its radius, and the number asked for, grow until every atom has its
    k-th neighbour and the whole of that shell in sight.
    """
    from scipy.spatial import cKDTree  # here, so that stored lists need numpy alone

    shift = np.floor(frac_coords).astype(np.int64)
    wrapped = frac_coords - shift
    spacing = plane_spacings(lattice)
    radius, asked = _first_radius(lattice, len(frac_coords), k), k + _SPARE
    while True:
        site, image = _sites_around(wrapped, radius / spacing)
        tree = cKDTree((wrapped[site] + image) @ lattice)
        distance, found = tree.query(wrapped @ lattice, asked, distance_upper_bound=radius)
        farthest = distance[:, -1]
        distance = np.where(distance > FLOOR, distance, np.inf)
        shell_end = np.partition(distance, k - 1, axis=1)[:, k - 1] + _SLACK
        if ((shell_end < radius) & (shell_end < farthest)).all():
            break
        radius, asked = 1.5 * radius, 2 * asked
    centre, column = np.nonzero(distance <= shell_end[:, None])
    found = found[centre, column]
    neighbour = site[found]
    relative = image[found] + shift[centre] - shift[neighbour]
    return centre, neighbour, relative.astype(np.int16), distance[centre, column]


def _first_radius(lattice: NDArray[np.float64], n_atoms: int, k: int) -> float:
    """Å within which a site of average surroundings has three times k neighbours."""
    density = n_atoms / abs(np.linalg.det(lattice))
    return float((3 * 3 * k / (4 * np.pi * density)) ** (1 / 3))


def _sites_around(
    wrapped: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every site, and the image it is taken from, within a fractional reach of the sites of the cell."""
    low, high = wrapped.min(axis=0) - reach, wrapped.max(axis=0) + reach
    axes = [np.arange(np.floor(a) - 1, np.ceil(b) + 1, dtype=np.int64) for a, b in zip(low, high, strict=True)]
    images = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = wrapped + images[:, None, :]
    cell, site = np.nonzero(((moved >= low) & (moved <= high)).all(axis=-1))
    return site, images[cell]


def _original_distances(
    lattice: NDArray[np.float64],
    rounded: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    centre: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    image: NDArray[np.int16],
) -> NDArray[np.float64]:
    """Distances in Å as jarvis-tools computes them: sites in the rounded cell, moved by vectors of the true one.

    The vectors are made one by one, as there: a product of matrices may round differently.
    """
    cartesian = np.dot(frac_coords, rounded)
    cells, which = np.unique(image, axis=0, return_inverse=True)
    vectors = np.array([np.dot(cell.astype(float), lattice) for cell in cells])
    squares = ((vectors[which] + cartesian[neighbour]) - cartesian[centre]) ** 2
    return np.sqrt(squares.sum(axis=-1))


def _within_shell(
    centre: NDArray[np.int64], distance: NDArray[np.float64], k: int, tolerance: float
) -> NDArray[np.bool_]:
    """Which entries are no farther from their centre than its k-th nearest site and the tolerance."""
    order = np.lexsort((distance, centre))
    first = np.flatnonzero(np.diff(centre[order], prepend=-1))
    kth = distance[order][first + k - 1]
    return distance <= kth[centre] + tolerance
