"""Commands that run, score and compare models."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emigbench import run_record, splits, unfinished
from emigbench.cli.console import (
    DaskOption,
    DatasetOption,
    JsonOption,
    ModelArgument,
    RunDatasetOption,
    SourceOption,
    check_cluster,
    executor_of,
    load_dataset,
    print_json,
    talk_on_stderr,
    told_when_stopped,
)
from emigbench.datasets import catalogue, labels
from emigbench.errors import in_words
from emigbench.predictions import PredictionSet
from emigbench.progress import progress_on_stderr
from emigbench.records import Prediction
from emigbench.scoring import THRESHOLDS_EV, Score

if TYPE_CHECKING:
    from emigbench.comparison import Difference

app = typer.Typer()


@app.command("datasets")
def list_datasets() -> None:
    """List the datasets and their splits."""
    for info in catalogue.CATALOGUE.values():
        print(f"{info.name:15} {info.version}  {info.n_paths:4} paths  {info.description}")
    for split in splits.SPLITS.values():
        print(f"{split.name:15} split      {split.description}")
    print(
        f"{'official@N':15} split      the same 60 after N training paths: {', '.join(map(str, splits.CURVE.values()))}"
    )


@app.command("models")
def list_models() -> None:
    """List the models that installed packages offer, with the first line of their documentation.

    Names that end in a colon are of families: `frozen:model-4` is one of `frozen:`.
    """
    from emigbench.model import extra_of, families, registered

    offered = registered() | {f"{prefix}:": family for prefix, family in families().items()}
    width = max(map(len, offered), default=0)
    for name, entry_point in sorted(offered.items()):
        try:
            document = (entry_point.load().__doc__ or "").strip().partition("\n")[0]
        except Exception as error:
            advice = extra_of(entry_point)
            document = f"cannot be imported here ({in_words(error)}){advice and f'; {advice}'}"
        print(f"{name:{width}} {document}")


@app.command()
def evaluate(
    context: typer.Context,
    model: ModelArgument,
    dataset: DatasetOption = "full",
    split: Annotated[
        list[str] | None, typer.Option(help="Split to run, official if not given; may be given several times.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, counted from 0.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the result; runs/MODEL-DATASET if not given.")] = None,
    source: SourceOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a run that was stopped, or add splits and seeds to a finished one."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each takes a fold and a seed, or one path.")] = 1,
    dask: DaskOption = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the whole way in seconds: spinels, official, one seed; keeps nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a model on the training side of a split, predict the other side, and score it.

    Examples:
        emigbench evaluate random-forest --dataset spinels --seeds 5

        emigbench evaluate my_model.py:MyModel --split official --split material-cv

        emigbench evaluate random-forest --split leave-group-out --out runs/random-forest-full --resume

        emigbench evaluate random-forest --seeds 5 --dask tcp://head:8786

    With --json, the answer has an object for each split by its name, like the one that `emigbench score --json` prints.
    """
    from emigbench import evaluation

    check_cluster(model, workers, dask)
    if smoke:
        dataset, seeds, split = "spinels", 1, ["official"]
        _tell_what_is_passed_over(context, {"dataset": dataset, "split": split, "seeds": seeds, "out": None})
    data = load_dataset(dataset, source)
    names = list(dict.fromkeys(split or ["official"]))
    with (
        talk_on_stderr(),
        _scratch_folder() if smoke else nullcontext(out or Path("runs") / _file_name(f"{model}-{dataset}")) as folder,
        nullcontext() if smoke else told_when_stopped(folder),
        executor_of(workers, dask) as executor,
        progress_on_stderr(f"{model.rpartition('/')[2]} on {dataset}") as progress,
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
        remarks = run_record.remarks(folder)
    kept = "This was a smoke run: nothing was kept." if smoke else f"Predictions and run record are in {folder}."
    print(kept, file=sys.stderr)
    scored = _scored({name: predictions[name] for name in names}, data.labels, remarks)
    if as_json:
        print_json({score.split: _contents(score, beside) for score, beside in scored})
    else:
        for each in scored:
            print(_in_words(*each))
    if not smoke:
        board = (
            f"emigbench leaderboard build --dataset {dataset} --add {shlex.quote(str(folder))} --out runs/leaderboard"
        )
        print(f"Plots, and the run beside the leaderboard's models: {board}", file=sys.stderr)


def _tell_what_is_passed_over(context: typer.Context, taken: Mapping[str, object]) -> None:
    """Say so where an option was given that a smoke run takes another value for."""
    sources = {name: context.get_parameter_source(name) for name in taken}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if others := [f"--{name}" for name in given if context.params[name] != taken[name]]:
        print(f"--smoke passes over {', '.join(others)}: it runs spinels, official, one seed.", file=sys.stderr)


@app.command()
def score(
    path: Annotated[Path, typer.Argument(help="A submission folder or a predictions CSV.")],
    split: Annotated[str, typer.Option(help="Which split to score.")] = "official",
    dataset: RunDatasetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions, with a 95% interval for every figure. Needs no structures.

    Examples:
        emigbench score submissions/devi2026-model-3 --json

        emigbench score predictions.csv --split material-cv
    """
    from emigbench import submission
    from emigbench.predictions import PREDICTIONS_FILE, read_split

    file = path / PREDICTIONS_FILE if path.is_dir() else path
    of_dataset = labels.read(dataset or submission.dataset_name(file) or "full")
    splits.folds(of_dataset, split)
    unfinished.check_finished(file)
    (scored,) = _scored({split: read_split(file, of_dataset, split)}, of_dataset)
    if as_json:
        print_json(_contents(*scored))
    else:
        print(_in_words(*scored))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A submission folder, a predictions CSV or the slug of a submission.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    split: Annotated[str, typer.Option(help="On which split.")] = "official",
    metric: Annotated[
        str, typer.Option(help="By which metric: mae, rmse, r2, spearman, accuracy, mcc, crps, interval_score, …")
    ] = "mae",
    threshold: Annotated[float, typer.Option(help="Barrier in eV up to which a conductor is good.")] = THRESHOLDS_EV[0],
    submissions: Annotated[Path, typer.Option(help="Where slugs are looked up.")] = Path("submissions"),
    dataset: RunDatasetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether two models differ, by how much, and what difference these paths can resolve at all.

    Examples:
        emigbench compare devi2026-model-3 devi2026-mace-relax

        emigbench compare predictions.csv submissions/random-forest --split material-cv --metric rmse

        emigbench compare emig-best path-forest --split material-cv --metric accuracy --threshold 0.5
    """
    from emigbench.report import compare as report

    by, of_dataset = report.metric_named(metric, threshold), report.common_dataset((a, b), submissions, dataset)
    splits.folds(of_dataset, split)
    first, second = report.read_pair((a, b), submissions, of_dataset, split)
    found = report.compare(first, second, of_dataset, split, by)
    if as_json:
        print_json(found.to_json())
        return
    print(report.in_words(found), end="")


def _scored(
    predictions: PredictionSet, of_dataset: labels.Labels, remarks: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[Score, Difference]]:
    """The score of each split, and how far its MAE is from that of the training median; doubts are told on stderr."""
    from emigbench import comparison
    from emigbench.doubts import doubts
    from emigbench.scoring import score as score_predictions

    scores = [score_predictions(seeds, of_dataset, split) for split, seeds in predictions.items()]
    for split, seeds in predictions.items():
        _tell_of_failures(split, seeds, remarks)
        _tell_what_is_missing(split, seeds)
    for sentence in doubts(predictions, of_dataset):
        print(sentence, file=sys.stderr)
    beside = [
        comparison.paired_difference(
            comparison.MAE,
            comparison.contender("model", seeds, of_dataset, split),
            comparison.train_median(of_dataset, split),
        )
        for split, seeds in predictions.items()
    ]
    return list(zip(scores, beside, strict=True))


def _contents(score: Score, beside: Difference) -> dict[str, Any]:
    from emigbench.report import terminal

    return {**score.to_json(), "beside_train_median": terminal.plain(beside)}


def _in_words(score: Score, beside: Difference) -> str:
    from emigbench.report import terminal

    return f"{terminal.table(score)}{terminal.beside_the_median(beside)}"


def _tell_of_failures(split: str, seeds: Mapping[int, Sequence[Prediction]], remarks: Mapping[str, str]) -> None:
    """Say how many predictions failed, and why the first one did if the run knows."""
    given = [p for of_seed in seeds.values() for p in of_seed]
    failed = [p.id for p in given if p.status == "failed"]
    if failed:
        why = f", {remarks[failed[0]]}" if failed[0] in remarks else ""
        print(
            f"{len(failed)} of {len(given)} predictions on {split} failed and are scored with the training median (the "
            f"first is {failed[0]!r}{why}).",
            file=sys.stderr,
        )


def _tell_what_is_missing(split: str, seeds: Mapping[int, Sequence[Prediction]]) -> None:
    """Say so where some predictions, but not all, have a standard deviation or interval: then none of it is scored."""
    given = [(seed, p) for seed, of_seed in seeds.items() for p in of_seed if p.status != "failed"]
    for name, what, lost in (
        ("std", "a standard deviation", "NLL, CRPS and coverage of intervals"),
        ("low", "an interval of its own", "coverage and width of these intervals"),
    ):
        lacking = [f"{p.id!r}, seed {seed}" for seed, p in given if getattr(p, name) is None]
        if 0 < len(lacking) < len(given):
            print(
                f"Split {split} is scored without {lost}, since {what} is missing in {len(lacking)} of {len(given)} "
                f"predictions (the first is {lacking[0]}).",
                file=sys.stderr,
            )


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder for results that are not kept."""
    with TemporaryDirectory() as scratch:
        yield Path(scratch) / "smoke"
