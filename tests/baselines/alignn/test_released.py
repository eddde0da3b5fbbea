"""The authors' weights as models: no released file is at hand, so files of the same make stand in for them."""

import bz2
import io
import json

import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench import EmigbenchError, load, predict  # noqa: E402
from emigbench.datasets import store  # noqa: E402
from emigbench.evaluation import evaluate  # noqa: E402
from emigbench.model import create  # noqa: E402
from emigbench_baselines.alignn import checkpoints, released  # noqa: E402
from emigbench_baselines.alignn.batch import GraphBatch  # noqa: E402
from emigbench_baselines.alignn.network import build  # noqa: E402
from emigbench_baselines.alignn.released import NAMES, SCALE  # noqa: E402

SPINELS = list(load("spinels"))
TRAIN, TEST = ([entry for entry in SPINELS if entry.split == side] for side in ("train", "test"))
PATHS = [entry.path for entry in TEST[:3]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def released_files(tmp_path_factory):
    """Networks by name, the folder of their files, and these files' blob ids."""
    folder, made, blobs = tmp_path_factory.mktemp("clone"), {}, {}
    for name in NAMES:
        torch.manual_seed(len(name))
        made[name] = build(name)
        buffer = io.BytesIO()
        torch.save({"model": made[name].state_dict(), "optimizer": {}, "lr_scheduler": {}, "trainer": {}}, buffer)
        file = folder / name.upper() / "best_model.pt.bz2"
        file.parent.mkdir(parents=True)
        file.write_bytes(bz2.compress(buffer.getvalue(), 1))
        blobs[name] = checkpoints.git_blob_id(file)
    return made, folder, blobs


@pytest.fixture
def networks(released_files, monkeypatch):
    """By name, what is in the files that are there."""
    made, folder, blobs = released_files
    monkeypatch.setattr(checkpoints, "AUTHORS", blobs)
    monkeypatch.setattr(released, "AUTHORS", blobs)
    monkeypatch.setenv("EMIGBENCH_AUTHORS", str(folder))
    return made


def test_the_scale_is_the_published_way_back():
    """The authors' example: 0.364 eV is -0.91775509 scaled, and comes back 1.0008957 times as far from the mean."""
    low, width = SCALE
    mean, scaled = 0.8441084078711987, 2 * (0.364 - 0.0035) / (8.77 - 0.0035) - 1
    assert scaled == pytest.approx(-0.91775509, abs=1e-8)
    assert low + (scaled + 1) / 2 * width - mean == pytest.approx(1.0008957 * (0.364 - mean), abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_with_the_weights_of_the_file(name, networks):
    model = create(f"authors:{name}")
    model.fit(TRAIN, seed=0)
    answers = [answer.e_m for answer in model.predict(PATHS)]
    assert len(set(answers)) == len(answers)
    low, width = SCALE
    for path, answer in zip(PATHS, answers, strict=True):
        with torch.no_grad():
            graphs = [GraphBatch.of([graph]) for graph in model._graphs(path)]
            scaled = networks[name].eval()(*graphs).item()
        assert answer == pytest.approx(low + (scaled + 1) / 2 * width, abs=1e-4)
    assert model.details == {"weights_git_blob": checkpoints.AUTHORS[name]}


def test_it_is_scored_on_the_official_split_alone(networks, tmp_path):
    model = create("authors:model-3")
    with pytest.raises(EmigbenchError, match="seen the labels of all training paths of the official split"):
        model.fit(SPINELS, seed=0)
    evaluate("authors:model-3", load("spinels"), split_names=["official"], seeds=[0], out=tmp_path / "run")
    (unit,) = json.loads((tmp_path / "run" / "run.json").read_text())["units"]
    assert unit["details"]["weights_git_blob"] == checkpoints.AUTHORS["model-3"]


def test_it_predicts_without_a_dataset(networks, monkeypatch):
    monkeypatch.setattr(store, "load", lambda _: pytest.fail("its weights are there"))
    (answer,) = predict("authors:model-3", PATHS[:1])
    model = create("authors:model-3")
    model.load_trained()
    assert answer == model.predict(PATHS[:1])[0]


def test_what_was_not_released_or_is_not_there(networks, monkeypatch, tmp_path):
    with pytest.raises(EmigbenchError, match="released no 'model-1-add'; they did model-1-cc, model-2"):
        create("authors:model-1-add")
    monkeypatch.setenv("EMIGBENCH_AUTHORS", str(tmp_path / "empty"))
    with pytest.raises(EmigbenchError, match=r"Of the 0 \.pt files in .*empty"):
        create("authors:model-3").load_trained()
