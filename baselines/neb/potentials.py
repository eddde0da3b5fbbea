"""Interatomic potentials: what gives energies and forces, and where its weights come from."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from emigbench import EmigbenchError
from emigbench.errors import in_words
from emigbench.model import load_object

EnergyAndForces = tuple[float, NDArray[np.float64]]
"""Energy in eV and (n, 3) forces in eV/Å."""

Evaluate = Callable[[Sequence[Atoms]], list[EnergyAndForces]]
"""Energies and forces of several cells, in one batch where the potential can."""


@dataclass(frozen=True)
class Potential:
    """A potential, ready to be asked.

    Attributes:
        name: what it is called, its version included; results are kept in a folder of this name.
        fingerprint: changes whenever its answers may: a hash of the weights.
        evaluate: energies and forces.
        elements: atomic numbers that it knows; None where it does not say.
        versions: packages that matter to its answers, for the record.
    """

    name: str
    fingerprint: str
    evaluate: Evaluate
    elements: frozenset[int] | None = None
    versions: tuple[str, ...] = ()


def from_calculator(name: str, calculator: Any, fingerprint: str, **facts: Any) -> Potential:
    """A potential from any ASE calculator, asked for one cell after the other."""

    def evaluate(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        answers = []
        for atoms in cells:
            asked = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            asked.calc = calculator
            answers.append((float(asked.get_potential_energy()), np.array(asked.get_forces(), dtype=float)))
        return answers

    return Potential(name, fingerprint, evaluate, **facts)


def from_factory(spec: str) -> Potential:
    """The ASE calculator that a function or class makes, named as `package.module:NAME` or `file.py:NAME`.

    Its results are kept under that name and the content of the file that it is written in. Change that file, or the
    name, when the weights change.

    Raises:
        EmigbenchError: if there is no such function, or it makes no calculator.
    """
    try:
        make = load_object(spec)
        calculator = make()
    except EmigbenchError:
        raise
    except Exception as error:
        raise EmigbenchError(f"{spec} makes no ASE calculator ({in_words(error)}).") from error
    if not (hasattr(calculator, "get_potential_energy") and hasattr(calculator, "get_forces")):
        raise EmigbenchError(f"{spec} makes a {type(calculator).__name__}, not an ASE calculator.")
    try:
        source = inspect.getsourcefile(make)
    except TypeError:  # made by compiled code
        source = None
    fingerprint = hash_of_file(Path(source)) if source else ""
    return from_calculator(spec, calculator, fingerprint, versions=_versions("ase"))


def chgnet(version: str = "0.3.0") -> Potential:
    """CHGNet with the weights of its package (Deng et al., Nat. Mach. Intell. 2023).

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
    batch = 1 if device == "cpu" else 16  # on a CPU a batch is slower than its cells one by one

    def evaluate(cells: Sequence[Atoms]) -> list[EnergyAndForces]:
        answers = []
        for first in range(0, len(cells), batch):
            graphs = [
                model.graph_converter(AseAtomsAdaptor.get_structure(atoms)).to(device)
                for atoms in cells[first : first + batch]
            ]
            # The package's own forces keep what a second derivative would need, which costs time and memory.
            n_atoms = torch.tensor([len(graph.atomic_number) for graph in graphs], device=device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about the volume, which is not used here
                energies = model(graphs, task="e")["e"] * (n_atoms if model.is_intensive else 1)
            slopes = torch.autograd.grad(energies.sum(), [graph.atom_frac_coord for graph in graphs])
            for graph, energy, slope in zip(graphs, energies.tolist(), slopes, strict=True):
                lattice = graph.lattice.detach().cpu().double().numpy()
                answers.append((energy, -slope.cpu().double().numpy() @ np.linalg.inv(lattice).T))
        return answers

    return Potential(
        f"chgnet-{version}",
        _hash_of(model.state_dict()),
        evaluate,
        elements=frozenset(range(1, 95)),
        versions=_versions("chgnet", "torch", "ase"),
    )


def sevennet(name: str = "7net-0") -> Potential:
    """SevenNet with weights of its package: "7net-0" (11 July 2024) or "7net-l3i5" (Park et al., JCTC 2024).

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
    return from_calculator(
        f"sevennet-{name}",
        calculator,
        _hash_of(calculator.model.state_dict()),
        elements=frozenset(calculator.type_map),
        versions=_versions("sevenn", "e3nn", "torch", "ase"),
    )


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
        hash_of_file(file),
        elements=frozenset(int(number) for number in calculator.z_table.zs),
        versions=_versions("mace-torch", "e3nn", "torch", "ase"),
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
    if (found := hash_of_file(file)) != os.environ.get("EMIGBENCH_MACE_SHA256", "").lower():
        raise EmigbenchError(
            f"{file} is a pickled program and is not read unless you vouch for it: "
            f"if it is the file that its authors published, set EMIGBENCH_MACE_SHA256={found}."
        )
    return file


def _not_installed(extra: str, error: ImportError) -> EmigbenchError:
    return EmigbenchError(f"{error.name or extra} is not installed; pip install 'emigbench[{extra}]' brings it.")


def _hash_of(weights: Any) -> str:
    """sha256 of a state dictionary."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def hash_of_file(file: Path) -> str:
    """sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions(*packages: str) -> tuple[str, ...]:
    from importlib.metadata import version

    return tuple(f"{package} {version(package)}" for package in packages)
