"""What a force call costs, and whether asking for the images of a band at once pays.

`python -m benchmarks.neb chgnet` (or sevennet, mattersim) in the environment of that potential, one thread, on
embedded spinels: three images of a band one by one and as one batch, in turns.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tabulate import tabulate

import emigbench
from emigbench_baselines.neb import foundation
from emigbench_baselines.neb.endpoints import band


def cost(call: Callable[[], object]) -> float:
    """Seconds of processor time of one call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", choices=["chgnet", "sevennet", "mattersim"])
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    make = getattr(foundation, chosen.potential)
    alone, together = make(batch=1), make(batch=3)
    by_size = {entry.path.n_atoms: entry.path for entry in emigbench.load("spinels")}
    rows = []
    for n_atoms, path in sorted(by_size.items()):
        images = band(path)[1:4]
        alone.evaluate(images), together.evaluate(images)
        pairs = [
            (cost(lambda images=images: alone.evaluate(images)), cost(lambda images=images: together.evaluate(images)))
            for _ in range(chosen.runs)
        ]
        one_by_one, batch = (median(times) for times in zip(*pairs, strict=True))
        rows.append([path.id, n_atoms, one_by_one / 3, batch / 3, median(b / a for a, b in pairs)])
    columns = ["path", "atoms", "a cell alone (s)", "in a batch (s)", "batch / alone"]
    print(tabulate(rows, columns, floatfmt=".2f"))


if __name__ == "__main__":
    main()
