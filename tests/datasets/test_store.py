"""Where `load` looks, in which order, and what it says when what it finds is not the dataset."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import emigbench
from emigbench.datasets import catalogue, hub, rows, sources, store
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.store import INFO_FILE, Dataset, fetch, load, read_built, write_built
from emigbench.errors import EmigbenchError
from emigbench.records import LabelledPath, MigrationPath

TRAIN, TEST = rows.OFFICIAL
SPINELS = load("spinels")
VERSIONED = f"full-{catalogue.info('full').version}"


def small_entries(which=0):
    """A record of each side; one has a final state, which the spinels have not."""
    train, test = ([entry for entry in SPINELS if entry.split == side][which] for side in rows.SIDES)
    path = test.path
    final = {"final_lattice": 1.01 * path.lattice, "final_host_frac_coords": path.host_frac_coords + 1 / 3}
    return train, replace(test, path=replace(path, **final))


@pytest.fixture
def small(monkeypatch):
    """A dataset of two records under the name `full`, so that looking for it costs nothing."""
    entries = small_entries()
    digest = dataset_hash(entries)
    info = replace(catalogue.info("full"), sha256=digest, n_paths=len(entries))
    monkeypatch.setitem(catalogue.CATALOGUE, "full", info)
    return Dataset("full", info.version, digest, entries)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No dataset anywhere: no environment, an empty cache, and downloads that must not happen."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("EMIGBENCH_DATA", raising=False)
    monkeypatch.delenv("EMIGBENCH_SOURCE", raising=False)
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))

    def no_network(folder):
        raise EmigbenchError("Could not download X: no connection.")

    def no_hub(info):
        raise EmigbenchError("The Hub cannot be reached.")

    monkeypatch.setattr(sources, "download", no_network)
    monkeypatch.setattr(hub, "fetch", no_hub)


@pytest.fixture
def curated(monkeypatch, small):
    """Curating any folder gives the small dataset; the list tells which folders were."""
    folders = []

    def curate(folder):
        folders.append(folder)
        return small.entries

    monkeypatch.setattr(store, "_curate", curate)
    return folders


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert "Traceback" not in text
    return text


def files_in(folder):
    """What a folder holds, and those in it: path -> content."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def wrong(small, folder):
    """A built dataset of other content."""
    write_built(replace(small, entries=small_entries(1)), folder)


def assert_equal(a, b):
    assert dataset_hash(a) == dataset_hash(b)
    for x, y in zip(a, b, strict=True):
        assert (x.id, x.e_m, x.split, x.label_flags) == (y.id, y.e_m, y.split, y.label_flags)
        for name in x.path.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(x.path, name), getattr(y.path, name))


# --- Writing and reading


def test_what_is_written_is_read(small, tmp_path):
    write_built(small, tmp_path / "deep" / "built")
    assert_equal(read_built(tmp_path / "deep" / "built"), small.entries)
    assert files_in(tmp_path / "deep" / "built").keys() == {TRAIN, TEST, INFO_FILE}
    info = json.loads((tmp_path / "deep" / "built" / INFO_FILE).read_text())
    assert info == {"name": "full", "version": small.version, "sha256": small.sha256, "n_paths": 2}


def test_what_is_read_is_as_frozen_as_what_was_written(small, tmp_path):
    write_built(small, tmp_path)
    path = read_built(tmp_path)[1].path
    assert isinstance(path.flags, tuple)
    assert isinstance(path.host_species, tuple)
    assert not path.final_lattice.flags.writeable


def test_the_whole_dataset_survives(full, tmp_path):
    data = Dataset("full", catalogue.info("full").version, dataset_hash(full), full)
    write_built(data, tmp_path)
    assert_equal(read_built(tmp_path), full)
    assert load(path=tmp_path).sha256 == catalogue.info("full").sha256


def test_writing_replaces_what_was_there(small, tmp_path):
    wrong(small, tmp_path)
    write_built(small, tmp_path)
    assert_equal(read_built(tmp_path), small.entries)
    assert len(files_in(tmp_path)) == 3


def test_a_folder_that_cannot_be(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "built", tmp_path / "file"):
        with pytest.raises(EmigbenchError, match="Cannot write") as error:
            write_built(small, folder)
        assert str(folder) in one_sentence(error)
    assert (tmp_path / "file").read_text() == "in the way"


def test_nothing_half_written_where_the_disk_is_full(small, tmp_path, monkeypatch):
    write_built(small, tmp_path / "built")
    before = files_in(tmp_path / "built")

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    for folder in (tmp_path / "built", tmp_path / "new"):
        with pytest.raises(EmigbenchError, match="No space left on device") as error:
            write_built(replace(small, entries=small_entries(1)), folder)
        one_sentence(error)
    assert files_in(tmp_path / "built") == before
    assert files_in(tmp_path / "new") == {}


def test_no_built_dataset(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(EmigbenchError, match=r"train.parquet is missing\); make it anew with") as error:
            read_built(folder)
        assert str(folder) in one_sentence(error)


@pytest.mark.parametrize("keep", [0, 3, 200, -1], ids=lambda keep: f"{keep} bytes")
def test_truncated_file(small, tmp_path, keep):
    write_built(small, tmp_path)
    file = tmp_path / TRAIN
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(EmigbenchError, match="is damaged") as error:
        load(path=tmp_path)
    assert str(file) in one_sentence(error)


def test_flipped_bytes_never_pass(small, tmp_path):
    """Wherever a byte is flipped, the dataset is refused in a sentence, or the same within the hash's quantum."""
    write_built(small, tmp_path)
    file = tmp_path / TRAIN
    content = file.read_bytes()
    refused = []
    for position in range(0, len(content), max(1, len(content) // 150)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        try:
            assert load(path=tmp_path).sha256 == small.sha256
        except EmigbenchError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not [text for text in refused if "\n" in text]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.drop(columns="lattice"),
        lambda frame: frame.assign(state="half"),
        lambda frame: frame.assign(lattice=[[1.0, 2.0]] * len(frame)),
        lambda frame: frame.assign(flags=None),
        lambda frame: frame.assign(e_m_ev=None),
    ],
    ids=["no lattice", "state", "shape", "no flags", "no label"],
)
def test_another_table_under_the_name(small, tmp_path, spoil):
    write_built(small, tmp_path)
    spoil(pd.read_parquet(tmp_path / TRAIN)).to_parquet(tmp_path / TRAIN)
    with pytest.raises(EmigbenchError, match="is damaged") as error:
        load(path=tmp_path)
    one_sentence(error)


def test_other_content_is_refused(small, tmp_path):
    wrong(small, tmp_path)
    with pytest.raises(EmigbenchError, match="content hash") as error:
        load(path=tmp_path)
    text = one_sentence(error)
    assert str(tmp_path) in text
    assert small.sha256[:12] in text
    assert dataset_hash(small_entries(1))[:12] in text


def test_a_changed_label_is_refused(small, tmp_path):
    write_built(small, tmp_path)
    frame = pd.read_parquet(tmp_path / TEST)
    frame.assign(e_m_ev=frame["e_m_ev"] + 1e-4).to_parquet(tmp_path / TEST)
    with pytest.raises(EmigbenchError, match="content hash"):
        load(path=tmp_path)


# --- Versions


def says(folder, **changes):
    """Change what a built dataset says of itself."""
    file = folder / INFO_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.1.0", "newer than 1.0.0, the one that this emigbench knows; upgrade emigbench"),
        ("2.0.0", "newer"),
        ("1.10.3", "newer"),
        ("0.9.9", "older than 1.0.0, the one that this emigbench knows; make it anew with emigbench data build"),
        ("next", "'next', which is no version like 1.0.0"),
        ("1.0", "'1.0'"),
        ("1.0.0\n", "no version"),
        ("-1.0.0", "no version"),
        (None, "'None'"),
        ("9" * 5000 + ".0.0", "no version"),
    ],
)
def test_another_version_is_refused_before_it_is_read(small, tmp_path, version, expected):
    write_built(small, tmp_path)
    says(tmp_path, version=version)
    (tmp_path / TRAIN).write_bytes(b"of a format to come")
    with pytest.raises(EmigbenchError) as error:
        load(path=tmp_path)
    text = one_sentence(error)
    assert expected in text
    assert str(tmp_path) in text


def test_another_patch_is_as_good(small, tmp_path):
    write_built(small, tmp_path)
    says(tmp_path, version="1.0.7")
    assert_equal(load(path=tmp_path).entries, small.entries)
    wrong(small, tmp_path)
    says(tmp_path, version="1.0.7")
    with pytest.raises(EmigbenchError, match="content hash"):
        load(path=tmp_path)


def test_an_unknown_dataset_is_one_to_come(small, tmp_path):
    write_built(small, tmp_path)
    says(tmp_path, name="garnets")
    with pytest.raises(EmigbenchError, match="a dataset 'garnets' that this emigbench does not know; upgrade") as error:
        load(path=tmp_path)
    one_sentence(error)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"full"', "[" * 99_000, " " * 200_000])
def test_a_damaged_description(small, tmp_path, text):
    write_built(small, tmp_path)
    (tmp_path / INFO_FILE).write_text(text)
    with pytest.raises(EmigbenchError, match=r"is damaged|too large") as error:
        load(path=tmp_path)
    assert str(tmp_path / INFO_FILE) in one_sentence(error)


def test_without_a_description_the_content_hash_decides(small, tmp_path):
    write_built(small, tmp_path)
    (tmp_path / INFO_FILE).unlink()
    assert load(path=tmp_path).sha256 == small.sha256
    wrong(small, tmp_path)
    (tmp_path / INFO_FILE).unlink()
    with pytest.raises(EmigbenchError, match="content hash"):
        load(path=tmp_path)


# --- Where it looks


def test_the_order_of_places(small, curated, tmp_path, monkeypatch):
    given, in_data, source = tmp_path / "given", tmp_path / "data", tmp_path / "source"
    cached = tmp_path / "cache" / VERSIONED
    write_built(small, given)
    for folder in (in_data, cached):
        wrong(small, folder)

    monkeypatch.setenv("EMIGBENCH_DATA", str(in_data))
    monkeypatch.setenv("EMIGBENCH_SOURCE", str(source))
    assert load(path=given).sha256 == small.sha256  # before EMIGBENCH_DATA
    assert load("full", str(given)).sha256 == small.sha256
    with pytest.raises(EmigbenchError, match=str(in_data)):  # before EMIGBENCH_SOURCE
        load()
    monkeypatch.delenv("EMIGBENCH_DATA")
    assert load().sha256 == small.sha256  # before the cache
    assert curated == [source]
    monkeypatch.delenv("EMIGBENCH_SOURCE")
    write_built(small, cached)
    assert load().sha256 == small.sha256  # before the network
    shutil.rmtree(cached)
    monkeypatch.setattr(hub, "fetch", lambda info: small.entries)  # before the authors' files
    assert load().sha256 == small.sha256
    assert_equal(read_built(cached), small.entries)
    assert curated == [source]


def test_an_empty_variable_is_no_place(small, tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_DATA", "")
    monkeypatch.setenv("EMIGBENCH_SOURCE", "")
    write_built(small, tmp_path / "cache" / VERSIONED)
    assert load().sha256 == small.sha256


@pytest.mark.parametrize("variable", ["EMIGBENCH_DATA", "EMIGBENCH_SOURCE"])
def test_a_place_that_is_named_and_empty_is_an_error(small, tmp_path, monkeypatch, variable):
    """Another copy is at hand, but the one that was asked for is not."""
    write_built(small, tmp_path / "cache" / VERSIONED)
    monkeypatch.setenv(variable, str(tmp_path / "empty"))
    with pytest.raises(EmigbenchError, match=str(tmp_path / "empty")) as error:
        load()
    one_sentence(error)


def test_what_is_downloaded_is_kept(small, curated, tmp_path, monkeypatch):
    downloads = []
    monkeypatch.setattr(sources, "download", downloads.append)
    assert load().sha256 == small.sha256
    assert downloads == curated == [tmp_path / "cache" / "sources"]
    assert_equal(read_built(tmp_path / "cache" / VERSIONED), small.entries)
    assert_equal(load().entries, small.entries)
    assert_equal(fetch().entries, small.entries)
    assert len(downloads) == 1


@pytest.mark.parametrize("spoil", [lambda folder: None, lambda folder: (folder / TRAIN).write_bytes(b"PAR1")])
def test_a_copy_in_the_cache_that_is_not_the_dataset_is_fetched_again(small, tmp_path, monkeypatch, caplog, spoil):
    cached = tmp_path / "cache" / VERSIONED
    wrong(small, cached)
    spoil(cached)
    before = (cached / TRAIN).read_bytes()
    with pytest.raises(EmigbenchError, match="the download failed"):
        load()
    assert (cached / TRAIN).read_bytes() == before  # there is nothing better yet
    monkeypatch.setattr(hub, "fetch", lambda info: small.entries)
    assert load().sha256 == small.sha256
    assert_equal(read_built(cached), small.entries)
    assert f"The copy in {cached} is damaged" in caplog.text


def test_a_copy_of_an_earlier_format_is_told_and_one_in_the_cache_is_fetched_again(
    small, tmp_path, monkeypatch, caplog
):
    cached = tmp_path / "cache" / VERSIONED
    write_built(small, cached)
    (cached / TRAIN).rename(cached / "paths.parquet")
    shutil.rmtree(cached / "data")
    with pytest.raises(EmigbenchError, match="holds no dataset as this emigbench writes it") as error:
        load(path=cached)
    assert "make it anew with emigbench data build" in one_sentence(error)
    monkeypatch.setattr(hub, "fetch", lambda info: small.entries)
    assert load().sha256 == small.sha256
    assert files_in(cached).keys() == {TRAIN, TEST, INFO_FILE}
    assert f"The copy in {cached} is damaged or outdated" in caplog.text


def test_going_on_to_the_authors_files_is_said(small, curated, monkeypatch, caplog):
    monkeypatch.setattr(sources, "download", lambda folder: None)
    assert load().sha256 == small.sha256
    assert caplog.messages == ["The Hub cannot be reached. Going on to the authors' files."]


def test_what_a_server_says_does_nothing_to_a_terminal(small, curated, monkeypatch, caplog):
    def rude(info):
        raise EmigbenchError("The Hub answered \x1b[2J.")

    monkeypatch.setattr(sources, "download", lambda folder: None)
    monkeypatch.setattr(hub, "fetch", rude)
    load()
    assert caplog.messages == [r"The Hub answered \x1b[2J. Going on to the authors' files."]


def test_other_content_on_the_hub_is_not_taken(small, curated, monkeypatch, caplog):
    monkeypatch.setattr(sources, "download", lambda folder: None)
    monkeypatch.setattr(hub, "fetch", lambda info: small_entries(1))
    assert load().sha256 == small.sha256
    assert "content hash" in caplog.text


def test_a_failed_download_says_what_was_tried_and_what_to_do(small, tmp_path):
    with pytest.raises(EmigbenchError) as error:
        load()
    text = str(error.value)
    assert "\n" not in text
    parts = (
        "EMIGBENCH_DATA",
        "EMIGBENCH_SOURCE",
        str(tmp_path / "cache"),
        "The Hub cannot",
        "no connection",
        "spinels",
    )
    for part in parts:
        assert part in text
    assert not (tmp_path / "cache" / VERSIONED).exists()


def test_a_cache_that_cannot_be(small, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("EMIGBENCH_DATA", raising=False)
    monkeypatch.delenv("EMIGBENCH_SOURCE", raising=False)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EmigbenchError, match="Cannot write to the cache") as error:
        load()
    assert "\n" not in str(error.value)


def test_the_cache_folder(tmp_path, monkeypatch):
    assert store.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("EMIGBENCH_CACHE")
    assert store.cache_folder().name == "emigbench"


def test_build_from_the_source_files(source_dir, tmp_path, monkeypatch):
    built = store.build(source_dir, tmp_path / "built")
    assert len(built) == 619
    monkeypatch.setenv("EMIGBENCH_DATA", str(tmp_path / "built"))
    assert emigbench.load("full").sha256 == built.sha256 == catalogue.info("full").sha256


def test_building_from_wrong_files_leaves_nothing(tmp_path):
    with pytest.raises(EmigbenchError, match="is missing in"):
        store.build(tmp_path / "nothing", tmp_path / "built")
    assert not (tmp_path / "built").exists()


def test_unknown_dataset():
    for action in (load, fetch):
        with pytest.raises(EmigbenchError, match="There is no dataset 'fool'; there are full, spinels") as error:
            action("fool")
        one_sentence(error)


# --- The embedded dataset


def test_spinels_need_nothing(monkeypatch):
    data = load("spinels")
    assert (len(data), data.name, data.sha256) == (82, "spinels", catalogue.info("spinels").sha256)
    assert data.labels.by_id.keys() == data.by_id.keys()


def test_spinels_in_a_fresh_process_without_network(tmp_path):
    code = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
import emigbench
data = emigbench.load("spinels")
train, test = data.split("official")
print(len(train), len(test), data[0].path.structure().composition.reduced_formula)
"""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "EMIGBENCH_CACHE": str(tmp_path / "file" / "cache")}
    (tmp_path / "file").write_text("no cache here")
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[:2] == ["71", "11"]


def test_spinels_are_the_same_paths_as_in_full(full):
    """But for figures rounded to 1e-6, and findings about the source's cell that came with the labels."""
    by_id = {entry.id: entry for entry in full}
    for entry in load("spinels"):
        twin = by_id[entry.id]
        assert (entry.e_m, entry.split, entry.label_flags) == (twin.e_m, twin.split, twin.label_flags)
        np.testing.assert_allclose(entry.path.lattice, twin.path.lattice, atol=2e-3)
        for name in entry.path.__dataclass_fields__:
            if name not in rows._GEOMETRY:
                assert getattr(entry.path, name) == getattr(twin.path, name), (entry.id, name)
        assert (entry.path.final_lattice is None) == (twin.path.final_lattice is None)


def test_a_dataset_is_a_sequence():
    data = load("spinels")
    assert data[0] is data.entries[0]
    assert data[-2:] == data.entries[-2:]
    assert list(data) == list(data.entries)
    assert data.by_id[data[3].id] is data[3]
    assert data[3] in data
    assert data[data[3].id] is data[3]
    assert data[3].id in data
    assert "Ca0.5MnF3" not in data
    with pytest.raises(EmigbenchError, match=rf"spinels has no path '{data[3].id.lower()}': did you mean {data[3].id}"):
        data[data[3].id.lower()]
    assert repr(data) == f"<Dataset spinels {data.version}: 82 paths>"


def test_sides_of_a_split_hide_the_labels():
    data = load("spinels")
    train, test = data.split("official")
    assert {type(x) for x in train} == {LabelledPath}
    assert {type(x) for x in test} == {MigrationPath}
    with pytest.raises(EmigbenchError, match=r"Split 'material-cv' has 5 folds; use data.folds\('material-cv'\)"):
        data.split("material-cv")
    with pytest.raises(EmigbenchError, match="There is no split 'best'"):
        data.split("best")
    held_out = [path.id for _, test in data.folds("material-cv") for path in test]
    assert sorted(held_out) == sorted(data.by_id)
