"""Content hashes that do not depend on row order, platform or library version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from emigbench.records import FloatArray, LabelledPath, MigrationPath

QUANTUM = 1e-8
"""Coordinates and cell vectors are compared in units of this (fractional or Å)."""


def geometry_hash(path: MigrationPath) -> str:
    """Hash of what a model computes features from: cell, atoms, band, final state."""
    digest = hashlib.sha256()
    digest.update(json.dumps([path.mobile_ion, *path.host_species]).encode())
    for values in (
        path.lattice,
        path.host_frac_coords,
        path.band_frac_coords,
        path.final_lattice,
        path.final_host_frac_coords,
    ):
        digest.update(b"-" if values is None else _integers(values))
    return digest.hexdigest()


def dataset_hash(entries: Sequence[LabelledPath]) -> str:
    """Hash of every field of every record, independent of their order."""
    return hashlib.sha256("\n".join(sorted(map(_entry_hash, entries))).encode()).hexdigest()


def predictions_hash(text: str) -> str:
    """Hash of the text of a predictions file, independent of how its lines end."""
    return hashlib.sha256("".join(f"{line}\n" for line in text.splitlines()).encode()).hexdigest()


def _entry_hash(entry: LabelledPath) -> str:
    path = entry.path
    facts = {
        "id": path.id,
        "material_id": path.material_id,
        "structural_group": path.structural_group,
        "composition": path.composition,
        "state": path.state,
        "xc": path.xc,
        "space_group": path.space_group,
        "crystal_system": path.crystal_system,
        "path_label": path.path_label,
        "duplicate_of": entry.duplicate_of,
        "flags": sorted(path.flags),
        "raw": dict(path.raw),
        "e_m": f"{entry.e_m:.8f}",
        "split": entry.split,
        "label_flags": sorted(entry.label_flags),
        "geometry": geometry_hash(path),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _integers(values: FloatArray) -> bytes:
    return np.round(values / QUANTUM).astype("<i8").tobytes()
