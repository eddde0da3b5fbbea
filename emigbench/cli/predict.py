"""Commands that answer for a user's own structures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emigbench.cli.console import (
    DaskOption,
    DatasetOption,
    JsonOption,
    ModelArgument,
    check_cluster,
    executor_of,
    print_json,
    talk_on_stderr,
    told_when_stopped,
)
from emigbench.errors import EmigbenchError
from emigbench.progress import progress_on_stderr
from emigbench.scoring import THRESHOLDS_EV

app = typer.Typer()


@app.command()
def predict(
    model: ModelArgument,
    initial: Annotated[Path, typer.Argument(help="Initial state: POSCAR, CIF, extended XYZ, …, or a folder of VASP.")],
    final: Annotated[
        Path | None,
        typer.Argument(
            help="Final state. If not given, INITIAL has both: several frames, or a NEB (folders 00, 01, …)."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=1, max=5000, help="For the diffusivity, in K.")] = 300.0,
    threshold: Annotated[
        float, typer.Option(min=0, max=100, help="Barrier in eV up to which a conductor is good.")
    ] = THRESHOLDS_EV[0],
    ion: Annotated[str | None, typer.Option(help="Element of the moving ion, where it is not clear.")] = None,
    site: Annotated[
        int | None, typer.Option(min=1, help="Number of the moving ion in INITIAL, counted from 1.")
    ] = None,
    group: Annotated[
        str, typer.Option(help="Structural group of the host, such as SPINEL; group-median and nearest-hop use it.")
    ] = "",
    dataset: DatasetOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Predict the migration barrier of an ion that hops between two structures.

    The atoms may be in another order, in other periodic images and at another origin in the second structure; the
    lattice must be the same but for relaxation, by the same or other vectors. A model that ships no weights is first
    fitted to the whole dataset.

    Examples:
        emigbench predict path-forest initial.vasp final.vasp --temperature 330

        emigbench predict path-forest neb

        emigbench predict nearest-hop initial.cif final.cif --group SPINEL --dataset spinels --json
    """
    from emigbench import answer as answers
    from emigbench.hops import hop as hops
    from emigbench.inference import predict as predict_paths
    from emigbench.inference import ready_model

    _check_is_model(model, initial)
    hop = hops.read_hop(initial, final, ion=ion, site=site, group=group)
    with talk_on_stderr():
        (prediction,) = predict_paths(ready_model(model, dataset, tell=_say), [hop.path])
    if prediction.e_m is None:
        raise EmigbenchError(f"Model {model!r} failed on this path and gives no barrier{answers.reasons(prediction)}.")
    found = answers.answer(hop.path, prediction, threshold, temperature)
    if as_json:
        print_json({"model": model, "path": hop.to_json(), **found.to_json()})
        return
    from rich.console import Console

    from emigbench.report import answer as report

    Console(soft_wrap=not sys.stdout.isatty(), highlight=False).print(report.show(hop, found, model))


@app.command()
def screen(
    folder: Annotated[Path, typer.Argument(help="Folder with structure files, also below it.")],
    ion: Annotated[str, typer.Option(help="Element whose vacancy hops are predicted.")],
    max_hop: Annotated[float, typer.Option(min=1, max=12, help="Longest hop in Å.")] = 5.0,
    model: Annotated[str, typer.Option(help="Registry name, package.module:Class or file.py:Class.")] = "path-forest",
    threshold: Annotated[
        float, typer.Option(min=0, max=100, help="Barrier in eV that the page draws as a dashed line; no rank uses it.")
    ] = THRESHOLDS_EV[0],
    pattern: Annotated[str, typer.Option(help="Files to take, by their names, such as '*.cif'.")] = "*",
    out: Annotated[Path | None, typer.Option(help="Folder for the result, or runs/screen-FOLDER-ION.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each takes a file.")] = 1,
    dask: DaskOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a screening that was stopped.")] = False,
    dataset: DatasetOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Predict all vacancy hops of an ion in many structures, and rank these by their percolation barrier.

    That is the lowest barrier at which hops join into a path without end, in one direction at least. A hop and the
    way back count as one, with the higher barrier of the two.

    Every site of the ion must be occupied in the files: each hop then goes into one that is left empty. Files that
    cannot be used are listed with the reason, and so are NEBs (folders 00, 01, …), in which a site is empty.

    Of a run of VASP, CONTCAR is taken, or else POSCAR; of a file with several frames the last, as of a relaxation.
    Structures of different composition belong in files of their own. With --dask, the workers need the folder at
    the same place.

    Examples:
        emigbench screen structures --ion Li --workers 4

        emigbench screen structures --ion Na --max-hop 4 --model my_model.py:MyModel
    """
    from emigbench import screening, unfinished
    from emigbench.report import screening as report
    from emigbench.storage import write_text

    plan = screening.Plan(model, dataset, ion, max_hop)
    target = out or Path("runs") / f"screen-{folder.resolve().name}-{ion}"
    check_cluster(model, workers, dask)
    with (
        told_when_stopped(target),
        executor_of(workers, dask) as executor,
        progress_on_stderr(f"{ion} hops in {folder}") as progress,
        talk_on_stderr(),
    ):
        found = screening.screen(
            folder, plan, target, pattern=pattern, resume=resume, executor=executor, progress=progress
        )
    for name, text in report.files(found, plan, threshold).items():
        write_text(target / name, text)
    unfinished.forget(target)
    if as_json:
        print_json(report.to_json(found))
    else:
        print(report.table(found), end="")
    unusable = sum(bool(each.error) for each in found)
    if unusable == len(found):
        raise EmigbenchError(f"None of the {unusable} files gave a barrier; {target / report.STRUCTURES} says why.")
    if unusable:
        print(f"{unusable} of {len(found)} files gave nothing; {target / report.STRUCTURES} says why.", file=sys.stderr)
    print(f"The tables and the page {report.PAGE} are in {target}.", file=sys.stderr)


def _check_is_model(model: str, initial: Path) -> None:
    """Make sure that a model is named before the files are read.

    Raises:
        EmigbenchError: if there is no such model; where it is a file, saying what was probably left out.
    """
    from emigbench.model import create

    try:
        create(model)
    except EmigbenchError:
        if not Path(model).exists() or model.endswith(".py"):
            raise
        kind = "folder" if Path(model).is_dir() else "file"
        raise EmigbenchError(
            f"{model} is a {kind} and no model; name the model first, such as in: emigbench predict path-forest "
            f"{model} {initial}."
        ) from None


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
