"""Run a model on splits: one unit of work a fold and seed, each kept as soon as it is done."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emigbench import provenance, splits
from emigbench.datasets.hashing import predictions_hash
from emigbench.datasets.store import Dataset
from emigbench.errors import EmigbenchError, in_words
from emigbench.model import create
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, grouped, write_predictions
from emigbench.records import LabelledPath, MigrationPath, Prediction
from emigbench.splits import Fold
from emigbench.storage import write_text

UNFINISHED = ".unfinished"
PLAN_FILE = "plan.json"

Progress = Callable[[str, int, int], None]
"""Called with the name of a finished unit, how many are done, and how many there are."""


@dataclass(frozen=True)
class Unit:
    """One fit and its predictions: a fold of a split, with one seed."""

    split: str
    fold: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the unit and of its file."""
        return f"{self.split}--{self.fold}--seed-{self.seed}"


@dataclass(frozen=True)
class UnitResult:
    """What one unit gave.

    Attributes:
        predictions: one for each held-out path.
        fit_seconds: time of `fit`.
        predict_seconds: time of `predict` for all held-out paths.
        kind: what the model says it is (`model.kind`, see `submission.Kind`), if anything.
        details: what the model tells about its fit (`model.details`), if anything.
        peak_memory_mb: largest memory of the process so far.
    """

    predictions: tuple[Prediction, ...]
    fit_seconds: float
    predict_seconds: float
    kind: str | None
    details: Mapping[str, Any]
    peak_memory_mb: float | None


def evaluate(
    model: str,
    data: Dataset,
    *,
    split_names: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    resume: bool = False,
    executor: Executor | None = None,
    progress: Progress = lambda name, done, total: None,
) -> PredictionSet:
    """Fit and predict every fold and seed, and write `predictions.csv` and `run.json` into `out`.

    Finished units are kept in `out/.unfinished`; with `resume` a run that was stopped goes on after them and
    ends in the same `predictions.csv`, bit for bit.

    Args:
        model: registry name, `package.module:Class` or `file.py:Class`.
        data: the dataset.
        split_names: splits to run, see `emigbench.splits.SPLITS`.
        seeds: one fit for each.
        out: folder for the results; must not hold any yet.
        resume: go on with what `out` holds.
        executor: runs the units side by side; one after the other if None.
        progress: called after each unit.

    Raises:
        EmigbenchError: if the model fails, or `out` holds something else.
    """
    create(model)
    split_names, seeds = list(dict.fromkeys(split_names)), list(dict.fromkeys(seeds))
    folds = {
        Unit(split, fold.name, seed): fold
        for split in split_names
        for seed in seeds
        for fold in splits.folds(data.labels, split)
    }
    plan = {"model": model, "dataset": data.sha256, "splits": split_names, "seeds": seeds}
    _start(out, plan, resume)
    done = {unit: result for unit in folds if (result := _read_unit(_unit_file(out, unit), folds[unit])) is not None}
    for unit, result in _run(model, data, {u: fold for u, fold in folds.items() if u not in done}, executor):
        write_text(_unit_file(out, unit), json.dumps(asdict(result)))
        done[unit] = result
        progress(unit.name, len(done), len(folds))
    return _finish(out, model, data, {unit: done[unit] for unit in folds})


def run_unit(model: str, unit: Unit, train: Sequence[LabelledPath], held_out: Sequence[MigrationPath]) -> UnitResult:
    """Fit a fresh model and predict the held-out paths.

    Raises:
        EmigbenchError: if the model raises, or does not give one prediction for each path.
    """
    fresh = create(model)
    try:
        started = time.perf_counter()
        fresh.fit(train, seed=unit.seed)
        fitted = time.perf_counter()
        predictions = tuple(fresh.predict(held_out))
        finished = time.perf_counter()
        kind, details = getattr(fresh, "kind", None), _plain(dict(getattr(fresh, "details", {})))
    except EmigbenchError:
        raise
    except Exception as error:
        raise EmigbenchError(
            f"Model {model!r} failed on {unit.name}: {in_words(error)} "
            f"(finished units are kept, go on with --resume; --debug shows the traceback)."
        ) from error
    _check_answer(model, unit, predictions, held_out)
    return UnitResult(
        predictions,
        fit_seconds=fitted - started,
        predict_seconds=finished - fitted,
        kind=kind if isinstance(kind, str) else None,
        details=details,
        peak_memory_mb=provenance.peak_memory_mb(),
    )


def _check_answer(model: str, unit: Unit, predictions: Sequence[Prediction], held_out: Sequence[MigrationPath]) -> None:
    for prediction in predictions:
        if not isinstance(prediction, Prediction):
            raise EmigbenchError(
                f"Model {model!r} predicted a {type(prediction).__name__} on {unit.name}, not a Prediction."
            )
    given, asked = Counter(str(prediction.id) for prediction in predictions), [path.id for path in held_out]
    wrong = (
        [f"{path_id!r} is none of them" for path_id in given if path_id not in asked]
        + [f"{path_id!r} is given twice" for path_id, times in given.items() if times > 1]
        + [f"{path_id!r} is missing" for path_id in asked if path_id not in given]
    )
    if wrong:
        raise EmigbenchError(
            f"Model {model!r} gave {len(predictions)} predictions for {len(asked)} paths on {unit.name}: {wrong[0]}."
        )


def _plain(value: Any) -> Any:
    """A model's own details as JSON has them: arrays as lists, no NaN, anything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _run(
    model: str, data: Dataset, folds: Mapping[Unit, Fold], executor: Executor | None
) -> Iterator[tuple[Unit, UnitResult]]:
    def arguments(unit: Unit) -> tuple[str, Unit, list[LabelledPath], list[MigrationPath]]:
        train = [data.by_id[path_id] for path_id in folds[unit].train]
        return model, unit, train, [data.by_id[path_id].path for path_id in folds[unit].held_out]

    if executor is None:
        for unit in folds:
            yield unit, run_unit(*arguments(unit))
        return
    futures = {executor.submit(run_unit, *arguments(unit)): unit for unit in folds}
    failure: BaseException | None = None
    try:
        for future in as_completed(futures):
            try:
                result = future.result()
            except CancelledError:
                continue
            except Exception as error:  # what runs beside it may still finish, and is kept
                failure = failure or error
                _cancel(futures)
            else:
                yield futures[future], result
    finally:
        _cancel(futures)
    if isinstance(failure, BrokenExecutor):
        raise EmigbenchError(
            f"A worker process running model {model!r} died, perhaps for lack of memory; "
            f"finished units are kept, go on with --resume and fewer --workers."
        ) from failure
    if failure is not None:
        raise failure


def _cancel(futures: Iterable[Future[UnitResult]]) -> None:
    for future in futures:
        future.cancel()


def _start(out: Path, plan: Mapping[str, Any], resume: bool) -> None:
    """Make sure that `out` is empty of results, or holds those of this very plan."""
    plan_file = out / UNFINISHED / PLAN_FILE
    results = [name for name in (provenance.RUN_FILE, PREDICTIONS_FILE) if (out / name).is_file()]
    if plan_file.is_file():
        if not resume:
            raise EmigbenchError(f"{out} holds an unfinished run; go on with --resume or choose another --out.")
        found = _read_plan(plan_file)
        changed = [key for key in plan if found.get(key) != plan[key]]
        if changed:
            raise EmigbenchError(
                f"The unfinished run in {out} has another {changed[0]} ({found.get(changed[0])!r}, now "
                f"{plan[changed[0]]!r}); choose another --out."
            )
    elif results:
        raise EmigbenchError(f"{out} holds a finished run; choose another --out or remove {' and '.join(results)}.")
    else:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)  # units without a plan are of nobody knows what
        write_text(plan_file, json.dumps(plan))


def _read_plan(file: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EmigbenchError(
            f"{file} is damaged ({in_words(error)}), so the run cannot go on; remove {file.parent} and start again."
        ) from error


def _unit_file(out: Path, unit: Unit) -> Path:
    return out / UNFINISHED / f"{unit.name}.json"


def _read_unit(file: Path, fold: Fold) -> UnitResult | None:
    """What an earlier run kept, or None where it kept nothing or the file is damaged: then the unit runs again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["predictions"] = tuple(Prediction(**prediction) for prediction in content["predictions"])
        result = UnitResult(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    complete = sorted(p.id for p in result.predictions) == sorted(fold.held_out)
    return result if complete else None


def _finish(out: Path, model: str, data: Dataset, results: Mapping[Unit, UnitResult]) -> PredictionSet:
    """Write the whole result, then forget the units."""
    rows = ((unit.split, unit.seed, p) for unit, result in results.items() for p in result.predictions)
    predictions = grouped(rows, data.labels, f"Model {model!r}")
    file = out / PREDICTIONS_FILE
    write_predictions(predictions, file)
    record = provenance.run_record(
        dataset={"name": data.name, "version": data.version, "sha256": data.sha256},
        predictions_sha256=predictions_hash(file.read_text(encoding="utf-8").splitlines()),
        model=model,
        kind=next((result.kind for result in results.values()), None),
        units=[
            {
                **asdict(unit),
                "n_held_out": len(result.predictions),
                "fit_seconds": round(result.fit_seconds, 3),
                "predict_seconds": round(result.predict_seconds, 3),
                "peak_memory_mb": result.peak_memory_mb,
                "details": dict(result.details),
            }
            for unit, result in results.items()
        ],
    )
    write_text(out / provenance.RUN_FILE, json.dumps(record, indent=1, allow_nan=False) + "\n")
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return predictions
