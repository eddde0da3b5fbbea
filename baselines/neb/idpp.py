"""First bands. IDPP: Smidstrup et al., J. Chem. Phys. 140, 214106 (2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import MDMin
from numpy.typing import NDArray

_FMAX, _STEPS, _SPRING = 0.1, 100, 0.1


def linear(initial: Atoms, final: Atoms, n_images: int) -> list[Atoms]:
    """Every atom on a straight line from its first to its last place, in equal steps. Positions are not wrapped."""
    images = [initial.copy() for _ in range(n_images)]
    for image, share in zip(images, np.linspace(0, 1, n_images), strict=True):
        image.positions = (1 - share) * initial.positions + share * final.positions
    return images


def idpp(initial: Atoms, final: Atoms, n_images: int) -> list[Atoms]:
    """A band whose interatomic distances change as evenly as they can."""
    images = linear(initial, final, n_images)
    first, last = _pair_vectors(initial)[1], _pair_vectors(final)[1]
    for image, share in zip(images, np.linspace(0, 1, n_images), strict=True):
        image.calc = _Idpp(image, (1 - share) * first + share * last)
    MDMin(NEB(images, k=_SPRING, method="improvedtangent"), logfile=None).run(fmax=_FMAX, steps=_STEPS)
    for image in images:
        image.calc = None
    return images


def _pair_vectors(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, n, 3) vectors from each atom to the nearest image of each other one, and (n, n) their lengths, in Å."""
    n = len(atoms)
    vectors, lengths = find_mic((atoms.positions[None] - atoms.positions[:, None]).reshape(-1, 3), atoms.cell)
    return vectors.reshape(n, n, 3), lengths.reshape(n, n)


class _Idpp(Calculator):
    """The image-dependent pair potential: sum over pairs of (d - target)² / d⁴.

    ASE has one too, but it looks for the nearest images again for every atom at every step, which takes longer than
    the NEB itself. Here each pair keeps the image that is the nearest one at the start, and follows it.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, start: Atoms, targets: NDArray[np.float64]) -> None:
        super().__init__()
        self._start, self._targets = start.positions.copy(), targets
        self._vectors, _ = _pair_vectors(start)

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        moved = atoms.positions - self._start
        vectors = self._vectors + moved[None] - moved[:, None]
        d = np.linalg.norm(vectors, axis=-1)
        np.fill_diagonal(d, 1.0)
        off = d - self._targets
        np.fill_diagonal(off, 0.0)
        slope = 2 * off / d**4 - 4 * off**2 / d**5
        forces = np.einsum("ij,ijk->ik", slope / d, vectors)
        self.results = {"energy": float((off**2 / d**4).sum() / 2), "forces": forces}
