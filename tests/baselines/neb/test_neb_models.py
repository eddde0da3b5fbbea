import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import ase.io
import numpy as np
import pytest
from helpers import one_sentence
from neb_cases import Counted, Curved, a_path, emt, surface, vacancy_hop

from emigbench import BarrierModel, EmigbenchError
from emigbench import model as registry
from emigbench_baselines.neb import models, store
from emigbench_baselines.neb.endpoints import endpoints
from emigbench_baselines.neb.models import NebModel, PathEnergyModel
from emigbench_baselines.neb.potentials import Potential
from emigbench_baselines.neb.settings import NebSettings

PLUGGED_IN = """
from ase.calculators.emt import EMT

def make(): return EMT()
def raises(): raise RuntimeError("no licence.")
def number(): return 3
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "neb"


def hops():
    """Three ions that may fill one vacancy: three paths with one initial state."""
    return [vacancy_hop("Cu", hopping) for hopping in range(3)]


def test_a_path_is_predicted_by_its_forward_barrier_and_the_rest_is_kept(cache):
    valley, path = Curved(), a_path()
    model = NebModel(lambda: surface(valley), NebSettings(climb=True, method="improvedtangent"))
    assert isinstance(model, BarrierModel)
    model.fit([], seed=0)
    (prediction,) = model.predict([path])
    assert (prediction.id, prediction.status) == (path.id, "ok")
    assert prediction.e_m == pytest.approx(valley.barrier, abs=0.01)
    assert prediction.seconds > 0
    (file,) = cache.glob("surface/*.json")
    kept = json.loads(file.read_text())
    assert kept["forward_ev"] == prediction.e_m
    assert kept["forward_ev"] - kept["reverse_ev"] == pytest.approx(kept["energies_ev"][-1] - kept["energies_ev"][0])
    assert kept["span_ev"] == max(kept["energies_ev"]) - min(kept["energies_ev"])
    assert kept["settings"]["climb"] is True
    images = ase.io.read(file.with_suffix(".xyz"), ":")
    assert [image.get_potential_energy() for image in images] == pytest.approx(kept["energies_ev"])
    for image in images:
        energy, forces = surface(valley).evaluate([image])[0]
        assert energy == pytest.approx(image.get_potential_energy(), abs=1e-6)
        assert forces == pytest.approx(image.get_forces(), abs=1e-6)
    assert model.details["potential"] == "surface"
    assert model.details["settings"]["fmax"] == 0.05


def test_what_is_kept_is_not_computed_again_and_is_the_same():
    counted = Counted(emt())
    first = NebModel(counted).result(vacancy_hop("Cu"))
    asked = counted.cells
    second = NebModel(counted).result(vacancy_hop("Cu"))
    assert counted.cells == asked > 0
    assert second.energies == pytest.approx(first.energies, abs=1e-9)
    assert (second.status, second.reason, second.steps, second.fmax) == ("ok", "", first.steps, first.fmax)


def test_a_run_that_was_stopped_goes_on_after_what_is_done():
    paths, other_weights = hops(), replace(emt(), fingerprint="2")
    alone = Counted(other_weights)
    NebModel(alone).result(paths[0])
    stopped = Counted(emt(), stop_after=alone.cells + 5)
    with pytest.raises(KeyboardInterrupt):
        NebModel(stopped).predict(paths)
    assert stopped.cells > alone.cells
    resumed = Counted(emt())
    predictions = NebModel(resumed).predict(paths)
    assert [p.status for p in predictions] == ["ok"] * 3
    assert resumed.cells < 2 * alone.cells
    idle = Counted(emt(), stop_after=0)
    assert NebModel(idle).predict(paths) == predictions
    assert idle.cells == 0


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from dataclasses import replace
from neb_cases import emt, vacancy_hop
from emigbench_baselines.neb.endpoints import endpoints
from emigbench_baselines.neb.models import NebModel

def evaluate(cells, asked=[0]):
    asked[0] += 1
    if asked[0] > {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return emt().evaluate(cells)

NebModel(lambda: replace(emt(), evaluate=evaluate)).predict([vacancy_hop("Cu", hopping) for hopping in range(3)])
"""


def test_a_killed_process_loses_its_own_path_alone(cache):
    alone = Counted(replace(emt(), fingerprint="2"))
    NebModel(alone).result(hops()[0])
    script = KILLED.format(folder=str(Path(__file__).parent), calls=len(alone.batches) + 5)
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    kept = [file for file in cache.glob("emt/*.json") if json.loads(file.read_text())["fingerprint"] == "1"]
    assert len(kept) == 1
    idle = Counted(emt(), stop_after=0)
    assert NebModel(idle).result(hops()[0]).status == "ok"
    predictions = NebModel(emt).predict(hops())
    assert [p.status for p in predictions] == ["ok"] * 3
    assert not [file for file in cache.rglob(".*")]


def test_another_setting_potential_or_path_is_another_result(cache):
    path = a_path()
    for potential, settings in (
        (surface(Curved()), NebSettings()),
        (surface(Curved()), NebSettings(fmax=0.04)),
        (replace(surface(Curved()), fingerprint="2"), NebSettings()),
    ):
        NebModel(lambda potential=potential: potential, settings).result(path)
    band = path.band_frac_coords + np.array([0, 0, 1e-6])
    NebModel(lambda: surface(Curved())).result(replace(path, band_frac_coords=band))
    PathEnergyModel(lambda: surface(Curved())).result(path)
    NebModel(lambda: surface(Curved())).result(replace(path, id="another name", composition="typed otherwise"))
    assert len(list(cache.glob("surface/*.json"))) == 5


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"energies_ev": [1', "\x00\x00"])
@pytest.mark.parametrize("suffix", ["json", "xyz"])
def test_a_damaged_file_is_computed_again(cache, suffix, damage):
    counted, path = Counted(surface(Curved())), a_path()
    first = NebModel(counted).result(path)
    (file,) = cache.glob(f"surface/*.{suffix}")
    whole = file.read_text()
    file.write_text(damage)
    before = counted.cells
    assert NebModel(counted).result(path).energies == pytest.approx(first.energies)
    assert counted.cells > before
    assert len(file.read_text()) == pytest.approx(len(whole), abs=8)  # the seconds differ


def test_ends_of_equal_structure_are_relaxed_once(cache):
    counted = Counted(emt())
    model = NebModel(counted)
    first, second, third = hops()
    results = [model.result(first)]
    counted.batches.clear()
    results.append(model.result(second))
    assert counted.batches.count(1) == results[1].steps["final"] + 1
    results.append(
        model.result(moved := replace(third, band_frac_coords=third.band_frac_coords + np.array([2, -1, 0])))
    )
    assert len(list(cache.glob("emt/endpoints/*.xyz"))) == 4
    assert len({result.steps["initial"] for result in results}) == 1
    for path, result in zip((first, second, moved), results, strict=True):
        taken_over = result.images[0]
        energy, forces = emt().evaluate([taken_over])[0]
        assert energy == pytest.approx(taken_over.get_potential_energy(), abs=1e-6)
        assert forces == pytest.approx(taken_over.get_forces(), abs=1e-6)
        start = path.band_frac_coords[0] @ path.lattice
        assert np.linalg.norm(taken_over.positions[0] - start) < 0.5


def test_an_end_is_taken_over_from_no_other_potential_or_way_to_relax_it():
    end = endpoints(vacancy_hop("Cu")).initial
    ways = [
        (emt(), NebSettings(endpoint_steps=1)),
        (emt(), NebSettings()),
        (emt(), NebSettings(fmax=0.2)),
        (emt(), NebSettings(optimiser="FIRE")),
        (replace(emt(), fingerprint="2"), NebSettings()),
    ]
    for potential, settings in ways:
        counted = Counted(potential)
        store.relax_once(end, counted(), replace(settings, band_steps=3))
        asked = counted.cells
        assert asked > 0
        store.relax_once(end, counted(), replace(settings, band_steps=4))  # which is no matter of an end
        assert counted.cells == asked
    assert not store.relax_once(end, *ways[0]).converged
    assert store.relax_once(end, *ways[1]).converged


def test_a_path_that_fails_does_not_stop_the_others():
    calm = surface(Curved())

    def evaluate(cells):
        (first, *_) = cells
        if first.symbols[0] == "Na":
            return [(0.0, np.full((len(atoms), 3), 1e4)) for atoms in cells]
        return calm.evaluate(cells)

    potential = Potential("moody", "1", evaluate, elements=frozenset({3, 8, 11, 19}))
    paths = [a_path(id=ion, mobile_ion=ion) for ion in ("Na", "Mg", "Li")]
    model = NebModel(lambda: potential)
    predictions = {p.id: p for p in model.predict(paths)}
    assert {i: p.status for i, p in predictions.items()} == {"Na": "failed", "Mg": "failed", "Li": "ok"}
    assert predictions["Na"].e_m is None
    reasons = {path.id: model.result(path).reason for path in paths}
    assert "explodes" in reasons["Na"]
    assert reasons["Mg"] == "moody does not know the element Mg"
    assert not any("\n" in reason for reason in reasons.values())
    assert model.details["remarks"] == {path_id: reason for path_id, reason in reasons.items() if reason}


def test_an_ion_that_wanders_off_is_remarked_on():
    valley = Curved(bend=0.0)
    model = NebModel(lambda: surface(lambda x, y: valley(x, y - 1.2)))
    (prediction,) = model.predict([path := a_path()])
    assert prediction.status == "ok"
    remark = model.details["remarks"][path.id]
    assert "leaves its initial site by 1.2 Å" in remark
    assert "leaves its final site by 1.2 Å" in remark
    near = NebModel(lambda: replace(surface(lambda x, y: valley(x, y - 0.8)), fingerprint="near"))
    near.predict([path])
    assert near.details["remarks"] == {}


def test_a_failure_of_the_path_is_kept_and_one_of_the_machine_is_not(cache):
    """The run goes on after the latter too: `evaluate` notes it as failed, and tries it again when it resumes."""
    failing = Potential("weak", "1", lambda cells: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        NebModel(lambda: failing).result(a_path())
    assert list(cache.glob("weak/*.json")) == []
    potential = Potential("weak", "1", lambda cells: [(np.nan, np.zeros((len(atoms), 3))) for atoms in cells])
    assert NebModel(lambda: potential).result(a_path()).status == "failed"
    assert len(list(cache.glob("weak/*.json"))) == 1
    assert NebModel(lambda: potential).result(a_path()).reason == "weak gives an energy or force that is not a number"


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(EmigbenchError) as error:
        NebModel(lambda: surface(Curved())).result(a_path())
    assert str(tmp_path / "file") in one_sentence(error)


@pytest.mark.parametrize(
    ("factory", "package"), [("chgnet_neb", "chgnet"), ("sevennet_neb", "sevenn"), ("mace_neb", "mace")]
)
def test_a_potential_that_is_not_installed_is_one_sentence(monkeypatch, factory, package):
    for module in (package, f"{package}.model", f"{package}.calculator", f"{package}.calculators"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(EmigbenchError) as error:
        getattr(models, factory)().predict([a_path()])
    assert "pip install 'emigbench[" in one_sentence(error)


def test_models_say_that_they_work_path_by_path_and_tell_their_settings():
    for name in ("chgnet_neb", "chgnet_neb_no_relax", "sevennet_neb", "sevennet_l3i5_neb", "mace_neb"):
        model = getattr(models, name)()
        assert isinstance(model, BarrierModel)
        assert (model.kind, model.one_by_one) == ("interatomic-potential", True)
        assert model.details["settings"]["relax_endpoints"] is ("no_relax" not in name)
    assert models.chgnet_path_energy().details["settings"] == {"single_points": True}


@pytest.fixture
def plugged_in(tmp_path, monkeypatch):
    """The prefix as an installed package registers it, and a file with calculators."""
    entry = EntryPoint("neb", "emigbench_baselines.neb.models:from_factory", registry.PREFIX_GROUP)
    wanted, known = {"group": registry.PREFIX_GROUP, "name": "neb"}, registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda **how: [entry] if how == wanted else known(**how))
    file = tmp_path / "my_potential.py"
    file.write_text(PLUGGED_IN)
    return file


def test_any_ase_calculator_by_its_name(plugged_in, cache):
    path = vacancy_hop("Cu")
    (prediction,) = registry.create(f"neb:{plugged_in}:make").predict([path])
    assert prediction.e_m == pytest.approx(NebModel(emt).result(path).forward, abs=1e-6)
    (by_module,) = registry.create("neb:ase.calculators.emt:EMT").predict([path])
    assert by_module.e_m == pytest.approx(prediction.e_m, abs=1e-6)
    kept = len(list(cache.rglob("*.json")))
    plugged_in.write_text(PLUGGED_IN + "\n# other weights\n")
    registry.create(f"neb:{plugged_in}:make").predict([path])
    assert len(list(cache.rglob("*.json"))) == kept + 1


@pytest.mark.parametrize(
    ("name", "reason"), [("raises", "no licence"), ("number", "makes a int"), ("missing", "has no 'missing'")]
)
def test_what_makes_no_calculator_is_one_sentence(plugged_in, name, reason):
    with pytest.raises(EmigbenchError) as error:
        registry.create(f"neb:{plugged_in}:{name}").predict([a_path()])
    assert reason in one_sentence(error)


def test_a_module_that_is_not_there_is_one_sentence(plugged_in):
    with pytest.raises(EmigbenchError) as error:
        registry.create("neb:no.such.module:make").predict([a_path()])
    assert "no.such.module" in one_sentence(error)


def test_a_calculator_without_a_module_is_one_sentence():
    with pytest.raises(EmigbenchError, match=r"'make' does not say where the calculator is made; write neb:"):
        registry.create("neb:make").predict([a_path()])


def test_kept_results_are_found_by_the_path_alone():
    path = a_path()
    assert store.kept_results(path) == {}
    NebModel(lambda: surface(Curved())).result(path)
    NebModel(lambda: surface(Curved()), NebSettings(relax_endpoints=False, spring=3.0)).result(path)
    PathEnergyModel(lambda: surface(Curved())).result(path)
    NebModel(lambda: surface(Curved())).result(vacancy_hop("Cu"))
    names = ["surface, NEB", "surface, NEB, spring 3.0, relax endpoints False", "surface, single points"]
    assert list(store.kept_results(path)) == names


def test_kept_results_of_other_weights_under_one_name_are_told_apart():
    path, old, new = a_path(), surface(Curved()), replace(surface(lambda x, y: (x, (1, 0))), fingerprint="b" * 64)
    for potential in (old, new):
        NebModel(lambda potential=potential: potential, NebSettings(relax_endpoints=False)).result(path)
    words = "surface, NEB, relax endpoints False, weights"
    kept = store.kept_results(path)
    assert list(kept) == [f"{words} 1", f"{words} bbbbbbbb"]
    assert kept[f"{words} 1"].forward != kept[f"{words} bbbbbbbb"].forward
