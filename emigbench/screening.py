"""Many structures -> the barriers of their vacancy hops, and at which barrier these join into endless paths."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np

from emigbench import unfinished
from emigbench.answer import cautions, nearest_known
from emigbench.errors import EmigbenchError, in_words
from emigbench.hops.files import Crystal, elements, of_vasp, read
from emigbench.hops.paths import reduced_formula
from emigbench.hops.percolation import percolation_barriers
from emigbench.hops.vacancies import VacancyHop, primitive, vacancy_hops, vacancy_path
from emigbench.inference import predict, ready_model
from emigbench.model import BarrierModel, create
from emigbench.records import FloatArray, MigrationPath, Prediction, Status
from emigbench.storage import name_of_content, sha256_of, write_text
from emigbench.workers import WorkerDiedError, died

RESULTS = ("structures.csv", "hops.csv", "index.html")
"""Names of the files that a screening ends in, and that a later one takes for no structures."""
NO_STRUCTURES = frozenset(
    "CHG CHGCAR DOSCAR EIGENVAL ELFCAR IBZKPT INCAR KPOINTS LOCPOT OSZICAR PCDAT POTCAR PROCAR REPORT WAVECAR".split()
)
"""Files of VASP that are passed over."""
ON_THE_WAY = frozenset("CONTCAR OUTCAR POSCAR XDATCAR vasprun.xml".split())
"""Files of a run of VASP that hold its structures, of which one is wanted."""
INSIDE = 1e-6
"""Fractional coordinates that are outside of a cell by no more than this are inside but for rounding."""
Place = tuple[float, float, float]

Progress = Callable[[str, int, int], None]
"""Called with the name of a finished file, how many are done, and how many there are."""


@dataclass(frozen=True)
class Plan:
    """What is asked of every structure.

    Attributes:
        model: as `emigbench.model.create` takes it.
        dataset: what a model without shipped weights is fitted to.
        ion: element of the moving ion.
        max_hop: longest hop in Å.
    """

    model: str
    dataset: str
    ion: str
    max_hop: float


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
    """What one file gave.

    Attributes:
        file: name below the folder.
        sha256: of its content.
        formula: reduced, "" where the file gave nothing.
        n_atoms: in the cell of the file.
        hops: the symmetry-distinct hops, shortest first.
        percolation: barriers in eV at which the hops percolate in 1, 2 and 3 dimensions; None where they do not.
        error: why the file gave nothing, "" if it did.
    """

    file: str
    sha256: str
    formula: str = ""
    n_atoms: int = 0
    hops: tuple[HopBarrier, ...] = ()
    percolation: tuple[float | None, float | None, float | None] = (None, None, None)
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


def screen(
    folder: Path,
    plan: Plan,
    out: Path,
    *,
    pattern: str = "*",
    resume: bool = False,
    executor: Executor | None = None,
    progress: Progress = lambda name, done, total: None,
) -> list[Screened]:
    """Predict the vacancy hops of every structure file of a folder and those below it, best first.

    The result of a file is kept in `out/.unfinished` as soon as it is there; with `resume` a run that was stopped
    goes on after them. A file that cannot be used is one of the results, with the reason. Files that begin with a dot
    are passed over, and so is what earlier screenings wrote; of a run of VASP, its last structure is taken. When all is
    done, `out` is the caller's to write to, and `unfinished.forget` drops what is kept.

    Args:
        folder: with structure files of any format that `emigbench.hops.files` reads.
        plan: what is asked.
        out: folder for results.
        pattern: of the names of files, as a shell has them; others are passed over.
        resume: go on with what `out` holds.
        executor: takes the files side by side, on machines that have the folder at the same place; one after the
            other if None.
        progress: called after each file.

    Raises:
        EmigbenchError: if the folder has no files, the model is not there, or `out` holds another run.
        StoppedError: if the model cannot be made ready, or a worker dies.
    """
    if plan.ion not in elements():
        meant = plan.ion.capitalize()
        named = f"did you mean {meant}?" if meant in elements() else "--ion takes a symbol such as Li."
        raise EmigbenchError(f"There is no element {plan.ion!r}; {named}")
    files = _files(folder, out, pattern)
    folder = folder.resolve()
    create(plan.model)
    if not unfinished.is_in(out) and out.is_dir() and any(out.iterdir()):
        raise EmigbenchError(f"{out} is not empty; choose another --out.")
    unfinished.start(out, asdict(plan), "screening", resume=resume)
    done = {file: found for file in files if (found := _kept(out, folder, file)) is not None}
    with unfinished.kept_if_stopped(out):
        for found in _run(folder, [file for file in files if file not in done], plan, executor):
            done[found.file] = found
            write_text(_kept_file(out, found.file), json.dumps(asdict(found)))
            progress(found.file, len(done), len(files))
    return ranked(done.values())


def ranked(found: Iterable[Screened]) -> list[Screened]:
    """The structures by the barrier at which their hops percolate at all, then by their lowest one; errors last."""

    def order(each: Screened) -> tuple[bool, float, float, str]:
        percolating, lowest = each.percolation[0], each.lowest
        infinite = float("inf")
        return (
            bool(each.error),
            infinite if percolating is None else percolating,
            infinite if lowest is None else lowest,
            each.file,
        )

    return sorted(found, key=order)


def screen_file(folder: Path, file: str, plan: Plan) -> Screened:
    """What one file gives. What is wrong with the file is part of the result.

    Raises:
        EmigbenchError: if the model cannot be made ready.
    """
    model = _ready(plan.model, plan.dataset)
    digest = _sha256(folder / file)
    try:
        given = _last(read(folder / file))
        crystal = primitive(given)
        hops = vacancy_hops(crystal, plan.ion, plan.max_hop)
        paths = [vacancy_path(crystal, hop, f"{file}#{number}") for number, hop in enumerate(hops, start=1)]
        predictions = _both_ways(model, crystal, hops, paths)
        if all(p.e_m is None for p in predictions):
            which = "its only hop" if len(hops) == 1 else f"all {len(hops)} hops"
            raise EmigbenchError(f"{file}: the model failed on {which}.")
    except EmigbenchError as error:
        return Screened(file, digest, error=str(error).replace(str(folder / file), file))
    except Exception as error:  # one bad file never stops the others
        return Screened(file, digest, error=f"{file}: {in_words(error)}.")
    barriers = [(p.e_m, edge) for p, hop in zip(predictions, hops, strict=True) for edge in hop.equivalents]
    return Screened(
        file,
        digest,
        formula=reduced_formula(given.species),
        n_atoms=len(given),
        hops=tuple(
            _hop_barrier(path, p, given.lattice, hop) for p, hop, path in zip(predictions, hops, paths, strict=True)
        ),
        percolation=percolation_barriers((e_m, edge) for e_m, edge in barriers if e_m is not None),
    )


def _both_ways(
    model: BarrierModel, crystal: Crystal, hops: Sequence[VacancyHop], paths: Sequence[MigrationPath]
) -> list[Prediction]:
    """The prediction of each hop, or that of the way back where this is the higher one: an endless path goes both ways.

    A hop that symmetry turns round is asked for once. Where one way failed, so has the hop.
    """
    back = [k for k, hop in enumerate(hops) if not hop.turns]
    ways_back = [vacancy_path(crystal, hops[k].reversed(), f"{paths[k].id} back") for k in back]
    found = predict(model, [*paths, *ways_back])
    highest = found[: len(paths)]
    for k, prediction in zip(back, found[len(paths) :], strict=True):
        highest[k] = max(highest[k], prediction, key=lambda p: float("inf") if p.e_m is None else p.e_m)
    return highest


def _last(crystals: Sequence[Crystal]) -> Crystal:
    """The last frame of a trajectory, or the only one.

    Raises:
        EmigbenchError: if the frames are of different composition.
    """
    last = crystals[-1]
    if any(Counter(each.species) != Counter(last.species) for each in crystals):
        raise EmigbenchError(
            f"{last.name} holds {len(crystals)} structures of different composition; put each in a file of its own."
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
        cautions=cautions(path, prediction, nearest_known(path, 1)),
    )


def _in_cell(path: MigrationPath, lattice: FloatArray) -> tuple[Place, Place]:
    """Both ends of a hop in fractions of another cell, the first inside of it."""
    ends = path.band_frac_coords[[0, -1]] @ path.lattice @ np.linalg.inv(lattice)
    (x, y, z), (u, v, w) = (ends - np.floor(ends[0] + INSIDE)).tolist()
    return (x, y, z), (u, v, w)


_ready = cache(ready_model)  # once in each process


def _run(folder: Path, files: Sequence[str], plan: Plan, executor: Executor | None) -> Iterator[Screened]:
    if executor is None:
        for file in files:
            yield screen_file(folder, file, plan)
        return
    futures = [executor.submit(screen_file, folder, file, plan) for file in files]
    try:
        for future in as_completed(futures):
            yield future.result()
    except WorkerDiedError as error:
        raise died("A worker") from error
    finally:
        for future in futures:
            future.cancel()


def _files(folder: Path, out: Path, pattern: str) -> list[str]:
    """The files below a folder that fit a pattern, without hidden ones, results and what VASP wrote beside the last."""
    if folder.is_file():
        raise EmigbenchError(f"{folder} is a file; name the folder that it is in.")
    if not folder.is_dir():
        raise EmigbenchError(f"There is no folder {folder}.")
    found = {
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.is_file() and not file.resolve().is_relative_to(out.resolve())
    }
    results = {file for file in found if file.name in RESULTS and _has_results(file.parent, found)}
    wanted = [file for file in found - results if fnmatchcase(file.name, pattern) and not _is_beside(folder, file)]
    names = sorted(file.as_posix() for file in wanted if not any(part.startswith(".") for part in file.parts))
    if not names:
        raise EmigbenchError(f"{folder} holds no files{'' if pattern == '*' else f' that fit {pattern}'}.")
    return names


def _is_beside(folder: Path, file: Path) -> bool:
    """Whether VASP wrote a file beside the one that holds the last structure of its run."""
    name = name_of_content(file)
    if name not in ON_THE_WAY:
        return name in NO_STRUCTURES
    try:
        return of_vasp(folder / file.parent) != folder / file
    except EmigbenchError:  # neither POSCAR nor CONTCAR
        return False


def _has_results(folder: Path, files: Set[Path]) -> bool:
    """Whether a folder holds what an earlier screening wrote."""
    return all(folder / name in files for name in RESULTS)


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError:
        return ""


def _kept_file(out: Path, file: str) -> Path:
    return out / unfinished.FOLDER / f"{hashlib.sha256(file.encode('utf-8', 'surrogateescape')).hexdigest()}.json"


def _kept(out: Path, folder: Path, file: str) -> Screened | None:
    """What an earlier run kept of a file, None where nothing, or where the file has changed."""
    try:
        content = json.loads(_kept_file(out, file).read_text(encoding="utf-8"))
        content["hops"] = tuple(
            HopBarrier(**{**hop, **{name: tuple(hop[name]) for name in ("start", "end", "cautions")}})
            for hop in content["hops"]
        )
        content["percolation"] = tuple(content["percolation"])
        found = Screened(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.file == file and found.sha256 == _sha256(folder / file) else None
