import sys
from importlib import metadata

from emigbench import plug_ins
from emigbench.plug_ins import entry_points


def install(folder, name):
    (folder / f"{name}-1.0.dist-info").mkdir()
    (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[emigbench.models]\n{name} = {name}:Model\n")


def names():
    return {entry_point.name for entry_point in entry_points(group="emigbench.models")}


def test_they_are_those_of_the_standard_library():
    for group in ("emigbench.models", "emigbench.model_prefixes", "emigbench.commands", "nobody.has.this"):
        assert list(entry_points(group=group)) == list(metadata.entry_points(group=group))


def test_metadata_are_read_once(monkeypatch):
    names()
    monkeypatch.setattr(plug_ins.metadata, "entry_points", None)
    assert "train-mean" in names()


def test_what_is_installed_meanwhile_is_found(tmp_path, monkeypatch):
    before = names()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "absent")])
    assert names() == before
    install(tmp_path, "first")
    assert names() == before | {"first"}
    install(tmp_path, "second")
    assert names() == before | {"first", "second"}


def test_the_folder_that_a_program_is_in_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        install(tmp_path / name, name)
        monkeypatch.chdir(tmp_path / name)
        assert name in names()
    assert "here" not in names()
