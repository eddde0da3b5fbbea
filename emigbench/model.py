"""What a model is, and how one is found by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol, runtime_checkable

from emigbench.errors import EmigbenchError, in_words, on_one_line
from emigbench.records import LabelledPath, MigrationPath, Prediction
from emigbench.storage import sha256_of

LOG = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "emigbench.models"

PREFIX_GROUP = "emigbench.model_prefixes"
"""Entry points for families of models: of `prefix:REST`, the one called `prefix` is given `REST`."""

Kind = Literal["floor", "classical", "graph", "interatomic-potential", "hybrid", "published"]
"""What sort of model one is, as the leaderboard shows it."""


@runtime_checkable
class BarrierModel(Protocol):
    """Anything that predicts migration barriers. No base class is needed.

    `fit` is called once, before `predict`, with the training side of a split; a zero-shot model does nothing there.
    The same seed and training paths must give the same model. `predict` returns one `Prediction` for each path, in
    any order; one beyond 100 eV counts as failed. Three attributes are recorded in `run.json` where a model has
    them: `kind`, one of `emigbench.model.Kind`; `details`, a dictionary of what it has to tell about its fit;
    and `fit_seconds`, what training took in all, for a model whose `fit` goes on from a checkpoint (else `fit` is
    timed).

    A model that learns nothing and whose answer for a path depends on neither the other paths nor the seed, such
    as a relaxation with a potential, can say so with the attribute `one_by_one = True`. It is then given no
    training paths and one path at a time. Each path is computed once, whatever folds hold it out, kept as soon as
    it is done, and given to whichever worker is free; a worker keeps its model for all its paths. A path on which
    `predict` raises is `failed` and the others go on, but for an `EmigbenchError`, which ends the run: something
    is wrong that no path can help, such as missing weights. The `details` of all paths are joined, dictionaries key
    by key; what is told of a single path belongs under its id in `{"remarks": {path.id: "no convergence"}}`.

    A model that ships with weights may have `load_trained(self) -> None`, which fills a fresh model with them. The
    commands `predict` and `screen` then use it in place of `fit`. Weights are of a format that nothing is executed
    from (safetensors, JSON, arrays without objects). A model that needs more for new paths than for the dataset's own
    may have `check_ready(self) -> None`, which these commands call before a fit; it raises an `EmigbenchError` that
    says what is missing.
    """

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Learn from labelled paths."""

    def predict(self, paths: Sequence[MigrationPath]) -> Sequence[Prediction]:
        """Predict barriers in eV, one for each path."""


def registered() -> dict[str, EntryPoint]:
    """The models that installed packages offer, by registry name, sorted."""
    return _offered(ENTRY_POINT_GROUP)


def families() -> dict[str, EntryPoint]:
    """What makes a model of `prefix:REST`, by prefix, sorted."""
    return _offered(PREFIX_GROUP)


def _offered(group: str) -> dict[str, EntryPoint]:
    return {e.name: e for e in sorted(entry_points(group=group), key=lambda e: e.name)}


@contextmanager
def staying_here() -> Iterator[None]:
    """Come back to the working folder, wherever a model's code goes from it: what is read and written hangs on it.

    One that has been removed is none to come back to.
    """
    try:
        back: AbstractContextManager[None] = chdir(Path.cwd())
    except FileNotFoundError:
        back = nullcontext()
    with back:
        yield


@staying_here()
def create(spec: str) -> BarrierModel:
    """Build a fresh model from a registry name, `package.module:Class`, `file.py:Class` or `prefix:REST`.

    Raises:
        EmigbenchError: if there is no such model, it cannot be imported or built, or two distributions offer it.
    """
    models = registered()
    _check_offered_once(spec)
    try:
        model = models[spec].load()() if spec in models else _build(spec, list(models))
    except EmigbenchError:
        raise
    except ImportError as error:
        offered = models.get(spec) or families().get(spec.partition(":")[0])
        advice = (offered and extra_of(offered)) or "install what is missing or mend the name"
        if "relative import" in str(error):
            advice = "name a model in a package as package.module:Class"
        raise EmigbenchError(f"Model {spec!r} cannot be imported ({in_words(error)}); {advice}.") from error
    except (Exception, SystemExit) as error:
        raise EmigbenchError(f"Model {spec!r} cannot be built ({in_words(error)}); --debug shows where.") from error
    if not isinstance(model, BarrierModel):
        raise EmigbenchError(f"Model {spec!r} has no fit() and predict(); see emigbench.model.BarrierModel.")
    return model


def _check_offered_once(spec: str) -> None:
    """Make sure that which model a name stands for does not hang on the order of folders on the path."""
    for group, name in ((ENTRY_POINT_GROUP, spec), (PREFIX_GROUP, spec.partition(":")[0])):
        offering = sorted({e.dist.name for e in entry_points(group=group) if e.name == name and e.dist})
        if len(offering) > 1:
            raise EmigbenchError(
                f"Model {spec!r} is offered by {' and by '.join(offering)}; uninstall all but one, or name its class "
                f"as package.module:Class."
            )


def code_of(spec: str) -> str:
    """What code a model is of: the hash of its file or module, behind the distribution that offers it and its version.

    "" for a model of emigbench itself, whose version every run record has. What a file imports is not looked at.
    """
    if offered := _entry_point_of(spec):
        dist = offered.dist
        if dist is None or dist.name == "emigbench":
            return code_of(spec.partition(":")[2])
        return f"{dist.name} {dist.version} {_hash_of(offered.module)}".rstrip()
    where = spec.rpartition(":")[0]
    return "" if where.partition(".")[0] == "emigbench_baselines" else _hash_of(where)


def packages_of(spec: str) -> list[str]:
    """The distribution that offers a model and those that it requires, but for what only its extras need.

    Empty for a model of emigbench itself, or of a file or module that no distribution offers.
    """
    offered = _entry_point_of(spec)
    if offered is None:
        return []
    if offered.dist is None or offered.dist.name == "emigbench":
        return packages_of(spec.partition(":")[2])
    required = [line for line in offered.dist.requires or () if "extra ==" not in line]
    return [offered.dist.name, *(re.split(r"[^\w.-]", line)[0] for line in required)]


def _entry_point_of(spec: str) -> EntryPoint | None:
    """What offers a model by its registry name or the prefix of it."""
    prefix, _, rest = spec.partition(":")
    return registered().get(spec) or (families().get(prefix) if rest else None)


def _hash_of(where: str) -> str:
    """The hash of a Python file or of an imported module's, "" if it has none."""
    file = Path(where if where.endswith(".py") else getattr(sys.modules.get(where), "__file__", None) or "")
    return f"sha256 {sha256_of(file)[:12]}" if file.suffix == ".py" and file.is_file() else ""


def warn_of_other_code(spec: str, made_by: Mapping[str, str], folder: Path) -> None:
    """Say which results in a folder are not of the code that a model has now.

    Args:
        spec: the model's name.
        made_by: name of a result -> what code made it, see `code_of`; "" where that is not known.
        folder: for the message.
    """
    now = code_of(spec)
    if others := [name for name, before in made_by.items() if before not in ("", now)]:
        LOG.warning(
            "The code of model %r has changed since %d of the results in %s were made (the first is %s, of %s and not "
            "%s); they stay as they are, so choose another --out to start anew.",
            spec, len(others), folder, on_one_line(others[0]), on_one_line(made_by[others[0]]), now or "emigbench",
        )  # fmt: skip


def extra_of(entry_point: EntryPoint) -> str:
    """How to install what a model needs beside its own distribution, "" if it names no extra."""
    if not entry_point.extras or entry_point.dist is None:
        return ""
    return f"pip install '{entry_point.dist.name}[{','.join(entry_point.extras)}]' brings it"


def is_in_file(spec: str) -> bool:
    """Whether a model is named as `file.py:Class`: no other machine has that file."""
    return spec not in registered() and spec.rpartition(":")[0].endswith(".py")


def _build(spec: str, known: list[str]) -> object:
    """The model that a prefix makes of the rest, or that a class or function gives."""
    prefix, _, rest = spec.partition(":")
    if rest and (family := families().get(prefix)):
        return family.load()(rest)
    if spec.endswith(".py"):
        raise EmigbenchError(f"{spec} names no class; name the one that is the model, such as {spec}:MyModel.")
    if not names_an_object(spec):
        alike = difflib.get_close_matches(spec, known, n=4)
        named = f"did you mean {' or '.join(alike)}?" if alike else f"registered are {', '.join(known)}."
        raise EmigbenchError(f"There is no model {spec!r}; {named} Your own is package.module:Class or file.py:Class.")
    return load_object(spec)()


def names_an_object(spec: str) -> bool:
    """Whether a name has the form of `package.module:Class` or `file.py:Class`; what it names need not be there."""
    where, _, name = spec.rpartition(":")
    return bool(where and name)


def load_object(spec: str) -> Callable[[], object]:
    """The class or function that `package.module:Class` or `file.py:Class` names.

    Raises:
        EmigbenchError: if there is no such file, or nothing of that name in it.
        ImportError: if the module cannot be imported.
    """
    where, _, name = spec.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    if not hasattr(module, name):
        raise EmigbenchError(f"{where} has no {name!r}, so there is no {spec!r}.")
    return getattr(module, name)  # type: ignore[no-any-return]


def _import_module(name: str) -> ModuleType:
    with _first_on_path(Path.cwd()):
        return importlib.import_module(name)


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise EmigbenchError(f"There is no file {file}, so no model can be read from it.")
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _first_on_path(file.resolve().parent):
        spec.loader.exec_module(module)
    return module


def _module_name(file: Path) -> str:
    """What a file is imported as: its own name, by which processes that the model starts find it as well.

    Where that is the name of something else, another one: a file called numpy.py must not become numpy.
    """
    another = f"emigbench_model_{file.stem}"
    if "." in file.stem:
        return another
    try:
        found = importlib.util.find_spec(file.stem)
    except ValueError:  # it is imported and does not say from where
        return another
    return file.stem if found is None or Path(found.origin or "").resolve() == file.resolve() else another


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Let imports find the modules of a folder, as for a script that lies there.

    Afterwards, what the model imports later, such as inside `fit`, still finds them, behind everything installed.
    """
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before if str(folder) in before else [*before, str(folder)]


def answer_of(model: str, where: str, given: object, held_out: Sequence[MigrationPath]) -> tuple[Prediction, ...]:
    """What a model's `predict` gave, after checking that it is one prediction for each path.

    Args:
        model: its name, for the message.
        where: what it was asked for, for the message.
        given: what it gave.
        held_out: what it was asked for.

    Raises:
        EmigbenchError: if something else than predictions was given, or some for the wrong paths.
    """
    if isinstance(given, Iterable) and not isinstance(given, Mapping | str):
        predictions = tuple(given)
        others = [each for each in predictions if not isinstance(each, Prediction)]
    else:
        predictions, others = (), [given]
    if others:
        what = "nothing (None)" if others[0] is None else f"a {type(others[0]).__name__}"
        raise EmigbenchError(
            f"Model {model!r} predicted {what} on {where}; predict() returns a list with one "
            f"emigbench.Prediction(path.id, e_m) for each path."
        )
    times_given = Counter(prediction.id for prediction in predictions)
    asked = dict.fromkeys(path.id for path in held_out)
    wrong = (
        [f"{path_id!r} is none of them" for path_id in times_given if path_id not in asked]
        + [f"{path_id!r} is given twice" for path_id, times in times_given.items() if times > 1]
        + [f"{path_id!r} is missing" for path_id in asked if path_id not in times_given]
    )
    if wrong:
        raise EmigbenchError(
            f"Model {model!r} gave {len(predictions)} predictions for {len(asked)} paths on {where}: {wrong[0]}."
        )
    return predictions
