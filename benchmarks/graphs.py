"""Time and memory of building graphs, beside the original stack on the same structures in one run.

`python -m benchmarks.graphs [--python PYTHON_WITH_ALIGNN_AND_DGL] [--paths N] [--runs N]`. Both sides turn a cell into
the crystal graph, its line graph and the cosines; the original is `alignn.graphs.Graph.atom_dgl_multigraph`. The two
run in turns, a fresh process each, on one thread. Needs the source files, and Linux to tell the memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from tabulate import tabulate

import emigbench
from emigbench import MigrationPath
from emigbench_baselines.alignn.graph import band_neighbours, crystal_graph
from tests.baselines.alignn.oracle import parity


def memory(field: str) -> int:
    """A figure of this process's memory in bytes: VmRSS, or its peak VmHWM."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024


def build(paths: list[MigrationPath], canonical: bool, original: bool) -> tuple[float, float, float]:
    """Build the graphs of all paths: seconds in all, seconds of the slowest, rise of the memory's peak in bytes."""
    import scipy.spatial  # noqa: F401  (imported by the first search; not what is timed)

    from emigbench_baselines.alignn.batch import GraphBatch

    before, seconds = memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")
    for path in paths:
        started = time.perf_counter()
        GraphBatch.of([crystal_graph(band_neighbours(path, original=original), canonical=canonical)])
        seconds.append(time.perf_counter() - started)
    return sum(seconds), max(seconds), memory("VmHWM") - before


def own(paths: list[MigrationPath], *, canonical: bool, original: bool) -> tuple[float, float, float]:
    """The same in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(build, paths, canonical, original).result()


def of_original(paths: list[MigrationPath], python: str, *, canonical: bool) -> tuple[float, float, float]:
    """The same of the original."""
    answers = parity.build_with_original([parity.Request(path, canonical=canonical) for path in paths], python)
    seconds = [float(answer["seconds"]) for answer in answers]
    return sum(seconds), max(seconds), float(answers[0]["peak"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=parity.oracle_python(), help="a Python with alignn and DGL 1.1.3")
    parser.add_argument("--paths", type=int, default=31)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.python is None:
        sys.exit("This needs a Python with alignn and DGL 1.1.3; name it with --python or EMIGBENCH_ORACLE_PYTHON.")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    by_size = sorted((entry.path for entry in emigbench.load("full")), key=lambda path: path.n_atoms)
    chosen = np.unique(np.linspace(0, len(by_size) - 1, options.paths).round().astype(int))  # smallest to largest
    paths = [by_size[i] for i in chosen]
    rows = []
    for canonical in (False, True):
        theirs, whole, exact = [], [], []
        for _ in range(options.runs):
            theirs.append(of_original(paths, options.python, canonical=canonical))
            whole.append(own(paths, canonical=canonical, original=False))
            exact.append(own(paths, canonical=canonical, original=True))
        edges = "canonical" if canonical else "plain"
        for name, runs in (("alignn with DGL", theirs), ("ours", whole), ("ours, original's shells", exact)):
            total, slowest, peak = (median(column) for column in zip(*runs, strict=True))
            ratio = median(a[0] / b[0] for a, b in zip(theirs, runs, strict=True))
            rows.append([edges, name, f"{total:.2f} s", f"{slowest:.3f} s", f"{peak / 2**20:.0f} MiB", f"{ratio:.1f}"])
    print(f"{len(paths)} bands, {paths[0].n_atoms + 4} to {paths[-1].n_atoms + 4} sites")
    print(
        tabulate(rows, ["edge list", "builder", "all", "slowest", "memory peak", "times faster"], disable_numparse=True)
    )


if __name__ == "__main__":
    main()
