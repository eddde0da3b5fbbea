"""What the commands share: options, progress on stderr, JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from emigbench.errors import EmigbenchError

DatasetOption = Annotated[str, typer.Option("--dataset", help="full (619 paths) or spinels (82, in the package).")]
SourceOption = Annotated[
    Path | None,
    typer.Option("--source", help="Folder with the source files, curated on the spot (or EMIGBENCH_SOURCE)."),
]
DaskOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster that does it, see docs/scale.md.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load_dataset(dataset: str, source: Path | None) -> Any:
    """The dataset, curated from `source` if that is given."""
    from emigbench.datasets import store

    if source is not None:
        os.environ["EMIGBENCH_SOURCE"] = str(source)
        os.environ.pop("EMIGBENCH_DATA", None)  # load() would prefer it, but an option wins over the environment
    return store.load(dataset)


def print_json(content: Any) -> None:
    """Print what JSON can say; NaN is an error."""
    print(json.dumps(content, indent=2, allow_nan=False))


@contextmanager
def progress_on_stderr(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Progress on stderr, fed by (what, done, total): a bar with the time left, or now and then a line in a log."""
    if not sys.stderr.isatty():
        yield _log_lines(title)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    whole_run = float("inf")  # a path can take longer than the bar usually looks back
    with Progress(*columns, console=Console(stderr=True), expand=True, speed_estimate_period=whole_run) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(task, completed=done, total=total, description=f"{title}: {what}")


def _log_lines(title: str) -> Callable[[str, int, int], None]:
    """A line for what is done, the first after two seconds, then less and less often down to once a minute."""
    wait = 2.0
    started = time.monotonic()
    due = started + wait
    before: int | None = None

    def progress(what: str, done: int, total: int) -> None:
        nonlocal wait, due, before
        now = time.monotonic()
        before = done - 1 if before is None else before  # a resumed run does not start at none
        if now > due:
            wait = min(2 * wait, 60.0)
            due = now + wait
            left = timedelta(seconds=round((now - started) / (done - before) * (total - done)))
            print(
                f"{title}: {done} of {total} done, about {left} left, the last is {what}", file=sys.stderr, flush=True
            )

    return progress


def check_cluster(model: str, workers: int, dask: str | None) -> None:
    """Make sure that a model can be run on a cluster, if one is named.

    Raises:
        EmigbenchError: if it cannot.
    """
    from emigbench.model import is_in_file

    if dask is None:
        return
    if workers > 1:
        raise EmigbenchError("--workers and --dask exclude each other: a cluster has its own workers.")
    if is_in_file(model):
        raise EmigbenchError(
            f"Model {model!r} is a file of this machine, which the workers of --dask do not have; install it there as "
            f"a package and name it as package.module:Class."
        )


@contextmanager
def executor_of(workers: int, dask: str | None) -> Iterator[Any]:
    """What spreads the work: a cluster, processes, or None for this process alone."""
    from emigbench import workers as executors

    if dask is not None:
        with executors.dask(dask) as executor:
            yield executor
    elif workers > 1:
        with executors.processes(workers) as executor:
            yield executor
    else:
        yield None
