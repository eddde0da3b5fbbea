import dataclasses
import gc
import json
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench import EmigbenchError, LabelledPath, MigrationPath  # noqa: E402
from emigbench_baselines.alignn import models  # noqa: E402
from emigbench_baselines.alignn.checkpoints import fill, save  # noqa: E402
from emigbench_baselines.alignn.checkpoints import load as load_weights  # noqa: E402
from emigbench_baselines.alignn.models import (  # noqa: E402
    GraphModel,
    in_file_order,
    original_rows,
    structures_told_apart,
    validation_rows,
)
from emigbench_baselines.alignn.network import build  # noqa: E402
from emigbench_baselines.alignn.recipes import RECIPES  # noqa: E402
from emigbench_baselines.alignn.training import Epoch  # noqa: E402


def small(number: int) -> LabelledPath:
    """A path whose ends differ, in a cell of six atoms: a network of full size is fitted to it in no time."""
    random = np.random.default_rng(number)
    host = np.array([[0.5, 0.5, 0.1], [0.5, 0.1, 0.5], [0.9, 0.5, 0.5], [0.5, 0.9, 0.9], [0.1, 0.9, 0.1]])
    path = MigrationPath(
        id=f"Mn2O3_{number}",
        material_id=f"Mn2O3 {number}",
        structural_group="OXIDES",
        mobile_ion=("Li", "Na", "Mg")[number % 3],
        composition="Mn2O3",
        state="unknown",
        lattice=np.diag(random.uniform(4.5, 5.5, 3)),
        host_species=("Mn", "Mn", "O", "O", "O"),
        host_frac_coords=host + random.uniform(-0.03, 0.03, host.shape),
        band_frac_coords=np.linspace([0, 0, 0.5], [0.4, 0.1, 0.5], 5),
    )
    return LabelledPath(path, 0.3 + 0.15 * number, "train")


PATHS = [small(number) for number in range(8)]
TRAIN, HELD_OUT = PATHS[:6], [labelled.path for labelled in PATHS[6:]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EMIGBENCH_MPT", raising=False)


def quick(name: str, **changes) -> GraphModel:
    return GraphModel(dataclasses.replace(RECIPES[name], epochs=2, batch_size=3, **changes), device="cpu")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Pre-trained weights of a network that was never trained: what matters here is that they are taken."""
    torch.manual_seed(7)
    file = tmp_path / "mpt.safetensors"
    network = build("mpt")
    save(network, file)
    monkeypatch.setenv("EMIGBENCH_MPT", str(file))
    return network


def test_the_original_recipe_has_the_originals_neighbours(monkeypatch):
    asked = []
    monkeypatch.setattr(models, "path_neighbours", lambda path, kind, *, original: asked.append((kind, original)) or ())
    for model in (GraphModel(RECIPES["model-4"], "cpu"), models.published("model-4")):
        model._graphs(TRAIN[0].path)
    assert asked == [("band", False), ("subgraph", False), ("band", True), ("subgraph", True)]


@pytest.mark.parametrize("name", ["model-3-scratch", "scratch-sub"])
def test_it_fits_and_predicts_and_repeats_itself(name):
    first, second = quick(name), quick(name)
    for model in (first, second):
        model.fit(TRAIN, seed=3)
    answers = first.predict(HELD_OUT)
    assert [a.id for a in answers] == [path.id for path in HELD_OUT]
    assert answers == second.predict(HELD_OUT)
    assert all(a.status == "ok" and np.isfinite(a.e_m) for a in answers)
    assert first.details["epochs"] == 2
    assert first.details["train_mae_ev"] == pytest.approx(
        np.mean([abs(a.e_m - t.e_m) for a, t in zip(first.predict([t.path for t in TRAIN]), TRAIN, strict=True)]),
        abs=1e-4,
    )
    assert first.details["device"] == "cpu"


def test_the_difference_of_two_like_cells_starts_at_the_mean_barrier_of_what_it_is_fitted_to():
    """From 0 the last bias of SCRATCH-SUB came half the way there in ten epochs of the official training paths."""
    round_trip = np.linspace([0, 0, 0.5], [1, 0, 0.5], 5)  # to the ion's own image
    like = [dataclasses.replace(one, path=dataclasses.replace(one.path, band_frac_coords=round_trip)) for one in PATHS]
    model = quick("scratch-sub", max_learning_rate=1e-12)
    model.fit(like[:6], seed=0)
    rows, _ = validation_rows([labelled.path.material_id for labelled in TRAIN], 0)
    mean = np.mean([TRAIN[i].e_m for i in rows])
    answers = model.predict([labelled.path for labelled in like[6:]])
    assert [answer.e_m for answer in answers] == pytest.approx([mean, mean], abs=1e-4)


@pytest.fixture
def handed_over(monkeypatch):
    """What `training.train` is called with, which trains nothing here, beside predictions of 0."""
    given = {}

    def train(network, fitted, held, recipe, **options):
        given.update(options, fitted=fitted, held=held, recipe=recipe)
        return []

    monkeypatch.setattr(models.training, "train", train)
    monkeypatch.setattr(models.training, "predict", lambda _, samples, device: np.zeros((len(samples), 1)))
    return given


def targets(samples) -> list[float]:
    return [float(sample.target[0]) for sample in samples]


@pytest.mark.parametrize("name", ["model-3-scratch", "model-3"])
def test_nine_tenths_are_fitted_to_and_the_others_validate(handed_over, weights, name):
    """Barriers of 0.3 to 1.05 eV in equal steps are -1 to 1 in equal steps; published, none of 6 paths validates."""
    rows, held = validation_rows([labelled.path.material_id for labelled in TRAIN], 4)
    scaled = np.linspace(-1, 1, 6)
    model = quick(name)
    model.fit(TRAIN, seed=4)
    assert targets(handed_over["fitted"]) == pytest.approx(scaled[rows])
    assert targets(handed_over["held"]) == pytest.approx(scaled[held])
    assert (handed_over["seed"], handed_over["device"], handed_over["recipe"]) == (4, "cpu", model.recipe)
    quick(name, grouped_validation=False).fit(TRAIN, seed=4)
    assert targets(handed_over["fitted"]) == pytest.approx(scaled[:5])
    assert targets(handed_over["held"]) == []


@pytest.mark.parametrize("is_frozen", [False, True])
def test_graphs_and_barrier_of_a_sample_are_those_of_its_path(handed_over, weights, is_frozen):
    """Behind frozen layers, too, whose answers take some of the time of a fit."""
    model = quick("model-3", grouped_validation=False, frozen_alignn_layers=is_frozen)
    model.fit(TRAIN, seed=0)
    assert targets(handed_over["fitted"]) == pytest.approx(np.linspace(-1, 1, 6)[:5])
    for labelled, sample in zip(TRAIN, handed_over["fitted"], strict=False):
        (expected,), (found,) = model._graphs(labelled.path), sample.graphs
        assert np.array_equal((found.graph if is_frozen else found).displacement, expected.displacement)
    assert model.fit_seconds > (1e-3 if is_frozen else 0)  # without an epoch


def test_barriers_that_are_all_the_same_are_predicted(handed_over):
    same = [dataclasses.replace(labelled, e_m=0.4) for labelled in TRAIN]
    model = quick("model-3-scratch")
    model.fit(same, seed=0)
    assert set(targets(handed_over["fitted"])) == {-1.0}
    assert model._scale[0] == 0.4
    assert np.isfinite(model.predict(HELD_OUT)[0].e_m)


@pytest.mark.parametrize(("name", "bonds"), [("scratch-add", 1), ("model-1-add", 2)])
def test_scratch_models_read_canonical_graphs_and_the_others_do_not(name, bonds):
    """Of a mutual pair: once or twice in each direction."""
    for graph in quick(name)._graphs(TRAIN[0].path):
        pairs = set(zip(graph.source.tolist(), graph.destination.tolist(), strict=True))
        mutual = [m for m, s, d in zip(graph.multiplicity, graph.source, graph.destination, strict=True) if s != d]
        assert (max(mutual), len(pairs) > 0) == (bonds, True)


def test_another_seed_starts_from_other_weights():
    model = quick("scratch-add")
    first, again, other = (model._initial_network(seed).fc.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_details_are_those_of_the_epoch_that_is_kept():
    """A width of 4 eV is 2 in scaled units."""
    model = quick("model-1-add", pretrained=False)
    model.epochs = [Epoch(n, 0.5, mae, seconds=n) for n, mae in enumerate((0.3, 0.1, 0.2), start=1)]
    model._scale, model._approximated = (0.5, 4.0), 2
    found = model.details
    assert found["pretrained_weights_sha256"] is None
    assert (found["best_epoch"], found["validation_mae_ev"], found["seconds_an_epoch"]) == (2, 0.2, 2.0)
    assert found["final_states_from_band"] == 2
    model.recipe = dataclasses.replace(model.recipe, keep="last", inputs="band")
    found = model.details
    assert (found["best_epoch"], found["validation_mae_ev"], found["final_states_from_band"]) == (3, 0.4, None)
    model.recipe = dataclasses.replace(model.recipe, keep="best")
    model.epochs = [Epoch(n, 0.5, np.nan, seconds=1) for n in (1, 2)]  # nothing validates
    assert model.details["best_epoch"] == 2


def test_final_states_that_are_the_bands_are_counted(handed_over):
    model = quick("model-1-add", pretrained=False)
    flagged = [
        dataclasses.replace(one, path=dataclasses.replace(one.path, flags=("final_from_band",))) for one in TRAIN[:2]
    ]
    model.fit([*flagged, *TRAIN[2:]], seed=0)
    assert model._approximated == 2


def test_training_time_counts_from_the_first_epoch_of_a_run_that_was_stopped(monkeypatch):
    monkeypatch.setattr(models.training, "SAVE_SECONDS", 0.0)
    stopped, resumed = quick("model-3-scratch"), quick("model-3-scratch")
    one_epoch = models.training._train_epoch

    def checkpoints():
        return list((models.cache_folder() / "training").glob("*.pt"))

    def stop_in_the_second(*arguments):
        if checkpoints():
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(models.training, "_train_epoch", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(TRAIN, seed=0)
    (checkpoint,) = checkpoints()
    kept = torch.load(checkpoint, weights_only=True)
    kept["epochs"][0]["seconds"] = 1e6
    torch.save(kept, checkpoint)
    resumed.fit(TRAIN, seed=0)
    assert 1e6 < resumed.fit_seconds < 1e6 + 1e3


def test_the_checkpoint_stays_until_there_are_predictions(monkeypatch):
    monkeypatch.setattr(models.training, "SAVE_SECONDS", -1.0)
    folder = models.cache_folder() / "training"
    model = quick("model-3-scratch")
    model.fit(TRAIN, seed=0)

    def dies(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(models.training, "predict", dies)
        with pytest.raises(KeyboardInterrupt):
            model.predict(HELD_OUT)
    assert len(list(folder.iterdir())) == 1
    answers = model.predict(HELD_OUT)
    assert not list(folder.iterdir())
    assert all(answer.status == "ok" for answer in answers)


def test_a_checkpoint_is_that_of_all_that_the_weights_depend_on(monkeypatch):
    """Every setting of the recipe, seed, device, torch, the rule of neighbours, the first weights, the paths."""
    model, network = quick("model-3"), build("model-3")

    def key(train=TRAIN, seed=0):
        return model._key(network, train, seed)

    keys = [key(), key(seed=1), key(TRAIN[1:]), key(TRAIN[::-1])]
    first = TRAIN[0]
    keys.append(key([dataclasses.replace(first, e_m=first.e_m + 0.001), *TRAIN[1:]]))
    for name, value in {
        "lattice": 1.001 * first.path.lattice,
        "band_frac_coords": first.path.band_frac_coords + 0.01,
        "final_lattice": 1.001 * first.path.lattice,
        "mobile_ion": "K",
        "material_id": "m",  # says which paths validate
    }.items():
        own = {"final_host_frac_coords": first.path.host_frac_coords} if name == "final_lattice" else {}
        moved = dataclasses.replace(first, path=dataclasses.replace(first.path, **{name: value}, **own))
        keys.append(key([moved, *TRAIN[1:]]))
    for name, value in dataclasses.asdict(model.recipe).items():
        other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: 2 * v, str: lambda v: v + "x"}
        model.recipe = dataclasses.replace(quick("model-3").recipe, **{name: other[type(value)](value)})
        keys.append(key())
    model = quick("model-3")
    model.device = "cuda"
    keys.append(key())
    model.device = "cpu"
    assert key(list(TRAIN)) == keys[0]
    for owner, name, value in ((torch, "__version__", "0.1"), (models, "STORE_VERSION", 0)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, value)
            keys.append(key())
    torch.nn.init.zeros_(network.fc_out[0].weight)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_no_paths_to_train_on():
    with pytest.raises(EmigbenchError, match=r"^model-3 has no paths to train on\.$"):
        quick("model-3-scratch").fit([], seed=0)


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(EmigbenchError, match=r"^model-3 has to be fitted before it predicts\.$"):
        quick("model-3-scratch").predict(HELD_OUT)


def test_predictions_are_in_ev():
    """A network whose answer is 0 predicts the middle between the lowest and the highest training barrier."""
    model = quick("model-3-scratch")
    model.fit(TRAIN, seed=0)
    for head in model._network.fc_out:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    barriers = [entry.e_m for entry in TRAIN]
    assert model.predict(HELD_OUT)[0].e_m == pytest.approx((min(barriers) + max(barriers)) / 2)


def test_pretrained_weights_are_taken(weights):
    model = quick("model-3", max_learning_rate=1e-12)
    model.fit(TRAIN, seed=0)
    taken, given = model._network.state_dict(), weights.state_dict()
    name = "gcn_layers.3.src_gate.weight"
    torch.testing.assert_close(taken[name], given[name], atol=1e-3, rtol=1e-3)


def test_a_record_names_the_pretrained_weights_by_their_content(monkeypatch, tmp_path):
    (tmp_path / "weights").write_bytes(b"hello\n")
    monkeypatch.setenv("EMIGBENCH_MPT", str(tmp_path / "weights"))
    model = quick("model-3")
    model.epochs = [Epoch(1, 0.5, 0.1, seconds=1)]
    expected = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert model.details["pretrained_weights_sha256"] == expected


def frozen_model(name="model-3") -> GraphModel:
    recipe = dataclasses.replace(models.partly_frozen(name).recipe, epochs=2, batch_size=3)
    return GraphModel(recipe, device="cpu")


@pytest.mark.parametrize("name", ["model-3", "model-4", "model-1-cc", "model-2"])
def test_frozen_layers_stay_as_they_are_and_the_others_learn(weights, name):
    model = frozen_model(name)
    model.fit(TRAIN, seed=0)
    given = load_weights(models.pretrained_weights())
    random = model._initial_network(0).state_dict()
    for key, value in model._network.state_dict().items():
        part = key.partition(".")[0]
        if part in ("alignn_layers", "atom_embedding", "edge_embedding", "angle_embedding"):
            assert torch.equal(value, given[key]), key
        elif part == "gcn_layers" and key.endswith("gate.weight"):
            assert not torch.allclose(value, given[key], rtol=0, atol=1e-5), key
        elif part == "alignn_layers_1" and key.endswith("gate.weight"):
            assert not torch.allclose(value, random[key], rtol=0, atol=1e-5), key
    assert model.predict(HELD_OUT) == model.predict(HELD_OUT)


@pytest.mark.parametrize("name", ["model-3", "model-2"])
def test_frozen_layers_are_answered_for_once_and_alike(weights, name):
    """What training sees of the frozen layers is what a prediction computes, but for their half precision."""
    model = frozen_model(name)
    model.fit(TRAIN, seed=0)
    answers = model.predict([labelled.path for labelled in TRAIN])
    errors = [abs(answer.e_m - labelled.e_m) for answer, labelled in zip(answers, TRAIN, strict=True)]
    assert model.details["train_mae_ev"] == pytest.approx(np.mean(errors), abs=2e-3)
    assert model.details["recipe"]["frozen_alignn_layers"] is True


@pytest.mark.parametrize("name", ["scratch-cc", "model-3-scratch"])
def test_layers_that_were_never_trained_are_not_frozen(name):
    with pytest.raises(EmigbenchError, match=r"random weights.*use short:"):
        models.partly_frozen(name)


def test_other_recipes_of_a_model_by_prefix():
    short = models.shortened("model-4")
    assert (short.recipe.network, short.recipe.epochs, short.recipe.shuffle) == ("model-4", 25, True)
    two_cells = models.shortened("scratch-cc").recipe
    assert (two_cells.epochs, two_cells.max_learning_rate, two_cells.loss) == (10, 1e-3, "mse")
    assert two_cells.starts_at_mean
    with pytest.raises(EmigbenchError, match=r"There is no graph model 'model-5'; there are scratch-add, .*\.$"):
        models.shortened("model-5")


PUBLISHED = {
    "scratch-add": ("scratch-add", "endpoints", True, False, "mse", 16, 1e-4, 1e-5),
    "scratch-sub": ("scratch-sub", "endpoints", True, False, "mse", 16, 1e-4, 1e-5),
    "scratch-cc": ("scratch-cc", "endpoints", True, False, "mse", 16, 1e-4, 1e-5),
    "model-1-add": ("model-1-add", "endpoints", False, True, "l1", 16, 1e-3, 0.01),
    "model-1-sub": ("model-1-sub", "endpoints", False, True, "l1", 16, 1e-3, 0.01),
    "model-1-cc": ("model-1-cc", "endpoints", False, True, "l1", 16, 1e-3, 0.01),
    "model-1-cc-single-path": ("model-1-cc", "endpoints", False, True, "l1", 16, 1e-3, 0.01),
    "model-2": ("model-2", "endpoints", False, True, "l1", 16, 1e-3, 0.01),
    "model-3": ("model-3", "band", False, True, "l1", 128, 1e-3, 0.01),
    "model-4": ("model-4-apart", "band-and-subgraph", False, True, "l1", 64, 1e-3, 0.01),
    "model-3-scratch": ("model-3", "band", False, False, "l1", 128, 1e-3, 0.01),
}
"""As in the authors' code: network, cells, canonical, pre-trained, loss, batch, learning rate, weight decay."""


@pytest.mark.parametrize("name", RECIPES)
def test_the_published_recipes_are_those_of_the_paper(name):
    recipe = models.published(name).recipe
    names = "network inputs canonical pretrained loss batch_size max_learning_rate weight_decay".split()
    assert tuple(getattr(recipe, field) for field in names) == PUBLISHED[name]
    is_scratch = name.startswith("scratch")
    assert (recipe.epochs, recipe.patience, recipe.shuffle, recipe.smallest_batch) == (
        500,
        None,
        is_scratch,
        16 if is_scratch else 1,
    )
    assert recipe.decay_by_name
    assert recipe.original_graphs
    assert not any((recipe.grouped_validation, recipe.mixed_precision, recipe.average_over_all, recipe.starts_at_mean))
    assert recipe.single_path == (name == "model-1-cc-single-path")


def test_the_shipped_weights_fit_the_network_and_have_learnt():
    report = json.loads(models.WEIGHTS.with_name("pretraining.json").read_text())
    assert models.WEIGHTS.stat().st_size < 10e6
    fill(build("mpt"), load_weights(models.WEIGHTS), str(models.WEIGHTS))
    assert report["held_out"]["FE"]["r2"] > 0.5
    assert len(report["epochs"]) == report["recipe"]["epochs"]


def test_without_weights_it_says_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(EmigbenchError, match=r"no pre-trained weights in .*; make them with python -m"):
        quick("model-3").fit(TRAIN, seed=0)


@pytest.mark.parametrize(("host", "lattice"), [("Xx", 4 * np.eye(3)), ("O", [[8, 0, 0], [8, 5e-5, 0], [0, 0, 8]])])
def test_a_path_that_makes_no_graph_fails_alone(host, lattice):
    strange = MigrationPath("Xx_1", "Xx", "", "Li", "", "unknown", lattice, (host,), [[0.5] * 3], np.zeros((5, 3)))
    good, bad = untrained().predict([HELD_OUT[0], strange])
    assert good.status == "ok"
    assert (bad.id, bad.e_m, bad.status) == ("Xx_1", None, "failed")


def untrained(name="model-3-scratch") -> GraphModel:
    model = quick(name)
    model._network = build(model.recipe.network)
    return model


def of_cuda() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory")


def of_cpu() -> Exception:
    """What torch itself raises: more than any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value.with_traceback(None)


@pytest.mark.parametrize("error", [of_cuda, of_cpu, MemoryError])
def test_paths_that_are_too_large_together_are_predicted_one_by_one(monkeypatch, caplog, error):
    """The second fails by itself as well; what the first try held is gone when the second begins."""
    asked, tensors, one_by_one = [], [], models.training.predict
    model = untrained()
    expected = model.predict(HELD_OUT[:1])

    def predict(network, samples, device):
        asked.append(len(samples))
        gc.collect()
        assert not any(tensor() is not None for tensor in tensors)
        if len(asked) == 2:
            return one_by_one(network, samples, device)
        held = torch.zeros(1)
        tensors.append(weakref.ref(held))
        raise error()

    monkeypatch.setattr(models.training, "predict", predict)
    first, second = model.predict(HELD_OUT)
    assert asked == [2, 1, 1]
    assert [first] == expected
    assert (second.id, second.e_m, second.status) == (HELD_OUT[1].id, None, "failed")
    assert f"{HELD_OUT[1].id}: no prediction (out of memory on cpu)" in caplog.text


def test_other_errors_of_a_prediction_are_no_lack_of_memory(monkeypatch):
    def predict(network, samples, device):
        raise RuntimeError("shapes do not agree")

    model = untrained()
    monkeypatch.setattr(models.training, "predict", predict)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        model.predict(HELD_OUT)


def test_a_graph_that_does_not_fit_into_memory_fails_alone(monkeypatch, caplog):
    neighbours_of = models.path_neighbours

    def path_neighbours(path, kind, *, original):
        if path.id == HELD_OUT[1].id:
            raise MemoryError("Unable to allocate 50. GiB")
        return neighbours_of(path, kind, original=original)

    monkeypatch.setattr(models, "path_neighbours", path_neighbours)
    model = untrained()
    first, second = model.predict(HELD_OUT)
    assert (first.status, second.status) == ("ok", "failed")
    assert f"{HELD_OUT[1].id}: its graph does not fit into the memory (MemoryError: Unable to" in caplog.text
    with pytest.raises(EmigbenchError, match="its graph does not fit into the memory"):
        model.fit(PATHS[6:], seed=0)


def test_training_that_does_not_fit_into_memory_is_one_sentence(monkeypatch):
    def forward(network, samples, device):
        raise of_cuda()

    monkeypatch.setattr(models.training, "_forward", forward)
    with pytest.raises(EmigbenchError, match=r"^The memory that is free on cpu does not suffice to train; .*\.$"):
        quick("model-3-scratch").fit(TRAIN, seed=0)


def moved(path: MigrationPath) -> MigrationPath:
    """The same path: shifted, rotated, wrapped otherwise, sites in another order."""
    random = np.random.default_rng(0)
    order, shift = random.permutation(len(path.host_species)), random.random(3)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    return dataclasses.replace(
        path,
        id=path.id + "_moved",
        lattice=path.lattice @ rotation,
        host_species=[path.host_species[i] for i in order],
        host_frac_coords=(path.host_frac_coords[order] + shift) % 1,
        band_frac_coords=path.band_frac_coords + shift + [1, 0, -1],
    )


def test_the_same_path_told_otherwise_gets_the_same_prediction():
    model = quick("model-3-scratch")
    model.fit(TRAIN, seed=0)
    path = HELD_OUT[0]
    reversed_band = dataclasses.replace(path, id="reversed", band_frac_coords=path.band_frac_coords[::-1])
    plain, other, backwards = model.predict([path, moved(path), reversed_band])
    assert other.e_m == pytest.approx(plain.e_m, abs=1e-5)
    assert backwards.e_m == pytest.approx(plain.e_m, abs=1e-5)


def test_the_single_path_variant_learns_from_paths_of_no_number_or_number_1(handed_over):
    names = ["Aa", "Bb_1", "Bb_2", "Bb_10", "Cc2_1", "Dd_100"]
    train = [
        dataclasses.replace(t, path=dataclasses.replace(t.path, id=name)) for t, name in zip(TRAIN, names, strict=True)
    ]
    quick("model-1-cc-single-path", pretrained=False).fit(train, seed=0)
    barriers = np.array([train[i].e_m for i in (0, 1, 4)])
    scaled = 2 * (barriers - barriers[0]) / (barriers[2] - barriers[0]) - 1
    assert sorted(targets([*handed_over["fitted"], *handed_over["held"]])) == pytest.approx(scaled)


def test_structures_told_apart_by_hand():
    """Of three structures one has a single band, one a band twice beside another, one two bands 1 meV apart."""
    one, two, three = (entry.path for entry in TRAIN[:3])
    paths = [one, two, two, two, three, three]
    labelled = [
        LabelledPath(dataclasses.replace(path, id=str(i)), 0.5, "train", duplicate_of="1" if i in (1, 2) else "")
        for i, path in enumerate(paths)
    ]
    answers = dict(zip("012345", [0.3, 0.4, 0.4, 0.5, 0.6, 0.601], strict=True))
    assert structures_told_apart(labelled, answers) == {"structures_of_several_bands": 2, "structures_told_apart": 1}
    answers["5"] = 0.7
    assert structures_told_apart(labelled, answers)["structures_told_apart"] == 2
    answers["3"] = 0.4
    assert structures_told_apart(labelled, answers)["structures_told_apart"] == 1


def test_paths_of_one_lattice_are_of_one_structure_only_if_their_ions_are_the_same_too():
    """The order of the host's sites does not count, the moving ion and the host's elements do."""
    path = TRAIN[0].path
    paths = [
        path,
        dataclasses.replace(path, host_species=path.host_species[::-1]),
        dataclasses.replace(path, mobile_ion="K"),
        dataclasses.replace(path, host_species=("Mn", "Mn", "Mn", "O", "O")),
        dataclasses.replace(path, lattice=path.lattice * [1, 1, 1.01]),
    ]
    labelled = [LabelledPath(dataclasses.replace(one, id=str(i)), 0.5, "train") for i, one in enumerate(paths)]
    found = structures_told_apart(labelled, dict(zip("01234", [0.3, 0.5, 0.5, 0.5, 0.5], strict=True)))
    assert found == {"structures_of_several_bands": 1, "structures_told_apart": 1}


def test_validation_shares_no_material():
    materials = [f"m{i // 3}" for i in range(60)]
    fitted, held = validation_rows(materials, seed=1)
    assert sorted(fitted + held) == list(range(60))
    assert not {materials[i] for i in fitted} & {materials[i] for i in held}
    assert 6 <= len(held) <= 9
    assert validation_rows(materials, seed=1) == (fitted, held)
    assert validation_rows(materials, seed=2) != (fitted, held)


@pytest.mark.parametrize(("materials", "n_fitted"), [(["m"] * 3, 3), (["a", *["b"] * 30], None), (["a", "b"], 1)])
def test_validation_leaves_a_material_to_fit_to(materials, n_fitted):
    for seed in range(5):
        fitted, held = validation_rows(materials, seed)
        assert sorted(fitted + held) == list(range(len(materials)))
        assert fitted if n_fitted is None else len(fitted) == n_fitted


def test_the_originals_rows(full):
    """503 rows to fit to, 55 to validate, and row 558 is never used; mean barriers of both in eV."""
    train = in_file_order([entry for entry in full if entry.split == "train"])
    fitted, held = original_rows(559)
    assert (len(fitted), len(held)) == (503, 55)
    assert fitted + held == list(range(558))
    assert train[558].id == "LiFeBO3_c2c_2"
    assert np.mean([train[i].e_m for i in fitted]) == pytest.approx(0.833, abs=5e-4)
    assert np.mean([train[i].e_m for i in held]) == pytest.approx(0.952, abs=5e-4)


def test_paths_come_in_the_order_of_the_source_file(source_dir):
    rows = json.loads((source_dir / "RAW-Em-5-images-TRAIN.json").read_text())
    assert models.FILE_ORDER.read_text().split() == [row["sys_name"] for row in rows]


def test_the_original_recipe_is_fitted_in_file_order(handed_over):
    """The last of ten paths validates, and one that the file does not have comes last."""
    names = ["unknown", *models.FILE_ORDER.read_text().split()[8::-1]]
    paths = [small(number) for number in range(10)]
    train = [
        dataclasses.replace(one, path=dataclasses.replace(one.path, id=name))
        for one, name in zip(paths, names, strict=True)
    ]
    quick("model-3-scratch", grouped_validation=False).fit(train, seed=0)
    scaled = np.linspace(-1, 1, 10)
    assert targets(handed_over["fitted"]) == pytest.approx(scaled[:0:-1])
    assert targets(handed_over["held"]) == pytest.approx(scaled[:1])
