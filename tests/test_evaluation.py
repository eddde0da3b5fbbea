import json
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from fitted import do, fits, refused, units_kept
from helpers import SPINELS, one_sentence, run

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction, evaluation, jobs, splits, units
from emigbench.predictions import read_predictions
from emigbench.submission import read_run

# --- What a run gives


def test_a_run_leaves_valid_predictions_and_their_record(models, data, tmp_path):
    out = tmp_path / "out" / "deep"
    done = []
    found = do(
        f"{models}:Steady", data, out,
        split_names=("official", "material-cv"), seeds=(0, 3), progress=lambda *what: done.append(what),
    )  # fmt: skip
    assert sorted(file.name for file in out.iterdir()) == ["predictions.csv", "run.json"]
    written = read_predictions(out / "predictions.csv", SPINELS)
    assert {split: list(seeds) for split, seeds in written.items()} == {"official": [0, 3], "material-cv": [0, 3]}
    assert [p.id for p in written["material-cv"][3]] == [p.id for p in found["material-cv"][3]]
    record = read_run(out, SPINELS)
    assert record["model"] == f"{models}:Steady"
    assert record["kind"] == "floor"
    assert record["dataset"] == {"name": "spinels", "version": data.version, "sha256": data.sha256}
    assert {"command", "versions", "hardware"} <= set(record)
    assert record["versions"]["numpy"] == np.__version__
    assert [(u["split"], u["fold"], u["seed"]) for u in record["units"][:3]] == [
        ("official", "test", 0), ("official", "test", 3), ("material-cv", "0", 0),
    ]  # fmt: skip
    assert sum(u["n_held_out"] for u in record["units"]) == 2 * (11 + 82)
    assert all(u["fit_seconds"] >= 0 and u["peak_memory_mb"] > 1 for u in record["units"])
    assert [(d, n) for _, d, n in done] == [(k, 12) for k in range(1, 13)]
    assert len(fits(models)) == 12


def test_a_run_of_a_plug_in_has_the_versions_of_what_it_needs(models, data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "packages_of", lambda spec: ["tabulate"] if spec == f"{models}:Steady" else [])
    do(f"{models}:Steady", data, tmp_path, split_names=["official"])
    assert read_run(tmp_path, SPINELS)["versions"]["tabulate"] == version("tabulate")


def test_a_model_is_named_and_the_folder_may_be_a_text(models, data, tmp_path):
    found = do(f"{models}:Steady", data, str(tmp_path / "out"), split_names=["official"])
    assert list(read_predictions(tmp_path / "out" / "predictions.csv", SPINELS)) == list(found) == ["official"]
    with pytest.raises(EmigbenchError) as error:
        evaluation.evaluate(object(), data, split_names=["official"], seeds=[0], out=tmp_path / "other")
    assert "as an object of type object" in one_sentence(error)


def test_what_a_model_tells_is_kept_as_plain_json(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "out", split_names=["official"])
    text = (tmp_path / "out" / "run.json").read_text()
    assert "NaN" not in text
    details = json.loads(text)["units"][0]["details"]
    assert details["loss"] == [0.5, None]
    assert details["n"] == 71
    assert details["3"] == str(models.with_name("log"))
    assert isinstance(details["mean"], float)


def test_a_kind_that_the_leaderboard_does_not_know_is_told(models, data, tmp_path, caplog):
    models.write_text(f"{models.read_text()}\nclass Magic(Steady):\n    kind = 'magic'\n")
    do(f"{models}:Steady", data, tmp_path / "known", split_names=["official"])
    assert caplog.messages == []
    do(f"{models}:Magic", data, tmp_path / "unknown", split_names=["official"])
    (told,) = caplog.messages
    assert "does not know the kind 'magic' of model" in one_sentence(told)
    assert "; it knows floor, classical," in told


def test_a_model_that_went_on_from_a_checkpoint_says_how_long_it_trained(models, data, tmp_path):
    do(f"{models}:Resumed", data, tmp_path, split_names=["official"])
    assert json.loads((tmp_path / "run.json").read_text())["units"][0]["fit_seconds"] == 86400


def test_the_same_run_twice_gives_the_same_bytes(models, data, tmp_path):
    contents = set()
    for name in ("Steady", "Steady", "Backwards"):  # the order of the answer does not matter either
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        do(f"{models}:{name}", data, out, seeds=(0, 1))
        contents.add((out / "predictions.csv").read_bytes())
    assert len(contents) == 1


def test_the_same_split_or_seed_named_twice_runs_once(models, data, tmp_path):
    found = do(f"{models}:Steady", data, tmp_path / "out", split_names=["official"] * 2, seeds=[1, 1])
    assert {split: list(seeds) for split, seeds in found.items()} == {"official": [1]}
    assert len(fits(models)) == 1


def test_what_a_model_does_with_the_list_of_paths_is_its_own_business(models, data, tmp_path):
    do(f"{models}:Tidy", data, tmp_path / "tidy")
    do(f"{models}:Steady", data, tmp_path / "steady")
    tidy, steady = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("tidy", "steady"))
    assert tidy == steady


@pytest.mark.parametrize("name", ["Moves", "MovesByPath"])
def test_a_model_that_changes_the_working_folder_leaves_its_results_where_they_belong(
    models, data, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    kept = []
    do(f"{models.name}:{name}", data, "out", progress=lambda *_: kept.append(len(units_kept(Path("out")))))
    assert kept == [*range(1, len(kept) + 1)]
    assert Path.cwd() == tmp_path
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["predictions.csv", "run.json"]


def test_single_precision_predictions_are_kept(models, data, tmp_path):
    found = do(f"{models}:Single", data, tmp_path / "out", split_names=["official"])
    assert {p.e_m for p in found["official"][0]} == {float(np.float32(0.1))}


def test_models_never_see_labels_of_the_held_out_side(models, data, tmp_path):
    do(f"{models}:Curious", data, tmp_path / "out", split_names=["official", "material-cv"])


def test_a_fit_gets_the_training_side_and_nothing_else(data, monkeypatch, tmp_path):
    seen = []

    class Spy:
        def fit(self, train, *, seed):
            seen.append((train, seed))

        def predict(self, paths):
            seen.append(paths)
            return [Prediction(path.id, 0.5) for path in paths]

    for module in (evaluation, units):
        monkeypatch.setattr(module, "create", lambda spec: Spy())
    do("spy", data, tmp_path, seeds=[4])
    fold, (train, seed), held_out = splits.folds(data.labels, "material-cv")[2], *seen[4:6]
    assert seed == 4
    assert all(isinstance(path, LabelledPath) for path in train)
    assert all(isinstance(path, MigrationPath) for path in held_out)
    assert [path.id for path in train] == list(fold.train)
    assert [path.id for path in held_out] == list(fold.held_out)
    assert not {path.path.material_id for path in train} & {path.material_id for path in held_out}


def test_what_is_on_neither_side_of_a_fold_is_not_fitted_to(data, tmp_path):
    """The spinels have no such path on any split; the whole dataset has 53 in leave-group-out."""
    ids = tuple(entry.id for entry in data)
    fold = splits.Fold("f", train=ids[:3], held_out=ids[3:5], unused=ids[5:])
    (job,) = jobs.fits("spy", data, {units.Unit("leave-group-out", "f", 0): fold}, tmp_path)
    _, _, train, held_out = job.call.args
    assert [entry.id for entry in train] == list(ids[:3])
    assert [path.id for path in held_out] == list(ids[3:5])


def test_two_workers_give_the_same_file_as_one(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "one", seeds=(0, 1))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        do(f"{models}:Steady", data, tmp_path / "two", seeds=(0, 1), executor=executor)
    one, two = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("one", "two"))
    assert two == one
    assert len(fits(models)) == 20


# --- Models that do not do what they should


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Fewer", "23 predictions for 24 paths"),
        ("More", "25 predictions for 24 paths"),
        ("Others", "'elsewhere' is none of them"),
        ("Numbered", "The id of a prediction is of type int"),
        ("Numbers", "predicted a float64 on"),
        ("Nothing", "predicted nothing (None) on"),
        ("ByPath", "predicted a dict on"),
        ("Alone", "predicted a Prediction on"),
        ("NotFinite", "finite"),
        ("BadDetails", "ZeroDivisionError"),
        ("Leaves", "SystemExit: 0"),
    ],
)
def test_a_wrong_answer_is_one_sentence(models, data, tmp_path, name, part):
    message = refused(f"{models}:{name}", data, tmp_path / "out")
    assert part in message
    assert name in message
    assert "material-cv--0--seed-0" in message
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_wrong_answer_names_the_id(models, data, tmp_path):
    first = splits.folds(data.labels, "material-cv")[0].held_out[0]
    for name, what in (("Fewer", "is missing"), ("More", "is given twice")):
        assert f"{first!r} {what}" in refused(f"{models}:{name}", data, tmp_path / name)


def test_numbers_that_are_no_barriers_are_failed_paths_and_the_run_can_be_read(models, data, tmp_path):
    found = do(f"{models}:Diverged", data, tmp_path, split_names=["official"])["official"][0]
    first, second = (p.id for p in found[:2])
    assert {p.id for p in found if p.status == "failed"} == {first, second}
    (unit,) = read_run(tmp_path, SPINELS)["units"]
    assert unit["details"]["remarks"] == {
        first: "the model gave a barrier of 150 eV, beyond the plausible 100 eV",
        second: "the model gave a standard deviation of 1000 eV, beyond the plausible 100 eV",
    }
    assert read_predictions(tmp_path / "predictions.csv", SPINELS)["official"][0][0].status == "failed"
    assert list(do(f"{models}:Diverged", data, tmp_path, split_names=["material-cv"], resume=True)) == [
        "official", "material-cv",
    ]  # fmt: skip


def test_a_run_on_changed_data_says_so(models, data, tmp_path):
    do(f"{models}:Steady", replace(data, sha256="f" * 64), tmp_path, split_names=["official"])
    assert json.loads((tmp_path / "run.json").read_text())["dataset"] == {**data.identity, "sha256": "f" * 64}


def test_details_beyond_all_measure_are_left_out_and_the_run_can_be_read(models, data, tmp_path):
    do(f"{models}:Talkative", data, tmp_path, split_names=["official"])
    assert "details of 7000012 characters" in read_run(tmp_path, SPINELS)["units"][0]["details"]["left out"]


def test_details_that_are_together_too_many_are_left_out_and_the_run_can_be_read(models, data, tmp_path, caplog):
    """And so it can be added to."""
    do(f"{models}:Chatty", data, tmp_path, seeds=range(5))
    left_out = "details that the record of the run has no room for"
    assert all(
        u["details"] == {"remarks": {"A": "odd"}, "left out": left_out} for u in read_run(tmp_path, SPINELS)["units"]
    )
    (told,) = caplog.messages
    assert "at most 4 are read, so the details of the fits but for remarks on single paths" in one_sentence(told)
    do(f"{models}:Chatty", data, tmp_path, split_names=["official"], resume=True)
    assert len(read_run(tmp_path, SPINELS)["units"][25]["details"]["losses"]) == 19_000
    assert len(caplog.messages) == 1


def test_remarks_that_are_too_many_go_after_all_else(models, data, tmp_path, caplog):
    do(f"{models}:Wordy", data, tmp_path, seeds=range(9))
    assert all(list(unit["details"]) == ["left out"] for unit in read_run(tmp_path, SPINELS)["units"])
    assert len(caplog.messages) == 2


def test_remarks_that_are_not_by_path_are_kept_and_the_scores_are_shown(models, tmp_path):
    out = tmp_path / "out"
    done = run("evaluate", f"{models}:Remarkable", "--dataset", "spinels", "--split", "official", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "MAE" in done.stdout
    (unit,) = read_run(out, SPINELS)["units"]
    assert unit["details"] == {"remarks": {}, "remarks (not by path)": "all went well"}


def test_details_that_are_no_dictionary_are_kept_and_no_time_is_taken_as_none_told(models, data, tmp_path):
    do(f"{models}:Listing", data, tmp_path, split_names=["official"])
    (unit,) = read_run(tmp_path, SPINELS)["units"]
    assert unit["details"] == {"details": ["all", "went", "well"]}
    assert 0 <= unit["fit_seconds"] < 60


def test_more_seeds_than_a_submission_takes_are_refused_at_once(models, data, tmp_path):
    assert "at most 20" in refused(f"{models}:Steady", data, tmp_path / "out", seeds=range(21))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"seeds": [-1]}, "'-1' is no seed; seeds are whole numbers from 0 to 999999999"),
        ({"seeds": [0, 10**10]}, "'10000000000' is no seed"),
        ({"seeds": [0.5]}, "'0.5' is no seed"),
        ({"seeds": 3}, "seeds is 3; give them all, such as [0, 1, 2] or range(3)"),
        ({"seeds": []}, "seeds is empty, so there is nothing to run"),
        ({"split_names": "official"}, "split_names is 'official'; give a list of names, such as ['official']"),
        ({"split_names": []}, "split_names is empty, so there is nothing to run"),
        ({"split_names": [["official"]]}, "is no name of a split; there are official, material-cv,"),
    ],
)
def test_what_no_run_can_be_of_is_refused_at_once(models, data, tmp_path, asked, part):
    assert part in refused(f"{models}:Steady", data, tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_seeds_may_be_of_numpy(models, data, tmp_path):
    found = do(f"{models}:Steady", data, tmp_path, split_names=["official"], seeds=np.arange(2))
    assert (
        list(found["official"]) == list(read_predictions(tmp_path / "predictions.csv", SPINELS)["official"]) == [0, 1]
    )
    assert [unit["seed"] for unit in read_run(tmp_path, SPINELS)["units"]] == [0, 1]


def test_a_model_that_fails_beside_others_keeps_what_they_finish(models, data, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        message = refused(f"{models}:Breaks", data, tmp_path / "out", executor=executor)
        assert "RuntimeError" in message
    assert units_kept(tmp_path / "out")


class FirstFails(Executor):
    """Its first task fails; of the others nothing is ever heard, cancelled or not, as of tasks on a cluster."""

    def __init__(self):
        self.given = []

    def submit(self, function, /, *args, **kwargs):
        self.given.append(Future())
        if len(self.given) == 1:
            self.given[0].set_exception(EmigbenchError("3 is not 4."))
        return self.given[-1]


def test_what_is_cancelled_after_a_failure_is_not_waited_for(models, data, tmp_path):
    executor = FirstFails()
    assert refused(f"{models}:Steady", data, tmp_path / "out", executor=executor) == "3 is not 4."
    assert len(executor.given) > 1
    assert all(future.cancelled() for future in executor.given[1:])


def test_a_worker_that_dies_is_one_sentence(models, data, tmp_path):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        message = refused(f"{models}:Dies", data, tmp_path / "out", executor=executor)
    assert "died" in message
    assert "fewer --workers" in message


def test_unknown_split_or_model_starts_nothing(models, data, tmp_path):
    assert "'random'" in refused(f"{models}:Steady", data, tmp_path / "out", split_names=["random"])
    assert "no-such" in refused("no-such", data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["file", "file/deeper/still"])
def test_a_folder_that_cannot_be_written(models, data, tmp_path, below):
    (tmp_path / "file").write_text("")
    message = refused(f"{models}:Steady", data, tmp_path / below)
    assert "Cannot write" in message
    assert str(tmp_path / below) in message
    assert not fits(models)
