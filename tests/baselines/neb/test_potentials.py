import hashlib
import pathlib

import numpy as np
import pytest
from ase.build import bulk
from helpers import one_sentence
from neb_cases import a_path

from emigbench import EmigbenchError, load
from emigbench_baselines.neb import foundation
from emigbench_baselines.neb.band import PathFailedError, run_neb
from emigbench_baselines.neb.endpoints import endpoints
from emigbench_baselines.neb.settings import NebSettings

SMALL = NebSettings(fmax=0.3, endpoint_steps=3, band_steps=3)


def a_spinel():
    return min((entry.path for entry in load("spinels")), key=lambda path: (path.n_atoms, path.id))


def cells():
    """Two rock salts with nothing symmetric about them, of different size."""
    made = []
    for size in (1, 2):
        atoms = bulk("LiO", "rocksalt", a=4.2, cubic=True) * (size, 1, 1)
        atoms.positions += np.random.default_rng(size).normal(0, 0.1, atoms.positions.shape)
        made.append(atoms)
    return made


def agrees_with_itself(potential, step=0.01, tolerance=0.02):
    """Forces are the slopes of the energy, cell by cell and together, and do not depend on how atoms are wrapped."""
    together = potential.evaluate(cells())
    for atoms, (energy, forces) in zip(cells(), together, strict=True):
        ((alone, alone_forces),) = potential.evaluate([atoms])
        assert energy == pytest.approx(alone, abs=1e-4)
        assert forces == pytest.approx(alone_forces, abs=1e-4)
        assert forces.sum(axis=0) == pytest.approx(0, abs=1e-3)
        for atom, axis in ((0, 0), (len(atoms) - 1, 2)):
            there, back = atoms.copy(), atoms.copy()
            there.positions[atom, axis] += step
            back.positions[atom, axis] -= step
            slope = np.subtract(*[potential.evaluate([moved])[0][0] for moved in (there, back)]) / (2 * step)
            assert -slope == pytest.approx(forces[atom, axis], abs=tolerance)
        wrapped = atoms.copy()
        wrapped.positions[0] += atoms.cell[1]
        assert potential.evaluate([wrapped])[0][0] == pytest.approx(energy, abs=1e-4)


def runs_a_band(potential):
    result = run_neb(endpoints(a_spinel()), potential, SMALL)
    assert result.status in ("ok", "not_converged")
    assert -10 < result.forward < 10
    if potential.elements is not None:
        with pytest.raises(PathFailedError, match="does not know the element Og"):
            run_neb(endpoints(a_path(mobile_ion="Og")), potential, SMALL)


def test_chgnet_gives_the_energies_and_forces_of_its_package():
    pytest.importorskip("chgnet")
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    potential, model = foundation.chgnet(), CHGNet.load(verbose=False, use_device="cpu")
    for atoms, (energy, forces) in zip(cells(), potential.evaluate(cells()), strict=True):
        theirs = model.predict_structure(AseAtomsAdaptor.get_structure(atoms), task="ef")
        assert energy == pytest.approx(float(theirs["e"]) * len(atoms), abs=1e-4)
        assert forces == pytest.approx(theirs["f"], abs=1e-4)
    agrees_with_itself(potential)
    agrees_with_itself(foundation.chgnet(batch=2))
    assert potential.fingerprint == foundation.chgnet().fingerprint
    assert potential.fingerprint != foundation.chgnet("r2scan").fingerprint


def test_chgnet_runs_a_band():
    pytest.importorskip("chgnet")
    runs_a_band(foundation.chgnet())


@pytest.mark.parametrize("name", ["7net-0", "7net-l3i5"])
def test_sevennet_agrees_with_itself_alone_and_in_batches(name):
    pytest.importorskip("sevenn")
    potential, in_batches = foundation.sevennet(name), foundation.sevennet(name, batch=2)
    agrees_with_itself(potential)
    for alone, together in zip(potential.evaluate(cells()), in_batches.evaluate(cells()), strict=True):
        assert together[0] == pytest.approx(alone[0], abs=1e-4)
        assert together[1] == pytest.approx(alone[1], abs=1e-4)


def test_sevennet_runs_a_band():
    pytest.importorskip("sevenn")
    runs_a_band(foundation.sevennet())


@pytest.fixture
def mace_file(tmp_path, monkeypatch):
    """A small MACE model with random weights, as MACE's own training writes it."""
    modules = pytest.importorskip("mace.modules")
    import torch
    from e3nn import o3

    numbers = sorted(set(a_spinel().structure().atomic_numbers) | {3, 8})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        model = modules.ScaleShiftMACE(
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps("8x0e"),
            MLP_irreps=o3.Irreps("4x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(numbers)),
            avg_num_neighbors=8.0,
            atomic_numbers=numbers,
            correlation=1,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    finally:
        torch.set_default_dtype(before)
    file = tmp_path / "tiny.model"
    torch.save(model, file)
    monkeypatch.setenv("EMIGBENCH_MACE", str(file))
    monkeypatch.setenv("EMIGBENCH_MACE_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_mace_from_a_file_agrees_with_itself_and_runs_a_band(mace_file):
    potential = foundation.mace()
    assert potential.name == "mace-tiny"
    assert potential.elements >= {3, 8}
    agrees_with_itself(potential, step=1e-4, tolerance=1e-4)
    runs_a_band(potential)


def refused_mace() -> str:
    with pytest.raises(EmigbenchError) as error:
        foundation.mace()
    return one_sentence(error)


def test_a_mace_file_is_not_read_unless_its_content_is_vouched_for(mace_file, monkeypatch):
    vouched = hashlib.sha256(mace_file.read_bytes()).hexdigest()
    for said in ("", "0" * 64):
        monkeypatch.setenv("EMIGBENCH_MACE_SHA256", said)
        assert f"EMIGBENCH_MACE_SHA256={vouched}" in refused_mace()
    mace_file.write_bytes(b"no model")
    monkeypatch.setenv("EMIGBENCH_MACE_SHA256", hashlib.sha256(b"no model").hexdigest())
    assert "is no MACE model" in refused_mace()


def test_missing_mace_weights_and_no_network_are_one_sentence(monkeypatch, tmp_path):
    models = pytest.importorskip("mace.calculators.foundations_models")

    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(models.urllib.request, "urlopen", no_network)
    monkeypatch.setattr(models, "get_cache_dir", lambda: str(tmp_path))
    monkeypatch.setenv("EMIGBENCH_MACE", "small")
    assert "cannot be downloaded (OSError: Name or service not known)" in refused_mace()
    monkeypatch.setenv("EMIGBENCH_MACE", str(tmp_path / "missing.model"))
    assert "neither a file nor one of small" in refused_mace()


@pytest.fixture
def mattersim_file(tmp_path, monkeypatch):
    """A small MatterSim model with random weights, laid out as its authors' files are."""
    m3gnet = pytest.importorskip("mattersim.forcefield.m3gnet.m3gnet")
    import torch

    torch.manual_seed(0)
    model = m3gnet.M3Gnet(num_blocks=2, units=8, max_l=2, max_n=2, cutoff=4.0, device="cpu", threebody_cutoff=3.0)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "sbf.coef"}
    file = tmp_path / "tiny.pth"
    torch.save({"model_name": "m3gnet", "model": weights, "model_args": model.model_args}, file)
    monkeypatch.setenv("EMIGBENCH_MATTERSIM", str(file))
    return file


def test_mattersim_gives_the_energies_and_forces_of_its_package(mattersim_file):
    from mattersim.forcefield.potential import MatterSimCalculator, Potential

    theirs = MatterSimCalculator(
        Potential.from_checkpoint(str(mattersim_file), device="cpu", load_training_state=False), device="cpu"
    )
    potential, in_batches = foundation.mattersim(), foundation.mattersim(batch=2)
    assert potential.name == "tiny"
    for atoms, *answers in zip(cells(), potential.evaluate(cells()), in_batches.evaluate(cells()), strict=True):
        atoms.calc = theirs
        for energy, forces in answers:
            assert energy == pytest.approx(float(atoms.get_potential_energy()), abs=1e-4)
            assert forces == pytest.approx(atoms.get_forces(), abs=1e-4)
    agrees_with_itself(potential)
    runs_a_band(potential)


def refused_mattersim() -> str:
    with pytest.raises(EmigbenchError) as error:
        foundation.mattersim()
    return one_sentence(error)


def test_a_mattersim_file_is_read_as_tensors_alone(mattersim_file, tmp_path):
    import torch

    checkpoint = torch.load(mattersim_file, weights_only=True)
    checkpoint["model"]["final.unheard.of"] = checkpoint["model"].popitem()[1]
    torch.save(checkpoint, mattersim_file)
    assert "missing or unknown weights" in refused_mattersim()

    class Program:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "it ran",))

    torch.save({"model": Program()}, mattersim_file)
    assert "is no MatterSim model" in refused_mattersim()
    assert not (tmp_path / "it ran").exists()


def test_missing_mattersim_weights_and_no_network_are_one_sentence(monkeypatch, tmp_path):
    download = pytest.importorskip("mattersim.utils.download_utils")

    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(download.requests, "get", no_network)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EMIGBENCH_MATTERSIM", raising=False)
    assert "cannot be downloaded (OSError: Name or service not known)" in refused_mattersim()
    monkeypatch.setenv("EMIGBENCH_MATTERSIM", str(tmp_path / "missing.pth"))
    assert "neither a file nor one of mattersim-v1.0.0-1M" in refused_mattersim()
