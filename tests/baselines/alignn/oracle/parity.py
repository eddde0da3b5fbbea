"""Our graphs beside those of the original stack, as multisets of edges and of angles.

    python parity.py [--python PYTHON_WITH_ALIGNN_AND_DGL] [--all]

compares 40 and more bands of the full dataset (or all of them), whole and canonical, and their sub-graphs, and prints
a line for each class of structure. It needs the source files (EMIGBENCH_SOURCE).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emigbench import MigrationPath
from emigbench_baselines.alignn.graph import CrystalGraph, band_neighbours, crystal_graph, subgraph_neighbours

LARGE_FOR_SUBGRAPHS = 200
"""Atoms from which the original, which widens its cutoff to the longest cell vector, takes long for a sub-graph."""
BUILDER = Path(__file__).with_name("build_graphs.py")

Answer = dict[str, NDArray[np.generic]]
"""The original's edges, displacements, line-graph edges and cosines, its seconds and its memory."""


@dataclass(frozen=True)
class Difference:
    """How far two graphs are apart.

    Attributes:
        edges: directed edges that only one of them has, multiplicity counted.
        angles: line-graph edges that only one of them has, multiplicity counted.
        displacement: largest difference of a displacement in Å, over the common edges; None unless all are common.
        cosine: the same of the cosines.
    """

    edges: int
    angles: int
    displacement: float | None
    cosine: float | None


@dataclass(frozen=True)
class Request:
    """A graph that both stacks build.

    Attributes:
        path: the path whose band is the structure.
        k: neighbours of an atom.
        cutoff: Å, where the original's search starts.
        canonical: which edge list.
        n_first: keep the bonds of the first so many atoms alone; 0 for all.
    """

    path: MigrationPath
    k: int = 12
    cutoff: float = 8.0
    canonical: bool = False
    n_first: int = 0

    def ours(self, *, original: bool = True) -> CrystalGraph:
        """The graph as the package builds it, by the original's rule of shells or by ours."""
        neighbours = subgraph_neighbours if self.n_first else band_neighbours
        return crystal_graph(neighbours(self.path, original=original), canonical=self.canonical)


def subgraph_request(path: MigrationPath) -> Request:
    """MODEL-4's sub-graph of a band."""
    return Request(path, k=6, cutoff=3.0, n_first=len(path.band_frac_coords))


def oracle_python() -> str | None:
    """A Python that has alignn and DGL: EMIGBENCH_ORACLE_PYTHON, or this one; None if neither works."""
    for python in (os.environ.get("EMIGBENCH_ORACLE_PYTHON"), sys.executable):
        probe = [python or "", "-c", "import dgl, alignn.graphs; assert dgl.__version__.startswith('1.1')"]
        if python and Path(python).exists() and subprocess.run(probe, capture_output=True).returncode == 0:
            return python
    return None


def build_with_original(requests: Sequence[Request], python: str) -> list[Answer]:
    """What `build_graphs.py` makes of the bands, one answer a request; `peak` is that of them all."""
    structures = []
    for request in requests:
        found = band_neighbours(request.path)
        options = (request.k, request.cutoff, request.canonical, request.n_first)
        structures.append((found.lattice, found.atomic_numbers, found.frac_coords, options))
    return ask(structures, python)


def ask(structures: Sequence[tuple[object, object, object, tuple[float, ...]]], python: str) -> list[Answer]:
    """The same for any cells: lattice in Å, atomic numbers, fractional coordinates and `build_graphs.py`'s options."""
    given: dict[str, object] = {"count": len(structures)}
    for i, structure in enumerate(structures):
        given |= zip((f"{i}_lattice", f"{i}_numbers", f"{i}_frac", f"{i}_options"), structure, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "structures.npz", Path(folder) / "out.npz"
        np.savez(file, **given)
        subprocess.run([python, str(BUILDER), str(file), str(out)], check=True, capture_output=True)
        answer = np.load(out)
        names = ("u", "v", "r", "lg_u", "lg_v", "cos", "seconds")
        peak = {"peak": answer["peak"]}
        return [peak | {name: answer[f"{i}_{name}"] for name in names} for i in range(len(structures))]


def difference(ours: CrystalGraph, original: Answer) -> Difference:
    """Compare the batch that is made of one of our graphs, copies merged and counted, with the original's answer.

    An edge is known by its atoms and its displacement to 1e-3 Å; an angle by its two edges.
    """
    from emigbench_baselines.alignn.batch import GraphBatch, prepare

    merged = prepare(ours)
    batch = GraphBatch.of([merged])
    u, v, r = original["u"], original["v"], original["r"]
    names = _same_names(
        np.column_stack([merged.source, merged.destination, merged.displacement]).astype(float),
        np.column_stack([u, v, r]).astype(float),
    )
    edges = _unmatched(*names, merged.multiplicity)
    ends = (batch.angles.source.numpy(), batch.angles.target.numpy()), (original["lg_u"], original["lg_v"])
    size = int(max(n.max() for n in names)) + 1
    keys = [name[first] * size + name[second] for name, (first, second) in zip(names, ends, strict=True)]
    angles = _unmatched(*keys, batch.angles.count.numpy())
    if edges or angles:
        return Difference(edges, angles, None, None)
    shift = np.abs(merged.displacement[_first_with(*names)] - r).max()
    turn = np.abs(batch.cosines.numpy()[_first_with(*keys)] - original["cos"]).max()
    return Difference(0, 0, float(shift), float(turn))


def _same_names(*tables: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """A number for each row of the tables, equal for rows that are equal to 1e-3."""
    rows = np.vstack(tables)
    names = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:  # split the classes so far wherever the sorted values of a column jump
        order = np.lexsort((column, names))
        jump = (np.diff(names[order]) > 0) | (np.diff(column[order]) > 1e-3)
        names[order] = np.concatenate([[0], np.cumsum(jump)])
    return np.split(names, np.cumsum([len(t) for t in tables])[:-1])


def _unmatched(
    ours: NDArray[np.int64], original: NDArray[np.int64], times: NDArray[np.int32] | NDArray[np.float32]
) -> int:
    """How many elements of two multisets have no partner; each of ours stands for so many."""
    values, which = np.unique(np.concatenate([ours, original]), return_inverse=True)
    of_ours, of_original = np.split(which, [len(ours)])
    counts = np.bincount(of_ours, times, len(values)) - np.bincount(of_original, minlength=len(values))
    return int(np.abs(counts).sum())


def _first_with(ours: NDArray[np.int64], original: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of the original's names the place of the first of ours that has it."""
    names, first = np.unique(ours, return_index=True)
    return first[np.searchsorted(names, original)]


def choose(paths: Sequence[MigrationPath]) -> dict[str, list[MigrationPath]]:
    """At least 40 bands by what is special about them; a band stands in the first class that fits."""
    by_size = sorted(paths, key=lambda path: (path.n_atoms, path.id))
    flagged = {flag: [path for path in by_size if flag in path.flags] for flag in {f for p in paths for f in p.flags}}
    classes = {
        "smallest and largest cells": [*by_size[:3], by_size[-1]],
        "band on a host atom": flagged["band_on_host"],
        "overlapping atoms in the source": flagged["overlapping_atoms_merged"],
        "small cell, own images near": flagged["small_cell"][:6],
        "band leaves the cell": flagged["band_leaves_cell"][:6],
        "final cell of its own": flagged["final_relaxed_separately"][:5],
        "spinels": [p for p in by_size if p.structural_group == "SPINEL"][:6],
        "the rest": by_size[:: len(by_size) // 16],
    }
    seen: set[str] = set()
    for name, members in classes.items():
        classes[name] = [p for p in members if p.id not in seen]
        seen |= {p.id for p in members}
    return classes


def main() -> None:
    """Print the differences by class of structure."""
    import emigbench

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=oracle_python())
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    paths = [entry.path for entry in emigbench.load("full")]
    kinds = {
        "whole": lambda path: Request(path),
        "canonical": lambda path: Request(path, canonical=True),
        "sub-graph": subgraph_request,
    }
    for name, members in ({"all": paths} if options.all else choose(paths)).items():
        for kind, request in kinds.items():
            compared = members
            if options.all and kind == "sub-graph":
                compared = [path for path in members if path.n_atoms < LARGE_FOR_SUBGRAPHS]
            requests = [request(path) for path in compared]
            answers = build_with_original(requests, options.python)
            exact = [difference(r.ours(), a) for r, a in zip(requests, answers, strict=True)]
            tolerant = [difference(r.ours(original=False), a) for r, a in zip(requests, answers, strict=True)]
            shifts = [d.displacement for d in exact if d.displacement is not None]
            turns = [d.cosine for d in exact if d.cosine is not None]
            print(
                f"{name:32} {kind:10} n={len(compared):3}  "
                f"{sum(d.edges == d.angles == 0 for d in exact):3} identical, "
                f"{sum(d.edges for d in exact)} edges and {sum(d.angles for d in exact)} angles apart, "
                f"|dr| <= {max(shifts, default=0):.1e} Å, |dcos| <= {max(turns, default=0):.1e}; "
                f"with whole shells: {sum(d.edges == d.angles == 0 for d in tolerant):3} identical; "
                f"original {sum(float(a['seconds']) for a in answers):.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
