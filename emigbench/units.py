"""What a worker does at a time: a fit and its predictions, or one path of a model that takes paths one by one."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emigbench import provenance, run_record
from emigbench.errors import EmigbenchError, in_words, told
from emigbench.model import BarrierModel, answer_of, code_of, create, staying_here
from emigbench.predictions import LARGEST_EV, as_scored, is_implausible
from emigbench.records import LabelledPath, MigrationPath, Prediction

DEEPEST_DETAIL = 10
"""How deep details may nest."""
LONGEST_KEY = 200
"""Characters of a key in them."""
LARGEST_DETAILS = 100_000
"""Characters of the details of a unit as JSON."""


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
    """What one unit gave, or one path.

    Attributes:
        predictions: one for each held-out path; failed where the model's answer is beyond what a barrier can be.
        fit_seconds: time of `fit`, or what the model says of it (`model.fit_seconds`).
        predict_seconds: time of `predict` for all held-out paths.
        kind: what the model says it is (`model.kind`, see `emigbench.model.Kind`), if anything.
        details: what the model tells about its fit (`model.details`), if anything.
        peak_memory_mb: largest memory of the process so far.
        hardware: the machine that it ran on.
        code: what code made it, see `emigbench.model.code_of`; "" in results from before it was recorded.
    """

    predictions: tuple[Prediction, ...]
    fit_seconds: float
    predict_seconds: float
    kind: str | None
    details: Mapping[str, Any]
    peak_memory_mb: float | None
    hardware: Mapping[str, str | int]
    code: str = ""


class PathError(Exception):
    """A model raised on a path; the message is the reason."""


@staying_here()
def run_unit(model: str, unit: Unit, train: Sequence[LabelledPath], held_out: Sequence[MigrationPath]) -> UnitResult:
    """Fit a fresh model and predict the held-out paths.

    Raises:
        EmigbenchError: if the model raises, or does not give one prediction for each path.
    """
    fresh, code = create(model), code_of(model)
    with told(f"Model {model!r} failed on {unit.name}", " (--debug shows the traceback)"):
        started = time.perf_counter()
        fresh.fit(train, seed=unit.seed)
        fitted = time.perf_counter()
        given = fresh.predict(list(held_out))  # its own list, whatever it does with it
        predictions = answer_of(model, unit.name, given, held_out)
        finished = time.perf_counter()
        return _result(fresh, code, predictions, fitted - started, finished - fitted)


@staying_here()
def run_path(model: str, run: str, path: MigrationPath) -> UnitResult:
    """Predict one path with the model that this worker keeps, since weights take long to load.

    Args:
        model: registry name, `package.module:Class` or `file.py:Class`.
        run: name of the run; every run builds its models anew.
        path: what to predict.

    Raises:
        PathError: if the model raises, but for the following.
        EmigbenchError: if it cannot be built, raises one itself, or does not give one prediction for this path.
    """
    kept = _kept_model(model, run)
    try:
        started = time.perf_counter()
        predictions = answer_of(model, path.id, kept.predict([path]), [path])
        seconds = time.perf_counter() - started
        result = _result(kept, _kept.code, predictions, 0.0, seconds)
    except EmigbenchError:
        raise
    except (Exception, SystemExit) as error:
        _kept.model = None  # nobody knows in what state it is now
        raise PathError(in_words(error)) from error
    (prediction,) = result.predictions
    return (
        result
        if prediction.seconds is not None
        else replace(result, predictions=(replace(prediction, seconds=seconds),))
    )


_kept = threading.local()
"""Of each thread, since the workers of a cluster may run several: a model, its code, and which model of which run."""


def _kept_model(model: str, run: str) -> BarrierModel:
    if getattr(_kept, "model", None) is None or _kept.of != (model, run):
        fresh, _kept.code = create(model), code_of(model)
        with told(f"Model {model!r} cannot be made ready"):
            fresh.fit((), seed=0)
        _kept.model, _kept.of = fresh, (model, run)
    return _kept.model  # type: ignore[no-any-return]


def failed(path_id: str, reason: str, code: str) -> UnitResult:
    """The result of a path that a model of this code has no answer for."""
    prediction = Prediction(path_id, None, status="failed")
    return UnitResult((prediction,), 0.0, 0.0, None, {run_record.REMARKS: {path_id: _plain(reason)}}, None, {}, code)


def joined(results: Sequence[UnitResult]) -> UnitResult:
    """The results of single paths as one.

    Times are sums. Details are joined, dictionaries in them key by key; remarks on other paths are left out, since
    a model may still tell of all that it predicted before.
    """
    predictions = tuple(prediction for result in results for prediction in result.predictions)
    details: dict[str, Any] = {}
    for result in results:
        details = updated(details, result.details)
    if isinstance(remarks := details.get(run_record.REMARKS), Mapping):
        details[run_record.REMARKS] = {p.id: remarks[p.id] for p in predictions if p.id in remarks}
    return UnitResult(
        predictions=predictions,
        fit_seconds=math.fsum(result.fit_seconds for result in results),
        predict_seconds=math.fsum(result.predict_seconds for result in results),
        kind=next((result.kind for result in results if result.kind is not None), None),
        details=details,
        peak_memory_mb=max((r.peak_memory_mb for r in results if r.peak_memory_mb is not None), default=None),
        hardware=provenance.joined(result.hardware for result in results),
        code=", ".join(dict.fromkeys(result.code for result in results if result.code)),
    )


def updated(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Details of two results as one, dictionaries in them key by key."""
    both = {
        key: updated(old[key], value)
        for key, value in new.items()
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping)
    }
    return {**old, **new, **both}


def _result(
    model: BarrierModel, code: str, predictions: tuple[Prediction, ...], fit: float, predict: float
) -> UnitResult:
    kind = getattr(model, "kind", None)
    details = _details(model)
    told_seconds = getattr(model, "fit_seconds", None)
    fit_seconds = fit if told_seconds is None else float(told_seconds)
    implausible = {p.id: remark for p in predictions if (remark := _implausible(p))}
    if implausible:
        details = updated(details, {run_record.REMARKS: implausible})
    return UnitResult(
        tuple(map(as_scored, predictions)),
        fit_seconds=fit_seconds if math.isfinite(fit_seconds) else fit,
        predict_seconds=predict,
        kind=kind if isinstance(kind, str) else None,
        details=details,
        peak_memory_mb=provenance.peak_memory_mb(),
        hardware=provenance.hardware(),
        code=code,
    )


def _implausible(prediction: Prediction) -> str:
    """Why an answer is no barrier, "" if it may be one; a file of predictions takes no such number."""
    numbers = {
        "barrier": prediction.e_m,
        "standard deviation": prediction.std,
        "lower end": prediction.low,
        "upper end": prediction.high,
    }
    for name, value in numbers.items():
        if is_implausible(value):
            return f"the model gave a {name} of {value:g} eV, beyond the plausible {LARGEST_EV:g} eV"
    return ""


def _details(model: BarrierModel) -> dict[str, Any]:
    """What a model tells of its fit, as a run record takes it; what is no dictionary is kept under `details`."""
    given = getattr(model, "details", None)
    by_name = given if isinstance(given, Mapping) else {} if given is None else {"details": given}
    details = {str(key)[:LONGEST_KEY]: _plain(value) for key, value in by_name.items()}
    if not isinstance(details.get(run_record.REMARKS, {}), Mapping):
        details = {
            **details,
            run_record.REMARKS: {},
            f"{run_record.REMARKS} (not by path)": details[run_record.REMARKS],
        }
    size = len(json.dumps(details))
    if size > LARGEST_DETAILS:
        return {run_record.LEFT_OUT: f"details of {size} characters, {LARGEST_DETAILS} fit"}
    return details


def _plain(value: Any, depth: int = 0) -> Any:
    """A model's own details as JSON has them: arrays as lists, no NaN, anything else as text.

    What a run record does not take is cut (long texts, what nests deep) or left out (numbers beyond all meaning).
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) < run_record.LARGEST_NUMBER else None
    if isinstance(value, Mapping) and depth < DEEPEST_DETAIL:
        return {str(key)[:LONGEST_KEY]: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < DEEPEST_DETAIL:
        return [_plain(item, depth + 1) for item in value]
    return value if value is None else str(value)[: run_record.LONGEST_TEXT]
