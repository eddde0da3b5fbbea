"""Graphs of the original stack, for comparison: run by a Python that has alignn and DGL 1.1.3, never imported.

    python build_graphs.py STRUCTURES.npz OUT.npz

STRUCTURES.npz: `count`, and for structure i `i_lattice` (3, 3) Å, `i_numbers` (n,), `i_frac` (n, 3), `i_options`
(k, cutoff in Å, canonical, number of first atoms whose bonds alone are kept or 0). OUT.npz: for each i, `i_u`, `i_v`,
`i_r`, `i_lg_u`, `i_lg_v`, `i_cos` and `i_seconds`; and `peak`, by how many bytes the memory rose at its peak (Linux).
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("DGLBACKEND", "pytorch")

import dgl
import numpy as np
from alignn.graphs import Graph, build_undirected_edgedata, compute_bond_cosines, nearest_neighbor_edges
from jarvis.core.atoms import Atoms
from jarvis.core.specie import atomic_numbers_to_symbols


def whole_graph(atoms, k, cutoff, canonical):
    return Graph.atom_dgl_multigraph(atoms, cutoff=cutoff, max_neighbors=k, use_canonize=canonical)


def subgraph(atoms, k, cutoff, canonical, n_first):
    """MODEL-4's: entries of the edge dictionary that touch one of the first atoms, re-indexed."""
    edges, _ = nearest_neighbor_edges(atoms, cutoff=cutoff, max_neighbors=k, use_canonize=canonical)
    kept = {key: images for key, images in edges.items() if min(key) < n_first}
    u, v, r, _ = build_undirected_edgedata(atoms, kept)
    ids = np.unique([u.numpy(), v.numpy()])
    graph = dgl.graph((np.searchsorted(ids, u.numpy()), np.searchsorted(ids, v.numpy())))
    graph.edata["r"] = r
    lines = graph.line_graph(shared=True)
    lines.apply_edges(compute_bond_cosines)
    return graph, lines


def memory(field):
    """Bytes of a line of /proc/self/status."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024


def main(structures, out):
    given, answer = np.load(structures), {}
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    for i in range(int(given["count"])):
        k, cutoff, canonical, n_first = given[f"{i}_options"]
        atoms = Atoms(
            lattice_mat=given[f"{i}_lattice"],
            elements=atomic_numbers_to_symbols(given[f"{i}_numbers"].tolist()),
            coords=given[f"{i}_frac"],
            cartesian=False,
        )
        started = time.perf_counter()
        if n_first:
            graph, lines = subgraph(atoms, int(k), float(cutoff), bool(canonical), int(n_first))
        else:
            graph, lines = whole_graph(atoms, int(k), float(cutoff), bool(canonical))
        answer[f"{i}_seconds"] = time.perf_counter() - started
        answer["peak"] = memory("VmHWM") - before
        for name, tensors in (("", graph.edges()), ("lg_", lines.edges())):
            answer[f"{i}_{name}u"], answer[f"{i}_{name}v"] = (x.numpy() for x in tensors)
        answer[f"{i}_r"], answer[f"{i}_cos"] = graph.edata["r"].numpy(), lines.edata["h"].numpy()
    np.savez(out, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
