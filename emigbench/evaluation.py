"""Run a model on splits and write what it predicts and how that came about; a run that was stopped can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, get_args

from emigbench import jobs, provenance, run_record, splits, unfinished, units
from emigbench.datasets.hashing import predictions_hash
from emigbench.datasets.store import Dataset
from emigbench.errors import EmigbenchError, quoted
from emigbench.model import Kind, code_of, create, packages_of, warn_of_other_code
from emigbench.predictions import (
    MOST_SEEDS,
    PREDICTIONS_FILE,
    PredictionSet,
    as_seed,
    grouped,
    read_predictions,
    write_predictions,
)
from emigbench.progress import Progress
from emigbench.splits import Fold
from emigbench.storage import write_text
from emigbench.units import Unit, UnitResult

LOG = logging.getLogger(__name__)


def evaluate(
    model: str,
    data: Dataset,
    *,
    split_names: Sequence[str],
    seeds: Sequence[int],
    out: Path | str,
    resume: bool = False,
    executor: Executor | None = None,
    progress: Progress = lambda name, done, total: None,
) -> PredictionSet:
    """Fit and predict every fold and seed, and write `predictions.csv` and `run.json` into `out`.

    A model that takes paths one by one (see `BarrierModel`) predicts each path once, whatever folds hold it out.
    A path that it raises on is `failed`, and so is one whose worker dies twice; `run.json` tells the reason.

    What is finished is kept in `out/.unfinished`; with `resume` a run that was stopped goes on after it and ends
    in the same `predictions.csv`, bit for bit (but for the seconds of single paths). Where `out` holds a finished run,
    `resume` adds the splits and seeds that it lacks; paths one by one that did not fail there are not computed again,
    unless the code of the model has changed. A warning says where other code of the model made what is there.

    Args:
        model: registry name, `package.module:Class` or `file.py:Class`.
        data: the dataset.
        split_names: splits to run, see `emigbench.splits.SPLITS`.
        seeds: one fit for each; a single one for a model that takes paths one by one.
        out: folder for the results; must not hold any yet, unless with `resume`.
        resume: go on with what `out` holds: an unfinished run, all of whose results are asked for, or a finished one
            that lacks some of them.
        executor: works side by side, see `emigbench.workers`; one after the other if None.
        progress: called after each unit, or each path.

    Returns:
        Every prediction that `out` holds then.

    Raises:
        StoppedError: if the model fails (one that takes paths one by one: on all of them) or a worker dies.
        EmigbenchError: if there is no such model, split or seed, or `out` holds something else.
    """
    if not isinstance(model, str):
        raise EmigbenchError(
            f"A model is evaluated by its name, such as my_model.py:MyModel, since each fold needs a fresh one, and "
            f"not as an object of type {type(model).__name__}; emigbench.score takes what yours predicts."
        )
    out = Path(out)
    one_by_one = bool(getattr(create(model), "one_by_one", False))
    split_names, seeds = _asked_splits(split_names), _asked_seeds(seeds)
    if one_by_one and len(seeds) > 1:
        raise EmigbenchError(f"Model {model!r} takes paths one by one and no seed changes it; ask for a single seed.")
    plan = {"model": model, "dataset": data.sha256, "splits": split_names, "seeds": seeds}
    if resume:
        _put_in_place(out)
    earlier = _earlier(out, model, data) if resume else None
    folds = _lacking(data, split_names, seeds, earlier)
    if not folds:
        if unfinished.read_plan(out) == plan:  # it was stopped after it had written its results
            unfinished.forget(out)
        raise _nothing_to_do(out, unfinished.read_plan(out))
    if not unfinished.is_in(out):
        _check_results(out, resume)
    todo = (jobs.paths if one_by_one else jobs.fits)(model, data, folds, out / unfinished.FOLDER)
    if resume:
        _take_other_plan(out, plan, {job.file for job in todo})
    unfinished.start(out, plan, "run", resume=resume)
    done = {job.name: result for job in todo if (result := jobs.read_result(job)) is not None}
    warn_of_other_code(model, _made_by(done, earlier), out)
    if one_by_one and earlier:
        known = _known_paths(model, earlier)
        done = {job.name: known[job.name] for job in todo if job.name in known} | done
    with unfinished.kept_if_stopped(out):
        failed = jobs.do(todo, done, executor, progress, one_by_one=one_by_one)
        if one_by_one:
            done = _joined(model, folds, done, failed)
    return _finish(out, model, data, {unit: done[unit.name] for unit in folds}, earlier)


def _asked_splits(split_names: Sequence[str]) -> list[str]:
    """Each split once; whether there is one of that name is seen when its folds are made."""
    if isinstance(split_names, str) or not isinstance(split_names, Iterable):
        raise EmigbenchError(f"split_names is {split_names!r}; give a list of names, such as ['official'].")
    names = list(split_names)
    if others := [name for name in names if not isinstance(name, str)]:
        raise EmigbenchError(f"{quoted(others[0])} is no name of a split; there are {', '.join(splits.NAMES)}.")
    if not names:
        raise EmigbenchError("split_names is empty, so there is nothing to run; give names, such as ['official'].")
    return list(dict.fromkeys(names))


def _asked_seeds(seeds: Sequence[int]) -> list[int]:
    """Each seed once, as files of predictions have it."""
    if not isinstance(seeds, Iterable):
        raise EmigbenchError(f"seeds is {seeds!r}; give them all, such as [0, 1, 2] or range(3).")
    numbers = list(dict.fromkeys(map(as_seed, seeds)))
    if not numbers:
        raise EmigbenchError("seeds is empty, so there is nothing to run; give them, such as [0] or range(5).")
    if len(numbers) > MOST_SEEDS:
        raise EmigbenchError(f"{len(numbers)} seeds were asked for; at most {MOST_SEEDS} are taken.")
    return numbers


def _lacking(
    data: Dataset, split_names: Sequence[str], seeds: Sequence[int], earlier: _Earlier | None
) -> dict[Unit, Fold]:
    """The units that were asked for and that a finished run does not have yet, each with its fold."""
    before = earlier.predictions if earlier else {}
    return {
        Unit(split, fold.name, seed): fold
        for split in split_names
        for seed in seeds
        if seed not in before.get(split, {})
        for fold in splits.folds(data.labels, split)
    }


def _joined(
    model: str, folds: Mapping[Unit, Fold], done: Mapping[str, UnitResult], failed: Mapping[str, Exception]
) -> dict[str, UnitResult]:
    """The results of single paths as those of units.

    Raises:
        EmigbenchError: if there is no result at all: then the model is at fault, not a path.
    """
    if not done:
        path_id, error = next(iter(failed.items()))
        raise EmigbenchError(
            f"Model {model!r} failed on all {len(failed)} paths, the first is {path_id!r} ({error}; --debug shows the "
            f"traceback)."
        ) from error
    code = code_of(model)
    results = {**done, **{path_id: units.failed(path_id, str(error), code) for path_id, error in failed.items()}}
    return {unit.name: units.joined([results[i] for i in fold.held_out]) for unit, fold in folds.items()}


def _nothing_to_do(out: Path, kept: Mapping[str, Any] | None) -> EmigbenchError:
    """What to say where a finished run holds all that is asked for; `kept` is the plan of an unfinished one there."""
    advice = "choose another --out" if kept is None else _how_to_go_on(kept)
    return EmigbenchError(f"The finished run in {out} holds these splits and seeds already; {advice}.")


def _take_other_plan(out: Path, plan: Mapping[str, Any], asked: Set[Path]) -> None:
    """Let an unfinished run be of other splits or seeds from now on, if all that it has finished is among `asked`.

    Raises:
        EmigbenchError: if something that is finished would be lost.
    """
    kept = unfinished.read_plan(out) or plan
    name = unfinished.difference(kept, plan)
    if name not in ("splits", "seeds"):
        return
    if not unfinished.results(out) <= asked:
        raise EmigbenchError(
            f"The unfinished run in {out} is of other {name} ({kept.get(name)}, now {plan[name]}), and some of what it "
            f"has finished would be lost; {_how_to_go_on(kept)}."
        )
    unfinished.write_plan(out, plan)


def _how_to_go_on(kept: Mapping[str, Any]) -> str:
    """What to do about an unfinished run that is of other splits or seeds than were asked for."""
    split_names, seeds = kept.get("splits", []), kept.get("seeds", [])
    options = f"split_names={split_names}, seeds={seeds}, resume=True"
    if seeds == list(range(len(seeds))):
        options = "".join(f"--split {split} " for split in split_names) + f"--seeds {len(seeds)} --resume"
    return f"go on with what was stopped there by {options}, or choose another --out"


def _check_results(out: Path, resume: bool) -> None:
    """Make sure that `out` is empty of results, or holds whole ones that may be added to."""
    results = [name for name in (run_record.RUN_FILE, PREDICTIONS_FILE) if (out / name).is_file()]
    if results and not (resume and len(results) == 2):
        raise EmigbenchError(
            f"{out} holds a finished run; choose another --out, add splits or seeds with --resume or remove "
            f"{' and '.join(results)}."
        )


class _Earlier(NamedTuple):
    """A finished run that splits or seeds are added to."""

    predictions: PredictionSet
    record: Mapping[str, Any]


def _earlier(out: Path, model: str, data: Dataset) -> _Earlier | None:
    """The finished run in `out`, if there is one.

    Raises:
        EmigbenchError: if it is of another model or dataset.
    """
    if not (out / run_record.RUN_FILE).is_file():
        return None
    from emigbench.submission import read_run  # needs packages that a machine for training alone may lack

    record = read_run(out, data.labels)
    if record.get("model") != model:
        raise EmigbenchError(
            f"The finished run in {out} is of model {record.get('model')!r}, now {model!r}; choose another --out."
        )
    return _Earlier(read_predictions(out / PREDICTIONS_FILE, data.labels), record)


def _known_paths(model: str, earlier: _Earlier) -> dict[str, UnitResult]:
    """What a finished run of the code that the model has now gave for single paths, but for those that failed."""
    units_before = earlier.record.get("units", ())
    code = code_of(model)
    if any(str(unit.get("code", "")) != code for unit in units_before):
        return {}
    details: dict[str, Any] = {}
    for unit in units_before:
        details = units.updated(details, unit.get("details", {}))
    remarks = details.pop(run_record.REMARKS, {})
    return {
        p.id: UnitResult(
            (p,),
            fit_seconds=0.0,
            predict_seconds=p.seconds or 0.0,
            kind=earlier.record.get("kind"),
            details={**details, run_record.REMARKS: {p.id: remarks[p.id]} if p.id in remarks else {}},
            peak_memory_mb=None,
            hardware={},
            code=code,
        )
        for seeds in earlier.predictions.values()
        for given in seeds.values()
        for p in given
        if p.status != "failed"
    }


def _made_by(kept: Mapping[str, UnitResult], earlier: _Earlier | None) -> dict[str, str]:
    """What code made the results that are there: name of the unit, or of the path -> code."""
    units_before = earlier.record.get("units", ()) if earlier else ()
    code = {Unit(u.get("split"), u.get("fold"), u.get("seed")).name: str(u.get("code", "")) for u in units_before}
    return code | {name: result.code for name, result in kept.items()}


def _finish(
    out: Path, model: str, data: Dataset, results: Mapping[Unit, UnitResult], earlier: _Earlier | None
) -> PredictionSet:
    """Write the whole result, what was there before included, beside the units; then put it in place of all."""
    rows = [(unit.split, unit.seed, p) for unit, result in results.items() for p in result.predictions]
    if earlier:
        rows += [
            (s, seed, p) for s, seeds in earlier.predictions.items() for seed, given in seeds.items() for p in given
        ]
    predictions = grouped(rows, data.labels, f"Model {model!r}")
    file = out / unfinished.FOLDER / PREDICTIONS_FILE
    write_predictions(predictions, file)
    kind = next((result.kind for result in results.values() if result.kind is not None), None)
    if kind not in (None, *get_args(Kind)):
        known = ", ".join(get_args(Kind))
        LOG.warning("The leaderboard does not know the kind %s of model %r; it knows %s.", quoted(kind), model, known)
    record = run_record.new(
        dataset=data.identity,
        predictions_sha256=predictions_hash(file.read_text(encoding="utf-8")),
        ran_on=provenance.joined(result.hardware for result in results.values()),
        packages=packages_of(model),
        model=model,
        kind=kind,
        units=[_recorded(unit, result) for unit, result in results.items()],
    )
    if earlier:
        record = run_record.added(record, earlier.record)
    write_text(out / unfinished.FOLDER / run_record.RUN_FILE, run_record.text_of(record))
    _put_in_place(out)
    return predictions


def _recorded(unit: Unit, result: UnitResult) -> dict[str, Any]:
    """What the run record says of a unit."""
    return {
        **asdict(unit),
        "n_held_out": len(result.predictions),
        "fit_seconds": round(result.fit_seconds, 3),
        "predict_seconds": round(result.predict_seconds, 3),
        "peak_memory_mb": result.peak_memory_mb,
        "details": dict(result.details),
        **({"code": result.code} if result.code else {}),
    }


def _put_in_place(out: Path) -> None:
    """Move a whole result to where it belongs and forget the units; nothing to do unless its last file is written.

    A run that is stopped between the two moves does the second when it is resumed.
    """
    if not (out / unfinished.FOLDER / run_record.RUN_FILE).is_file():
        return
    try:
        for name in (PREDICTIONS_FILE, run_record.RUN_FILE):
            if (out / unfinished.FOLDER / name).is_file():
                (out / unfinished.FOLDER / name).replace(out / name)
    except OSError as error:
        raise EmigbenchError(f"Cannot write to {out}: {error.strerror}.") from error
    unfinished.forget(out)
