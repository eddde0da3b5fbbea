"""The repository folder: what a newcomer finds in it, without our code."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import datasets
import mlcroissant
import pytest
import yaml
from helpers import run
from hub_client import stand_in

from emigbench import load, load_labels, splits
from emigbench.datasets import catalogue, plots, product, rows, store
from emigbench.datasets.findings import FLAGS, LABEL_FLAGS
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.store import Dataset
from emigbench.errors import EmigbenchError

LABELS = load_labels("full")
REPO = "group/name"


@pytest.fixture(scope="module")
def content():
    """The repository with the spinels in the place of the full dataset: path -> content."""
    info = stand_in()
    return product.files(Dataset("full", info.version, info.sha256, load("spinels").entries), REPO)


@pytest.fixture(scope="module")
def full_folder(full, tmp_path_factory):
    """The repository of the real dataset, as `emigbench data publish --dry-run` writes it."""
    place = tmp_path_factory.mktemp("product")
    store.write_built(Dataset("full", "1.0.0", dataset_hash(full), full), place / "built")
    env = os.environ | {"EMIGBENCH_DATA": str(place / "built")}
    done = run("data", "publish", "--repo", REPO, "--dry-run", place / "repository", env=env)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"\d+ files, \d\.\d MB, in {place / 'repository'}\n", done.stdout)
    return place / "repository"


def header(content):
    return yaml.safe_load(content["README.md"].decode().split("---\n")[1])


# --- Without our code


LOAD = """
import json, sys
import datasets
found = {}
for config in ("official", "spinels"):
    data = datasets.load_dataset(sys.argv[1], config)
    found[config] = {side: len(table) for side, table in data.items()}
    found[config]["features"] = repr(data["train"].features)
row = next(row for row in datasets.load_dataset(sys.argv[1], "official")["test"] if row["final_lattice"] is not None)
found["row"] = row
assert not any(name.split(".")[0].startswith("emigbench") for name in sys.modules)
print(json.dumps(found))
"""


def test_plain_datasets_reads_the_folder(full_folder, full, tmp_path):
    env = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(full_folder)], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    documented = repr(datasets.Features.from_arrow_schema(rows.schema()))
    assert found["official"] == {"train": 559, "test": 60, "features": documented}
    assert found["spinels"] == {"train": 71, "test": 11, "features": documented}
    entry = next(entry for entry in full if entry.id == found["row"]["id"])
    assert found["row"]["e_m_ev"] == entry.e_m
    assert found["row"]["band_frac_coords"] == entry.path.band_frac_coords.tolist()
    assert found["row"]["final_lattice"] == entry.path.final_lattice.tolist()
    assert found["row"]["flags"] == list(entry.path.flags)


def test_a_copy_of_the_repository_is_a_built_dataset(full_folder, full):
    """What someone downloaded by hand can be loaded and verified."""
    data = load("full", path=full_folder)
    assert data.sha256 == catalogue.info("full").sha256
    assert [entry.id for entry in data] == [entry.id for entry in full]


def test_a_copy_of_the_repository_that_is_not_the_dataset(content, tmp_path):
    product.write(content, tmp_path)
    with pytest.raises(EmigbenchError, match="content hash"):  # the stand-in's
        load("full", path=tmp_path)
    info = json.loads(content["dataset.json"]) | {"version": "1.1.0"}
    (tmp_path / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(EmigbenchError, match="newer than"):
        load("full", path=tmp_path)


def test_splits_are_files_of_ids(content):
    for name in splits.SPLITS:
        table = list(csv.DictReader(io.StringIO(content[f"splits/{name}.csv"].decode())))
        assert set(table[0]) == {"split", "fold", "id", "side"}
        for fold in splits.folds(LABELS, name):
            side = {row["id"]: row["side"] for row in table if row["fold"] == fold.name}
            assert side.keys() == LABELS.by_id.keys()
            assert [i for i in side if side[i] == "train"] == list(fold.train)
            assert [i for i in side if side[i] == "held_out"] == list(fold.held_out)
            assert [i for i in side if side[i] == "unused"] == list(fold.unused)


def test_croissant(content, tmp_path):
    """Its own library finds no error in it, and reads every record of every file by it."""
    product.write(content, tmp_path)
    data = mlcroissant.Dataset(str(tmp_path / "croissant.json"))
    assert not data.metadata.issues.errors
    assert data.metadata.version == catalogue.info("full").version
    records = list(data.records("official-test"))
    entries = [entry for entry in load("spinels") if entry.split == "test"]
    assert [record["official-test/id"].decode() for record in records] == [entry.id for entry in entries]
    assert records[0]["official-test/e_m_ev"] == entries[0].e_m
    assert records[0]["official-test/lattice"] == entries[0].path.lattice.tolist()
    assert {name.split("/")[1] for name in records[0]} == {column.name for column in rows.COLUMNS}
    folds = list(data.records("splits-material-cv"))
    assert len(folds) == 5 * len(LABELS)
    assert [name.split("/")[1] for name in folds[0]] == ["split", "fold", "id", "side"]


def test_croissant_proves_its_files(content, tmp_path):
    product.write(content, tmp_path)
    file = tmp_path / rows.table_path("official", "test")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(mlcroissant.GenerationError) as error:
        list(mlcroissant.Dataset(str(tmp_path / "croissant.json")).records("official-test"))
    assert "hash" in str(error.value.__cause__).lower()


# --- The card


def test_the_header_is_what_the_hub_reads(content):
    found = header(content)
    assert found["license"] == "mit"
    assert found["size_categories"] == ["n<1K"]
    assert "arxiv:2508.06459" in found["tags"]
    assert [config["config_name"] for config in found["configs"]] == ["official", "spinels"]
    assert found["configs"][0]["default"] is True
    for config in found["configs"]:
        assert [each["split"] for each in config["data_files"]] == ["train", "test"]
        assert all(each["path"] in content for each in config["data_files"])


def test_every_file_that_the_card_names_is_there(content):
    text = content["README.md"].decode()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if not target.startswith("http")]
    assert len(targets) >= 7
    assert all(target in content for target in targets), targets
    for name in content:
        if name.startswith("splits/"):
            assert name in targets


def test_the_card_explains_every_column_and_flag(content):
    text = content["README.md"].decode()
    for name in [*(column.name for column in rows.COLUMNS), *FLAGS, *LABEL_FLAGS, *splits.SPLITS]:
        assert f"`{name}`" in text or f"[{name}.csv]" in text, name
    assert f"`{LABELS.sha256}`" in text
    assert f'load_dataset("{REPO}", "official")' in text
    assert "10.1038/s41524-026-01972-8" in text


def test_the_cards_structure_is_the_records(content):
    code = next(
        code for code in re.findall(r"```python\n(.*?)```", content["README.md"].decode(), re.DOTALL) if "def" in code
    )
    names = {}
    exec(code, names)
    entry = load("spinels")[0]
    row = rows.to_row(entry, LABELS.by_id[entry.id])
    assert names["cell"](row) == entry.path.structure()
    assert names["cell"](row, 3) == entry.path.structure(3)


def test_the_cards_numbers_are_the_datas(content):
    """Counted by hand from labels.csv and the audit: materials and bands that test shares with train."""
    text = content["README.md"].decode()
    assert "619 barriers" in text
    assert "9 mobile ions, 27 structural groups, 439 materials" in text
    assert "22 of its 60 paths share their material" in text
    assert "and 3 are the very band" in text
    assert "| `label_suspicious` | 5 |" in text


# --- Files


def test_what_is_in_it(content):
    assert set(content) >= {
        "README.md",
        "croissant.json",
        "corrections.yaml",
        "dataset.json",
        "splits/official.csv",
        "splits/material-cv.csv",
        "figures/barriers.png",
        "data/official/train.parquet",
        "data/spinels/test.parquet",
    }
    assert all(name.startswith(product.FOLDERS) or "/" not in name for name in content)
    info = json.loads(content["dataset.json"])
    assert info["spinels"] == {"name": "spinels", "version": "1.0.0", "sha256": stand_in().sha256, "n_paths": 82}
    assert info["name"] == "full"


def test_the_same_records_give_the_same_bytes(content):
    info = stand_in()
    again = product.files(Dataset("full", info.version, info.sha256, load("spinels").entries), REPO)
    assert {name for name in content if again[name] != content[name]} == set()


def test_the_plots_are_pictures_that_show_all_paths():
    """Bars of both sides add up to the labels; barriers beyond the axis are in the last bar."""
    for drawing in (plots.barriers, plots.hop_lengths):
        figure = drawing(LABELS)
        assert sum(bar.get_height() for bar in figure.axes[0].patches) == 619
    for drawing, n in ((plots.ions, 9), (plots.groups, 27)):
        bars = drawing(LABELS).axes[0].patches
        assert len(bars) == 2 * n
        assert sum(bar.get_width() for bar in bars) == 619
    assert all(picture.startswith(b"\x89PNG") for picture in plots.draw(LABELS).values())


def test_a_folder_of_an_earlier_build_is_written_over(content, tmp_path):
    product.write(content, tmp_path)
    (tmp_path / "README.md").write_text("old")
    product.write(content, tmp_path)
    assert {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()} == set(content)
    assert (tmp_path / "README.md").read_bytes() == content["README.md"]


def test_a_folder_of_something_else_is_left_alone(content, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(EmigbenchError, match=r"thesis\.tex is no part of the dataset"):
        product.write(content, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_labels_of_other_records_are_not_published():
    first, *others = load("spinels").entries
    entries = (replace(first, e_m=first.e_m + 0.01), *others)
    with pytest.raises(EmigbenchError, match=r"labels\.csv is not of this dataset"):
        product.files(Dataset("full", "1.0.0", dataset_hash(entries), entries), REPO)


def test_without_the_library_of_the_metadata(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlcroissant", None)
    info = stand_in()
    with pytest.raises(EmigbenchError, match="pip install"):
        product.files(Dataset("full", info.version, info.sha256, load("spinels").entries), REPO)


def test_a_dry_run_refuses_a_name_that_the_hub_would_refuse(tmp_path):
    done = run("data", "publish", "--repo", "not a/valid name/x", "--dry-run", tmp_path / "out")
    assert done.returncode == 2
    assert "is no name of a Hub repository" in done.stderr
    assert not (tmp_path / "out").exists()
