"""What a model is, and how one is found by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from emigbench.errors import EmigbenchError
from emigbench.records import LabelledPath, MigrationPath, Prediction

ENTRY_POINT_GROUP = "emigbench.models"


@runtime_checkable
class BarrierModel(Protocol):
    """Anything that predicts migration barriers. No base class is needed.

    `fit` is called once, before `predict`, with the training side of a split; a zero-shot model does nothing
    there. The same seed and training paths must give the same model. `predict` returns one `Prediction` for
    each path, in any order.
    """

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Learn from labelled paths."""

    def predict(self, paths: Sequence[MigrationPath]) -> Sequence[Prediction]:
        """Predict barriers in eV, one for each path."""


def registered() -> dict[str, EntryPoint]:
    """The models that installed packages offer, by registry name, sorted."""
    return {e.name: e for e in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)}


def create(spec: str) -> BarrierModel:
    """Build a fresh model from a registry name, `package.module:Class` or `file.py:Class`.

    Raises:
        EmigbenchError: if there is no such model or what it needs is not installed.
    """
    models = registered()
    try:
        factory = models[spec].load() if spec in models else _load_object(spec, list(models))
        model = factory()
    except ImportError as error:
        raise EmigbenchError(
            f"Model {spec!r} needs a package that is not installed ({error}); install the extra that brings it, "
            f"for example pip install 'emigbench[classical]'."
        ) from error
    if not isinstance(model, BarrierModel):
        raise EmigbenchError(f"Model {spec!r} has no fit() and predict(); see emigbench.model.BarrierModel.")
    return model


def _load_object(spec: str, known: list[str]) -> type:
    """The object that `package.module:Class` or `file.py:Class` names."""
    where, separator, name = spec.rpartition(":")
    if not separator or not where or not name:
        raise EmigbenchError(
            f"There is no model {spec!r}; registered are {', '.join(known)}, "
            f"or name your own as package.module:Class or file.py:Class."
        )
    if where.endswith(".py"):
        module = _import_file(Path(where))
    else:
        sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(where)
        finally:
            sys.path.remove(str(Path.cwd()))
    try:
        return getattr(module, name)  # type: ignore[no-any-return]
    except AttributeError:
        raise EmigbenchError(f"{where} has no {name!r}, so there is no model {spec!r}.") from None


def _import_file(file: Path):  # type: ignore[no-untyped-def]
    if not file.is_file():
        raise EmigbenchError(f"There is no file {file}, so no model can be read from it.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module
