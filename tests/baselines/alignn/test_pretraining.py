import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench import EmigbenchError  # noqa: E402
from emigbench_baselines.alignn import pretraining, training  # noqa: E402
from emigbench_baselines.alignn.checkpoints import fill, load  # noqa: E402
from emigbench_baselines.alignn.graph_store import pack, unpack  # noqa: E402
from emigbench_baselines.alignn.neighbours import nearest  # noqa: E402
from emigbench_baselines.alignn.network import PROPERTIES, build  # noqa: E402
from emigbench_baselines.alignn.training import Sample  # noqa: E402


def table(n: int = 24) -> pd.DataFrame:
    """Structures 0 to n - 1: all have a shear modulus, every second one a band gap too; structure 0 is a test row.

    Every fourth one has a third atom.
    """
    random, rows = np.random.default_rng(0), []
    for key in range(n):
        cell = {
            "structure_key": f"s{key}",
            "elements": ["Na", "Cl", "O"][: 3 if key % 4 == 1 else 2],
            "lattice": ((3 + random.random()) * np.eye(3)).ravel(),
            "frac_coords": np.array([0, 0, 0, 0.5, 0.5, 0.5]) + 0.01 * random.random(6),
        }
        if key % 4 == 1:
            cell["frac_coords"] = np.append(cell["frac_coords"], [0.5, 0, 0])
        rows.append({**cell, "property": "GV", "subset": "test" if key == 0 else "pool", "target_scaled": key / n})
        if key % 2 == 0:
            rows.append({**cell, "property": "BG", "subset": "pool", "target_scaled": -key / n})
    rows.append({**rows[0], "target_scaled": 0.9})  # a second label that disagrees
    return pd.DataFrame(rows)


@pytest.fixture
def archive(tmp_path):
    table().to_parquet(tmp_path / "table.parquet")
    pretraining.main(["prepare", str(tmp_path / "table.parquet"), str(tmp_path / "a.npz"), "--workers", "1"])
    return tmp_path / "a.npz"


def test_one_row_a_structure_with_a_mask(archive):
    lists, extra = unpack(archive)
    assert len(lists) == 24
    gv, bg = PROPERTIES.index("GV"), PROPERTIES.index("BG")
    assert extra["mask"].sum(axis=0)[[gv, bg]].tolist() == [24, 12]
    assert extra["mask"].sum() == 36
    assert extra["targets"][:, gv] == pytest.approx(np.arange(24) / 24)  # of two labels the first


def test_a_test_label_of_any_property_holds_the_structure_out(archive):
    samples, held_out = pretraining.read(archive)
    assert len(samples) == 23
    assert len(held_out) == 1
    assert held_out[0].mask.sum() == 2  # its band gap too is never trained on


def test_an_archive_from_elsewhere_is_checked_as_a_structure_is(archive):
    """It holds neighbour lists that `nearest` never saw."""
    lists, extra = unpack(archive)
    lists[3] = dataclasses.replace(lists[3], atomic_numbers=np.array([11, 101], np.uint8))
    pack(archive, lists, extra)
    with pytest.raises(EmigbenchError, match="atomic number 101 has no features"):
        pretraining.read(archive)


def test_the_cells_in_the_archive_are_those_of_the_table(tmp_path):
    lattice = np.array([[4, 0, 0], [1, 5, 0], [0.5, 0.7, 6]])
    one = {"structure_key": "s", "elements": ["Na", "Cl", "O"], "lattice": lattice.ravel(), "property": "GV"}
    coords = np.array([[0, 0, 0.1], [0.5, 0.2, 0.3], [0.4, 0.6, 0.8]])
    rows = [{**one, "frac_coords": coords.ravel(), "subset": "pool", "target_scaled": 0.0}]
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    pretraining.prepare(tmp_path / "table.parquet", tmp_path / "a.npz", 1)
    (found,), _ = unpack(tmp_path / "a.npz")
    expected = nearest(lattice, [11, 17, 8], coords, k=12)
    for name in ("lattice", "atomic_numbers", "frac_coords", "centre", "neighbour", "image"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_a_tenth_of_what_has_only_formation_energy_or_band_gap_is_held_out(tmp_path, monkeypatch):
    """They have no test rows. What has another label in the pool is trained on."""
    cell = {"elements": ["Na"], "lattice": 4 * np.eye(3).ravel(), "frac_coords": np.zeros(3), "subset": "pool"}
    names = ["FE", "BG", "EBG", "GV"] * 50
    rows = [{**cell, "structure_key": f"s{i}", "property": name, "target_scaled": 0.0} for i, name in enumerate(names)]
    rows += [{**rows[i], "property": "BG"} for i in range(2, 200, 4)]  # all of EBG have both
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    one = nearest(4 * np.eye(3), [11], np.zeros((1, 3)), k=12)
    monkeypatch.setattr(pretraining, "_neighbour_lists", lambda cells, total, workers: [one] * total)
    pretraining.prepare(tmp_path / "table.parquet", tmp_path / "a.npz", 1)
    held_out = unpack(tmp_path / "a.npz")[1]["held_out"]
    counts = {name: int(held_out[[n == name for n in names]].sum()) for name in ("FE", "BG", "EBG", "GV")}
    assert (counts["EBG"], counts["GV"]) == (0, 0)
    assert min(counts["FE"], counts["BG"]) > 0
    assert 4 <= counts["FE"] + counts["BG"] <= 18


def test_what_is_handed_over_to_training(archive, tmp_path, monkeypatch):
    """Validation is drawn by the seed, and no two settings share a checkpoint."""
    calls = []

    def train(network, fitted, held, recipe, *, seed, checkpoint, weights, **_):
        calls.append((fitted, held, seed, checkpoint.name, weights))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    for options in (
        [],
        ["--seed", "1"],
        ["--balance", "1"],
        ["--limit", "23"],
        ["--largest", "1e9"],
        ["--batch-size", "64"],
        ["--epochs", "3"],
    ):
        with pytest.raises(KeyboardInterrupt):
            pretraining.main(["train", str(archive), str(tmp_path / "out"), "--device", "cpu", *options])
    names = [name for *_, name, _ in calls]
    assert len(set(names)) == len(names) == 7
    structures = []
    for fitted, held, seed, _, _ in calls[:2]:
        assert seed == len(structures)
        labels = [[tuple(sample.target) for sample in side] for side in (fitted, held)]
        assert [len(side) for side in labels] == [21, 2]
        assert len({*labels[0], *labels[1]}) == 23
        structures.append(set(labels[1]))
    assert structures[0] != structures[1]
    assert [weights is None for *_, weights in calls] == [True, True, False, True, True, True, True]
    np.testing.assert_allclose(calls[2][-1], pretraining.sampling_weights(calls[2][0], 1.0))


def test_a_checkpoint_is_that_of_the_weights_it_started_from(archive, tmp_path, monkeypatch):
    """Code that has them otherwise does not take it up."""
    names = []

    def train(*_, checkpoint, **__):
        names.append(checkpoint.name)
        raise KeyboardInterrupt

    def otherwise(name):
        network = build(name)
        torch.nn.init.zeros_(network.fc_out[0].weight)
        return network

    monkeypatch.setattr(training, "train", train)
    for builder in (build, build, otherwise):
        monkeypatch.setattr(pretraining, "build", builder)
        with pytest.raises(KeyboardInterrupt):
            pretraining.main(["train", str(archive), str(tmp_path / "out"), "--device", "cpu"])
    assert names[0] == names[1] != names[2]


def test_it_trains_scores_and_keeps_the_weights(archive, tmp_path):
    out = tmp_path / "out"
    pretraining.main(["train", str(archive), str(out), "--epochs", "2", "--device", "cpu", "--balance", "0.5"])
    report = json.loads((out / "pretraining.json").read_text())
    assert report["n"] == {"train": 21, "validation": 2, "held_out": 1}
    assert report["held_out"]["GV"]["n"] == 1
    assert report["validation"]["GV"]["n"] == 2
    assert report["recipe"]["average_over_all"]
    assert (report["seed"], report["balance"], report["largest"], report["device"]) == (0, 0.5, None, "cpu")
    assert report["held_out"]["PZ"] == {"n": 0, "mae": None, "r2": None}
    assert len(report["epochs"]) == 2
    weights = out / "mpt.safetensors"
    assert weights.stat().st_size < 10e6
    fill(build("mpt"), load(weights), str(weights))


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "cuda"])
def test_a_device_that_is_not_there_is_one_sentence(archive, tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^pretraining: (There is no device|torch finds no GPU).*\.$"):
        pretraining.main(["train", str(archive), str(tmp_path / "out"), "--device", device])
    assert not (tmp_path / "out").exists()


def test_other_settings_do_not_take_up_a_run_that_was_stopped(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    out, train = tmp_path / "out", ["train", str(archive), str(tmp_path / "out"), "--device", "cpu", "--epochs"]

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(pretraining, "scores", stop)
        with pytest.raises(KeyboardInterrupt):
            pretraining.main([*train, "2"])
    (kept,) = out.glob("checkpoint-*.pt")
    pretraining.main([*train, "3", "--seed", "7"])
    report = json.loads((out / "pretraining.json").read_text())
    assert (len(report["epochs"]), report["seed"]) == (3, 7)
    assert list(out.glob("checkpoint-*.pt")) == [kept]
    monkeypatch.setattr(training, "_train_epoch", stop)  # nothing is left to train
    pretraining.main([*train, "2"])
    assert not list(out.glob("checkpoint-*.pt"))


def test_without_structures_to_validate_or_score_there_is_a_report_all_the_same(tmp_path):
    """Of five structures a tenth is none, and no property has test rows."""
    table(5).assign(subset="pool").to_parquet(tmp_path / "table.parquet")
    archive, out = tmp_path / "a.npz", tmp_path / "out"
    pretraining.main(["prepare", str(tmp_path / "table.parquet"), str(archive), "--workers", "1"])
    pretraining.main(["train", str(archive), str(out), "--epochs", "1", "--device", "cpu"])
    text = (out / "pretraining.json").read_text()
    report = json.loads(text)
    assert "NaN" not in text
    assert report["n"] == {"train": 5, "validation": 0, "held_out": 0}
    assert report["epochs"][0]["validation_mae"] is None
    assert report["validation"] == report["held_out"]
    assert report["held_out"]["GV"] == {"n": 0, "mae": None, "r2": None}
    assert report["held_out"]["mae_of_all_labels"] is report["held_out"]["mae_mean_of_properties"] is None


def test_weights_are_there_before_the_scores(archive, tmp_path, monkeypatch):
    def dies(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "scores", dies)
    with pytest.raises(KeyboardInterrupt):
        pretraining.main(["train", str(archive), str(tmp_path), "--epochs", "1", "--device", "cpu", "--limit", "6"])
    assert (tmp_path / "mpt.safetensors").is_file()


def test_nothing_to_train_on_is_one_sentence(archive, tmp_path):
    with pytest.raises(SystemExit, match=r"^pretraining: There is nothing to train on\.$"):
        pretraining.main(["train", str(archive), str(tmp_path), "--device", "cpu", "--largest", "1"])


def test_scores_by_hand(monkeypatch):
    """GV has labels 0 and 1, answered with 0.5 and 1: R2 = 1 - 0.25/0.5. PH has one, off by 1. All labels: 1.5/3."""
    labels = [([0, 9], [1, 0]), ([1, -1], [1, 1])]
    samples = [
        Sample((), np.array([*target, *[9] * 5], dtype=float), np.array([*known, *[0] * 5], dtype=float))
        for target, known in labels
    ]
    answers = np.array([[0.5, 0, *[0] * 5], [1, 0, *[0] * 5]])
    monkeypatch.setattr(training, "predict", lambda network, samples, device: answers)
    found = pretraining.scores(None, samples, "cpu")
    assert found["GV"] == {"n": 2, "mae": 0.25, "r2": 0.5}
    assert found["PH"] == {"n": 1, "mae": 1.0, "r2": None}
    assert found["BG"] == {"n": 0, "mae": None, "r2": None}
    assert found["mae_of_all_labels"] == 0.5
    assert found["mae_mean_of_properties"] == 0.625


def test_large_structures_are_left_out_of_training_and_not_of_the_scores(archive, tmp_path):
    sizes = sorted(sample.n_rows for sample in pretraining.read(archive)[0])
    options = ["--epochs", "1", "--device", "cpu", "--largest", str(sizes[10]), "--batch-size", "4"]
    pretraining.main(["train", str(archive), str(tmp_path / "out"), *options])
    report = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert report["n"]["train"] + report["n"]["validation"] == sum(size <= sizes[10] for size in sizes) < 23
    assert report["n"]["held_out"] == 1
    assert (report["recipe"]["batch_size"], report["largest"]) == (4, sizes[10])


def test_balanced_sampling():
    """Four structures with the first property, one with the second: drawn alike when fully balanced."""
    samples = [Sample((), np.zeros(2), np.array(mask, dtype=float)) for mask in [[1, 0]] * 4 + [[0, 1]]]
    np.testing.assert_allclose(pretraining.sampling_weights(samples, 1.0), [1 / 8] * 4 + [1 / 2])
    np.testing.assert_allclose(pretraining.sampling_weights(samples, 0.0), [1 / 5] * 5)


def test_balanced_sampling_of_structures_with_several_properties():
    """One of five structures has both: it goes by its rarer one, and brings the other along."""
    samples = [Sample((), np.zeros(2), np.array(mask, dtype=float)) for mask in [[1, 0]] * 4 + [[1, 1]]]
    np.testing.assert_allclose(pretraining.sampling_weights(samples, 1.0), [1 / 9] * 4 + [5 / 9])


def test_a_checkpoint_is_that_of_its_version_of_torch(archive, monkeypatch):
    keys = []
    for version in ("2.6.0", "2.13.0"):
        monkeypatch.setattr(torch, "__version__", version)
        keys.append(pretraining._key(archive, "settings"))
    assert keys[0] != keys[1]


def test_training_needs_little_more_than_torch_and_numpy():
    """It runs on machines that have neither a network nor the rest of our dependencies."""
    absent = "pydantic yaml pooch pandas pyarrow pymatgen scipy sklearn matminer safetensors huggingface_hub openpyxl"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent.split()!r}))\n"
    code += "import emigbench_baselines.alignn.pretraining, emigbench_baselines.alignn.models, emigbench.evaluation"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
