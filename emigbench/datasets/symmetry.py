"""What pymatgen and spglib find in the structures: topology clusters and space groups.

These findings lean on tolerances and on a library's version. They inform (`labels.csv`, the leakage report)
and are no part of a record or of the content hash.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emigbench.datasets.findings import framework_formula
from emigbench.records import FloatArray, MigrationPath

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core.structure import Structure

SpglibCell = tuple[list[list[float]], list[list[float]], list[int]]
SYMPREC_A = 0.1
ANGLE_TOLERANCE = 5.0
"""In degrees; without it, spglib finds another space group for 4 of the 619 paths."""
CRYSTAL_SYSTEMS = {
    "Triclinic": 2,
    "Monoclinic": 15,
    "Orthorhombic": 74,
    "Tetragonal": 142,
    "Trigonal": 167,
    "Hexagonal": 194,
    "Cubic": 230,
}
"""Name -> the number of its last space group."""


def framework_clusters(paths: Sequence[MigrationPath]) -> dict[str, str]:
    """Id -> id of the first path with the same framework: same elements and ratio, same topology.

    Topology is judged by StructureMatcher on the primitive cells without the mobile element, with tolerances
    loose enough for charged and discharged relaxations of one host (some layered and spinel hosts merge).
    Paths of one material always share a cluster.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(
        ltol=0.4, stol=0.6, angle_tol=15, primitive_cell=False, scale=True, attempt_supercell=False
    )
    by_formula: dict[str, list[MigrationPath]] = {}
    for path in paths:
        by_formula.setdefault(framework_formula(path), []).append(path)
    clusters: dict[str, str] = {}
    for members in by_formula.values():
        clusters |= _of_one_formula(members, matcher)
    return clusters


def _of_one_formula(paths: Sequence[MigrationPath], matcher: StructureMatcher) -> dict[str, str]:
    """Id -> id of the first path with the same topology, of paths whose frameworks have one formula."""
    leader_of: dict[str, str] = {}
    leaders: list[tuple[str, Structure]] = []
    for path in paths:
        if path.material_id in leader_of:
            continue
        framework = _primitive_framework(path)
        leader = next((name for name, other in leaders if matcher.fit(other, framework)), None)
        if leader is None:
            leader = path.id
            leaders.append((leader, framework))
        leader_of[path.material_id] = leader
    return {path.id: leader_of[path.material_id] for path in paths}


def _primitive_framework(path: MigrationPath) -> Structure:
    structure = path.structure()
    structure.remove_species([path.mobile_ion])
    return structure.get_primitive_structure(tolerance=0.5)


def found_space_groups(path: MigrationPath) -> tuple[str, str]:
    """Symbols that spglib finds for the framework and for the host with both band ends occupied; "" for none.

    The framework is the host without the mobile element: the vacancy of a filled host breaks its symmetry.
    """
    species = np.array(path.host_species)
    framework = species != path.mobile_ion
    filled = [path.mobile_ion, path.mobile_ion, *path.host_species]
    return (
        space_group(path.lattice, species[framework], path.host_frac_coords[framework])[0],
        space_group(path.lattice, filled, np.vstack([path.band_frac_coords[[0, -1]], path.host_frac_coords]))[0],
    )


def space_group(lattice: FloatArray, species: Sequence[str], frac_coords: FloatArray) -> tuple[str, str]:
    """Symbol and crystal system that spglib finds for n atoms in a (3, 3) cell in Å; "" where it finds none."""
    import spglib

    cell = spglib_cell(lattice, species, frac_coords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = by_spglib(spglib.get_symmetry_dataset, cell, SYMPREC_A, ANGLE_TOLERANCE)
    if found is None:
        return "", ""
    return str(found.international), next(name for name, last in CRYSTAL_SYSTEMS.items() if found.number <= last)


def by_spglib(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:
    """What a function of spglib finds; None where it gives up, whether it says so by None or by an exception."""
    try:
        return function(*args, **kwargs)
    except Exception:
        return None


def spglib_cell(lattice: FloatArray, species: Sequence[str], frac_coords: FloatArray) -> SpglibCell:
    """A crystal as spglib reads it: lattice (3, 3) in Å, n sites, a number for each element."""
    numbers = np.unique(species, return_inverse=True)[1]
    return lattice.tolist(), frac_coords.tolist(), numbers.tolist()
