"""Models that answer for new structures: trained as they ship, or fitted here to a whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from emigbench.datasets import catalogue, store
from emigbench.errors import EmigbenchError, in_words, told
from emigbench.model import BarrierModel, answer_of, create, staying_here
from emigbench.records import LabelledPath, MigrationPath, Prediction


@staying_here()
def predict(model: str | BarrierModel, paths: Sequence[MigrationPath], dataset: str = "full") -> list[Prediction]:
    """Barriers of new paths, in the order of the paths.

    A model by its name is fitted to every path of the dataset, test paths among them: what it says of these is no test.

    Args:
        model: name of a model, made ready by `ready_model`; or a model that is ready.
        paths: what to predict, in a list, each id once.
        dataset: what a model without shipped weights is fitted to.

    Raises:
        EmigbenchError: if `paths` is no such list or `model` is none, there is no such model or dataset, the model is
            not fitted to it, it fails (but for one that takes paths one by one, see `BarrierModel`: then that path is
            `failed`, and its caution says why) or gives no answer for a path.
    """
    paths = _listed(paths)
    if isinstance(model, str):
        name, ready = model, ready_model(model, dataset)
    else:
        name, ready = type(model).__name__, _object(model)
        _check_is_default(dataset, f"Model {name!r} is taken as it is")
    if getattr(ready, "one_by_one", False):
        return [_alone(name, ready, path) for path in paths]
    with told(f"Model {name!r} failed on {_ids(paths)}"):
        predictions = answer_of(name, _ids(paths), ready.predict(paths), paths)
    given = {prediction.id: prediction for prediction in predictions}
    return [given[path.id] for path in paths]


def _alone(name: str, model: BarrierModel, path: MigrationPath) -> Prediction:
    """The barrier of a path from a model that takes one at a time: what it raises costs that path alone."""
    try:
        (prediction,) = answer_of(name, path.id, model.predict([path]), [path])
    except EmigbenchError:
        raise
    except (Exception, SystemExit) as error:
        return Prediction(path.id, None, status="failed", cautions=(f"{in_words(error)}.",))
    return prediction


@staying_here()
def ready_model(spec: str, dataset: str = "full", tell: Callable[[str], None] = lambda sentence: None) -> BarrierModel:
    """A model that can predict: with the weights that it ships, or fitted to every path of a dataset.

    A model that cannot answer for new paths without something else, such as a potential that has to be installed, may
    have `check_ready(self) -> None`, which raises an EmigbenchError; it is called before a fit that may take long.

    Args:
        spec: as `emigbench.model.create` takes it.
        dataset: what a model without shipped weights is fitted to, as `emigbench.load` finds it.
        tell: told in a sentence before a model is fitted, which may take long.

    Raises:
        EmigbenchError: if there is no such model, its weights are not there, or the dataset is not; and if another
            dataset than the full one is named for a model that is not fitted.
    """
    model = create(spec)
    with told(f"Model {spec!r} cannot be made ready"):
        if hasattr(model, "load_trained"):
            _check_is_default(dataset, f"Model {spec!r} comes trained")
            model.load_trained()
        elif getattr(model, "one_by_one", False):
            _check_is_default(dataset, f"Model {spec!r} learns nothing")
            model.fit([], seed=0)
        else:
            if hasattr(model, "check_ready"):
                model.check_ready()
            data = store.load(dataset)
            tell(f"Model {spec!r} ships no weights; it is fitted to the {len(data)} paths of {data.name}.")
            model.fit(list(data), seed=0)
    return model


def _check_is_default(dataset: str, why: str) -> None:
    """Refuse a dataset that somebody chose for a model that will not be fitted to it."""
    if catalogue.info(dataset).name != "full":
        raise EmigbenchError(f"{why}, so the dataset {dataset} would change nothing; leave it out.")


def _object(model: BarrierModel) -> BarrierModel:
    """A model that is none by name, after checking that it is an object that predicts."""
    if isinstance(model, type):
        raise EmigbenchError(f"{model.__name__} is a class; give a fitted object of it.")
    if not hasattr(model, "predict"):
        raise EmigbenchError(f"A model is a name or an object with predict(); {type(model).__name__} is none.")
    return model


def _listed(paths: Iterable[MigrationPath]) -> list[MigrationPath]:
    """What a caller gave, after checking that it is paths, each id once."""
    if isinstance(paths, MigrationPath | LabelledPath):
        raise EmigbenchError(f"Paths are given in a list, even a single one such as {paths.id}: [path].")
    listed = list(paths)
    if others := [type(each).__name__ for each in listed if not isinstance(each, MigrationPath)]:
        raise EmigbenchError(
            f"A barrier is predicted for a MigrationPath, not for a {others[0]}; emigbench.read_path makes one of two "
            f"structure files, and one of a dataset is the .path of a LabelledPath."
        )
    if twice := [path_id for path_id, times in Counter(path.id for path in listed).items() if times > 1]:
        raise EmigbenchError(f"Two paths have the id {twice[0]}; read_path takes another one as id=.")
    return listed


def _ids(paths: Sequence[MigrationPath]) -> str:
    return paths[0].id if len(paths) == 1 else f"{len(paths)} paths"
