"""`emigbench neb`: run bands one path after the other, and look at them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emigbench.cli.console import DatasetOption, JsonOption, ModelArgument, SourceOption, load_dataset, print_json
from emigbench.errors import EmigbenchError, in_words

if TYPE_CHECKING:
    from emigbench_baselines.neb.band import NebResult

app = typer.Typer(help="Run nudged elastic bands and look at them.", no_args_is_help=True)


@app.command("run")
def run(
    model: ModelArgument,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of paths; those of --side if not given.")] = None,
    side: Annotated[str, typer.Option(help="test or train: which side of the official split.")] = "test",
    dataset: DatasetOption = "full",
    source: SourceOption = None,
) -> None:
    """Run the band of one path after the other, smallest cells first, and keep each in the cache as it is done.

    What is kept is not run again, so a run that was stopped goes on where it was; several runs may share the work if
    they are given other ids. A path on which the potential breaks off is not kept. `emigbench evaluate MODEL` then
    finds all of it done.

    Examples:
        emigbench neb run chgnet-neb Cr2O4_Mg

        emigbench neb run mattersim-neb-coarse --side train
    """
    data, bands = load_dataset(dataset, source), _band_model(model)
    wanted = [data[path_id] for path_id in ids] if ids else [entry for entry in data if entry.split == side]
    if not wanted:
        raise EmigbenchError(f"The dataset {data.name} has no side {side!r}; there are test and train.")
    paths = sorted((entry.path for entry in wanted), key=lambda path: (path.n_atoms, path.id))
    broken = []
    for number, path in enumerate(paths, 1):
        try:
            line = _line(bands.result(path))
        except EmigbenchError:
            raise
        except Exception as error:  # a potential raises what it likes: memory, its own bugs
            broken.append(path.id)
            line = in_words(error)
        print(f"{number}/{len(paths)} {path.id}: {path.n_atoms} atoms; {line}", flush=True)
    if broken:
        raise EmigbenchError(f"{model} broke off on {len(broken)} of {len(paths)} paths, the first is {broken[0]!r}.")


@app.command("export")
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="JSON to write.")],
    most_atoms: Annotated[int | None, typer.Option(help="Leave larger cells out.")] = None,
    dataset: DatasetOption = "full",
    source: SourceOption = None,
) -> None:
    """Write the energies of a model's kept bands as a table, for models that learn from them.

    Nothing is run. The tables in baselines/neb/energies were made so.

    Examples:
        emigbench neb export mattersim-neb-coarse --out energies.json
    """
    from emigbench.datasets.hashing import geometry_hash
    from emigbench.storage import write_text
    from emigbench_baselines.neb.energies import EnergyTable, band_energies, to_json

    data, bands = load_dataset(dataset, source), _band_model(model)
    paths = [path for path in (e.path for e in data) if most_atoms is None or path.n_atoms <= most_atoms]
    kept = {geometry_hash(p): band_energies(p, band) for p in paths if (band := bands.kept(p)) is not None}
    if not kept:
        raise EmigbenchError(f"No band of {model!r} is kept; emigbench neb run runs some.")
    table = EnergyTable(bands.potential.name, bands.potential.fingerprint, bands.details["settings"], kept)
    write_text(out, to_json(table))
    print(f"{out}: {len(kept)} of {len(paths)} paths")


@app.command("show")
def show(
    path_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a path.")],
    out: Annotated[Path | None, typer.Option(help="Picture to write (.png, .svg, .pdf); ID.png if not given.")] = None,
    dataset: DatasetOption = "full",
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the energy profile and the path of every kept band of a path, and print what is known of each.

    Examples:
        emigbench neb show Cr2O4_Mg --out Cr2O4_Mg.svg
    """
    try:
        from emigbench_baselines.neb.picture import draw
        from emigbench_baselines.neb.store import kept_results
    except ImportError as error:
        raise EmigbenchError(f"{error.name} is not installed; pip install 'emigbench[neb]' brings it.") from error

    entry = load_dataset(dataset, source)[path_id]
    results = kept_results(entry.path)
    if not results:
        raise EmigbenchError(f"No band of {path_id!r} is kept; run one with emigbench neb run MODEL {path_id}.")
    if as_json:
        print_json({name: result.facts() for name, result in results.items()})
    else:
        print(f"{path_id}: {entry.path.n_atoms} atoms, DFT barrier {entry.e_m:.3f} eV")
        for name, result in results.items():
            print(f"{name}: {_line(result)}")
    if drawn := {name: result for name, result in results.items() if result.images}:
        file = out or Path(f"{path_id}.png")
        draw(path_id, drawn, entry.e_m, file)
        print(f"The picture is in {file}.", file=sys.stderr)


def _band_model(spec: str) -> Any:
    from emigbench.model import create

    model = create(spec)
    if not hasattr(model, "result"):
        raise EmigbenchError(f"Model {spec!r} runs no bands; name one of emigbench_baselines.neb.")
    return model


def _line(result: NebResult) -> str:
    """What came of a band, on one line."""
    barriers = f"forward {result.forward:.3f} eV, reverse {result.reverse:.3f} eV" if result.images else "no barrier"
    reason = f" ({result.reason})" if result.reason else ""
    steps = ", ".join(f"{name} {count}" for name, count in result.steps.items())
    parts = [f"{result.status}{reason}", barriers, f"{result.seconds:.0f} s", f"steps {steps or 'none'}", *result.notes]
    return "; ".join(parts)
