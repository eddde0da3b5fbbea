"""Commands that get, check and build the datasets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from emigbench import splits
from emigbench.cli.console import DatasetOption, JsonOption, SourceOption, load_dataset, print_json, progress_on_stderr
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
    submissions: Annotated[Path, typer.Option(help="Folder of the submissions whose scores are shown.")] = Path(
        "submissions"
    ),
    out: Annotated[Path | None, typer.Option(help="Write the report with all ids to this Markdown file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report what the two sides of each split share, and the submissions' scores with and without it.

    Examples:
        emigbench data leakage --split official

        emigbench data leakage --out docs/leakage.md
    """
    from emigbench.report import leaderboard
    from emigbench.report import leakage as report
    from emigbench.storage import write_text

    of_dataset, names = labels.read(dataset), split or list(splits.SPLITS)
    entries = leaderboard.read_entries(submissions, labels.read("full")) if submissions.is_dir() else []
    if not entries:
        print(f"There is no folder {submissions}, so no scores are shown.", file=sys.stderr)
    entries = [leaderboard.restricted(entry, of_dataset) for entry in entries]
    with progress_on_stderr("Splits") as progress:
        found = []
        for name in names:
            found.append(report.find(of_dataset, name, entries))
            progress(name, len(found), len(names))
    if out is not None:
        write_text(out, report.to_markdown(found, of_dataset))
        print(f"The report with all ids is {out}", file=sys.stderr)
    if as_json:
        print_json({each.split: each.to_json() for each in found})
    elif out is None:
        print(report.to_markdown(found, of_dataset, ids=False), end="")
