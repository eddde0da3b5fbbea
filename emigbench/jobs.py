"""The work of a run: a fit of a fold and seed or a single path at a time, each result kept as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from emigbench import units
from emigbench.datasets.store import Dataset
from emigbench.progress import Progress
from emigbench.records import Prediction
from emigbench.splits import Fold
from emigbench.storage import write_text
from emigbench.units import PathError, Unit, UnitResult
from emigbench.workers import died, outcomes


@dataclass(frozen=True)
class Job:
    """What a worker does at a time, and where its result is kept.

    Attributes:
        name: for people.
        file: where its result is kept.
        held_out: ids that it predicts.
        call: does it.
    """

    name: str
    file: Path
    held_out: tuple[str, ...]
    call: partial[UnitResult]


def fits(model: str, data: Dataset, folds: Mapping[Unit, Fold], folder: Path) -> list[Job]:
    """One job for each fold and seed."""
    return [
        Job(
            unit.name,
            folder / f"{unit.name}.json",
            fold.held_out,
            partial(
                units.run_unit,
                model,
                unit,
                [data.by_id[path_id] for path_id in fold.train],
                [data.by_id[path_id].path for path_id in fold.held_out],
            ),
        )
        for unit, fold in folds.items()
    ]


def paths(model: str, data: Dataset, folds: Mapping[Unit, Fold], folder: Path) -> list[Job]:
    """One job for each path that any fold holds out."""
    held_out = {path_id for fold in folds.values() for path_id in fold.held_out}
    run = uuid4().hex
    return [
        Job(
            entry.id,
            folder / f"path--{quote(entry.id, safe='')}.json",
            (entry.id,),
            partial(units.run_path, model, run, entry.path),
        )
        for entry in data
        if entry.id in held_out
    ]


def do(
    jobs: Sequence[Job], done: dict[str, UnitResult], executor: Executor | None, progress: Progress, *, one_by_one: bool
) -> dict[str, Exception]:
    """Do the jobs that are not `done`, and keep each result and add it there; the paths that failed, and why.

    Raises:
        EmigbenchError: if a fit fails or its worker dies.
    """
    failed: dict[str, Exception] = {}
    for job, outcome in outcomes({job: job.call for job in jobs if job.name not in done}, executor, (PathError,)):
        if isinstance(outcome, UnitResult):
            write_text(job.file, json.dumps(asdict(outcome)))
            done[job.name] = outcome
        elif one_by_one:
            failed[job.name] = outcome  # not kept: a resumed run tries it again
        else:
            raise died(f"The worker of {job.name}") from outcome
        name = f"{job.name} (failed)" if job.name in failed else job.name
        progress(name, len(done) + len(failed), len(jobs))
    return failed


def read_result(job: Job) -> UnitResult | None:
    """What an earlier run kept, or None where it kept nothing or the file is damaged: then the job runs again."""
    try:
        content = json.loads(job.file.read_text(encoding="utf-8"))
        content["predictions"] = tuple(Prediction(**prediction) for prediction in content["predictions"])
        result = UnitResult(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    complete = sorted(p.id for p in result.predictions) == sorted(job.held_out)
    return result if complete else None
