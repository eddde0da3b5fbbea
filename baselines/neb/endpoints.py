"""From a migration path to the atoms that a NEB starts with, the moving ion first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from emigbench import MigrationPath

DIFFERENT_CELLS = "the ends have different cells; the band runs in the initial cell, the final host carried over"
_SAME_CELL = 1e-6


@dataclass(frozen=True)
class Endpoints:
    """Both ends of a hop in one cell.

    Attributes:
        initial: the ion at its first site; atom 0 is the moving ion.
        final: the ion at its last site, every other atom at the image nearest to its place in `initial`.
        notes: what had to be decided on the way.
    """

    initial: Atoms
    final: Atoms
    notes: tuple[str, ...] = ()


def endpoints(path: MigrationPath) -> Endpoints:
    """The ends of a path. The moving ion goes the way that the dataset's band goes, also where two are equally long.

    A final state with a cell of its own is carried over to the initial cell by fractional coordinates, and noted.
    """
    final_lattice, final_host = path.final_cell
    notes = (DIFFERENT_CELLS,) if np.abs(final_lattice - path.lattice).max() > _SAME_CELL else ()
    moves, _ = find_mic((final_host - path.host_frac_coords) @ path.lattice, path.lattice)
    initial, *_, final = band(path)
    final.positions[1:] = initial.positions[1:] + moves
    return Endpoints(initial, final, notes)


def band(path: MigrationPath) -> list[Atoms]:
    """The dataset's own five images: the ion on a straight line through the host of the initial state."""
    symbols = [path.mobile_ion, *path.host_species]
    return [
        Atoms(symbols, positions=np.vstack([site, path.host_frac_coords]) @ path.lattice, cell=path.lattice, pbc=True)
        for site in path.band_frac_coords
    ]
