import json
import re

import numpy as np
import pytest
import typer
from ase import Atoms
from helpers import one_sentence
from typer.testing import CliRunner

from emigbench import EmigbenchError, load
from emigbench import cli as program
from emigbench_baselines.neb import picture
from emigbench_baselines.neb.cli import app
from emigbench_baselines.neb.energies import from_json

MODEL = """
from ase.calculators.emt import EMT
from emigbench_baselines.neb.models import NebModel, PathEnergyModel
from emigbench_baselines.neb.settings import NebSettings
from neb_cases import pair_repulsion

def quick(): return NebModel(pair_repulsion, NebSettings(endpoint_steps=2, band_steps=2))
def static(): return PathEnergyModel(pair_repulsion)
class Breaks(PathEnergyModel):
    def __init__(self): super().__init__(pair_repulsion)
    def _compute(self, path):
        if len(path.id) % 2: raise RuntimeError("out of memory")
        return super()._compute(path)
class NoBands:
    def fit(self, train, *, seed): pass
    def predict(self, paths): return []
"""


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bands.py"
    file.write_text(MODEL)
    return file


def call(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, EmigbenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def a_spinel() -> str:
    return min(load("spinels"), key=lambda entry: (entry.path.n_atoms, entry.id)).id


def test_bands_are_run_one_after_the_other_and_shown(model_file, tmp_path):
    path_id = a_spinel()
    line = call("run", f"{model_file}:quick", path_id, "--dataset", "spinels")
    assert line.startswith(f"1/1 {path_id}: ")
    assert "not_converged" in line
    assert call("run", f"{model_file}:quick", path_id, "--dataset", "spinels") == line
    call("run", f"{model_file}:static", path_id, "--dataset", "spinels")
    shown = call("show", path_id, "--dataset", "spinels")
    assert re.search(r"repulsion, NEB.*not_converged", shown)
    assert re.search(r"repulsion, single points: ok; forward \d+\.\d+ eV", shown)
    assert (tmp_path / f"{path_id}.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(call("show", path_id, "--dataset", "spinels", "--json", "--out", "picture.svg"))
    assert facts["repulsion, single points"]["forward_ev"] >= 0
    picture = (tmp_path / "picture.svg").read_text()
    assert "<svg" in picture


def refused(*arguments) -> str:
    with pytest.raises(EmigbenchError) as error:
        call(*arguments)
    return one_sentence(error)


def test_a_picture_shows_the_host_along_the_whole_way():
    """A hop of 8 Å along x: oxygens 3 Å from its end and beyond the face of the cell; the last one is 5 Å off."""
    host = [(8, 3, 0), (19, 0, 0), (4, 5, 0)]
    atoms = Atoms("LiOOO", positions=[(0, 0, 0), *host], cell=[20, 20, 20], pbc=True)
    places, numbers = picture._around(atoms, np.array([[0.0, 0, 0], [4, 0, 0], [8, 0, 0]]))
    np.testing.assert_allclose(places, [(8, 3, 0), (-1, 0, 0)], atol=1e-12)
    assert numbers.tolist() == [8, 8]


def test_bad_input_is_one_sentence(model_file):
    path_id = a_spinel()
    assert "'nobody'" in refused("run", f"{model_file}:quick", "nobody", "--dataset", "spinels")
    assert "'left'" in refused("run", f"{model_file}:quick", "--side", "left", "--dataset", "spinels")
    assert "runs no bands" in refused("run", f"{model_file}:NoBands", path_id, "--dataset", "spinels")
    assert f"neb run MODEL {path_id}" in refused("show", path_id, "--dataset", "spinels")
    call("run", f"{model_file}:static", path_id, "--dataset", "spinels")
    assert "picture.abc" in refused("show", path_id, "--dataset", "spinels", "--out", "picture.abc")
    assert "nowhere" in refused("show", path_id, "--dataset", "spinels", "--out", "nowhere/picture.png")


def test_a_potential_that_breaks_off_on_a_path_goes_on_with_the_others(model_file):
    ids = [entry.id for entry in load("spinels")][:8]
    odd = [path_id for path_id in ids if len(path_id) % 2]
    assert 0 < len(odd) < 8
    result = CliRunner().invoke(app, ["run", f"{model_file}:Breaks", *ids, "--dataset", "spinels"])
    assert f"broke off on {len(odd)} of 8 paths" in str(result.exception)
    assert result.stdout.count("out of memory") == len(odd)
    assert result.stdout.count("; ok; forward") == 8 - len(odd)


class PlugIn:
    """An entry point."""

    def __init__(self, name, content):
        self.name, self._content = name, content

    def load(self):
        if isinstance(self._content, Exception):
            raise self._content
        return self._content


def test_commands_of_a_package_that_cannot_be_imported_break_nothing(monkeypatch):
    good, fresh = typer.Typer(), typer.Typer()

    @good.command("hello")
    def hello():
        print("hello")

    @good.callback()
    def group():
        pass

    broken = PlugIn("broken", ImportError("No module named 'ase'"))
    monkeypatch.setattr(program, "entry_points", lambda group: [PlugIn("good", good), broken])
    monkeypatch.setattr(program, "app", fresh)
    program._add_plug_ins()
    assert CliRunner().invoke(fresh, ["good", "hello"]).stdout == "hello\n"
    assert "No module named 'ase'" in CliRunner().invoke(fresh, ["--help"]).stdout
    result = CliRunner().invoke(fresh, ["broken", "show", "--out", "x"])
    assert "No module named 'ase'" in one_sentence(result.exception)


def test_kept_bands_are_exported_and_nothing_is_run(model_file, tmp_path):
    path_id, out = a_spinel(), tmp_path / "table.json"
    with pytest.raises(EmigbenchError, match="is kept; emigbench neb run"):
        call("export", f"{model_file}:quick", "--out", out, "--dataset", "spinels")
    call("run", f"{model_file}:quick", path_id, "--dataset", "spinels")
    assert "1 of 82 paths" in call("export", f"{model_file}:quick", "--out", out, "--dataset", "spinels")
    table = from_json(out.read_text())
    (band,) = table.bands.values()
    assert (table.potential, table.settings["band_steps"], band.id) == ("repulsion", 2, path_id)
    assert len(band.energies_ev) == 5
    shown = json.loads(call("show", path_id, "--dataset", "spinels", "--out", tmp_path / "x.svg", "--json"))
    (facts,) = shown.values()
    assert band.forward == pytest.approx(facts["forward_ev"], abs=2e-5)
    with pytest.raises(EmigbenchError, match="runs no bands"):
        call("export", f"{model_file}:NoBands", "--out", out, "--dataset", "spinels")
