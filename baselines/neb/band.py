"""Run one NEB: relax the ends, lay the band, relax it, and say honestly how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.mep import NEB

from emigbench.records import Status
from emigbench_baselines.neb.endpoints import Endpoints
from emigbench_baselines.neb.interpolation import idpp, linear
from emigbench_baselines.neb.potentials import EnergyAndForces, Potential
from emigbench_baselines.neb.settings import NebSettings

MAX_FORCE = 1e3
"""Forces in eV/Å beyond which a path has exploded."""

MAX_BARRIER = 20.0
"""Barriers in eV beyond which nobody should trust one."""

MIN_HOP = 0.3
"""An ion whose ends relax to within this, in Å, has not hopped."""


class PathFailedError(Exception):
    """A path that this potential can say nothing about; the message is the reason, for a reader."""


@dataclass(frozen=True)
class Relaxed:
    """An end of a path after relaxation: the atoms with energy and forces, the steps, and whether they sufficed."""

    atoms: Atoms
    steps: int
    converged: bool


@dataclass(frozen=True, eq=False)
class NebResult:
    """What a NEB gave.

    Attributes:
        status: "ok", "not_converged" or "failed".
        reason: why it is not "ok", for a reader; else "".
        images: the band, each image with energy (eV) and forces (eV/Å); none where it failed.
        steps: steps of each stage.
        fmax: largest NEB force of the last band in eV/Å; None where no band was relaxed.
        notes: what a reader should know about the path.
        seconds: time taken.
    """

    status: Status
    reason: str = ""
    images: tuple[Atoms, ...] = ()
    steps: dict[str, int] = field(default_factory=dict)
    fmax: float | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def energies(self) -> list[float]:
        """Energy of each image, in eV."""
        return [float(image.get_potential_energy()) for image in self.images]

    @property
    def forward(self) -> float:
        """Barrier from the initial state: highest image minus the first, in eV."""
        return max(self.energies) - self.energies[0]

    @property
    def reverse(self) -> float:
        """Barrier from the final state: highest image minus the last, in eV."""
        return max(self.energies) - self.energies[-1]

    @property
    def span(self) -> float:
        """Highest image minus the lowest, in eV."""
        return max(self.energies) - min(self.energies)

    def facts(self) -> dict[str, Any]:
        """All of it but the geometry, as JSON has it; energies in eV."""
        return {
            "status": self.status,
            "reason": self.reason,
            "forward_ev": self.forward if self.images else None,
            "reverse_ev": self.reverse if self.images else None,
            "span_ev": self.span if self.images else None,
            "energies_ev": self.energies,
            "steps": self.steps,
            "fmax_ev_per_angstrom": self.fmax,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


Relax = Callable[[Atoms, Potential, NebSettings], Relaxed]


def relax(atoms: Atoms, potential: Potential, settings: NebSettings) -> Relaxed:
    """Relax the atoms at fixed cell.

    Raises:
        PathFailedError: if the forces explode.
    """
    atoms = atoms.copy()
    atoms.calc = _Asked(potential)
    optimiser = _optimiser(settings, atoms)
    converged = optimiser.run(fmax=settings.fmax, steps=settings.endpoint_steps)
    return Relaxed(_with_answer(atoms, potential), optimiser.nsteps, bool(converged))


def run_neb(ends: Endpoints, potential: Potential, settings: NebSettings, relaxing: Relax = relax) -> NebResult:
    """Run a NEB between two ends.

    Args:
        ends: where the band begins and ends.
        potential: energies and forces.
        settings: how.
        relaxing: how an end is relaxed; the store puts a cache before it.

    Raises:
        PathFailedError: if this potential can say nothing about the path.
    """
    started = time.perf_counter()
    _check(ends, potential)
    relaxing = relaxing if settings.relax_endpoints else _as_it_is
    first, last = (relaxing(end, potential, settings) for end in (ends.initial, ends.final))
    lay = idpp if settings.interpolation == "idpp" else linear
    images = [first.atoms, *lay(first.atoms, last.atoms, settings.n_images)[1:-1], last.atoms]
    doubts = [
        f"the {name} state did not relax in {end.steps} steps"
        for name, end in (("initial", first), ("final", last))
        if not end.converged
    ]
    steps, fmax = {"initial": first.steps, "final": last.steps}, None
    if (hop := float(np.linalg.norm(last.atoms.positions[0] - first.atoms.positions[0]))) < MIN_HOP:
        doubts.append(f"both ends relax to one site ({hop:.2f} Å apart)")
        _answer(images[1:-1], potential)
    else:
        steps["band"], fmax = _relax_band(images, potential, settings)
        if fmax >= settings.fmax:
            doubts.append(f"the band did not converge in {steps['band']} steps ({fmax:.2f} eV/Å left)")
    return _judged(images, doubts, steps=steps, fmax=fmax, notes=ends.notes, seconds=time.perf_counter() - started)


def _as_it_is(atoms: Atoms, potential: Potential, settings: NebSettings) -> Relaxed:
    return Relaxed(_with_answer(atoms, potential), steps=0, converged=True)


def _relax_band(images: list[Atoms], potential: Potential, settings: NebSettings) -> tuple[int, float]:
    """Relax the images between the ends; give the steps taken and the largest NEB force left, in eV/Å."""
    neb = BatchNEB(images, potential, settings)
    optimiser = _optimiser(settings, neb)
    optimiser.run(fmax=settings.fmax, steps=settings.band_steps)
    return optimiser.nsteps, float(np.linalg.norm(neb.get_forces(), axis=1).max())


def single_points(images: Sequence[Atoms], potential: Potential) -> NebResult:
    """Energies of a band as it stands.

    Raises:
        PathFailedError: if this potential can say nothing about the path.
    """
    started = time.perf_counter()
    _check(Endpoints(images[0], images[-1]), potential)
    images = [image.copy() for image in images]
    _answer(images, potential)
    return _judged(images, [], seconds=time.perf_counter() - started)


def _judged(images: Sequence[Atoms], doubts: list[str], **facts: Any) -> NebResult:
    result = NebResult("ok", images=tuple(images), **facts)
    if result.span > MAX_BARRIER:
        doubts = [*doubts, f"the energies along the band differ by {result.span:.1f} eV, more than {MAX_BARRIER:g}"]
    return replace(result, status="not_converged", reason="; ".join(doubts)) if doubts else result


class BatchNEB(NEB):
    """ASE's NEB, asking for all moving images at once."""

    def __init__(self, images: list[Atoms], potential: Potential, settings: NebSettings) -> None:
        super().__init__(images, k=settings.spring, climb=settings.climb, method=settings.method)
        self._potential = potential

    def get_forces(self) -> Any:
        """(moving images · atoms, 3) NEB forces in eV/Å."""
        stale = [image for image in self.images[1:-1] if image.calc is None or image.calc.check_state(image)]
        if stale:
            _answer(stale, self._potential)
        return super().get_forces()


class _Asked(Calculator):
    """A potential as ASE's optimisers want it."""

    implemented_properties = ("energy", "forces")

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self._potential = potential

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        energy, forces = _guarded([atoms], self._potential)[0]
        self.results = {"energy": energy, "forces": forces}


def _optimiser(settings: NebSettings, target: Any) -> Any:
    return getattr(ase.optimize, settings.optimiser)(target, logfile=None)


def _with_answer(atoms: Atoms, potential: Potential) -> Atoms:
    """A copy that holds its energy and forces."""
    copy = atoms.copy()
    if atoms.calc is None:
        _answer([copy], potential)
    else:
        _freeze(copy, (atoms.get_potential_energy(), atoms.get_forces()))
    return copy


def _answer(images: Sequence[Atoms], potential: Potential) -> None:
    """Give each image its energy and forces."""
    for image, answer in zip(images, _guarded(images, potential), strict=True):
        _freeze(image, answer)


def _freeze(image: Atoms, answer: EnergyAndForces) -> None:
    image.calc = SinglePointCalculator(image, energy=answer[0], forces=answer[1])


def _guarded(images: Sequence[Atoms], potential: Potential) -> list[EnergyAndForces]:
    """The potential's answers, if they are those of atoms that have not exploded."""
    answers = potential.evaluate(images)
    for energy, forces in answers:
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise PathFailedError(f"{potential.name} gives an energy or force that is not a number")
        if (largest := float(np.abs(forces).max())) > MAX_FORCE:
            raise PathFailedError(f"the path explodes: a force of {largest:.3g} eV/Å with {potential.name}")
    return answers


def _check(ends: Endpoints, potential: Potential) -> None:
    initial, final = ends.initial, ends.final
    if len(initial) != len(final) or (initial.numbers != final.numbers).any():
        raise PathFailedError("its ends hold different atoms")
    if not np.allclose(initial.cell, final.cell, rtol=0, atol=1e-8):
        raise PathFailedError("its ends have different cells")
    if unknown := set(initial.numbers.tolist()) - (potential.elements or set(range(len(chemical_symbols)))):
        names = ", ".join(chemical_symbols[number] for number in sorted(unknown))
        raise PathFailedError(f"{potential.name} does not know the element {names}")
