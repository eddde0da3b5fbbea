"""The command line: parse, call, print. Results go to stdout, talk to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from emigbench import splits
from emigbench.datasets import catalogue, labels
from emigbench.errors import EmigbenchError, in_words, on_one_line

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="With --debug, any command shows the traceback of an error.",
)
data_app = typer.Typer(help="Get, check and build the datasets.", no_args_is_help=True)
leaderboard_app = typer.Typer(help="Build the leaderboard from the submissions.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(leaderboard_app, name="leaderboard")

DatasetOption = Annotated[str, typer.Option("--dataset", help="full (619 paths) or spinels (82, in the package).")]
SourceOption = Annotated[
    Path | None,
    typer.Option("--source", help="Folder with the source files, curated on the spot (or EMIGBENCH_SOURCE)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """Run the command line.

    What goes wrong outside the program is one sentence and exit code 2; an error in the program is one sentence
    and exit code 1. With --debug, both show the traceback.
    """
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except EmigbenchError as error:
        if debug:
            raise
        print(f"emigbench: {on_one_line(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        message = f"internal error, {in_words(error)}; run again with --debug and report it."
        print(f"emigbench: {on_one_line(message)}", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """The benchmark for ionic migration barriers. Try: emigbench evaluate random-forest --dataset spinels."""
    if version:
        from importlib.metadata import version as installed

        print(installed("emigbench"))
        raise typer.Exit


@app.command("datasets")
def list_datasets() -> None:
    """List the datasets and their splits."""
    for info in catalogue.CATALOGUE.values():
        print(f"{info.name:12} {info.version}  {info.n_paths:4} paths  {info.description}")
    for split in splits.SPLITS.values():
        print(f"{split.name:12} split      {split.description}")


@app.command("models")
def list_models() -> None:
    """List the models that installed packages offer, with the first line of their documentation."""
    from emigbench.model import registered

    for name, entry_point in registered().items():
        try:
            document = (entry_point.load().__doc__ or "").strip().partition("\n")[0]
        except Exception as error:
            document = f"cannot be imported here ({in_words(error)})"
        print(f"{name:20} {document}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Registry name, package.module:Class or file.py:Class.")],
    dataset: DatasetOption = "full",
    split: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, counted from 0.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the result; runs/MODEL-DATASET if not given.")] = None,
    source: SourceOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each takes a fold and a seed.")] = 1,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the whole way in seconds: spinels, official, one seed; keeps nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a model on the training side of a split, predict the other side, and score it.

    Examples:
        emigbench evaluate random-forest --dataset spinels --seeds 5

        emigbench evaluate my_model.py:MyModel --split official --split material-cv
    """
    from emigbench import evaluation

    if smoke:
        dataset, seeds, split = "spinels", 1, ["official"]
    data = _load(dataset, source)
    names = list(dict.fromkeys(split or ["official"]))
    with (
        _result_folder(out or Path("runs") / _file_name(f"{model}-{dataset}"), smoke) as folder,
        _executor(workers) as executor,
        _progress(f"{model.rpartition('/')[2]} on {dataset}") as progress,
    ):
        predictions = evaluation.evaluate(
            model,
            data,
            split_names=names,
            seeds=range(seeds),
            out=folder,
            resume=resume,
            executor=executor,
            progress=progress,
        )
    kept = "This was a smoke run: nothing was kept." if smoke else f"Predictions and run record are in {folder}."
    print(kept, file=sys.stderr)
    _print_scores({name: predictions[name] for name in names}, data.labels, as_json)


@app.command()
def score(
    path: Annotated[Path, typer.Argument(help="A submission folder or a predictions CSV.")],
    split: Annotated[str, typer.Option(help="Which split to score.")] = "official",
    dataset: Annotated[
        str | None,
        typer.Option(help="full or spinels; if not given, the one that the folder's run.json names, or full."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions, with a 95% interval for every figure. Needs no structures.

    Examples:
        emigbench score submissions/devi2026-model-3 --json

        emigbench score predictions.csv --split material-cv
    """
    from emigbench import submission
    from emigbench.predictions import PREDICTIONS_FILE, read_predictions

    of_dataset = labels.read(dataset or submission.dataset_name(path) or "full")
    splits.folds(of_dataset, split)
    file = path / PREDICTIONS_FILE if path.is_dir() else path
    predictions = read_predictions(file, of_dataset, default_split=split)
    if split not in predictions:
        raise EmigbenchError(f"{file} has no predictions for split {split}; it has {', '.join(predictions)}.")
    _print_scores({split: predictions[split]}, of_dataset, as_json)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A submission folder, a predictions CSV or the slug of a submission.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    split: Annotated[str, typer.Option(help="On which split.")] = "official",
    metric: Annotated[str, typer.Option(help="By which metric: mae, rmse, r2, spearman, …")] = "mae",
    submissions: Annotated[Path, typer.Option(help="Where slugs are looked up.")] = Path("submissions"),
    dataset: DatasetOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Say whether two models differ, by how much, and what difference these paths can resolve at all.

    Examples:
        emigbench compare devi2026-model-3 devi2026-mace-relax

        emigbench compare predictions.csv submissions/random-forest --split material-cv --metric rmse
    """
    from emigbench.report import compare as report

    of_dataset, by = labels.read(dataset), report.metric_named(metric)
    splits.folds(of_dataset, split)
    first, second = report.read_pair((a, b), submissions, of_dataset, split)
    found = report.compare(first, second, of_dataset, split, by)
    if as_json:
        _print_json(found.to_json())
        return
    print(report.in_words(found), end="")


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="The submission folder.")], dataset: DatasetOption = "full"
) -> None:
    """Check a submission folder: its card, its predictions, its run record."""
    from emigbench import submission

    found = submission.read(folder, labels.read(dataset))
    for split, seeds in found.predictions.items():
        n = len(next(iter(seeds.values())))
        print(f"{found.card.slug}: {split}, {n} paths, {len(seeds)} seed(s): valid")


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
    author: Annotated[list[str] | None, typer.Option(help="May be given several times; git's user if not.")] = None,
    code: Annotated[str | None, typer.Option(help="Where the code or the figures are.")] = None,
    submissions: Annotated[Path, typer.Option(help="Folder of the submissions.")] = Path("submissions"),
    dataset: DatasetOption = "full",
) -> None:
    """Start a submission: submissions/SLUG with a commented submission.yaml, and your predictions if you have some.

    Examples:
        emigbench init-submission my-model --from predictions.csv --kind graph

        emigbench init-submission my-model --run runs/my-model-full
    """
    from emigbench import contribution
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
    missing = "" if from_ or run else f" Put {' and '.join(FILES[1:])} beside it: see --from and --run."
    advice = f"Read {folder / CARD_FILE} and fill in what you know; then run emigbench submit {folder}."
    print(advice + missing, file=sys.stderr)


@app.command()
def submit(
    folder: Annotated[Path, typer.Argument(help="The submission folder.")],
    pull_request: Annotated[
        str | None, typer.Option(metavar="REPO_ID", help="Open a pull request of this Hub dataset repository.")
    ] = None,
    submissions: Annotated[
        Path | None, typer.Option(help="Folder of the others; the one that the folder is in if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a submission, show the row that it would get, and how to open a pull request with it.

    Examples:
        emigbench submit submissions/my-model

        emigbench submit submissions/my-model --pull-request group/emigbench-submissions
    """
    from emigbench import contribution, submission
    from emigbench.report import terminal

    of_dataset = labels.read("full")
    own = submission.read(folder, of_dataset)
    slug = own.card.slug
    others, wrong = contribution.siblings(submissions or folder.resolve().parent, slug, of_dataset)
    for sentence in wrong:
        print(f"Left out: {on_one_line(sentence)}", file=sys.stderr)
    found = contribution.standings(own, others, of_dataset)
    if as_json:
        _print_json({split: standing.to_json() for split, standing in found.items()})
    else:
        print(terminal.standings(own.card.name, found))
    if missing := contribution.unstated(own.card):
        print(f"Not stated in {folder / submission.CARD_FILE}: {', '.join(missing)}.", file=sys.stderr)
    if pull_request is not None:
        print(f"The pull request is {contribution.pull_request(folder, slug, pull_request)}", file=sys.stderr)
    elif not as_json:
        print("To open the pull request, in a clone of your fork of the project:\n")
        print("\n".join(f"    {command}" for command in contribution.git_commands(folder, slug)))


@data_app.command("get")
def data_get(name: Annotated[str, typer.Argument(help="full or spinels.")] = "full") -> None:
    """Download, curate, check and cache a dataset (once)."""
    from emigbench.datasets import store

    data = store.load(name)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}")


@data_app.command("verify")
def data_verify(
    folder: Annotated[
        Path | None, typer.Argument(help="A built dataset; the one that load() finds if not given.")
    ] = None,
    source: SourceOption = None,
    dataset: DatasetOption = "full",
) -> None:
    """Prove that a copy of a dataset has the pinned content."""
    from emigbench.datasets import store

    data = store.load(dataset, path=folder) if folder else _load(dataset, source)
    print(f"{data.name} {data.version}: {len(data)} paths, content {data.sha256}, as pinned")


@data_app.command("build")
def data_build(
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


@data_app.command("leakage")
def data_leakage(
    split: Annotated[list[str] | None, typer.Option(help="Splits; all if not given.")] = None,
    dataset: DatasetOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Say what the two sides of each split share: materials, identical bands, frameworks."""
    of_dataset = labels.read(dataset)
    reports = {name: splits.leakage(of_dataset, name) for name in split or splits.SPLITS}
    if as_json:
        _print_json(reports)
        return
    for name, report in reports.items():
        n = len(splits.held_out(of_dataset, name))
        for kind, shared in report.items():
            print(f"{name}: {len(shared)} of {n} held-out paths share their {kind} with the training side")
            if kind == "duplicate band":
                for path_id, others in shared.items():
                    print(f"    {path_id} = {', '.join(others)}")


@leaderboard_app.command("build")
def leaderboard_build(
    submissions: Annotated[Path, typer.Option(help="Folder of the submissions.")] = Path("submissions"),
    out: Annotated[Path, typer.Option(help="Folder for the page and results.json.")] = Path("leaderboard"),
    dataset: DatasetOption = "full",
    add: Annotated[list[Path] | None, typer.Option(help="A run of yours to show beside them.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file differs.")] = False,
) -> None:
    """Score all submissions and write the leaderboard.

    With `--dataset spinels` only its paths count, and submissions on the full dataset are scored on those.
    """
    from emigbench.report import html, leaderboard, site

    of_dataset = labels.read(dataset)
    entries = leaderboard.read_entries(submissions, labels.read("full"))
    if dataset != "full":
        entries = [leaderboard.restricted(entry, of_dataset) for entry in entries]
    slugs = ["your-run", *(f"your-run-{k}" for k in range(2, 1 + len(add or [])))]
    own = [leaderboard.local_entry(folder, of_dataset, slug) for folder, slug in zip(add or [], slugs, strict=False)]
    with _progress("Scoring") as progress:
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
    print(leaderboard.main_table(found[first]))
    print(f"The page is {out / html.INDEX}", file=sys.stderr)


def _some(names: list[str], most: int = 3) -> str:
    """A few names in words."""
    left = len(names) - most
    return " and ".join([*names[:most], *([f"{left} more"] if left > 0 else [])])


@leaderboard_app.command("figures")
def leaderboard_figures(
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("leaderboard/figures"),
    submission: Annotated[
        list[str] | None, typer.Option(help="Slug of a submission; may be given several times; all if not given.")
    ] = None,
    submissions: Annotated[Path, typer.Option(help="Folder of the submissions.")] = Path("submissions"),
) -> None:
    """Draw the paper's Figures 2b, 3 and 4 for a set of submissions, as SVG and PDF.

    Example:
        emigbench leaderboard figures --submission devi2026-model-3 --submission random-forest --out figures
    """
    from emigbench.report import figures, leaderboard

    of_dataset = labels.read("full")
    models = figures.shown(leaderboard.read_entries(submissions, of_dataset), of_dataset, submission or [])
    drawings = figures.drawings(models, of_dataset)
    with _progress("Drawing") as progress:
        for done, (name, draw) in enumerate(drawings.items(), start=1):
            for file in figures.write(out, name, draw):
                print(file)
            progress(name, done, len(drawings))


def _load(dataset: str, source: Path | None) -> Any:
    from emigbench.datasets import store

    if source is not None:
        os.environ["EMIGBENCH_SOURCE"] = str(source)
        os.environ.pop("EMIGBENCH_DATA", None)  # load() would prefer it, but an option wins over the environment
    return store.load(dataset)


def _print_scores(predictions: Any, of_dataset: labels.Labels, as_json: bool) -> None:
    from emigbench.report import terminal
    from emigbench.scoring import score as score_predictions

    scores = [score_predictions(seeds, of_dataset, split) for split, seeds in predictions.items()]
    if as_json:
        contents = [each.to_json() for each in scores]
        _print_json(contents[0] if len(contents) == 1 else contents)
        return
    for each in scores:
        print(terminal.table(each))


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


@contextmanager
def _result_folder(folder: Path, temporary: bool) -> Iterator[Path]:
    if not temporary:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch) / "smoke"


@contextmanager
def _executor(workers: int) -> Iterator[Any]:
    if workers == 1:
        yield None
        return
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),  # Ctrl-C ends a worker without a traceback of its own
    ) as executor:
        yield executor


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Progress on stderr, fed by (what, done, total): a bar with the time left, or now and then a line in a log."""
    if not sys.stderr.isatty():
        yield _log_lines(title)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(task, completed=done, total=total, description=f"{title}: {what}")


def _log_lines(title: str) -> Callable[[str, int, int], None]:
    """A line for what is done, the first after two seconds, then less and less often down to once a minute."""
    wait = 2.0
    due = time.monotonic() + wait

    def progress(what: str, done: int, total: int) -> None:
        nonlocal wait, due
        if time.monotonic() > due:
            wait = min(2 * wait, 60.0)
            due = time.monotonic() + wait
            print(f"{title}: {done} of {total} done, the last is {what}", file=sys.stderr, flush=True)

    return progress
