import hashlib
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import entry_points, metadata
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from helpers import PATIENCE_S, one_sentence

from emigbench import EmigbenchError, Prediction, provenance
from emigbench.model import BarrierModel, code_of, create, families, packages_of, registered

GOOD = """
from emigbench import Prediction

class Model:
    def fit(self, train, *, seed): pass
    def predict(self, paths): return [Prediction(path.id, 0.5) for path in paths]

def make(): return Model()

three = 3
class NoFit:
    def predict(self, paths): return []
class NeedsArguments(Model):
    def __init__(self, depth): pass
class Raises(Model):
    def __init__(self): raise RuntimeError("first line\\nsecond line.")
"""


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_model", raising=False)  # another test's
    file = tmp_path / "my_model.py"
    file.write_text(GOOD)
    return file


def refused(spec) -> str:
    with pytest.raises(EmigbenchError) as error:
        create(str(spec))
    return one_sentence(error)


def test_every_registered_model_has_a_name_and_follows_the_protocol():
    names = list(registered())
    assert names == sorted(names)
    assert {"train-mean", "train-median", "group-median", "nearest-hop"} <= set(names)
    for name in ("train-mean", "nearest-hop"):
        assert isinstance(create(name), BarrierModel)


def test_each_call_builds_a_fresh_model():
    assert create("train-mean") is not create("train-mean")


def test_class_or_function_in_a_file(model_file):
    for name in ("Model", "make"):
        model = create(f"{model_file}:{name}")
        assert isinstance(model, BarrierModel)
        assert type(model).__name__ == "Model"


def test_a_misspelt_name():
    assert "did you mean path-forest" in refused("path-forrest")
    assert "; registered are " in refused("unheard-of")


def test_a_file_without_a_class(model_file):
    message = refused(model_file)
    assert message == f"{model_file} names no class; name the one that is the model, such as {model_file}:MyModel."


def test_class_in_a_module_of_the_working_directory(model_file, monkeypatch):
    package = model_file.parent / "some_package_of_mine"
    package.mkdir()
    (package / "model.py").write_text(GOOD)
    monkeypatch.chdir(model_file.parent)
    assert isinstance(create("some_package_of_mine.model:Model"), BarrierModel)


def test_a_file_can_import_its_neighbours_at_once_and_later(model_file):
    """The folder stays behind everything else on the path, once, so that nothing installed is replaced."""
    (model_file.parent / "neighbour_of_my_model.py").write_text("value = 1\n")
    (model_file.parent / "later_neighbour.py").write_text("value = 2\n")
    model_file.write_text(
        "import neighbour_of_my_model\nclass Late:\n  def fit(self, train, seed): pass\n"
        "  def predict(self, paths):\n    import later_neighbour\n    return later_neighbour.value\n"
    )
    before = list(sys.path)
    for _ in range(2):
        assert create(f"{model_file}:Late").predict([]) == 2
    assert sys.path == [*before, str(model_file.parent)]


def test_what_a_file_defines_is_known_in_processes_that_its_model_starts(tmp_path):
    """As with joblib, or a pool where processes are not forked; not of a second file of that name."""
    for folder in ("one", "two"):
        file = tmp_path / folder / "model_with_a_pool.py"
        file.parent.mkdir()
        file.write_text(f"{GOOD}\ndef where():\n    return {folder!r}\n")
        assert create(f"{file}:Model")
    where = sys.modules["model_with_a_pool"].where
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert executor.submit(where).result(PATIENCE_S) == "one"


@pytest.mark.parametrize("name", ["numpy", "__main__", "model.v2", "my-model"])
def test_any_name_of_a_file_will_do(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(GOOD)
    before = sys.modules.get(name)
    assert create(f"{tmp_path / name}.py:Model")
    assert before is None or sys.modules[name] is before


def test_a_file_of_a_package_is_named_as_a_module(model_file):
    model_file.write_text("from .other import thing\n" + GOOD)
    assert "name a model in a package as package.module:Class" in refused(f"{model_file}:Model")


def test_a_file_named_as_a_package_does_not_replace_it(tmp_path):
    (tmp_path / "numpy.py").write_text(GOOD)
    code = (
        f"import numpy; from emigbench.model import create; create({str(tmp_path / 'numpy.py')!r} + ':Model');"
        "import sys; assert sys.modules['numpy'] is numpy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


def test_unknown_name_lists_the_registered_ones():
    message = refused("no-such-model")
    assert "'no-such-model'" in message
    assert "train-mean" in message
    assert "file.py:Class" in message


@pytest.mark.parametrize("spec", ["", ":", ":Class", "package:"])
def test_half_a_name(spec):
    assert repr(spec) in refused(spec)


def test_missing_class(model_file):
    message = refused(f"{model_file}:Absent")
    assert "'Absent'" in message
    assert str(model_file) in message


def test_missing_file(tmp_path):
    assert str(tmp_path / "absent.py") in refused(tmp_path / "absent.py:Model")


def test_missing_module():
    message = refused("no_such_package_at_all.models:Model")
    assert "No module named 'no_such_package_at_all'" in message
    assert "emigbench[" not in message  # an extra of ours cannot help


@pytest.mark.parametrize("name", ["NoFit"])
def test_a_class_without_fit_or_predict(model_file, name):
    assert "fit() and predict()" in refused(f"{model_file}:{name}")


@pytest.mark.parametrize(
    ("name", "part"), [("NeedsArguments", "depth"), ("Raises", "first line second line"), ("three", "not callable")]
)
def test_a_class_that_cannot_be_built(model_file, name, part):
    message = refused(f"{model_file}:{name}")
    assert part in message
    assert "--debug" in message


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("import a_package_that_nobody_has\n", "a_package_that_nobody_has"),
        ("def broken(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("raise ValueError('x' * 10_000)\n", "ValueError: xxx"),
    ],
)
def test_a_file_that_cannot_be_imported(model_file, code, part):
    model_file.write_text(code)
    message = refused(f"{model_file}:Model")
    assert part in message
    assert str(model_file) in message


def test_a_registered_model_that_lacks_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Lacking("needs-more", ["gpu"])])
    for spec in ("needs-more", "needs-more:large"):  # a model, and one of a family
        message = refused(spec)
        assert "No module named 'absent'" in message
        assert "pip install 'plug-in[gpu]' brings it" in message
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Lacking("needs-more", [])])
    assert "install what is missing" in refused("needs-more")


def test_every_model_of_ours_names_an_extra_that_there_is():
    extras = {e for offered in (registered(), families()) for each in offered.values() for e in each.extras}
    assert {"alignn", "classical", "chgnet", "mace"} <= extras <= set(metadata("emigbench").get_all("Provides-Extra"))


def test_a_name_that_two_distributions_offer_is_refused(monkeypatch):
    ours = entry_points(group="emigbench.models")
    offered = [Lacking("mine"), Lacking("twice"), Lacking("twice", of="another"), *ours]
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: offered)
    for spec in ("twice", "twice:large"):
        assert f"{spec!r} is offered by another and by plug-in; uninstall" in refused(spec)
    assert "No module named 'absent'" in refused("mine")
    assert isinstance(create("train-mean"), BarrierModel)
    assert list(registered()) == sorted({entry_point.name for entry_point in offered})
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Lacking("twice"), Lacking("twice")])
    assert "No module named 'absent'" in refused("twice")  # an editable install may be found twice


def test_what_code_a_model_is_of(model_file, monkeypatch):
    digest = f"sha256 {hashlib.sha256(GOOD.encode()).hexdigest()[:12]}"
    assert code_of(f"{model_file}:Model") == digest
    assert code_of(f"neb:{model_file}:make") == digest
    for spec in ("train-mean", "neb:package.module:make", "package.module:Model", "absent.py:Model"):
        assert code_of(spec) == ""
    monkeypatch.chdir(model_file.parent)
    create("my_model:Model")
    assert code_of("my_model:Model") == digest
    create("emigbench_baselines.floors:TrainMean")
    assert code_of("emigbench_baselines.floors:TrainMean") == ""
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Lacking("theirs")])
    assert code_of("theirs") == code_of(f"theirs:{model_file}:make") == "plug-in 1.2"
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Lacking("my_model", module="my_model")])
    assert code_of("my_model") == code_of("my_model:large") == f"plug-in 1.2 {digest}"
    model_file.write_text(f"{GOOD}# edited")
    assert code_of("my_model") == f"plug-in 1.2 sha256 {hashlib.sha256(model_file.read_bytes()).hexdigest()[:12]}"


def test_what_a_model_needs_is_what_its_distribution_says(model_file, monkeypatch):
    for spec in ("train-mean", f"{model_file}:Model", f"neb:{model_file}:make", "absent"):
        assert packages_of(spec) == []
    requires = ["numpy>=1.26", "Scikit_Learn (>=1.0) ; python_version > '3'", "torch[gpu]", "pytest; extra == 'dev'"]
    entry_point = Lacking("theirs")
    entry_point.dist.requires = requires
    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [entry_point])
    assert packages_of("theirs") == packages_of("theirs:large") == ["plug-in", "numpy", "Scikit_Learn", "torch"]


def test_versions_of_what_a_model_needs_are_told_beside_the_usual(model_file):
    found = provenance.versions(["Tabulate", "scikit_learn", "no-such-package"])
    assert set(found) == set(provenance.versions()) | {"tabulate"}


class Lacking:
    """An entry point of a distribution without what it needs."""

    def __init__(self, name, extras=(), of="plug-in", module=""):
        self.name, self.extras, self.dist = name, extras, SimpleNamespace(name=of, version="1.2")
        self.module = module

    def load(self):
        raise ModuleNotFoundError("No module named 'absent'")


# --- Prediction: what a model answers with


def test_a_prediction_holds_plain_floats():
    np = pytest.importorskip("numpy")
    prediction = Prediction("a", np.float32(0.5), np.array(0.25), "ok", np.int64(3))
    assert [type(v) for v in (prediction.e_m, prediction.std, prediction.seconds)] == [float, float, float]
    assert prediction == Prediction("a", 0.5, 0.25, "ok", 3.0)


@pytest.mark.parametrize(
    "values",
    [
        {"e_m": None},
        {"e_m": float("nan")},
        {"e_m": float("inf")},
        {"e_m": 0.5, "std": -0.1},
        {"e_m": 0.5, "std": float("nan")},
        {"e_m": 0.5, "seconds": -1.0},
        {"e_m": 0.5, "seconds": float("nan")},
        {"e_m": 0.5, "status": "fine"},
        {"e_m": 0.5, "status": "failed"},
    ],
)
def test_a_prediction_that_means_nothing_is_refused_with_its_id(values):
    with pytest.raises(ValueError, match="some-id"):
        Prediction("some-id", **values)


def test_a_failed_prediction_has_no_barrier():
    assert Prediction("a", None, status="failed").e_m is None
