"""Commands that get, check and build the datasets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emigbench import splits
from emigbench.cli.console import DatasetOption, JsonOption, SourceOption, load_dataset, print_json
from emigbench.datasets import catalogue, labels
from emigbench.errors import EmigbenchError
from emigbench.progress import progress_on_stderr

if TYPE_CHECKING:
    from emigbench.records import MigrationPath
    from emigbench.report.record import Record

app = typer.Typer(help="Get, check and build the datasets.", no_args_is_help=True)


@app.command("get")
def get(dataset: DatasetOption = "full") -> None:
    """Download, check and cache a dataset (once): from the Hub, or from the authors' files.

    Examples:
        emigbench data get
    """
    from emigbench.datasets import store

    data = store.load(dataset)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}")


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="A built dataset; the one that load() finds if not given.")
    ] = None,
    source: SourceOption = None,
    dataset: DatasetOption = "full",
) -> None:
    """Prove that a copy of a dataset has the pinned content.

    Examples:
        emigbench data verify

        emigbench data verify /shared/emigbench-full
    """
    from emigbench.datasets import store

    if folder and source:
        raise EmigbenchError("A built dataset or source files: give FOLDER or --source, not both.")
    if folder and str(folder) in catalogue.CATALOGUE and not folder.exists():
        raise EmigbenchError(f"There is no folder {folder}; the dataset of that name is meant by --dataset {folder}.")
    data = store.load(dataset, path=folder) if folder else load_dataset(dataset, source)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}, as pinned")


@app.command("build")
def build(
    out: Annotated[Path, typer.Option(help="Folder for the built dataset.")],
    source: SourceOption = None,
) -> None:
    """Curate the source files into a folder that EMIGBENCH_DATA can name.

    Examples:
        emigbench data build --source upstream --out /shared/emigbench-full
    """
    from emigbench.datasets import store

    folder = source or os.environ.get("EMIGBENCH_SOURCE")
    if not folder:
        raise EmigbenchError("Say where the source files are with --source DIR, or set EMIGBENCH_SOURCE.")
    data = store.build(Path(folder), out)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}, in {out}")


@app.command("splits")
def write_splits(
    out: Annotated[Path, typer.Option(help="Folder for the CSV files, one for each split.")],
    dataset: DatasetOption = "full",
) -> None:
    """Write the splits, but those of the learning curve, as CSV: split, fold, id, side (train, held_out or unused).

    Examples:
        emigbench data splits --out splits
    """
    from emigbench.storage import write_text

    of_dataset = labels.read(dataset)
    for name in splits.SPLITS:
        file = out / f"{name}.csv"
        write_text(file, splits.csv_text(of_dataset, name))
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


@app.command("show")
def show(
    path_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a path.")],
    dataset: DatasetOption = "full",
    source: SourceOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the path: a .png, or an .html page to turn it with the mouse.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one path: what it is, what to doubt, where the splits have it, and what the ion passes on its way.

    Examples:
        emigbench data show Mn2S4_Mg --dataset spinels

        emigbench data show O-LiFePO4 --out path.html
    """
    from emigbench.report import record

    if out is not None and out.suffix.lower() not in (".png", ".html"):
        raise EmigbenchError(f"A picture is a .png or an .html file, not {out}.")
    labels.known_id(path_id, labels.read(dataset))
    data = load_dataset(dataset, source)
    found = record.of(path_id, data)
    if out is not None:
        _write_picture(out, data.by_id[path_id].path, found)
        print(f"The picture is {out}", file=sys.stderr)
    if as_json:
        print_json(found.to_json())
        return
    print(record.in_words(found), end="")


def _write_picture(file: Path, path: MigrationPath, found: Record) -> None:
    from emigbench.report import path_picture
    from emigbench.storage import write_bytes, write_text

    if file.suffix.lower() == ".html":
        write_text(file, path_picture.html(path, found))
    else:
        write_bytes(file, path_picture.png(path, found))


@app.command("publish")
def publish(
    repo: Annotated[str, typer.Option(help="Dataset repository on the Hub, such as group/name.")],
    dry_run: Annotated[
        Path | None, typer.Option("--dry-run", help="Write the repository into this folder and reach for no network.")
    ] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Open a pull request instead of committing.")
    ] = False,
    source: SourceOption = None,
) -> None:
    """Publish the full dataset on the Hub: Parquet tables, splits, card, metadata, in one commit with a tag.

    Examples:
        emigbench data publish --repo group/name --dry-run dataset
    """
    from emigbench.datasets import product
    from emigbench.datasets import publish as hub
    from emigbench.transport import check_name

    check_name(repo)
    files = product.files(load_dataset("full", source), repo)
    if dry_run is not None:
        product.write(files, dry_run)
        print(f"{len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB, in {dry_run}")
        return
    done = hub.publish(files, repo, catalogue.info("full"), as_pull_request=pull_request)
    print(done.url or f"Nothing to publish: {repo} holds these files already.")
    if done.tag:
        print(f"Tagged {done.tag}.", file=sys.stderr)
