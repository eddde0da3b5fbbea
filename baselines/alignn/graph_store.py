"""Neighbour lists on disk: a cache by content, and archives that carry many of them to another machine.

What is stored is the neighbour list, not the graph: it is a fifth of the size, without loss, and both edge lists
follow from it in a millisecond (`graph.crystal_graph`). Files are .npz without pickle, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError, MigrationPath, cache_folder
from emigbench.datasets.hashing import geometry_hash
from emigbench.storage import write_bytes
from emigbench_baselines.alignn.graph import band_neighbours, endpoint_neighbours, subgraph_neighbours
from emigbench_baselines.alignn.neighbours import Neighbours

STORE_VERSION = 1
"""Part of every file: raise it whenever neighbour lists or the format change, and older files are never read again."""

Kind = Literal["band", "endpoints", "subgraph"]
"""Which cells of a path: the five-image band; the initial and the final cell; MODEL-4's sub-graph of the band."""

_ARRAYS = ("version", "lattice", "n_atoms", "atomic_numbers", "frac_coords", "n_neighbours", "neighbour", "image")


def path_neighbours(path: MigrationPath, kind: Kind, *, original: bool = False) -> tuple[Neighbours, ...]:
    """The neighbour lists of one path: two for endpoints, else one; from the cache if they are there.

    Raises:
        EmigbenchError: if the path cannot be made a graph, or the cache cannot be written.
    """
    if kind not in get_args(Kind):
        raise EmigbenchError(f"There are no graphs of kind {kind!r}; known are {', '.join(get_args(Kind))}.")
    file = cache_folder() / "graphs" / f"{cache_key(path, kind, original=original)}.npz"
    try:
        return tuple(unpack(file)[0])
    except EmigbenchError:  # not there yet, damaged or of another version: make it
        made = _make(path, kind, original)
        pack(file, made, compress=False)
        return made


def cache_key(path: MigrationPath, kind: Kind, *, original: bool) -> str:
    """The content of a path's geometry and what is made of it, as sha256."""
    return hashlib.sha256(f"{STORE_VERSION} {kind} {original} {geometry_hash(path)}".encode()).hexdigest()


def _make(path: MigrationPath, kind: Kind, original: bool) -> tuple[Neighbours, ...]:
    if kind == "endpoints":
        return endpoint_neighbours(path, original=original)
    return ((band_neighbours if kind == "band" else subgraph_neighbours)(path, original=original),)


def pack(
    file: Path,
    lists: Sequence[Neighbours],
    extra: Mapping[str, NDArray[Any]] | None = None,
    *,
    compress: bool = True,
) -> None:
    """Write many neighbour lists, and arrays that belong to them (labels, masks, ids), to one archive.

    Raises:
        EmigbenchError: if the file cannot be written, or an extra array has a name of the format's own.
    """
    extra = dict(extra or {})
    if taken := sorted(extra.keys() & set(_ARRAYS)):
        raise EmigbenchError(f"{file}: an extra array cannot be called {taken[0]!r}, the archive has one of its own.")
    arrays = {
        "version": np.array(STORE_VERSION),
        "lattice": np.array([x.lattice for x in lists]).reshape(-1, 3, 3),
        "n_atoms": np.array([x.n_atoms for x in lists], dtype=np.int32),
        "atomic_numbers": _joined((x.atomic_numbers for x in lists), np.zeros(0, np.uint8)),
        "frac_coords": _joined((x.frac_coords for x in lists), np.zeros((0, 3))),
        "n_neighbours": _narrow(_joined((_counts(x) for x in lists), np.zeros(0, np.int64))),
        "neighbour": _narrow(_joined((x.neighbour for x in lists), np.zeros(0, np.int32))),
        "image": _narrow(_joined((x.image for x in lists), np.zeros((0, 3), np.int16))),
    }
    buffer = io.BytesIO()
    save = np.savez_compressed if compress else np.savez
    save(buffer, **arrays, **extra, allow_pickle=False)
    write_bytes(file, buffer.getvalue())


def unpack(file: Path) -> tuple[list[Neighbours], dict[str, NDArray[Any]]]:
    """Read an archive: the neighbour lists in their order, and the extra arrays.

    Raises:
        EmigbenchError: if the file is not there, damaged or of another version.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        own = {name: arrays.pop(name) for name in _ARRAYS}
        if own["version"] != STORE_VERSION:
            raise ValueError(f"version {own['version']}, expected {STORE_VERSION}")
        return _lists(own), arrays
    except FileNotFoundError as error:
        raise EmigbenchError(f"There is no graph archive {file}.") from error
    except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile, NotImplementedError) as error:
        raise EmigbenchError(f"The graph archive {file} is damaged or of another version ({error}).") from error


def _lists(arrays: Mapping[str, NDArray[Any]]) -> list[Neighbours]:
    """Cut the joined arrays into neighbour lists, after checking that their lengths agree."""
    n_atoms, n_neighbours = arrays["n_atoms"].astype(np.int64), arrays["n_neighbours"].astype(np.int64)
    neighbour, image = arrays["neighbour"].astype(np.int32), arrays["image"].astype(np.int16)
    atom_ends, sizes = np.cumsum(n_atoms), (len(n_neighbours), len(neighbour))
    if (int(n_atoms.sum()), int(n_neighbours.sum())) != sizes or len(arrays["lattice"]) != len(n_atoms):
        raise ValueError("its lengths do not agree")
    entry_ends = np.concatenate([[0], np.cumsum(n_neighbours)])[atom_ends]
    lists, atom, entry = [], 0, 0
    for lattice, atom_end, entry_end in zip(arrays["lattice"], atom_ends.tolist(), entry_ends.tolist(), strict=True):
        atoms, entries = slice(atom, atom_end), slice(entry, entry_end)
        centre = np.repeat(np.arange(atom_end - atom, dtype=np.int32), n_neighbours[atoms])
        numbers, coords = arrays["atomic_numbers"][atoms], arrays["frac_coords"][atoms]
        lists.append(Neighbours(lattice, numbers, coords, centre, neighbour[entries], image[entries]))
        atom, entry = atom_end, entry_end
    return lists


def _counts(neighbours: Neighbours) -> NDArray[np.int64]:
    return np.bincount(neighbours.centre, minlength=neighbours.n_atoms)


def _joined(parts: Iterable[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([empty, *parts])


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same integers in the narrowest type that holds them."""
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    types = (np.uint8, np.int8, np.uint16, np.int16, np.int32)
    return values.astype(next(t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max))
