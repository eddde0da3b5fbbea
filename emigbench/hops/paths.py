"""Migration paths from bare structures: the fields that a structure tells, and nothing made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emigbench.datasets import findings, symmetry
from emigbench.records import N_IMAGES, FloatArray, MigrationPath

SYMMETRY_ATOMS = 500
"""Larger cells get no space group: finding it takes longer than anything else here."""


def new_path(
    path_id: str,
    ion: str,
    lattice: FloatArray,
    host_species: tuple[str, ...],
    host: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    *,
    group: str = "",
    material_id: str = "",
    final: tuple[FloatArray, FloatArray] | None = None,
) -> MigrationPath:
    """A path with the fields that a structure tells: composition, space group, findings about the geometry.

    Args:
        path_id: its id.
        ion: element of the moving ion.
        lattice: (3, 3) Å.
        host_species: n elements.
        host: (n, 3) fractional.
        ends: the fractional coordinates (3,) of the initial and final site, unwrapped.
        group: the structural group, if known.
        material_id: the material, if known; else the path's own id.
        final: lattice and host (n, 3) of the final state, if relaxed apart.
    """
    fractions = np.linspace(0, 1, N_IMAGES)[:, None]
    band = ends[0] + fractions * (ends[1] - ends[0])
    filled = (ion, ion, *host_species)
    symbol, system = "", ""
    if len(filled) <= SYMMETRY_ATOMS:
        symbol, system = symmetry.space_group(lattice, filled, np.vstack([band[[0, -1]], host]))
    path = MigrationPath(
        id=path_id,
        material_id=material_id or path_id,
        structural_group=group,
        mobile_ion=ion,
        composition=reduced_formula((ion, *host_species)),
        state="unknown",
        lattice=lattice,
        host_species=host_species,
        host_frac_coords=host,
        band_frac_coords=band,
        final_lattice=None if final is None else final[0],
        final_host_frac_coords=None if final is None else final[1],
        space_group=symbol,
        crystal_system=system,
    )
    return replace(path, flags=tuple(findings.geometry_flags(path)))


def reduced_formula(species: Sequence[str]) -> str:
    """The reduced formula of a list of element symbols."""
    from pymatgen.core.composition import Composition

    return str(Composition(Counter(species)).reduced_formula)
