"""The electrostatic potential of point charges in a crystal, at places where no charge sits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from emigbench.records import FloatArray

COULOMB = 14.399645
"""e² / (4 π ε0) in eV Å."""
SPLITTING = 0.35
"""1/Å; how the Ewald sum is shared between direct and reciprocal space."""
DIRECT_RADIUS = 10.0
"""Å; there erfc(SPLITTING r) is below 1e-6."""
RECIPROCAL_RADIUS = 2.6
"""1/Å; there exp(-(G / 2 SPLITTING)²) is 1e-6."""
ROUNDING = 1e-6
"""Å and 1/Å; what lies at a radius to the last digit counts as within it, however the crystal is described."""
NEAREST = 1e-3
"""Å; a charge nearer than this is taken to be as far as this."""
CHUNK = 4000
"""Reciprocal vectors at a time."""


def site_potential(points: FloatArray, lattice: FloatArray, frac_coords: FloatArray, charges: FloatArray) -> FloatArray:
    """Potential of the charges and of a uniform background that makes the cell neutral (Ewald's sum).

    Args:
        points: (p, 3) Å, within a few Å of each other.
        lattice: (3, 3) Å, rows are the cell vectors.
        frac_coords: (n, 3) of the charges.
        charges: (n,) e.

    Returns:
        (p,) V: the energy in eV of a charge of +1 e.
    """
    volume = abs(float(np.linalg.det(lattice)))
    reciprocal = _reciprocal_vectors(lattice)
    squares = (reciprocal**2).sum(axis=1)
    structure_factor = np.concatenate(
        [
            np.exp(-1j * (reciprocal[start : start + CHUNK] @ (frac_coords @ lattice).T)) @ charges
            for start in range(0, max(len(reciprocal), 1), CHUNK)  # the smallest cells have none so short
        ]
    )
    waves = np.real(np.exp(1j * points @ reciprocal.T) * structure_factor)
    smooth = waves @ (np.exp(-squares / (4 * SPLITTING**2)) / squares) * 8 * np.pi / volume

    centre = points.mean(axis=0)
    radius = DIRECT_RADIUS + ROUNDING
    reach = radius + float(np.linalg.norm(points - centre, axis=1).max())
    atoms, which = atoms_around(centre, reach, lattice, frac_coords)
    distances = np.maximum(np.linalg.norm(points[:, None] - atoms[None], axis=2), NEAREST)
    direct = np.where(distances <= radius, charges[which] * erfc(SPLITTING * distances) / distances, 0.0)
    background = np.pi * float(charges.sum()) / (SPLITTING**2 * volume)
    return COULOMB * (smooth + direct.sum(axis=1) - background)


def atoms_around(
    centre: FloatArray, radius: float, lattice: FloatArray, frac_coords: FloatArray
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Every periodic image of the atoms within a radius of a point.

    Args:
        centre: (3,) Å.
        radius: Å.
        lattice: (3, 3) Å.
        frac_coords: (n, 3).

    Returns:
        (m, 3) Å positions, and which of the n atoms each is.
    """
    inverse = np.linalg.inv(lattice)
    reach = np.ceil(radius * np.linalg.norm(inverse, axis=0) + 0.5).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = frac_coords - centre @ inverse
    vectors = ((offsets - np.round(offsets))[:, None, :] + shifts[None]) @ lattice
    which, image = np.nonzero((vectors**2).sum(axis=2) <= radius**2)
    return vectors[which, image] + centre, which


def _reciprocal_vectors(lattice: FloatArray) -> FloatArray:
    """(k, 3) 1/Å; one of each pair G, -G up to RECIPROCAL_RADIUS, without zero."""
    most = np.ceil(RECIPROCAL_RADIUS * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    numbers = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    half = numbers[len(numbers) // 2 + 1 :]  # the other half are the negatives, in reverse order
    vectors = half @ (2 * np.pi * np.linalg.inv(lattice).T)
    return vectors[(vectors**2).sum(axis=1) <= (RECIPROCAL_RADIUS + ROUNDING) ** 2]
