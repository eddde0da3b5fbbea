"""Commands that build the leaderboard from the submissions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emigbench.cli.console import DatasetOption, SubmissionsOption
from emigbench.datasets import labels
from emigbench.errors import EmigbenchError
from emigbench.progress import progress_on_stderr

app = typer.Typer(help="Build the leaderboard from the submissions.", no_args_is_help=True)


@app.command("build")
def build(
    submissions: SubmissionsOption = Path("submissions"),
    out: Annotated[Path, typer.Option(help="Folder for the page and results.json.")] = Path("leaderboard"),
    dataset: DatasetOption = "full",
    add: Annotated[
        list[Path] | None, typer.Option(help="A run of yours to show beside them; may be given several times.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file differs.")] = False,
) -> None:
    """Score all submissions and write the leaderboard.

    With `--dataset spinels` only its paths count, and submissions on the full dataset are scored on those.

    Examples:
        emigbench leaderboard build --add runs/my-model --out runs/leaderboard
    """
    from emigbench.report import html, leaderboard, markdown, site

    if not check:
        site.check_is_ours(out)
    of_dataset = labels.read(dataset)
    alone = bool(add) and not submissions.is_dir()
    if alone:
        print(f"There is no folder {submissions}: your runs stand alone. A clone of emigbench has it.", file=sys.stderr)
    entries = [] if alone else leaderboard.read_entries(submissions, labels.read("full"))
    if dataset != "full":
        entries = [leaderboard.restricted(entry, of_dataset) for entry in entries]
    own = leaderboard.local_entries(add or [], of_dataset)
    with progress_on_stderr("Scoring") as progress:
        found = leaderboard.boards([*entries, *own], of_dataset, progress)
    files = site.files([*entries, *own], found, of_dataset)
    if check:
        if different := site.differences(out, files):
            raise EmigbenchError(
                f"{_some(different)} in {out} is not what the submissions give; run emigbench leaderboard build."
            )
        print(f"{out} is what the submissions give.")
        return
    site.write(out, files)
    first = next(iter(found))
    print(markdown.main_table(found[first]))
    print(f"The page is {out / html.INDEX}", file=sys.stderr)


def _some(names: list[str], most: int = 3) -> str:
    """A few names in words."""
    left = len(names) - most
    return " and ".join([*names[:most], *([f"{left} more"] if left > 0 else [])])


@app.command("figures")
def draw_figures(
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("leaderboard/figures"),
    submission: Annotated[
        list[str] | None, typer.Option(help="Slug of a submission; may be given several times; all if not given.")
    ] = None,
    submissions: SubmissionsOption = Path("submissions"),
) -> None:
    """Draw the paper's Figures 2b, 3 and 4 for a set of submissions, as SVG and PDF.

    Examples:
        emigbench leaderboard figures --submission devi2026-model-3 --submission random-forest --out figures
    """
    from emigbench.report import figures, leaderboard

    of_dataset = labels.read("full")
    models = figures.shown(leaderboard.read_entries(submissions, of_dataset), of_dataset, submission or [])
    drawings = figures.drawings(models, of_dataset)
    with progress_on_stderr("Drawing") as progress:
        for done, (name, draw) in enumerate(drawings.items(), start=1):
            for file in figures.write(out, name, draw):
                print(file)
            progress(name, done, len(drawings))
