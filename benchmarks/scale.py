"""Ten paths in one process, by two worker processes and by two Dask workers: what waits and what computes.

`python -m benchmarks.scale [--seconds S] [--runs N]`. A path takes about S seconds. All of a run counts, the start of
the worker processes too; the Dask cluster stands before its runs begin. What waits shows what the spreading itself
costs; what computes shows also whether two cores were free.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from distributed import LocalCluster
from tabulate import tabulate

from emigbench import MigrationPath, Prediction, evaluation, load, splits, workers

SECONDS, ROUNDS = "EMIGBENCH_BENCHMARK_SECONDS", "EMIGBENCH_BENCHMARK_ROUNDS"
DATA = load("spinels")
FREE, *TEN = splits.held_out(DATA.labels, "official")
"""The test has eleven paths; the first takes no time, so that two workers can halve the work."""


class Waits:
    one_by_one = True

    def fit(self, train, *, seed): ...

    def predict(self, paths: list[MigrationPath]) -> list[Prediction]:
        if paths[0].id != FREE:
            self.work()
        return [Prediction(path.id, 0.5) for path in paths]

    def work(self) -> None:
        time.sleep(float(os.environ[SECONDS]))


class Computes(Waits):
    def work(self) -> None:
        burn(int(os.environ[ROUNDS]))


def burn(rounds: int) -> int:
    return sum(n * n for n in range(rounds))


def rounds_in(seconds: float) -> int:
    """How many rounds this machine does in a time."""
    rounds = 2_000_000
    started = time.perf_counter()
    burn(rounds)
    return round(rounds * seconds / (time.perf_counter() - started))


def seconds_of(model: str, start: Callable[[], AbstractContextManager[Executor | None]]) -> float:
    """Wall time of a run."""
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        with start() as executor:
            evaluation.evaluate(
                f"benchmarks.scale:{model}", DATA,
                split_names=["official"], seeds=[0], out=Path(folder) / "out", executor=executor,
            )  # fmt: skip
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    os.environ |= {SECONDS: str(options.seconds), ROUNDS: str(rounds_in(options.seconds))}
    rows = []
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        ways = {
            "one process": nullcontext,
            "2 worker processes": partial(workers.processes, 2),
            "2 Dask workers": partial(workers.dask, cluster.scheduler_address),
        }
        for model in (Waits, Computes):
            times = [[seconds_of(model.__name__, start) for start in ways.values()] for _ in range(options.runs)]
            for way, of_way in zip(ways, zip(*times, strict=True), strict=True):
                ratio = median(alone / t for (alone, *_), t in zip(times, of_way, strict=True))
                rows.append([model.__name__.lower(), way, median(of_way), ratio])
    print(f"{len(TEN)} paths of {options.seconds:g} s, {options.runs} runs in turns")
    print(tabulate(rows, ["a model that", "", "median s", "times faster"], floatfmt=("", "", ".1f", ".2f")))


if __name__ == "__main__":
    main()
