"""A training step of our network beside alignn's own, with DGL and with its pure blocks.

`python -m benchmarks.network [--structures 8] [--canonical] [--steps 5] [--threads 2]`

Each contender is a process of its own, so that its peak memory is its own. All have the same graphs, the same weights
and the same number of threads; they take their steps in turns, so that what else the machine does falls on all alike.
A step is forward, mean absolute error, backward and AdamW, on MODEL-3's bands (SCRATCH's single linear head, since
that is what alignn has). Our passes between products are compiled, as in a long training, and the peak memory includes
torch's compiler; "line by line" they are as in a short training, or where there is no C++ compiler. bfloat16 is what
we train in where the processor has instructions for it. Those whose package is missing are left out, with a word. The
loss of each step is compared: contenders that do not agree have not been compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).parents[1]
SOURCE = Path(os.environ.get("EMIGBENCH_SOURCE") or ROOT.parent / "shared" / "upstream")
CONTENDERS = (
    "ours",
    "ours, bfloat16",
    "ours, line by line",
    "ours, copies kept",
    "alignn with DGL",
    "alignn, pure blocks",
)
PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep; where other programs want the cores, spinning multiplies all times."""
AGREEMENT = {"ours, bfloat16": 1e-3}
"""Largest relative difference of the first loss from ours; 1e-4 for what is not named."""


def read_bands(count: int, canonical: bool, largest: bool) -> list[Any]:
    """Graphs of bands from the full dataset: the smallest ones, or some of all sizes."""
    import emigbench
    from emigbench_baselines.alignn.graph import band_neighbours, crystal_graph

    os.environ.setdefault("EMIGBENCH_SOURCE", str(SOURCE))
    paths = sorted((entry.path for entry in emigbench.load("full")), key=lambda path: path.n_atoms)
    chosen = np.linspace(0, len(paths) - 1 if largest else count - 1, count).astype(int)
    return [crystal_graph(band_neighbours(paths[i]), canonical=canonical) for i in chosen]


def n_line_edges(graph: Any) -> int:
    """Edges of the original's line graph: incoming times outgoing at each atom, less those of an edge with itself."""
    ends = (np.bincount(nodes, minlength=graph.n_atoms) for nodes in (graph.source, graph.destination))
    return int(np.prod(list(ends), axis=0).sum() - (graph.source == graph.destination).sum())


def ours(graphs: Sequence[Any], merge: bool = True, half: bool = False) -> tuple[Any, Callable[[], Any]]:
    import torch

    from emigbench_baselines.alignn.batch import GraphBatch, prepare
    from emigbench_baselines.alignn.network import Backbone

    class SingleCell(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(256, 1)

    model = SingleCell()
    batch = GraphBatch.of([prepare(graph, merge=merge) for graph in graphs])

    def forward() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            pooled = model.pooled(batch)
        return model.fc(pooled.float()).squeeze(1)

    return model, forward


def with_dgl(graphs: Sequence[Any], pure: bool) -> tuple[Any, Callable[[], Any]]:
    os.environ.setdefault("DGLBACKEND", "pytorch")
    import dgl
    import torch
    from alignn.graphs import compute_bond_cosines
    from alignn.models import alignn, alignn_atomwise_pure

    from emigbench_baselines.alignn import elements

    if pure:

        class PureConvolution(alignn_atomwise_pure.EdgeGatedGraphConvPure):
            def __init__(self, n_in: int, n_out: int):
                super().__init__(n_in, n_out)
                self.bn_edges, self.bn_nodes = torch.nn.BatchNorm1d(n_out), torch.nn.BatchNorm1d(n_out)

            def forward(self, g: Any, x: Any, y: Any) -> Any:
                source, destination = g.edges()
                return self.forward_tensors(source, destination, g.num_nodes(), x, y)

        alignn.EdgeGatedGraphConv = PureConvolution
    table = torch.tensor(elements.features())
    crystals, lines = [], []
    for graph in graphs:
        ends = torch.tensor(graph.source).long(), torch.tensor(graph.destination).long()
        crystal = dgl.graph(ends, num_nodes=len(graph.atomic_numbers))
        crystal.ndata["atom_features"] = table[torch.tensor(graph.atomic_numbers).long()]
        crystal.edata["r"] = torch.tensor(graph.displacement)
        line = crystal.line_graph(shared=True)
        line.apply_edges(compute_bond_cosines)
        crystals.append(crystal)
        lines.append(line)
    whole, line = dgl.batch(crystals), dgl.batch(lines)
    model = alignn.ALIGNN()
    return model, lambda: model((whole.local_var(), line.local_var(), None))


BUILDERS: dict[str, Callable[[Sequence[Any]], tuple[Any, Callable[[], Any]]]] = {
    "ours": ours,
    "ours, bfloat16": lambda graphs: ours(graphs, half=True),
    "ours, line by line": ours,
    "ours, copies kept": lambda graphs: ours(graphs, merge=False),
    "alignn with DGL": lambda graphs: with_dgl(graphs, pure=False),
    "alignn, pure blocks": lambda graphs: with_dgl(graphs, pure=True),
}


def weights(path: Path) -> None:
    """The weights that all begin with."""
    import torch

    from emigbench_baselines.alignn.network import build

    torch.manual_seed(0)
    torch.save(build("scratch-add").state_dict(), path)


def write_graphs(graphs: list[Any], folder: Path) -> None:
    for number, graph in enumerate(graphs):
        np.savez(folder / f"{number:03}.npz", **vars(graph))


def read_graphs(folder: Path) -> list[Any]:
    from emigbench_baselines.alignn.graph import CrystalGraph

    files = sorted(folder.glob("*.npz"))
    return [CrystalGraph(**np.load(file, allow_pickle=False)) for file in files]


def work(name: str, folder: Path, threads: int) -> None:
    """One contender: a step for each line on stdin, its result as JSON on stdout."""
    import torch

    from emigbench_baselines.alignn import passes

    torch.set_num_threads(threads)
    graphs = read_graphs(folder)
    model, forward = BUILDERS[name](graphs)
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    targets = torch.linspace(-1, 1, len(graphs))
    compiled = name.startswith("ours") and name != "ours, line by line"
    with passes.compiled() if compiled else nullcontext(True) as works:
        if not works:
            sys.exit("torch finds no C++ compiler that works")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print("ready", flush=True)
        for _ in sys.stdin:
            started, busy = time.perf_counter(), time.process_time()
            loss = (forward() - targets).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds, busy = time.perf_counter() - started, time.process_time() - busy
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(json.dumps({"seconds": seconds, "busy": busy, "loss": loss.item(), "mib": peak / 1024}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--structures", type=int, default=8)
    parser.add_argument("--canonical", action="store_true", help="the scratch models' graphs, each bond once")
    parser.add_argument("--all-sizes", action="store_true", help="bands of all sizes instead of the smallest ones")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.folder, options.threads)
        return

    graphs = read_bands(options.structures, options.canonical, options.all_sizes)
    print(
        f"{len(graphs)} bands, {sum(g.n_atoms for g in graphs)} atoms, {sum(g.n_edges for g in graphs)} edges, "
        f"{sum(map(n_line_edges, graphs))} line-graph edges; {options.threads} threads",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_graphs(graphs, folder)
        weights(folder / "weights.pt")
        results = race(options.only, folder, options.steps + 1, options.threads)
    yardstick = median(r["seconds"] for r in results["ours"][1:]) if "ours" in results else None
    rows = []
    for contender, steps in results.items():
        seconds = [step["seconds"] for step in steps[1:]]
        busy = median(step["busy"] for step in steps[1:])
        ratio = median(seconds) / yardstick if yardstick else None
        rows.append([contender, median(seconds), min(seconds), busy, ratio, steps[-1]["mib"], steps[0]["loss"]])
    headers = ["", "median s", "best s", "CPU s", "times ours", "peak MiB", "first loss"]
    print(tabulate(rows, headers, floatfmt=(".0f", ".2f", ".2f", ".2f", ".2f", ".0f", ".6f")))
    first = {contender: steps[0]["loss"] for contender, steps in results.items()}
    expected = next(iter(first.values()))
    if any(abs(loss - expected) > AGREEMENT.get(contender, 1e-4) * expected for contender, loss in first.items()):
        sys.exit(f"the contenders do not agree on the first loss: {first}")


def race(names: Sequence[str], folder: Path, steps: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """The steps of each contender, taken in turns; the first warms up."""
    workers = {}
    for name in names:
        command = [sys.executable, "-m", "benchmarks.network", "--worker", name, "--folder", str(folder)]
        process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **PATIENCE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "errors").open("w"),
            text=True,
        )
        if _answer(process) == "ready":
            workers[name] = process
        else:
            reason = (folder / "errors").read_text().strip().splitlines()[-1:]
            print(f"{name} is left out: {' '.join(reason)}", file=sys.stderr)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(steps):
        for name, process in workers.items():
            process.stdin.write("step\n")
            process.stdin.flush()
            results[name].append(json.loads(_answer(process)))
    for process in workers.values():
        process.communicate()
    return results


def _answer(process: subprocess.Popen[str]) -> str:
    """The next line that the program itself wrote; packages like to print on import."""
    for line in process.stdout:
        if line.strip() == "ready" or line.startswith("{"):
            return line.strip()
    return ""


if __name__ == "__main__":
    main()
