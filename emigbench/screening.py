"""Many structures -> the barriers of their vacancy hops, and at which barrier these join into endless paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path

from emigbench import unfinished
from emigbench.errors import EmigbenchError, in_words
from emigbench.hop_barriers import HopBarrier, Screened, check_ion, screen_structure
from emigbench.hops.files import of_neb, of_vasp
from emigbench.inference import ready_model
from emigbench.model import code_of, create, warn_of_other_code
from emigbench.progress import Progress
from emigbench.storage import name_of_content, sha256_of, write_text
from emigbench.workers import died, outcomes

RESULTS = ("structures.csv", "hops.csv", "index.html")
"""Names of the files that a screening ends in, and that a later one takes for no structures."""
NO_STRUCTURES = frozenset(
    "CHG CHGCAR DOSCAR EIGENVAL ELFCAR IBZKPT INCAR KPOINTS LOCPOT OSZICAR PCDAT POTCAR PROCAR REPORT WAVECAR".split()
)
"""Files of VASP that are passed over."""
ON_THE_WAY = frozenset("CONTCAR OUTCAR POSCAR XDATCAR vasprun.xml".split())
"""Files of a run of VASP that hold its structures, of which one is wanted."""


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

    The result of a file is kept in `out/.unfinished` as soon as it is there; with `resume` a run that was stopped goes
    on after them, and a warning says where other code of the model made them. A file that cannot be used, or whose
    worker dies twice, is one of the results, with the reason; it is not kept, nor is one with hops that the model
    failed on, since a lack of memory or of a package may pass. Files that begin with a dot are passed over, and so is
    what earlier screenings wrote; of a run of VASP, its last structure is taken. The images of a NEB (in folders 00,
    01, …) are one result, an error, since a site of the ion is empty in them. When all is done, `out` is the caller's
    to write to, and `unfinished.forget` drops what is kept.

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
        StoppedError: if the model cannot be made ready.
    """
    check_ion(plan.ion)
    if not unfinished.is_in(out) and out.is_dir() and any(out.iterdir()):
        raise EmigbenchError(f"{out} is not empty; choose another --out.")
    files = _files(folder, out, pattern)
    folder = folder.resolve()
    create(plan.model)
    unfinished.start(out, asdict(plan), "screening", resume=resume)
    kept = {file: both for file in files if (both := _kept(out, folder, file)) is not None}
    warn_of_other_code(plan.model, {file: made_by for file, (_, made_by) in kept.items()}, out)
    done = {file: result for file, (result, _) in kept.items()}
    code = code_of(plan.model)
    with unfinished.kept_if_stopped(out):
        for found in _run(folder, [file for file in files if file not in done], plan, executor):
            done[found.file] = found
            if not found.error and not found.n_failed:  # else a resumed run tries it again
                write_text(_kept_file(out, found.file), json.dumps({**asdict(found), "code": code}))
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
        found = screen_structure(folder / file, plan.ion, max_hop=plan.max_hop, model=model, name=file)
        return replace(found, sha256=digest)
    except EmigbenchError as error:
        return Screened(file, digest, error=str(error).replace(str(folder / file), file))
    except Exception as error:  # one bad file never stops the others
        return Screened(file, digest, error=f"{file}: {in_words(error)}.")


_ready = cache(ready_model)  # once in each process


def _run(folder: Path, files: Sequence[str], plan: Plan, executor: Executor | None) -> Iterator[Screened]:
    for file, outcome in outcomes({file: partial(screen_file, folder, file, plan) for file in files}, executor):
        if isinstance(outcome, Screened):
            yield outcome
        else:
            yield Screened(file, _sha256(folder / file), error=str(died(f"{file}: its worker")))


def _files(folder: Path, out: Path, pattern: str) -> list[str]:
    """The files below a folder that fit a pattern, without hidden ones, results and what VASP wrote beside the last."""
    if folder.is_file():
        raise EmigbenchError(f"{folder} is a file; name the folder that it is in.")
    if not folder.is_dir():
        raise EmigbenchError(f"There is no folder {folder}.")
    found = {
        file.relative_to(folder)
        for file in folder.rglob("*")
        if (file.is_file() or not file.exists())  # a link that leads nowhere is told of
        and not file.parent.resolve().is_relative_to(out.resolve())
    }
    results = {file for file in found if file.name in RESULTS and _has_results(file.parent, found)}
    wanted = [file for file in found - results if fnmatchcase(file.name, pattern) and not _is_beside(folder, file)]
    shown = [file for file in wanted if not any(part.startswith(".") for part in file.parts)]
    is_neb = cache(lambda inside: _is_neb(folder / inside))
    names = sorted({next(filter(is_neb, file.parents), file).as_posix() for file in shown})
    if not names:
        raise EmigbenchError(f"{folder} holds no files{'' if pattern == '*' else f' that fit {pattern}'}.")
    return names


def _is_neb(folder: Path) -> bool:
    """Whether a folder is one of a NEB, with images 00, 01, … as VASP wants them; structures are numbered otherwise."""
    images = [image.name for image in of_neb(folder)]
    return bool(images) and images == [f"{number:02}" for number in range(len(images))]


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


def _kept(out: Path, folder: Path, file: str) -> tuple[Screened, str] | None:
    """What an earlier run kept of a file and what code made it; None where nothing, or where the file has changed."""
    try:
        content = json.loads(_kept_file(out, file).read_text(encoding="utf-8"))
        content["hops"] = tuple(
            HopBarrier(**{**hop, **{name: tuple(hop[name]) for name in ("start", "end", "cautions")}})
            for hop in content["hops"]
        )
        content["percolation"], content["cautions"] = tuple(content["percolation"]), tuple(content["cautions"])
        code = str(content.pop("code"))
        found = Screened(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (found, code) if found.file == file and found.sha256 == _sha256(folder / file) else None
