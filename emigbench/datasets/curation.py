"""Source files -> records, one pure function per step.

The order of the steps is the order of this file. What a computation can decide is computed here; what a person
decided stands in `corrections.yaml`. Nothing is dropped: 619 records go in and 619 come out, and what was
changed or doubted carries a flag (`emigbench.datasets.findings`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from emigbench.datasets import corrections, findings, geometry
from emigbench.datasets.corrections import Corrections
from emigbench.datasets.duplicates import identical_bands
from emigbench.datasets.rows import SIDES
from emigbench.datasets.sources import JsonRecord, Sources
from emigbench.datasets.symmetry import CRYSTAL_SYSTEMS
from emigbench.errors import EmigbenchError
from emigbench.records import N_IMAGES, FloatArray, LabelledPath, MigrationPath, State

OVERLAP_A = 0.5
FINAL_DIFFERS_A = 1e-3
LABEL_CONFLICT_EV = 0.02
MOBILE_IONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn", "Al")
REDOX_METALS = frozenset("Ti V Cr Mn Fe Co Ni Cu Nb Mo Tc Ru Rh Pd W Re Os Ir Pt Ta".split())


def curate(sources: Sources) -> tuple[LabelledPath, ...]:
    """All records, train side first, each side in the order of its source file.

    Raises:
        EmigbenchError: naming the record in which the source is not as this code knows it.
    """
    decisions = corrections.read()
    labelled = [
        LabelledPath(
            path=curate_path(record, sources.table, sources.endpoints, decisions),
            e_m=float(record["target"]),
            split=split,
        )
        for split in SIDES
        for record in sources.bands[split]
    ]
    labelled = mark_duplicates(labelled)
    labelled = mark_shared_lattices(labelled)
    return tuple(mark_doubtful_labels(labelled, decisions.suspicious_labels))


def curate_path(
    record: JsonRecord, table: pd.DataFrame, endpoints: dict[str, JsonRecord], decisions: Corrections
) -> MigrationPath:
    """One record with everything that it needs no other record for."""
    path = split_band_and_host(record)
    if path.id not in table.index:
        raise EmigbenchError(f"{path.id}: the table of the source has no such row.")
    path = take_facts(path, str(record["class"]), dict(table.loc[path.id]), decisions)
    path = wrap_host(path)
    path = merge_overlaps(path)
    path = attach_final_state(path, endpoints.get(path.id))
    found = [*findings.geometry_flags(path), *findings.composition_flags(path)]
    if path.id in decisions.disputed_groups:
        found.append("group_disputed")
    return replace(path, flags=(*path.flags, *found))


def split_band_and_host(record: JsonRecord) -> MigrationPath:
    """The first five sites are the band, the others the host of the initial state."""
    name, atoms = str(record["sys_name"]), record["atoms"]
    coords, elements = np.array(atoms["coords"], dtype=float), list(atoms["elements"])
    band, host = coords[:N_IMAGES], coords[N_IMAGES:]
    if atoms.get("cartesian"):
        raise EmigbenchError(f"{name}: coordinates are Cartesian, expected fractional ones.")
    if len(set(elements[:N_IMAGES])) != 1:
        raise EmigbenchError(f"{name}: the first five sites are {elements[:N_IMAGES]}, expected one element.")
    fractions = np.linspace(0, 1, N_IMAGES)[:, None]
    if np.abs(band - (band[0] + fractions * (band[-1] - band[0]))).max() > 1e-9:
        raise EmigbenchError(f"{name}: the first five sites are not equally spaced on a line.")
    return MigrationPath(
        id=name,
        material_id=material_of(name),
        structural_group="",
        mobile_ion=elements[0],
        composition="",
        state="unknown",
        lattice=np.array(atoms["lattice_mat"], dtype=float),
        host_species=tuple(elements[N_IMAGES:]),
        host_frac_coords=host,
        band_frac_coords=band,
    )


def material_of(path_id: str) -> str:
    """The id without the path's number; Na2MnSiO4 from two papers (_pc, _pn) is one material."""
    return re.sub(r"_\d+$", "", path_id).replace("Na2MnSiO4_pn", "Na2MnSiO4_pc")


def take_facts(path: MigrationPath, class_raw: str, row: dict[str, Any], decisions: Corrections) -> MigrationPath:
    """Group, composition, state, functional, space group, crystal system and the path's label."""
    system_raw, symbol_raw = str(row["CRYSTAL SYSTEM"]), str(row["SPACE GROUP"])
    raw = {
        "structural_group": class_raw,
        "composition": str(row["COMPOSITION"]),
        "space_group": symbol_raw,
        "crystal_system": system_raw,
    }
    symbol = symbol_raw.strip()
    if symbol in CRYSTAL_SYSTEMS:  # the two columns are swapped in the table
        symbol = system_raw.strip()
    symbol = decisions.space_group_notation.get(symbol, symbol)
    symbol = _corrected("space_group", path.id, symbol, raw["space_group"], decisions)
    composition = _corrected("composition", path.id, raw["composition"].strip(), raw["composition"], decisions)
    state = state_of(path)
    state = _corrected("state", path.id, state, state, decisions)  # type: ignore[assignment]
    return replace(
        path,
        structural_group=decisions.structural_groups.get(class_raw, class_raw),
        composition=composition,
        state=state,
        xc=str(row["XC"]),
        space_group=symbol,
        crystal_system=crystal_system_of(symbol, path.id),
        path_label=" ".join(str(row["PATH INFO"]).split()),
        raw=raw,
    )


def _corrected(field: str, path_id: str, value: str, found: str, decisions: Corrections) -> str:
    """The corrected value of a field, after making sure that the source still holds the error."""
    correction = decisions.fields.get((field, path_id))
    if correction is None:
        return value
    if found.strip() != correction.old:
        raise EmigbenchError(
            f"{path_id}: corrections.yaml expects {field} {correction.old!r}, but the source has {found!r}."
        )
    return correction.new


def crystal_system_of(symbol: str, path_id: str) -> str:
    """The crystal system that a space group belongs to (the table's own column has errors)."""
    try:
        return _crystal_system(symbol)
    except ValueError:
        raise EmigbenchError(
            f"{path_id}: {symbol!r} is no standard space-group symbol; add it to corrections.yaml."
        ) from None


@cache  # pymatgen parses every operation of the group, and 53 groups serve 619 paths
def _crystal_system(symbol: str) -> str:
    from pymatgen.symmetry.groups import SpaceGroup

    return str(SpaceGroup(symbol).crystal_system).capitalize()


def state_of(path: MigrationPath) -> State:
    """How full the host is, from the id and the elements.

    Ids that name the host first and the ion last (Mn2O4_Mg) are hosts without ions: charged. A host with no
    redox-active metal cannot be an electrode: electrolyte. A fractional formula is an intermediate
    composition, everything else discharged.
    """
    if re.search(rf"_({'|'.join(MOBILE_IONS)})(_|$)", path.id):
        return "charged"
    if not REDOX_METALS & set(path.host_species):
        return "electrolyte"
    return "intermediate" if "." in path.id else "discharged"


def wrap_host(path: MigrationPath) -> MigrationPath:
    """Move host atoms into [0, 1); the band stays unwrapped."""
    host = geometry.wrapped(path.host_frac_coords)
    if (host == path.host_frac_coords).all():
        return path
    return replace(path, host_frac_coords=host, flags=(*path.flags, "host_wrapped"))


def merge_overlaps(path: MigrationPath) -> MigrationPath:
    """One atom in place of several within 0.5 Å; none of the mobile ion's where the band begins or ends.

    Only the three Na4MnAlP3O12 cells have such atoms: each was written twice, slightly apart.
    """
    host, species, lattice = path.host_frac_coords, np.array(path.host_species), path.lattice
    keep = np.ones(len(host), dtype=bool)
    first, second, _ = geometry.near_pairs(host, host, lattice, OVERLAP_A)
    for i, j in sorted(zip(first, second, strict=True)):
        if i < j and keep[i]:
            keep[j] = False
    on_endpoint = geometry.distances(path.band_frac_coords[[0, -1]], host, lattice).min(axis=0) < OVERLAP_A
    keep &= ~(on_endpoint & (species == path.mobile_ion))
    if keep.all():
        return path
    return replace(
        path,
        host_species=tuple(str(s) for s in species[keep]),
        host_frac_coords=host[keep],
        flags=(*path.flags, "overlapping_atoms_merged"),
    )


def attach_final_state(path: MigrationPath, endpoints: JsonRecord | None) -> MigrationPath:
    """The final cell and host where the source relaxed them apart, every atom at its nearest image."""
    if endpoints is None:
        return replace(path, flags=(*path.flags, "final_from_band"))
    initial, final = endpoints["atoms_ini"], endpoints["atoms_fin"]
    start, end = np.array(initial["coords"], dtype=float), np.array(final["coords"], dtype=float)
    lattice = np.array(final["lattice_mat"], dtype=float)
    if initial["elements"] != final["elements"] or initial["elements"][1:] != list(path.host_species):
        raise EmigbenchError(f"{path.id}: the atoms of the endpoint cells are not those of the band's host.")
    known = np.vstack([path.band_frac_coords[0], path.host_frac_coords])
    same_cell = np.abs(np.array(initial["lattice_mat"], dtype=float) - path.lattice).max() < 1e-6
    if not (same_cell and _equal_mod_cell(start, known) and _equal_mod_cell(end[0], path.band_frac_coords[-1])):
        raise EmigbenchError(f"{path.id}: the endpoint cells and the band do not meet.")

    host = geometry.nearest_image(end[1:], path.host_frac_coords, lattice)
    host_in_source_frame = geometry.nearest_image(end[1:], start[1:], lattice)
    mobile_moved = np.abs(end[0] - path.band_frac_coords[-1]).max() > 0.5
    host_moved = np.abs(host_in_source_frame - end[1:]).max() > 0.5
    flags = [*path.flags, *(["final_wrapped"] if mobile_moved or host_moved else [])]

    displaced = np.linalg.norm((host - path.host_frac_coords) @ lattice, axis=1).max()
    if max(np.abs(lattice - path.lattice).max(), displaced) < FINAL_DIFFERS_A:
        return replace(path, flags=tuple(flags))
    return replace(
        path,
        final_lattice=lattice,
        final_host_frac_coords=host,
        flags=(*flags, "final_relaxed_separately"),
    )


def _equal_mod_cell(a: FloatArray, b: FloatArray) -> bool:
    delta = a - b
    return bool(np.abs(delta - np.round(delta)).max() < 1e-6)


def mark_duplicates(labelled: Sequence[LabelledPath]) -> list[LabelledPath]:
    """Name the first id of its set in every path whose band has a symmetry-identical twin."""
    first = {
        path_id: members[0] for members in identical_bands([entry.path for entry in labelled]) for path_id in members
    }
    return [replace(x, duplicate_of=first.get(x.id, "")) for x in labelled]


def mark_shared_lattices(labelled: Sequence[LabelledPath]) -> list[LabelledPath]:
    """Flag charged records that use exactly the lattice of a discharged one of the same framework."""

    def key(path: MigrationPath) -> tuple[str, bytes]:
        return findings.framework_formula(path), np.round(path.lattice, 6).tobytes()

    discharged = {key(entry.path) for entry in labelled if entry.path.state == "discharged"}
    return [
        replace(x, path=replace(x.path, flags=(*x.path.flags, "charged_on_discharged_lattice")))
        if x.path.state == "charged" and key(x.path) in discharged
        else x
        for x in labelled
    ]


def mark_doubtful_labels(labelled: Sequence[LabelledPath], suspicious: frozenset[str]) -> list[LabelledPath]:
    """Flag labels that conflict with a twin's, that a person doubts, or that are extreme."""
    by_band: dict[str, list[float]] = {}
    for entry in labelled:
        if entry.duplicate_of:
            by_band.setdefault(entry.duplicate_of, []).append(entry.e_m)
    marked = []
    for entry in labelled:
        twins = by_band.get(entry.duplicate_of, [entry.e_m])
        checks = {
            "label_conflict": round(max(twins) - min(twins), 9) > LABEL_CONFLICT_EV,  # 0.52 - 0.5 is above 0.02
            "label_suspicious": entry.id in suspicious,
            "label_below_50_mev": entry.e_m < 0.05,
            "label_above_4_ev": entry.e_m > 4,
        }
        marked.append(replace(entry, label_flags=tuple(name for name, holds in checks.items() if holds)))
    return marked
