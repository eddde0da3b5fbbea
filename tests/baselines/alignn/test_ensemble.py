import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench import EmigbenchError, load  # noqa: E402
from emigbench_baselines.alignn import models  # noqa: E402
from emigbench_baselines.alignn.ensemble import FoldEnsemble, folds_by_material  # noqa: E402
from emigbench_baselines.alignn.recipes import RECIPES  # noqa: E402

SPINELS = load("spinels")
TRAIN = list(SPINELS)[:7]
HELD_OUT = [entry.path for entry in list(SPINELS)[7:9]]
RECIPE = dataclasses.replace(RECIPES["model-3-scratch"], epochs=2, batch_size=3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))


def checkpoints():
    return list((models.cache_folder() / "training").glob("*.pt"))


def fitted(train=TRAIN) -> FoldEnsemble:
    ensemble = FoldEnsemble(RECIPE, device="cpu")
    ensemble.fit(train, seed=3)
    return ensemble


def test_an_answer_is_the_mean_of_five_networks():
    ensemble = fitted()
    assert len(ensemble._networks) == 5
    each = [[p.e_m for p in network.predict(HELD_OUT)] for network in ensemble._networks]
    assert [p.e_m for p in ensemble.predict(HELD_OUT)] == pytest.approx(np.mean(each, axis=0))
    assert len({one[0] for one in each}) == 5


def test_the_answer_for_a_training_path_does_not_know_its_label():
    folds = folds_by_material(TRAIN, seed=3)
    row = int(folds[0][1][0])
    told = [dataclasses.replace(t, e_m=t.e_m + 5) if i == row else t for i, t in enumerate(TRAIN)]
    before, after = fitted().unseen, fitted(told).unseen
    outside = folds[0][1]
    assert before[outside].tolist() == after[outside].tolist()
    others = np.delete(np.arange(len(TRAIN)), outside)
    assert (np.abs(before - after)[others] > 0.1).all()


def test_every_path_of_a_fold_is_trained_on_and_the_last_epoch_is_kept():
    ensemble = fitted()
    assert ensemble.recipe.validation == "none"
    assert ensemble.details["best_epoch"] == ensemble.details["epochs"] == 2
    assert ensemble.details["validation_mae_ev"] is None
    e_m = np.array([t.e_m for t in TRAIN])
    assert ensemble.details["cv_mae_ev"] == pytest.approx(np.abs(ensemble.unseen - e_m).mean(), abs=1e-4)


def test_a_run_that_was_stopped_goes_on_with_the_network_that_it_was_at(monkeypatch):
    whole = fitted()
    assert not checkpoints()
    one_epoch = models.training._train_epoch
    trained = []

    def stop_in_the_third_network(*arguments):
        trained.append(1)
        if len(trained) == 5:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(models.training, "_train_epoch", stop_in_the_third_network)
        with pytest.raises(KeyboardInterrupt):
            fitted()
    assert len(checkpoints()) == 2

    def count(*arguments):
        trained.append(1)
        return one_epoch(*arguments)

    trained.clear()
    monkeypatch.setattr(models.training, "_train_epoch", count)
    resumed = fitted()
    assert len(trained) == 6
    assert resumed.predict(HELD_OUT) == whole.predict(HELD_OUT)
    assert resumed.unseen.tolist() == whole.unseen.tolist()
    assert not checkpoints()


def test_it_has_to_be_fitted_first():
    with pytest.raises(EmigbenchError, match="fitted"):
        FoldEnsemble(RECIPE).predict(HELD_OUT)
