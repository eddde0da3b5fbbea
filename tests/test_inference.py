from pathlib import Path

import pytest
from helpers import one_sentence

from emigbench import EmigbenchError, Prediction, load, predict
from emigbench.inference import ready_model

ENTRIES = load("spinels")[:3]
PATHS = [entry.path for entry in ENTRIES]
MODELS = """
import os

from emigbench import Prediction

class Shipped:
    def load_trained(self): self.value = 0.4
    def fit(self, train, *, seed): raise AssertionError
    def predict(self, paths): return [Prediction(p.id, self.value) for p in reversed(paths)]

class Fitted:
    def fit(self, train, *, seed): self.value = 0.001 * len(train) + seed
    def predict(self, paths): return [Prediction(p.id, self.value) for p in paths]

class Unready(Fitted):
    def check_ready(self): raise OSError("needs a potential")
    def fit(self, train, *, seed): raise AssertionError

class ZeroShot(Fitted):
    one_by_one = True

class OneAtATime(ZeroShot):
    def predict(self, paths):
        (path,) = paths
        if path.id == FAILS: raise ValueError("no parameters")
        return super().predict(paths)

class Broken(Shipped):
    def load_trained(self): raise OSError("no weights")

class Forgetful(Shipped):
    def predict(self, paths): return super().predict(paths)[1:]

class Foreign(Shipped):
    def predict(self, paths): return [*super().predict(paths), Prediction("elsewhere", 0.4)]

class Numbers(Shipped):
    def predict(self, paths): return [0.4 for path in paths]

class Raises(Shipped):
    def predict(self, paths): raise RuntimeError("no luck")

class Leaves(Shipped):
    def predict(self, paths): raise SystemExit(0)

class LeavesEarly(Shipped):
    def load_trained(self): raise SystemExit(0)

class Moves(Shipped):
    def load_trained(self): super().load_trained(); os.chdir("/")
    def predict(self, paths): os.chdir("/"); return super().predict(paths)
"""


@pytest.fixture
def models(tmp_path):
    file = tmp_path / "models.py"
    file.write_text(f"FAILS = {PATHS[1].id!r}\n{MODELS}")
    return file


def refused(*arguments, **options):
    with pytest.raises(EmigbenchError) as error:
        predict(*arguments, **options)
    return one_sentence(error)


def test_shipped_weights_are_used_and_answers_are_in_order(models):
    found = predict(f"{models}:Shipped", PATHS)
    assert [(p.id, p.e_m) for p in found] == [(path.id, 0.4) for path in PATHS]


def test_a_model_without_weights_is_fitted_and_says_so(models):
    told = []
    ready = ready_model(f"{models}:Fitted", "spinels", tell=told.append)
    assert predict(ready, PATHS)[0].e_m == pytest.approx(0.082)
    assert len(told) == 1
    assert "82 paths of spinels" in told[0]


def test_a_zero_shot_model_needs_no_dataset(models, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_DATA", "/nowhere")
    assert predict(f"{models}:ZeroShot", PATHS)[0].e_m == 0.0


def test_what_a_model_raises_that_takes_paths_one_by_one_costs_that_path_alone(models):
    found = predict(f"{models}:OneAtATime", PATHS)
    assert [(p.id, p.e_m) for p in found] == [(path.id, None if path is PATHS[1] else 0.0) for path in PATHS]
    assert (found[1].status, found[1].cautions) == ("failed", ("ValueError: no parameters.",))


def test_a_model_leaves_the_working_folder_as_it_was(models, monkeypatch):
    monkeypatch.chdir(models.parent)
    ready = ready_model("models.py:Moves")
    assert Path.cwd() == models.parent
    assert predict(ready, PATHS)[0].e_m == 0.4
    assert Path.cwd() == models.parent


def test_a_working_folder_that_was_removed_is_not_needed(models, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert predict(f"{models}:Shipped", PATHS)[0].e_m == 0.4


def test_what_goes_wrong_is_one_sentence(models):
    assert "cannot be made ready: OSError: no weights" in refused(f"{models}:Broken", PATHS)
    assert f"'{PATHS[2].id}' is missing" in refused(f"{models}:Forgetful", PATHS)
    assert "'elsewhere' is none of them" in refused(f"{models}:Foreign", PATHS)
    assert (
        "predicted a float on 3 paths; predict() returns a list with one emigbench.Prediction(path.id, e_m) for"
        in refused(f"{models}:Numbers", PATHS)
    )
    assert "failed on 3 paths: RuntimeError: no luck" in refused(f"{models}:Raises", PATHS)
    assert f"failed on {PATHS[0].id}" in refused(f"{models}:Raises", PATHS[:1])
    assert "failed on 3 paths: SystemExit: 0" in refused(f"{models}:Leaves", PATHS)
    assert "cannot be made ready: SystemExit: 0" in refused(f"{models}:LeavesEarly", PATHS)
    assert f"have the id {PATHS[0].id};" in refused(f"{models}:Shipped", PATHS[:1] * 2)
    assert "in a list" in refused(f"{models}:Shipped", PATHS[0])
    assert f"such as {PATHS[0].id}: [path]." in refused(f"{models}:Shipped", ENTRIES[0])
    assert "not for a LabelledPath; " in refused(f"{models}:Shipped", ENTRIES)
    assert "not for a str; emigbench.read_path" in refused(f"{models}:Shipped", [*PATHS, "initial.vasp"])
    assert "cannot be made ready: OSError: needs a potential." in refused(f"{models}:Unready", PATHS)
    assert "no model" in refused("unheard-of", PATHS)


def test_a_model_of_ones_own_needs_no_name():
    class Mine:
        def fit(self, train, *, seed): ...

        def predict(self, paths):
            return [Prediction(path.id, 1.0) for path in paths]

    assert predict(Mine(), PATHS)[2].e_m == 1.0
    assert refused(Mine, PATHS) == "Mine is a class; give a fitted object of it."
    assert "an object with predict(); NoneType is none." in refused(None, PATHS)


def test_a_dataset_that_would_change_nothing_is_refused(models):
    for name, why in (("Shipped", "comes trained"), ("ZeroShot", "learns nothing")):
        assert f"{why}, so the dataset spinels would change nothing" in refused(
            f"{models}:{name}", PATHS, dataset="spinels"
        )
        assert "'foo'" in refused(f"{models}:{name}", PATHS, dataset="foo")
        assert predict(f"{models}:{name}", PATHS, dataset="full")
    ready = ready_model(f"{models}:Fitted", "spinels")
    assert "taken as it is" in refused(ready, PATHS, dataset="spinels")
    assert "'foo'" in refused(ready, PATHS, dataset="foo")
