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
from emigbench_baselines.alignn import graph as graphs
from emigbench_baselines.alignn.graph import CrystalGraph

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
        if self.n_first:
            return graphs.image_subgraph(self.path, original=original)
        return graphs.band_graph(self.path, canonical=self.canonical, original=original)


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
        found = graphs.band_neighbours(request.path)
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
    """Compare one of our graphs with the original's answer.

    An edge is known by its atoms and its displacement to 1e-3 Å; an angle by its two edges.
    """
    u, v, r = original["u"], original["v"], original["r"]
    names = _same_names(
        np.column_stack([ours.source, ours.destination, ours.displacement]).astype(float),
        np.column_stack([u, v, r]).astype(float),
    )
    edges = _unmatched(*names)
    lg_u, lg_v = graphs.line_graph(ours)
    cosines = graphs.cosines(ours, lg_u, lg_v)
    pairs = [
        np.column_stack([n[a], n[b]])
        for n, a, b in zip(names, (lg_u, original["lg_u"]), (lg_v, original["lg_v"]), strict=True)
    ]
    size = int(max(n.max() for n in names)) + 1
    keys = [pair[:, 0].astype(np.int64) * size + pair[:, 1] for pair in pairs]
    angles = _unmatched(*keys)
    if edges or angles:
        return Difference(edges, angles, None, None)
    orders = [np.argsort(n, kind="stable") for n in names]
    shift = np.abs(ours.displacement[orders[0]] - r[orders[1]]).max()
    orders = [np.argsort(key, kind="stable") for key in keys]
    turn = np.abs(cosines[orders[0]] - original["cos"][orders[1]]).max()
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


def _unmatched(ours: NDArray[np.int64], original: NDArray[np.int64]) -> int:
    """How many elements of two multisets have no partner."""
    values, which = np.unique(np.concatenate([ours, original]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(values)) for part in np.split(which, [len(ours)])]
    return int(np.abs(counts[0] - counts[1]).sum())


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
