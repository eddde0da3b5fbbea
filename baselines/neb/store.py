"""Results on disk: a cache by content, which is also where finished bands are looked at.

A result is two files under a hash of the path's geometry, the settings and the potential's weights: an extended XYZ
with energy and forces of every image, and a JSON that says how it came about. The JSON is written last and each file
whole or not at all, so a worker that is killed loses its own path only, and several may share the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from emigbench import EmigbenchError, MigrationPath, cache_folder
from emigbench.datasets.hashing import geometry_hash
from emigbench.storage import read_text, write_text
from emigbench_baselines.neb.band import NebResult, Relaxed, relax
from emigbench_baselines.neb.potentials import Potential
from emigbench_baselines.neb.settings import NebSettings

STORE_VERSION = 1
"""Part of every key: raise it whenever results change, and older ones are never read again."""

_DAMAGED = (EmigbenchError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError)
"""What reading a file that is not there, cut short or of something else may raise."""

_GRID = 1e-5
"""Structures are one if their wrapped fractional coordinates agree on this grid."""


def folder_of(potential_name: str) -> Path:
    """Where the results of a potential are."""
    return cache_folder() / "neb" / re.sub(r"[^\w.+-]", "_", potential_name)


def _result_file(path: MigrationPath, potential: Potential, settings: Mapping[str, Any]) -> Path:
    """The JSON of a result; the images are beside it in the `.xyz` of the same name."""
    content = [STORE_VERSION, potential.name, potential.fingerprint, dict(settings), geometry_hash(path)]
    return folder_of(potential.name) / f"{_hash(content)}.json"


def read_result(path: MigrationPath, potential: Potential, settings: Mapping[str, Any]) -> NebResult | None:
    """What is kept, or None where nothing is, or it is damaged: then it is computed again."""
    file = _result_file(path, potential, settings)
    try:
        return _read(json.loads(read_text(file)), file)
    except _DAMAGED:
        return None


def kept_results(path: MigrationPath) -> dict[str, NebResult]:
    """Every result that is kept of a path, by potential and what was done with it, sorted.

    Where a name has stood for several potentials, such as a file whose weights have changed, the beginning of the
    fingerprint is added.
    """
    found, geometry = {}, geometry_hash(path)
    for file in (cache_folder() / "neb").glob("*/*.json"):
        try:
            content = json.loads(read_text(file))
            if content["geometry"] == geometry:
                name = f"{content['potential']}, {_in_words(content['settings'])}"
                found[name, content["fingerprint"]] = _read(content, file)
        except _DAMAGED:
            continue
    times = Counter(name for name, _ in found)
    return {
        name if times[name] == 1 else f"{name}, weights {fingerprint[:8]}": found[name, fingerprint]
        for name, fingerprint in sorted(found)
    }


def _in_words(settings: Mapping[str, Any]) -> str:
    """What sets these settings apart from the usual ones."""
    usual = asdict(NebSettings())
    other = [f"{name} {value}".replace("_", " ") for name, value in settings.items() if usual.get(name) != value]
    return ", ".join(["NEB", *other]) if "single_points" not in settings else "single points"


def _read(content: Mapping[str, Any], file: Path) -> NebResult:
    """The result of which a JSON was read from a file.

    Raises:
        ValueError: if the images beside it are not those that it speaks of.
    """
    energies = content["energies_ev"]
    images = read_images(file.with_suffix(".xyz")) if energies else []
    if not np.allclose([image.get_potential_energy() for image in images], energies, rtol=0, atol=1e-6):
        raise ValueError("the images are of another result")
    return NebResult(
        status=content["status"],
        reason=content["reason"],
        images=tuple(images),
        steps=content["steps"],
        fmax=content["fmax_ev_per_angstrom"],
        notes=tuple(content["notes"]),
        seconds=content["seconds"],
    )


def write_result(result: NebResult, path: MigrationPath, potential: Potential, settings: Mapping[str, Any]) -> None:
    """Keep a result.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    file = _result_file(path, potential, settings)
    if result.images:
        write_images(file.with_suffix(".xyz"), result.images)
    content = {
        "id": path.id,
        "geometry": geometry_hash(path),
        "potential": potential.name,
        "fingerprint": potential.fingerprint,
        "versions": list(potential.versions),
        "settings": dict(settings),
        **result.facts(),
    }
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def relax_once(atoms: Atoms, potential: Potential, settings: NebSettings) -> Relaxed:
    """Relax an end, or take it over from another path whose end is the same structure.

    The same structure may list its atoms in another order or wrap them otherwise: ends are compared, and kept, in an
    order that does not depend on either.

    Raises:
        PathFailedError: if the forces explode.
        EmigbenchError: if the cache cannot be written to.
    """
    order, places = _canonical(atoms)
    how = {name: value for name, value in asdict(settings).items() if name in ("optimiser", "fmax", "endpoint_steps")}
    cell = np.round(np.asarray(atoms.cell) / _GRID).astype(int).tolist()
    content = [STORE_VERSION, potential.name, potential.fingerprint, how, cell, places]
    file = folder_of(potential.name) / "endpoints" / f"{_hash(content)}.xyz"
    if (kept := _read_relaxed(file, atoms, order)) is not None:
        return kept
    done = relax(atoms, potential, settings)
    sorted_atoms = atoms[order]
    sorted_atoms.set_array("move", (done.atoms.positions - atoms.positions)[order])
    sorted_atoms.set_array("relaxed_forces", done.atoms.get_forces()[order])
    sorted_atoms.info = {
        "relaxed_energy": done.atoms.get_potential_energy(),
        "steps": done.steps,
        "converged": done.converged,
    }
    write_images(file, [sorted_atoms])
    return done


def _read_relaxed(file: Path, atoms: Atoms, order: NDArray[np.int64]) -> Relaxed | None:
    try:
        (kept,) = read_images(file)
        relaxed, forces = atoms.copy(), np.empty((len(atoms), 3))
        relaxed.positions[order] += kept.get_array("move")
        forces[order] = kept.get_array("relaxed_forces")
        energy = float(kept.info["relaxed_energy"])
        relaxed.calc = SinglePointCalculator(relaxed, energy=energy, forces=forces)
        return Relaxed(relaxed, int(kept.info["steps"]), bool(kept.info["converged"]))
    except _DAMAGED:
        return None


def _canonical(atoms: Atoms) -> tuple[NDArray[np.int64], list[list[int]]]:
    """An order of the atoms that does not depend on theirs, and what they are and where, on a grid inside the cell."""
    size = round(1 / _GRID)
    places = np.column_stack([atoms.numbers, np.round(atoms.cell.scaled_positions(atoms.positions) * size) % size])
    order = np.lexsort(places.T[::-1])
    return order, places[order].astype(int).tolist()


def write_images(file: Path, images: Sequence[Atoms]) -> None:
    """Write extended XYZ, whole or not at all.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    text = io.StringIO()
    ase.io.write(text, list(images), format="extxyz")
    write_text(file, text.getvalue())


def read_images(file: Path) -> list[Atoms]:
    """Read extended XYZ.

    Raises:
        EmigbenchError: if it is not there.
    """
    return list(ase.io.read(io.StringIO(read_text(file)), index=":", format="extxyz"))


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
