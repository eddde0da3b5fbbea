"""Potentials that come with weights for most of the periodic table: CHGNet, SevenNet, MatterSim and MACE."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from emigbench import EmigbenchError
from emigbench.errors import in_words
from emigbench.storage import sha256_of
from emigbench_baselines.neb.potentials import (
    EnergyAndForces,
    Evaluate,
    Potential,
    from_calculator,
    versions_of,
)

ON_GPU, ON_CPU = 16, 1
"""Cells that are asked for at once; on a CPU a batch is slower than its cells one by one (`benchmarks.neb`)."""

MATTERSIM = ("mattersim-v1.0.0-1M", "mattersim-v1.0.0-5M")
"""Weights of MatterSim that its authors give."""


def chgnet(version: str = "0.3.0", batch: int | None = None) -> Potential:
    """CHGNet with the weights of its package (Deng et al., Nat. Mach. Intell. 2023).

    Args:
        version: of the weights: "0.3.0", "0.2.0" or "r2scan".
        batch: cells that are asked for at once, as suits the device if not given.

    Raises:
        EmigbenchError: if the package is not installed.
    """
    try:
        import torch
        from chgnet.model import CHGNet
        from pymatgen.io.ase import AseAtomsAdaptor
    except ImportError as error:
        raise _not_installed("chgnet", error) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with contextlib.redirect_stdout(sys.stderr):
        model = CHGNet.load(model_name=version, use_device=device, verbose=False).eval()
    model.requires_grad_(False)

    def together(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(atoms)).to(device) for atoms in cells]
        # The package's own forces keep what a second derivative would need, which costs time and memory.
        n_atoms = torch.tensor([len(graph.atomic_number) for graph in graphs], device=device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the volume, which is not used here
            energies = model(graphs, task="e")["e"] * (n_atoms if model.is_intensive else 1)
        slopes = torch.autograd.grad(energies.sum(), [graph.atom_frac_coord for graph in graphs])
        lattices = [graph.lattice.detach().cpu().double().numpy() for graph in graphs]
        return [
            (energy, -slope.cpu().double().numpy() @ np.linalg.inv(lattice).T)
            for lattice, energy, slope in zip(lattices, energies.tolist(), slopes, strict=True)
        ]

    return Potential(
        f"chgnet-{version}",
        _hash_of(model.state_dict()),
        _in_batches(together, batch or _at_once(device)),
        elements=frozenset(range(1, 95)),
        versions=versions_of("chgnet", "torch", "ase"),
    )


def sevennet(name: str = "7net-0", batch: int | None = None) -> Potential:
    """SevenNet with weights of its package (Park et al., JCTC 2024).

    Args:
        name: of the weights: "7net-0" (11 July 2024) or "7net-l3i5".
        batch: cells that are asked for at once, as suits the device if not given.

    Raises:
        EmigbenchError: if the package is not installed.
    """
    try:
        from sevenn.calculator import SevenNetCalculator
    except ImportError as error:
        raise _not_installed("sevennet", error) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about accelerators for GPUs
        calculator = SevenNetCalculator(name)
    calculator.model.requires_grad_(False)
    potential = from_calculator(
        f"sevennet-{name}",
        calculator,
        _hash_of(calculator.model.state_dict()),
        elements=frozenset(calculator.type_map),
        versions=versions_of("sevenn", "e3nn", "torch", "ase"),
    )
    at_once = batch or _at_once(calculator.device.type)
    if at_once == 1:
        return potential
    return replace(potential, evaluate=_in_batches(_sevennet_together(calculator), at_once))


def _sevennet_together(calculator: Any) -> Evaluate:
    """Ask the network of a SevenNet calculator for several cells at once. The calculator itself is spoilt by it."""
    import sevenn._keys as keys
    import torch
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.loader.dataloader import Collater

    calculator.model.set_is_batch_data(True)
    collate = Collater([], follow_batch=None, exclude_keys=None)

    def together(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        graphs = [AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, calculator.cutoff)) for atoms in cells]
        output = calculator.model(collate(graphs).to(calculator.device))
        energies = output[keys.PRED_TOTAL_ENERGY].detach().reshape(-1).tolist()
        forces = torch.split(output[keys.PRED_FORCE].detach().cpu().double(), [len(atoms) for atoms in cells])
        return [(energy, part.numpy()) for energy, part in zip(energies, forces, strict=True)]

    return together


def mattersim(batch: int | None = None) -> Potential:
    """MatterSim v1.0.0 (Yang et al., arXiv 2405.04967): the weights or file in EMIGBENCH_MATTERSIM, else those of 1M.

    A name, "mattersim-v1.0.0-1M" or "mattersim-v1.0.0-5M", is downloaded once from its authors. A file is read as
    tensors alone.

    Args:
        batch: cells that are asked for at once, as suits the device if not given.

    Raises:
        EmigbenchError: if the package is not installed, or the weights cannot be had or read.
    """
    try:
        import torch
        from mattersim.datasets.utils.convertor import GraphConvertor
        from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
        from mattersim.forcefield.potential import batch_to_dict
        from torch_geometric.data import Batch
    except ImportError as error:
        raise _not_installed("mattersim", error) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file = _mattersim_file(os.environ.get("EMIGBENCH_MATTERSIM") or MATTERSIM[0])
    try:
        checkpoint = torch.load(file, map_location=device, weights_only=True)
        model = M3Gnet(device=device, **checkpoint["model_args"]).to(device)
        amiss = model.load_state_dict(checkpoint["model"], strict=False)
        if wrong := {*amiss.missing_keys, *amiss.unexpected_keys} - {"sbf.coef"}:  # newer versions keep that constant
            raise ValueError(f"missing or unknown weights {sorted(wrong)[:3]}")
    except Exception as error:
        raise EmigbenchError(f"{file} is no MatterSim model ({in_words(error)}).") from error
    model.eval().requires_grad_(False)
    graph_of = GraphConvertor("m3gnet", model.model_args["cutoff"], True, model.model_args["threebody_cutoff"])

    def together(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        # The converter wraps the atoms that it is given, hence copies; forces do not change by it.
        inputs = batch_to_dict(Batch.from_data_list([graph_of.convert(atoms.copy()) for atoms in cells]), device=device)
        inputs["atom_pos"].requires_grad_(True)
        energies = model(inputs)
        (slope,) = torch.autograd.grad(energies.sum(), inputs["atom_pos"])
        forces = torch.split(-slope.cpu().double(), [len(atoms) for atoms in cells])
        return [(energy, part.numpy()) for energy, part in zip(energies.tolist(), forces, strict=True)]

    return Potential(
        file.stem,
        _hash_of(model.state_dict()),
        _in_batches(together, batch or _at_once(device)),
        elements=frozenset(range(1, 1 + model.model_args["max_z"])),
        versions=versions_of("mattersim", "torch", "ase"),
    )


def _mattersim_file(chosen: str) -> Path:
    """The file of named weights, downloaded if need be, or the file itself."""
    if chosen not in MATTERSIM:
        if not Path(chosen).is_file():
            raise EmigbenchError(
                f"EMIGBENCH_MATTERSIM is {chosen!r}, which is neither a file nor one of {', '.join(MATTERSIM)}."
            )
        return Path(chosen)
    from mattersim.utils.download_utils import download_checkpoint

    file = Path("~/.local/mattersim/pretrained_models").expanduser() / f"{chosen}.pth"
    if not file.is_file():
        try:
            download_checkpoint(file.name, save_folder=str(file.parent))
        except Exception as error:
            raise EmigbenchError(
                f"The weights {chosen!r} of MatterSim cannot be downloaded ({in_words(error)}); "
                f"get their file elsewhere and name it in EMIGBENCH_MATTERSIM."
            ) from error
    return file


def mace() -> Potential:
    """MACE, without dispersion, in double precision: the model or file in EMIGBENCH_MACE, else MACE-MP-0 "large".

    A name is one of mace_torch's own (Batatia et al., arXiv 2401.00096), which downloads it once from its authors.
    A file of MACE is a pickled program that can do anything when it is read, so a file is only read where
    EMIGBENCH_MACE_SHA256 says what it must contain.

    Raises:
        EmigbenchError: if the package is not installed, the weights cannot be had, or the file is not vouched for.
    """
    try:
        import torch
        from mace.calculators import MACECalculator
    except ImportError as error:
        raise _not_installed("mace", error) from error
    chosen = os.environ.get("EMIGBENCH_MACE") or "large"
    file = _mace_file(chosen)
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        calculator = MACECalculator(model_paths=str(file), device=device, default_dtype="float64")
    except Exception as error:
        raise EmigbenchError(f"{file} is no MACE model ({in_words(error)}).") from error
    return from_calculator(
        f"mace-{Path(chosen).stem}",
        calculator,
        sha256_of(file),
        elements=frozenset(int(number) for number in calculator.z_table.zs),
        versions=versions_of("mace-torch", "e3nn", "torch", "ase"),
    )


def _mace_file(chosen: str) -> Path:
    """The file of a named model, downloaded if need be, or the file itself, vouched for."""
    from mace.calculators.foundations_models import download_mace_mp_checkpoint, mace_mp_urls

    if chosen in mace_mp_urls:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return Path(download_mace_mp_checkpoint(chosen))
        except Exception as error:
            raise EmigbenchError(
                f"The MACE model {chosen!r} cannot be downloaded ({in_words(error)}); "
                f"get its file elsewhere and name it in EMIGBENCH_MACE."
            ) from error
    file = Path(chosen)
    if not file.is_file():
        raise EmigbenchError(
            f"EMIGBENCH_MACE is {chosen!r}, which is neither a file nor one of {', '.join(mace_mp_urls)}."
        )
    if (found := sha256_of(file)) != os.environ.get("EMIGBENCH_MACE_SHA256", "").lower():
        raise EmigbenchError(
            f"{file} is a pickled program and is not read unless you vouch for it: "
            f"if it is the file that its authors published, set EMIGBENCH_MACE_SHA256={found}."
        )
    return file


def _at_once(device: str) -> int:
    """How many cells suit a device."""
    return ON_CPU if device == "cpu" else ON_GPU


def _in_batches(together: Evaluate, at_once: int) -> Evaluate:
    """Ask for so many cells at once."""

    def evaluate(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        batches = (cells[first : first + at_once] for first in range(0, len(cells), at_once))
        return [answer for batch in batches for answer in together(batch)]

    return evaluate


def _not_installed(extra: str, error: ImportError) -> EmigbenchError:
    return EmigbenchError(f"{error.name or extra} is not installed; pip install 'emigbench[{extra}]' brings it.")


def _hash_of(weights: Any) -> str:
    """sha256 of a state dictionary."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
