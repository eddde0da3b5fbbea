"""Commands for those who add a model to the leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emigbench import splits
from emigbench.cli.console import DatasetOption, JsonOption, SubmissionsOption, print_json
from emigbench.datasets import labels
from emigbench.errors import EmigbenchError, on_one_line

app = typer.Typer()


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="The submission folder.")], dataset: DatasetOption = "full"
) -> None:
    """Check a submission folder: its card, its predictions, its run record.

    Examples:
        emigbench validate submissions/my-model
    """
    from emigbench import submission
    from emigbench.doubts import doubts

    of_dataset = labels.read(dataset)
    found = submission.read(folder, of_dataset)
    submission.check_name(found.card, submission.cards_beside(folder))
    for split, seeds in found.predictions.items():
        n = len(next(iter(seeds.values())))
        print(f"{found.card.slug}: {split}, {n} paths, {len(seeds)} seed(s): valid")
    for sentence in doubts(found.predictions, of_dataset):
        print(f"{found.card.slug}: {sentence}", file=sys.stderr)


@app.command("init-submission")
def init_submission(
    slug: Annotated[str, typer.Argument(help="Name of the folder: small letters, digits and single hyphens.")],
    from_: Annotated[
        Path | None, typer.Option("--from", help="A table of predictions with at least the columns id, e_m_ev.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A folder that emigbench evaluate wrote.")] = None,
    split: Annotated[str, typer.Option(help="Split of a table that has no such column.")] = "official",
    kind: Annotated[str | None, typer.Option(help="What sort of model it is, see submission.yaml.")] = None,
    name: Annotated[str | None, typer.Option(help="Name on the leaderboard.")] = None,
    author: Annotated[
        list[str] | None, typer.Option(help="Author, git's user if not given; may be given several times.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Where the code or the figures are.")] = None,
    submissions: SubmissionsOption = Path("submissions"),
    dataset: DatasetOption = "full",
) -> None:
    """Start a submission: submissions/SLUG with a commented submission.yaml, and your predictions if you have some.

    Examples:
        emigbench init-submission my-model --from predictions.csv --kind graph

        emigbench init-submission my-model --run runs/my-model-full
    """
    from emigbench import contribution, submission
    from emigbench.submission import CARD_FILE, FILES

    if from_ is not None and run is not None:
        raise EmigbenchError("Give --from or --run, not both.")
    splits.folds(labels.read(dataset), split)
    folder = contribution.start(
        submissions,
        slug,
        labels.read(dataset),
        {"kind": kind, "name": name, "authors": author, "source": code},
        predictions_file=from_,
        run_folder=run,
        default_split=split,
    )
    print(folder)
    missing = (
        "" if from_ or run else f" The same command with --from or --run puts {' and '.join(FILES[1:])} beside it."
    )
    then = f"submit {folder}" if dataset == "full" else f"validate {folder} --dataset {dataset}"
    advice = f"Read {folder / CARD_FILE} and fill in what you know; then run emigbench {then}."
    print(advice + missing, file=sys.stderr)
    try:
        submission.read_card(folder / CARD_FILE)
    except EmigbenchError as error:
        print(f"What is required is not all there yet: {error}", file=sys.stderr)
    if dataset != "full":
        print(
            f"A folder with predictions on {dataset} cannot be submitted: the leaderboard is of full.", file=sys.stderr
        )


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(help="The submission folder.")],
    pull_request: Annotated[
        str | None, typer.Option(metavar="REPO_ID", help="Open a pull request of this Hub dataset repository.")
    ] = None,
    submissions: Annotated[
        Path | None, typer.Option(help="Folder of the other submissions; the one that FOLDER is in if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a submission, show the row that it would get, and how to open a pull request with it.

    Examples:
        emigbench submit submissions/my-model

        emigbench submit submissions/my-model --pull-request group/emigbench-submissions
    """
    from emigbench import contribution, submission
    from emigbench.doubts import doubts
    from emigbench.report import terminal

    of_dataset = labels.read("full")
    own = submission.read(folder, of_dataset)
    slug = own.card.slug
    beside = submissions or folder.resolve().parent
    others, wrong = contribution.siblings(beside, slug, of_dataset)
    submission.check_name(own.card, [other.card for other in others])
    doubted = [f"{slug}: {sentence}" for sentence in doubts(own.predictions, of_dataset)]
    for sentence in [*(f"Left out: {each}" for each in wrong), *doubted]:
        print(on_one_line(sentence), file=sys.stderr)
    if not others and not wrong:
        print(f"There is no other row in {beside}; say where they are with --submissions.", file=sys.stderr)
    found = contribution.standings(own, others, of_dataset)
    if not found:
        print(f"{slug} has no row on a board: it holds points of a learning curve alone.", file=sys.stderr)
    if as_json:
        print_json({split: standing.to_json() for split, standing in found.items()})
    elif found:
        print(terminal.standings(own.card.name, found))
    if missing := contribution.unstated(own.card):
        print(f"Not stated in {folder / submission.CARD_FILE}: {', '.join(missing)}.", file=sys.stderr)
    if pull_request is not None:
        print(f"The pull request is {contribution.pull_request(folder, slug, pull_request)}", file=sys.stderr)
    elif not as_json:
        print("To open the pull request, in a clone of your fork of the project:\n")
        print("\n".join(f"    {command}" for command in contribution.git_commands(folder, slug)))
