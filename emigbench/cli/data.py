"""Commands that get, check and build the datasets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from emigbench import splits
from emigbench.cli.console import DatasetOption, JsonOption, SourceOption, load_dataset, print_json
from emigbench.datasets import labels
from emigbench.errors import EmigbenchError

app = typer.Typer(help="Get, check and build the datasets.", no_args_is_help=True)


@app.command("get")
def get(name: Annotated[str, typer.Argument(help="full or spinels.")] = "full") -> None:
    """Download, curate, check and cache a dataset (once)."""
    from emigbench.datasets import store

    data = store.load(name)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}")


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="A built dataset; the one that load() finds if not given.")
    ] = None,
    source: SourceOption = None,
    dataset: DatasetOption = "full",
) -> None:
    """Prove that a copy of a dataset has the pinned content."""
    from emigbench.datasets import store

    data = store.load(dataset, path=folder) if folder else load_dataset(dataset, source)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}, as pinned")


@app.command("build")
def build(
    out: Annotated[Path, typer.Option(help="Folder for the built dataset.")],
    source: SourceOption = None,
) -> None:
    """Curate the source files into a folder that EMIGBENCH_DATA can name."""
    from emigbench.datasets import store

    folder = source or (Path(os.environ["EMIGBENCH_SOURCE"]) if "EMIGBENCH_SOURCE" in os.environ else None)
    if folder is None:
        raise EmigbenchError("Say where the source files are with --source DIR, or set EMIGBENCH_SOURCE.")
    data = store.build(folder, out)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}, in {out}")


@app.command("splits")
def write_splits(
    out: Annotated[Path, typer.Option(help="Folder for a CSV file a split.")],
    dataset: DatasetOption = "full",
) -> None:
    """Write every split as a CSV file: split, fold, id, side (train, held_out or unused)."""
    from emigbench.storage import write_text

    of_dataset = labels.read(dataset)
    for name in splits.SPLITS:
        file = out / f"{name}.csv"
        write_text(file, splits.csv_text(splits.table(of_dataset, name)))
        print(file)


@app.command("leakage")
def leakage(
    split: Annotated[list[str] | None, typer.Option(help="Splits; all if not given.")] = None,
    dataset: DatasetOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Say what the two sides of each split share: materials, identical bands, frameworks."""
    of_dataset = labels.read(dataset)
    reports = {name: splits.leakage(of_dataset, name) for name in split or splits.SPLITS}
    if as_json:
        print_json(reports)
        return
    for name, report in reports.items():
        n = len(splits.held_out(of_dataset, name))
        for kind, shared in report.items():
            print(f"{name}: {len(shared)} of {n} held-out paths share their {kind} with the training side")
            if kind == "duplicate band":
                for path_id, others in shared.items():
                    print(f"    {path_id} = {', '.join(others)}")
