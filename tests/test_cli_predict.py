"""`emigbench predict` and `emigbench screen`, as a user calls them."""

import json

import numpy as np
import pytest
from helpers import one_sentence, run
from hops.crystals import reordered, supercell_hop, translated, wrapped
from pymatgen.core.structure import Structure

from emigbench import load
from emigbench.datasets.geometry import distances
from emigbench.hops.files import from_structure

PATH = load("spinels")[0].path
MODELS = """
from emigbench import Prediction
from emigbench.datasets.geometry import distances

class Nearest:
    "From the distance of the middle of the band to the nearest atom of the host."
    def load_trained(self): pass
    def fit(self, train, *, seed): raise AssertionError
    def predict(self, paths):
        found = []
        for p in paths:
            e = 1 / float(distances(p.band_frac_coords[2:3], p.host_frac_coords, p.lattice).min())
            found.append(Prediction(p.id, e, low=e - 0.2, high=e + 0.3, cautions=("Far from anything known.",)))
        return found

class Fails(Nearest):
    def predict(self, paths):
        return [Prediction(p.id, None, status="failed", cautions=("no such band.", "ask another")) for p in paths]

class Chatty(Nearest):
    def predict(self, paths):
        print("talk")
        return super().predict(paths)

class Lacks(Nearest):
    def load_trained(self):
        from emigbench import EmigbenchError
        raise EmigbenchError("The weights of Lacks are not there; fetch them.")
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    return f"{tmp_path / 'models.py'}:Nearest"


def write(crystal, file):
    Structure(crystal.lattice, crystal.species, crystal.frac_coords).to(file, fmt="poscar")
    return file


A, B = (from_structure(PATH.structure(image), "x") for image in (0, -1))


@pytest.fixture
def ends(tmp_path):
    return write(A, tmp_path / "a.vasp"), write(B, tmp_path / "b.vasp")


def refused(result) -> str:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    return one_sentence(err.rstrip("\n"))


def test_what_was_understood_and_what_is_answered(call, model, ends):
    code, out, err = call("predict", model, *ends, "--temperature", "400", "--threshold", "0.5")
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    for part in (PATH.composition, f"{PATH.hop_length:.2f} Å", "90% interval", "at 0.5 eV; the chance", "at 400 K"):
        assert part in flat
    assert "Far from anything known." in flat
    assert PATH.id in flat  # the nearest known path is this one
    assert f"{PATH.mobile_ion} 1, which is {PATH.mobile_ion} 1 at the end" in flat  # counted from 1
    e_m = 1 / float(distances(PATH.band_frac_coords[2:3], PATH.host_frac_coords, PATH.lattice).min())
    assert f"{'good' if e_m <= 0.5 else 'bad'} at 0.5 eV" in flat
    assert f"{e_m:.2f} eV, 90% interval {e_m - 0.2:.2f} to {e_m + 0.3:.2f} eV" in flat
    _, out, _ = call("predict", model, *ends, "--temperature", "1")
    assert "under 10⁻³⁰⁰ cm²/s" in " ".join(out.split())


def test_json_is_all_of_stdout(call, model, ends):
    code, out, err = call("predict", model, *ends, "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert list(content) == ["model", "path", "prediction", "conductor", "diffusivity", "known_paths", "cautions"]
    assert content["path"]["mobile_ion"] == PATH.mobile_ion
    assert content["path"]["hop_length_a"] == pytest.approx(PATH.hop_length, abs=1e-4)
    assert content["prediction"]["low_ev"] < content["prediction"]["e_m_ev"] < content["prediction"]["high_ev"]


def test_one_path_however_it_is_written_has_one_answer(call, model, tmp_path):
    rng = np.random.default_rng(0)
    shift = rng.random(3)
    versions = {
        "plain": (A, B),
        "reordered": (reordered(A, rng), reordered(B, rng)),
        "wrapped": (wrapped(A, rng), wrapped(B, rng)),
        "translated": (translated(A, shift), translated(B, shift)),
        "supercell": supercell_hop(A, B, (2, 1, 1)),
    }
    answers = {}
    for name, (a, b) in versions.items():
        code, out, _ = call("predict", model, write(a, tmp_path / "1.vasp"), write(b, tmp_path / "2.vasp"), "--json")
        assert code == 0, name
        content = json.loads(out)
        answers[name] = (content["prediction"]["e_m_ev"], content["path"]["hop_length_a"])
    for name, answer in answers.items():
        assert answer == pytest.approx(answers["plain"], abs=1e-5), name


def test_a_model_without_weights_says_that_it_is_fitted(call, ends):
    code, out, err = call("predict", "nearest-hop", *ends, "--dataset", "spinels", "--group", "spinel", "--json")
    assert code == 0
    assert "82 paths of spinels" in err
    assert json.loads(out)["path"]["structural_group"] == "SPINEL"


def changed(crystal, species=None, coords=None, lattice=None):
    from emigbench.hops.files import Crystal

    return Crystal(
        "x",
        crystal.lattice if lattice is None else lattice,
        tuple(crystal.species if species is None else species),
        crystal.frac_coords if coords is None else coords,
    )


def test_bad_input_is_one_sentence(call, model, ends, tmp_path):
    a, b = ends
    two = B.frac_coords.copy()
    second = B.species.index(PATH.mobile_ion, 1)
    two[second] += [0.24, 0.12, 0.06]
    other = ["Cs", *B.species[1:]]
    overlap = B.frac_coords.copy()
    overlap[3] = overlap[2] + 0.001
    cases = {
        "differ in composition": write(changed(B, species=other), tmp_path / "1.vasp"),
        "2 ions move": write(changed(B, coords=two), tmp_path / "2.vasp"),
        "same structure": a,
        "different cells": write(changed(B, lattice=B.lattice * [1, 1, 1.3]), tmp_path / "3.vasp"),
        "overlapping atoms": write(changed(B, coords=overlap), tmp_path / "4.vasp"),
        "is a folder": tmp_path,
        "There is no file": tmp_path / "nothing.vasp",
    }
    text = b.read_text()
    for says, content in {
        "is empty": "",
        "cannot be read": "not a structure",
        "unknown element": text.replace(PATH.mobile_ion, "X"),
        "30,0": text.replace("32\n", "30000\n").replace(" 32", " 30000"),
    }.items():
        cases[says] = tmp_path / f"{len(cases)}.vasp"
        cases[says].write_text(content)
    for says, file in cases.items():
        assert says in refused(call("predict", model, a, file)), says


def test_options_that_make_no_sense(call, model, ends):
    assert "no atom of He" in refused(call("predict", model, *ends, "--ion", "He"))
    assert "no structural group" in refused(call("predict", model, *ends, "--group", "stone"))
    said = refused(call("predict", model.replace("Nearest", "Fails"), *ends))
    assert said.endswith("gives no barrier; no such band; ask another.")
    assert "no model" in refused(call("predict", "unheard-of", *ends))
    assert "names no class" in refused(call("predict", model.rpartition(":")[0], *ends))
    for option, value in (("--temperature", "-3"), ("--threshold", "nan"), ("--threshold", "-1")):
        assert call("predict", model, *ends, option, value)[0] == 2


def test_a_model_that_was_left_out_is_what_is_missing(call, ends):
    """The files are not to blame, neither two of them nor one too many."""
    a, b = ends
    for files in ((a, b), (a, b, b)):
        message = refused(call("predict", *files))
        assert f"{a} is a file and no model" in message
        assert f"emigbench predict path-forest {a} {b}." in message
    assert f"{a.parent} is a folder and no model" in refused(call("predict", a.parent, b))


def test_what_a_model_prints_is_no_answer(call, model, ends, tmp_path):
    chatty = model.replace("Nearest", "Chatty")
    code, out, err = call("predict", chatty, *ends, "--json")
    assert (code, err) == (0, "talk\n")
    assert json.loads(out) | {"model": model} == json.loads(call("predict", model, *ends, "--json")[1])
    (folder := tmp_path / "in").mkdir()
    write(A, folder / "one.vasp")
    told = [
        call("screen", folder, "--ion", PATH.mobile_ion, "--model", each, "--out", tmp_path / each[-4:])[1]
        for each in (chatty, model)
    ]
    assert told[0] == told[1]


def test_a_screening_that_cannot_begin_leaves_nothing(call, model, tmp_path):
    (folder := tmp_path / "in").mkdir()
    write(A, folder / "one.vasp")
    arguments = ("screen", folder, "--ion", PATH.mobile_ion, "--model", model.replace("Nearest", "Lacks"), "--out")
    message = refused(call(*arguments, tmp_path / "out"))
    assert message == "emigbench: The weights of Lacks are not there; fetch them."
    assert not list((tmp_path / "out").iterdir())


def test_screen_writes_tables_and_a_page(call, model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    filled = Structure(
        PATH.lattice,
        [PATH.mobile_ion] * 2 + list(PATH.host_species),
        np.vstack([PATH.band_frac_coords[[0, -1]], PATH.host_frac_coords]),
    )
    filled.to(folder / "spinel.cif")
    (folder / "bad.cif").write_text("")
    arguments = ("screen", folder, "--ion", PATH.mobile_ion, "--model", model, "--out", tmp_path / "out")
    code, out, err = call(*arguments)
    assert code == 0
    assert "spinel.cif" in out
    assert "1 of 2 files gave nothing" in err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["hops.csv", "index.html", "structures.csv"]
    assert "not empty" in refused(call(*arguments))
    found, bad = json.loads(call(*arguments[:-1], tmp_path / "json", "--json")[1])
    assert (found["file"], found["hops"][0]["id"], bad["file"], bad["hops"]) == (
        "spinel.cif",
        "spinel.cif#1",
        "bad.cif",
        [],
    )
    assert set(found["percolation_ev"]) == {"1d", "2d", "3d"}
    (folder / "spinel.cif").unlink()
    code, out, err = call(*arguments[:-1], tmp_path / "none")
    assert code == 2
    assert "None of the 1 files gave a barrier" in err
    assert (tmp_path / "none" / "structures.csv").is_file()


def test_screen_in_processes_of_its_own(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("one.vasp", "two.vasp"):
        write(A, folder / name)
    done = run(
        "screen", folder, "--ion", PATH.mobile_ion, "--model", model, "--out", tmp_path / "out", "--workers", "2"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".vasp  ") == 2
