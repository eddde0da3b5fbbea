"""Interatomic potentials: what gives energies and forces, and those that any ASE calculator makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from emigbench import EmigbenchError
from emigbench.errors import told
from emigbench.model import load_object, names_an_object
from emigbench.storage import sha256_of

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
    if not names_an_object(spec):
        raise EmigbenchError(
            f"{spec!r} does not say where the calculator is made; write neb:package.module:NAME or neb:file.py:NAME."
        )
    with told(f"{spec} makes no ASE calculator"):
        make = load_object(spec)
        calculator = make()
    if not (hasattr(calculator, "get_potential_energy") and hasattr(calculator, "get_forces")):
        raise EmigbenchError(f"{spec} makes a {type(calculator).__name__}, not an ASE calculator.")
    try:
        source = inspect.getsourcefile(make)
    except TypeError:  # made by compiled code
        source = None
    fingerprint = sha256_of(Path(source)) if source else ""
    return from_calculator(spec, calculator, fingerprint, versions=versions_of("ase"))


def versions_of(*packages: str) -> tuple[str, ...]:
    """Names and versions of installed packages."""
    from importlib.metadata import version

    return tuple(f"{package} {version(package)}" for package in packages)
