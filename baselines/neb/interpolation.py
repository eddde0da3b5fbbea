"""First bands between two ends.

ASE's own `interpolate` would take every atom the nearest way again; here the ends say which way each atom goes.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate


def linear(initial: Atoms, final: Atoms, n_images: int) -> list[Atoms]:
    """Every atom on a straight line from its first to its last place, in equal steps. Positions are not wrapped."""
    images = [initial.copy() for _ in range(n_images)]
    for image, share in zip(images, np.linspace(0, 1, n_images), strict=True):
        image.positions = (1 - share) * initial.positions + share * final.positions
    return images


def idpp(initial: Atoms, final: Atoms, n_images: int) -> list[Atoms]:
    """A band whose interatomic distances change as evenly as they can (Smidstrup et al., J. Chem. Phys. 2014)."""
    images = linear(initial, final, n_images)
    idpp_interpolate(NEB(images, method="improvedtangent"), traj=None, log=None, mic=True)
    return images
