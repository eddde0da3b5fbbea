"""What the commands share: options, JSON on stdout, workers, what is said when a run stops."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emigbench.errors import EmigbenchError, StoppedError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from emigbench.datasets.store import Dataset

ModelArgument = Annotated[str, typer.Argument(help="Registry name, package.module:Class or file.py:Class.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="full (619 paths) or spinels (82, in the package).")]
RunDatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="full or spinels; if not given, the one that the run.json beside the predictions names, or full.",
    ),
]
SubmissionsOption = Annotated[Path, typer.Option("--submissions", help="Folder of the submissions.")]
SourceOption = Annotated[
    Path | None,
    typer.Option("--source", help="Folder with the source files, curated on the spot (or EMIGBENCH_SOURCE)."),
]
DaskOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster to run on, see docs/scale.md.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load_dataset(dataset: str, source: Path | None) -> Dataset:
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
def talk_on_stderr() -> Iterator[None]:
    """Send to stderr what a model prints, from Python, from native code or from a process that it starts.

    It is no result.
    """
    with redirect_stdout(sys.stderr):
        if sys.__stdout__ is None or sys.__stderr__ is None:  # closed, so that the descriptors may be anybody's
            yield
            return
        sys.__stdout__.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            if os.name == "posix":
                ctypes.CDLL(None).fflush(None)  # what native code has printed and its library still holds
            os.dup2(kept, 1)
            os.close(kept)


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
def executor_of(workers: int, dask: str | None) -> Iterator[Executor | None]:
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


@contextmanager
def told_when_stopped(folder: Path) -> Iterator[None]:
    """Say that what is finished is not lost where a run stops: by an error, Ctrl-C or the SIGTERM of a batch system."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(f"Stopped; what is finished is kept in {folder}, go on with --resume.", file=sys.stderr)
        raise
    except StoppedError as error:
        raise EmigbenchError(f"{error} What is finished is kept in {folder}, go on with --resume.") from error
    finally:
        signal.signal(signal.SIGTERM, before)
