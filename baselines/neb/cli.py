"""`emigbench neb`: run bands one path after the other, and look at them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emigbench.cli.console import DatasetOption, SourceOption, load_dataset
from emigbench.errors import EmigbenchError

app = typer.Typer(help="Run nudged elastic bands and look at them.", no_args_is_help=True)


@app.callback()
def neb() -> None:
    """Run nudged elastic bands and look at them."""


@app.command("run")
def run(
    model: Annotated[str, typer.Argument(help="Registry name, package.module:Class or file.py:Class.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of paths; those of --side if not given.")] = None,
    side: Annotated[str, typer.Option(help="test or train: which side of the official split.")] = "test",
    dataset: DatasetOption = "full",
    source: SourceOption = None,
) -> None:
    """Run the band of one path after the other, smallest cells first, and keep each in the cache as it is done.

    What is kept is not run again, so a run that was stopped goes on where it was; several runs may share the work if
    they are given other ids. `emigbench evaluate MODEL` then finds all of it done.
    """
    from emigbench.model import create

    data = load_dataset(dataset, source)
    wanted = ids or [entry.id for entry in data if entry.split == side]
    if unknown := [path_id for path_id in wanted if path_id not in data.by_id]:
        raise EmigbenchError(f"The dataset {dataset} has no path {unknown[0]!r}.")
    bands: Any = create(model)
    if not hasattr(bands, "result"):
        raise EmigbenchError(f"Model {model!r} runs no bands; name one of emigbench_baselines.neb.")
    paths = sorted((data.by_id[path_id].path for path_id in wanted), key=lambda path: (path.n_atoms, path.id))
    for number, path in enumerate(paths, 1):
        result = bands.result(path)
        barrier = f"{result.forward:.3f} eV" if result.images else "no barrier"
        reason = f" ({result.reason})" if result.reason else ""
        steps = ", ".join(f"{name} {count}" for name, count in result.steps.items())
        print(
            f"{number}/{len(paths)} {path.id}: {path.n_atoms} atoms, {result.status}{reason}, {barrier}, "
            f"{result.seconds:.0f} s, steps {steps or 'none'}",
            flush=True,
        )


if __name__ == "__main__":
    app()
