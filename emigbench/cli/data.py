"""Commands that get, check and build the datasets."""

from __future__ import annotations

import os
import sys
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
    """Download, check and cache a dataset (once): from the Hub, or from the authors' files."""
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
    """Publish the full dataset on the Hub: Parquet tables, splits, card, metadata, in one commit with a tag."""
    from emigbench.datasets import catalogue, product
    from emigbench.datasets import publish as hub

    files = product.files(load_dataset("full", source), repo)
    if dry_run is not None:
        product.write(files, dry_run)
        print(f"{len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB, in {dry_run}")
        return
    done = hub.publish(files, repo, catalogue.info("full"), as_pull_request=pull_request)
    print(done.url or f"Nothing to publish: {repo} holds these files already.")
    if done.tag:
        print(f"Tagged {done.tag}.", file=sys.stderr)
