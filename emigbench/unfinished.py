"""What is kept of a run that has not come to its end: the plan of it, and its results so far, in a folder of its own.

A run that is resumed has to be the one that was stopped, so what it is to do is written down first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emigbench.errors import EmigbenchError, StoppedError, in_words
from emigbench.storage import write_text

FOLDER = ".unfinished"
PLAN_FILE = "plan.json"


def start(out: Path, plan: Mapping[str, Any], what: str, *, resume: bool) -> None:
    """Write down what a run is to do, or make sure that the one that was stopped there was to do the same.

    Args:
        out: the run's folder.
        plan: name -> value of everything that the results depend on, as JSON has it.
        what: what to call the run.
        resume: go on with the one that was stopped.

    Raises:
        EmigbenchError: if there is an unfinished run, and it is not to be resumed or had another plan.
    """
    before = read_plan(out)
    if before is None:
        forget(out)  # results without a plan are of nobody knows what
        write_plan(out, plan)
        return
    if not resume:
        raise EmigbenchError(f"{out} holds an unfinished {what}; go on with --resume or choose another --out.")
    if name := difference(before, plan):
        raise EmigbenchError(
            f"The unfinished {what} in {out} has another {name} ({before.get(name)!r}, now {plan[name]!r}); choose "
            f"another --out."
        )


def difference(before: Mapping[str, Any], plan: Mapping[str, Any]) -> str | None:
    """The first name of a plan that had another value before, None if there is none."""
    return next((name for name, value in plan.items() if before.get(name) != value), None)


def write_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Write down what a run is to do, in place of what was there."""
    write_text(_plan_file(out), json.dumps(plan))


def results(out: Path) -> set[Path]:
    """The files of single results that an unfinished run has kept."""
    return set((out / FOLDER).glob("*--*.json"))


def is_in(out: Path) -> bool:
    """Whether a folder holds an unfinished run."""
    return _plan_file(out).is_file()


def check_finished(file: Path) -> None:
    """Make sure that a result is not missing only since the run in its folder was stopped.

    Raises:
        EmigbenchError: if it is; it says how to go on.
    """
    if is_in(file.parent) and not file.is_file():
        raise EmigbenchError(
            f"{file.parent} holds an unfinished run and no {file.name} yet; go on with emigbench evaluate … --resume."
        )


def read_plan(out: Path) -> Mapping[str, Any] | None:
    """The plan of the unfinished run in a folder, None if there is none.

    Raises:
        EmigbenchError: if it is damaged.
    """
    if not is_in(out):
        return None
    file = _plan_file(out)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EmigbenchError(
            f"{file} is damaged ({in_words(error)}), so the run cannot go on; remove {file.parent} and start again."
        ) from error


@contextmanager
def kept_if_stopped(out: Path) -> Iterator[None]:
    """Make a StoppedError of an error where results are kept in `out`; else leave nothing there and let it through."""
    try:
        yield
    except EmigbenchError as error:
        if all(file.name == PLAN_FILE for file in (out / FOLDER).iterdir()):
            forget(out)
            raise
        raise StoppedError(str(error)) from error


def forget(out: Path) -> None:
    """Drop what is kept, once it is written elsewhere."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _plan_file(out: Path) -> Path:
    return out / FOLDER / PLAN_FILE
