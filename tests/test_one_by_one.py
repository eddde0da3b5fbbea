"""Models that take paths one by one: a path at a time, each kept, none lost by another."""

import json
import pickle
import signal
import subprocess
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import toys
from helpers import PATIENCE_S, SPINELS, one_sentence, program, run, wait_for

from emigbench import EmigbenchError, Prediction, jobs, splits, units
from emigbench.evaluation import evaluate
from emigbench.predictions import read_predictions
from emigbench.submission import read_run
from emigbench.unfinished import FOLDER as UNFINISHED
from emigbench.unfinished import PLAN_FILE
from emigbench.workers import processes

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("EMIGBENCH_TOYS", str(folder))
    return folder


def do(name, data, out, *, split_names=("material-cv",), seeds=(0,), **others):
    return evaluate(f"toys:{name}", data, split_names=split_names, seeds=seeds, out=out, **others)


def predicted() -> Counter[str]:
    """How often each path was predicted."""
    return Counter(line for line in toys.noted() if line in SPINELS.by_id)


def kept(out) -> list[str]:
    return sorted(file.name for file in (out / UNFINISHED).glob("path--*.json"))


def without_times(out) -> list[str]:
    return [line.rpartition(",")[0] for line in (out / "predictions.csv").read_text().splitlines()]


def remarks(out) -> dict[str, str]:
    recorded = json.loads((out / "run.json").read_text())["units"]
    return {path_id: text for unit in recorded for path_id, text in unit["details"].get("remarks", {}).items()}


# --- What a run gives


def test_each_path_is_computed_once_for_all_splits(data, tmp_path):
    done = []
    found = do(
        "Toy", data, tmp_path / "out",
        split_names=("official", "material-cv"), progress=lambda *what: done.append(what),
    )  # fmt: skip
    assert predicted() == Counter(entry.id for entry in data)
    assert toys.noted().count("fit") == 1
    assert done == [(entry.id, n, 82) for n, entry in enumerate(data, start=1)]
    in_folds = {p.id: p for p in found["material-cv"][0]}
    assert [p.id for p in found["official"][0]] == list(splits.held_out(SPINELS, "official"))
    assert all(in_folds[p.id] == p for p in found["official"][0])
    assert all(p.e_m == data.by_id[p.id].path.hop_length / 5 for p in in_folds.values())


def test_a_split_that_is_added_takes_what_is_there(data, tmp_path):
    do("Toy", data, tmp_path / "out")
    do("Toy", data, tmp_path / "out", split_names=["official"], resume=True)
    assert set(predicted().values()) == {1}
    found = read_predictions(tmp_path / "out" / "predictions.csv", SPINELS)
    in_folds = {p.id: p for p in found["material-cv"][0]}
    assert found["official"][0] == [in_folds[path_id] for path_id in splits.held_out(SPINELS, "official")]
    do("Toy", data, tmp_path / "alone", split_names=["official"])
    record, alone = (read_run(tmp_path / name, SPINELS) for name in ("out", "alone"))
    assert [record[key] for key in ("kind", "hardware")] == [alone[key] for key in ("kind", "hardware")]
    added = record["units"][-1]
    assert [added[key] for key in ("split", "n_held_out", "details", "code")] == [
        alone["units"][0][key] for key in ("split", "n_held_out", "details", "code")
    ]
    assert added["predict_seconds"] == pytest.approx(sum(p.seconds for p in found["official"][0]), abs=1e-3)


@pytest.mark.parametrize("code_before", ["sha256 ", "sha256 of-another-"])
def test_a_split_that_is_added_tries_failed_paths_again_and_all_of_other_code(data, tmp_path, code_before):
    do("Spoiled", data, tmp_path)
    text = (tmp_path / "run.json").read_text().replace("toys:Spoiled", "toys:Toy")
    (tmp_path / "run.json").write_text(text.replace('"code": "sha256 ', f'"code": "{code_before}'))
    seen = predicted()
    found = do("Toy", data, tmp_path, split_names=["leave-ion-out"], resume=True)["leave-ion-out"][0]
    assert not [p.id for p in found if p.status == "failed"]
    assert set(predicted() - seen) == ({p.id for p in found} if "another" in code_before else {toys.ODD})
    told = [unit["details"]["remarks"].get(toys.ODD) for unit in read_run(tmp_path, SPINELS)["units"]]
    assert [remark for remark in told if remark] == ["OddError: 1 is not 2"]  # of the earlier units alone


def test_a_fold_that_fails_as_a_whole_hides_no_kind_and_costs_no_other_path_what_is_there(data, tmp_path):
    do("NotOfAluminium", data, tmp_path, split_names=["leave-ion-out"])
    assert read_run(tmp_path, SPINELS)["kind"] == "floor"
    seen = predicted()
    do("NotOfAluminium", data, tmp_path, resume=True)
    assert set(predicted() - seen) == {entry.id for entry in data if entry.path.mobile_ion == "Al"}
    record = read_run(tmp_path, SPINELS)
    assert record["kind"] == "floor"
    assert len({unit["code"] for unit in record["units"]}) == 1


def test_only_the_held_out_paths_are_computed(data, tmp_path):
    do("Toy", data, tmp_path / "out", split_names=["official"])
    assert sorted(predicted()) == sorted(splits.held_out(SPINELS, "official"))


def test_the_record_has_a_unit_for_each_fold_with_what_was_told_of_its_paths(data, tmp_path):
    found = do("Toy", data, tmp_path / "out", split_names=("official", "material-cv"))
    recorded = read_run(tmp_path / "out", SPINELS)["units"]
    assert [(u["split"], u["fold"], u["seed"], u["n_held_out"]) for u in recorded] == [
        ("official", "test", 0, 11), ("material-cv", "0", 0, 24), ("material-cv", "1", 0, 9),
        ("material-cv", "2", 0, 24), ("material-cv", "3", 0, 13), ("material-cv", "4", 0, 12),
    ]  # fmt: skip
    seconds = {p.id: p.seconds for p in found["material-cv"][0]}
    folds = splits.folds(SPINELS, "official") + splits.folds(SPINELS, "material-cv")
    for unit, fold in zip(recorded, folds, strict=True):
        assert unit["fit_seconds"] == 0
        assert unit["predict_seconds"] == pytest.approx(sum(seconds[i] for i in fold.held_out), abs=1e-3)
        assert unit["peak_memory_mb"] > 1
        assert unit["details"]["settings"] == {"fmax": 0.05}
        short = [i for i in fold.held_out if data.by_id[i].path.hop_length < toys.SHORT]
        assert unit["details"]["remarks"] == dict.fromkeys(short, "a short hop")
    assert 0 < len(remarks(tmp_path / "out")) < 82


def test_seconds_are_measured_unless_the_model_tells_them(data, tmp_path):
    do("Toy", data, tmp_path / "measured", split_names=["official"])
    do("Timed", data, tmp_path / "told", split_names=["official"])
    measured, told = (read_predictions(tmp_path / name / "predictions.csv", SPINELS) for name in ("measured", "told"))
    assert all(0 < p.seconds < 12 for p in measured["official"][0])
    assert {p.seconds for p in told["official"][0]} == {12.0}


def test_several_seeds_are_refused(data, tmp_path):
    with pytest.raises(EmigbenchError) as error:
        do("Toy", data, tmp_path / "out", seeds=(0, 1))
    assert "single seed" in one_sentence(error)
    assert not (tmp_path / "out").exists()


def test_two_workers_give_the_same_as_none(data, tmp_path):
    do("Toy", data, tmp_path / "one")
    with processes(2) as executor:
        do("Toy", data, tmp_path / "two", executor=executor)
    assert without_times(tmp_path / "two") == without_times(tmp_path / "one")
    assert set(predicted().values()) == {2}
    assert toys.noted().count("fit") in (2, 3)  # each worker keeps its model


def test_a_worker_is_given_a_path_and_no_training_side(data, tmp_path):
    fold = splits.folds(SPINELS, "official")[0]
    to_do = jobs.paths("toys:Toy", data, {units.Unit("official", "test", 0): fold}, tmp_path)
    assert len(to_do) == 11
    path = max((data.by_id[path_id].path for path_id in fold.held_out), key=lambda path: path.n_atoms)
    assert max(len(pickle.dumps(job.call)) for job in to_do) < len(pickle.dumps(path)) + 1000


def test_what_is_told_of_single_paths_is_joined_key_by_key():
    def told(path_id, seconds, **details):
        return units.UnitResult((Prediction(path_id, 0.5),), 0.0, seconds, None, details, seconds * 100, {"cores": 2})

    joined = units.joined(
        [
            replace(told("a", 1.0, settings={"fmax": 0.05}, paths={"a": {"steps": 3}}, device="cpu"), kind="floor"),
            told("b", 2.0, settings={"fmax": 0.05}, paths={"b": {"steps": 4}}, device="cuda"),
            units.failed("c", "its worker died", ""),
        ]
    )
    assert [(p.id, p.status) for p in joined.predictions] == [("a", "ok"), ("b", "ok"), ("c", "failed")]
    assert joined.details == {
        "settings": {"fmax": 0.05},
        "paths": {"a": {"steps": 3}, "b": {"steps": 4}},
        "device": "cuda",
        "remarks": {"c": "its worker died"},
    }
    assert (joined.predict_seconds, joined.kind, joined.peak_memory_mb) == (3.0, "floor", 200.0)
    assert joined.hardware == {"cores": 2}


# --- Paths that fail


def test_a_path_that_raises_or_kills_its_worker_is_failed_and_no_other(data, tmp_path):
    do("Toy", data, tmp_path / "plain")
    seen = predicted()
    with processes(2) as executor:
        found = do("Troubled", data, tmp_path / "out", executor=executor)["material-cv"][0]
    assert [p.id for p in found if p.status == "failed"] == [toys.DEADLY, toys.ODD]
    told = remarks(tmp_path / "out")
    assert told[toys.DEADLY] == "its worker died"
    assert told[toys.ODD] == "OddError: 1 is not 2"
    ours, theirs = without_times(tmp_path / "out"), without_times(tmp_path / "plain")
    assert sum(a != b for a, b in zip(ours, theirs, strict=True)) == 2
    again = predicted() - seen
    assert again[toys.DEADLY] == 2  # it gets a second chance
    assert {n for path_id, n in again.items() if path_id != toys.DEADLY} == {1}


def test_a_path_whose_worker_dies_once_is_computed_again(data, tmp_path):
    do("Toy", data, tmp_path / "plain")
    with processes(2) as executor:
        do("KilledOnce", data, tmp_path / "out", executor=executor, progress=toys.arrived)
    assert "killed" in toys.noted()
    assert set(predicted().values()) == {2}
    assert without_times(tmp_path / "out") == without_times(tmp_path / "plain")


def test_a_model_that_raised_is_built_anew(data, tmp_path):
    found = do("Spoiled", data, tmp_path / "out")
    assert [p.id for p in found["material-cv"][0] if p.status == "failed"] == [toys.ODD]
    assert toys.noted().count("fit") == 2


def test_failed_paths_are_shown_and_tried_again_by_a_resumed_run(data, tmp_path):
    shown = []

    def stop(what, done, total):
        shown.append(what)
        if "failed" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do("Spoiled", data, tmp_path / "out", progress=stop)
    assert shown[-1] == f"{toys.ODD} (failed)"
    assert len(kept(tmp_path / "out")) == len(shown) - 1
    do("Toy", data, tmp_path / "plain")
    (tmp_path / "out" / UNFINISHED / PLAN_FILE).write_text(
        (tmp_path / "out" / UNFINISHED / PLAN_FILE).read_text().replace("Spoiled", "Toy")
    )
    seen = predicted()
    do("Toy", data, tmp_path / "out", resume=True)
    assert sorted(predicted() - seen) == sorted(entry.id for entry in data[len(shown) - 1 :])
    assert without_times(tmp_path / "out") == without_times(tmp_path / "plain")


@pytest.mark.parametrize("workers", [nullcontext, partial(processes, 2)])
def test_a_model_that_fails_on_all_paths_is_an_error(data, tmp_path, workers):
    with workers() as executor, pytest.raises(EmigbenchError) as error:
        do("RaisesAlways", data, tmp_path / "out", executor=executor)
    assert "OddError: 3 is not 4" in one_sentence(error)
    assert "all 82 paths" in str(error.value)
    assert error.value.__cause__ is not None
    assert not (tmp_path / "out" / "predictions.csv").exists()


@pytest.mark.parametrize(("name", "part"), [("NoWeights", "no weights"), ("Another", "'another' is none of them")])
def test_what_no_path_can_help_ends_the_run(data, tmp_path, name, part, notes):
    with pytest.raises(EmigbenchError, match=part):
        do(name, data, tmp_path / "out")
    if name == "NoWeights":
        assert len(kept(tmp_path / "out")) == 3
        (notes / "0").write_text("weights\n")
        do(name, data, tmp_path / "out", resume=True)
        assert set(predicted().values()) == {1}


# --- Stopped runs


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_without_repeating_a_path_and_leaves_no_worker(data, tmp_path, notes, how):
    out = tmp_path / "out"
    arguments = ["evaluate", "toys:Waits", "--dataset", "spinels", "--split", "material-cv", "--out", str(out)]
    process = subprocess.Popen(
        [*program(), *arguments, "--workers", "2"],
        cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it is ignored in a background shell
    )  # fmt: skip
    wait_for(lambda: toys.noted().count(toys.WAITING) == 2)  # each worker is at one
    wait_for(lambda: len(kept(out)) == predicted().total() - 2)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert f"Stopped; what is finished is kept in {out}, go on with --resume.\n" in stderr
    wait_for(lambda: not any(is_alive(int(file.name)) for file in notes.iterdir()))
    finished = [name.removeprefix("path--").removesuffix(".json") for name in kept(out)]
    assert 5 <= len(finished) == predicted().total() - 2

    toys.note(toys.GO_ON)
    resumed = run(*arguments, "--resume", "--workers", "2", cwd=TESTS)
    assert resumed.returncode == 0, resumed.stderr
    assert {predicted()[path_id] for path_id in finished} == {1}
    do("Toy", data, tmp_path / "plain")
    assert without_times(out) == without_times(tmp_path / "plain")


def is_alive(pid) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between opening and reading
        return False
    return stat.split(") ")[1][0] != "Z"


def test_a_model_may_tell_nothing():
    assert units._details(SimpleNamespace(details=None)) == {}
