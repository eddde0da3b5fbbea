"""One structure -> the barriers of its vacancy hops, and at which barrier these join into endless paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emigbench.answer import cautions, reasons
from emigbench.errors import EmigbenchError
from emigbench.hops.files import Crystal, Source, elements, frames, of_neb
from emigbench.hops.paths import reduced_formula
from emigbench.hops.percolation import percolation_barriers
from emigbench.hops.vacancies import SHORTEST_HOP_A, VacancyHop, empty_site, primitive, vacancy_hops, vacancy_path
from emigbench.inference import predict
from emigbench.model import BarrierModel
from emigbench.records import FloatArray, MigrationPath, Prediction, Status

LONGEST_HOP_A = 12.0
INSIDE = 1e-6
"""Fractional coordinates that are outside of a cell by no more than this are inside but for rounding."""
Place = tuple[float, float, float]


@dataclass(frozen=True)
class HopBarrier:
    """A hop and its predicted barrier.

    Attributes:
        id: name of the file and number of the hop, shortest first.
        start: fractional coordinates of the initial site, inside the cell of the file.
        end: those of the final site, which may be that of a neighbouring cell.
        length: Å.
        multiplicity: number of equivalent hops in the primitive cell.
        e_m: eV, of the hop or of the way back, whichever is higher; None where the model failed.
        low: lower end of the 90% interval in eV, if the model gives one.
        high: upper end.
        status: of the prediction: "ok", "not_converged" or "failed".
        cautions: why to doubt the barrier, each a sentence.
    """

    id: str
    start: Place
    end: Place
    length: float
    multiplicity: int
    e_m: float | None
    low: float | None
    high: float | None
    status: Status
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Screened:
    """What one structure gave.

    Attributes:
        file: name below the folder, or of the structure.
        sha256: of the file's content, "" without a file.
        formula: reduced, "" where the file gave nothing.
        n_atoms: in the cell of the file.
        hops: the symmetry-distinct hops, shortest first.
        percolation: barriers in eV at which the hops percolate in 1, 2 and 3 dimensions; None where they do not.
        cautions: why to doubt the structure as a whole, each a sentence; the hops have their own.
        error: why the file gave nothing, "" if it did.
    """

    file: str
    sha256: str = ""
    formula: str = ""
    n_atoms: int = 0
    hops: tuple[HopBarrier, ...] = ()
    percolation: tuple[float | None, float | None, float | None] = (None, None, None)
    cautions: tuple[str, ...] = ()
    error: str = ""

    @property
    def n_failed(self) -> int:
        """How many hops the model failed on; endless paths are sought without them."""
        return sum(hop.status == "failed" for hop in self.hops)

    @property
    def doubted(self) -> tuple[HopBarrier, ...]:
        """The hops with cautions."""
        return tuple(hop for hop in self.hops if hop.cautions)

    @property
    def lowest(self) -> float | None:
        """The lowest barrier of all hops in eV, None without one."""
        return min((hop.e_m for hop in self.hops if hop.e_m is not None), default=None)

    @property
    def limiting(self) -> HopBarrier | None:
        """A hop whose barrier is that of the endless path, None where there is no such path."""
        return next((hop for hop in self.hops if hop.e_m is not None and hop.e_m == self.percolation[0]), None)


def screen_structure(
    structure: Source,
    ion: str,
    *,
    max_hop: float = 5.0,
    model: str | BarrierModel = "path-forest",
    dataset: str = "full",
    name: str = "",
) -> Screened:
    """The vacancy hops of one structure with their barriers, and those at which they join into endless paths.

    Args:
        structure: a file, as `emigbench.read_path` reads it, a pymatgen Structure or ASE Atoms; every site of the ion
            occupied.
        ion: element of the moving ion.
        max_hop: longest hop in Å.
        model: its name, or one that is fitted.
        dataset: what a model without shipped weights is fitted to.
        name: what the structure is called; the file's name, or "structure", if not given.

    Raises:
        EmigbenchError: if the structure cannot be read, has no such hops or the model fails on all of them, or there is
            no such ion or length.
    """
    check_ion(ion)
    if not isinstance(max_hop, int | float | np.number) or not SHORTEST_HOP_A <= max_hop <= LONGEST_HOP_A:
        raise EmigbenchError(f"A hop is {SHORTEST_HOP_A:g} to {LONGEST_HOP_A:g} Å long, not {max_hop!r} (max_hop).")
    name = name or (Path(structure).absolute().name if isinstance(structure, str | Path) else "structure")
    if isinstance(structure, str | Path) and of_neb(Path(structure)):
        raise EmigbenchError(
            f"{structure} holds the images of a NEB by their names (00, 01, …), in which a site of the ion is empty; "
            f"ask emigbench predict about them, or name the folders otherwise if each is a structure of its own with "
            f"every site occupied."
        )
    given = _last(frames(structure, name), name)
    crystal = primitive(given)
    hops = vacancy_hops(crystal, ion, max_hop)
    paths = [vacancy_path(crystal, hop, f"{name}#{number}") for number, hop in enumerate(hops, start=1)]
    predictions = _both_ways(model, dataset, crystal, hops, paths)
    barriers = [(p.e_m, hop) for p, hop in zip(predictions, hops, strict=True) if p.e_m is not None]
    if not barriers:
        which = "its only hop" if len(hops) == 1 else f"all {len(hops)} hops"
        raise EmigbenchError(f"{name}: the model failed on {which}{reasons(predictions[0])}.")
    return Screened(
        name,
        formula=reduced_formula(given.species),
        n_atoms=len(given),
        hops=tuple(
            _hop_barrier(path, p, given.lattice, hop) for p, hop, path in zip(predictions, hops, paths, strict=True)
        ),
        percolation=percolation_barriers((e_m, edge) for e_m, hop in barriers for edge in hop.equivalents),
        cautions=tuple(_about_vacancies(crystal, ion, given.lattice)),
    )


def _about_vacancies(crystal: Crystal, ion: str, lattice: FloatArray) -> Iterator[str]:
    """Whether sites of the ion seem to be empty already; `lattice` is that of the file."""
    site = empty_site(crystal, ion)
    if site is not None:
        place = ", ".join(f"{x:.3f}" for x in np.round(site @ crystal.lattice @ np.linalg.inv(lattice), 6) % 1.0)
        yield (
            f"Some sites of {ion} may be empty, such as that at ({place}), to which the symmetry of the rest takes an "
            f"occupied one; hops into them are left out, so give a structure with every site occupied."
        )


def check_ion(ion: str) -> None:
    """Refuse what is no element.

    Raises:
        EmigbenchError: saying what was probably meant.
    """
    if not isinstance(ion, str):
        raise EmigbenchError(f"An ion is given by a symbol such as Li, not by {ion!r}.")
    if ion not in elements():
        meant = ion.capitalize()
        named = f"write it as {meant}." if meant in elements() else "an ion is given by a symbol such as Li."
        raise EmigbenchError(f"There is no element {ion!r}; {named}")


def _both_ways(
    model: str | BarrierModel,
    dataset: str,
    crystal: Crystal,
    hops: Sequence[VacancyHop],
    paths: Sequence[MigrationPath],
) -> list[Prediction]:
    """The prediction of each hop, or that of the way back where this is the higher one: an endless path goes both ways.

    A hop that symmetry turns round is asked for once. Where one way failed, so has the hop.
    """
    back = [k for k, hop in enumerate(hops) if not hop.turns]
    ways_back = [vacancy_path(crystal, hops[k].reversed(), f"{paths[k].id} back") for k in back]
    found = predict(model, [*paths, *ways_back], dataset)
    highest = found[: len(paths)]
    for k, prediction in zip(back, found[len(paths) :], strict=True):
        highest[k] = max(highest[k], prediction, key=lambda p: float("inf") if p.e_m is None else p.e_m)
    return highest


def _last(crystals: Sequence[Crystal], name: str) -> Crystal:
    """The last frame of a trajectory, or the only one.

    Raises:
        EmigbenchError: if the frames are of different composition.
    """
    last = crystals[-1]
    if any(Counter(each.species) != Counter(last.species) for each in crystals):
        raise EmigbenchError(
            f"{name} holds {len(crystals)} structures of different composition; put each in a file of its own."
        )
    return last


def _hop_barrier(path: MigrationPath, prediction: Prediction, lattice: FloatArray, hop: VacancyHop) -> HopBarrier:
    """What is told of a hop; `lattice` is that of the file."""
    start, end = _in_cell(path, lattice)
    return HopBarrier(
        id=path.id,
        start=start,
        end=end,
        length=hop.length,
        multiplicity=len(hop.equivalents),
        e_m=prediction.e_m,
        low=prediction.low,
        high=prediction.high,
        status=prediction.status,
        cautions=cautions(path, prediction),
    )


def _in_cell(path: MigrationPath, lattice: FloatArray) -> tuple[Place, Place]:
    """Both ends of a hop in fractions of another cell, the first inside of it."""
    ends = path.band_frac_coords[[0, -1]] @ path.lattice @ np.linalg.inv(lattice)
    (x, y, z), (u, v, w) = (ends - np.floor(ends[0] + INSIDE)).tolist()
    return (x, y, z), (u, v, w)
