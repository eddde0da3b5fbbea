"""Runs that are stopped, go on, and are added to."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from fitted import MODELS, do, fits, refused, units_kept
from helpers import SPINELS, one_sentence, program, run, wait_for

from emigbench import run_record
from emigbench import unfinished as unfinished_runs
from emigbench.errors import StoppedError
from emigbench.predictions import read_predictions
from emigbench.submission import read_run
from emigbench.unfinished import FOLDER as UNFINISHED
from emigbench.unfinished import PLAN_FILE


def test_a_killed_run_goes_on_to_the_same_bytes_without_repeating_itself(models, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ["evaluate", f"{models}:Waits", "--dataset", "spinels", "--split", "material-cv", "--seeds", "2"]
    models.with_name("go on").touch()
    assert run(*arguments, "--out", whole).returncode == 0
    for name in ("log", "go on"):
        models.with_name(name).unlink()

    process = subprocess.Popen(
        [*program(), *arguments, "--out", str(killed)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: len(fits(models)) == 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(units_kept(killed)) == 4
    assert not (killed / "predictions.csv").exists()
    models.with_name("go on").touch()

    again = run(*arguments, "--out", killed)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    resumed = run(*arguments, "--out", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (killed / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert len(fits(models)) == 5 + 6  # only the unit that was killed is computed again
    assert sorted(file.name for file in killed.iterdir()) == ["predictions.csv", "run.json"]


@pytest.fixture
def unfinished(models, data, tmp_path):
    """The folder of a run whose model failed in its third unit of five."""
    out = tmp_path / "unfinished"
    with pytest.raises(StoppedError) as error:
        do(f"{models}:Breaks", data, out)
    assert "failed on material-cv--2--seed-0: RuntimeError: out of memory (--debug" in one_sentence(error)
    assert len(units_kept(out)) == 2
    models.with_name("mended").touch()
    return out


def test_a_model_that_raises_leaves_what_was_finished(unfinished, models, data):
    do(f"{models}:Breaks", data, unfinished, resume=True)
    assert len(fits(models)) == 2 + 1 + 3


def test_a_run_that_finished_something_says_where_it_is(models, tmp_path):
    out = tmp_path / "out"
    done = run("evaluate", f"{models}:Breaks", "--dataset", "spinels", "--split", "material-cv", "--out", out)
    assert done.returncode == 2
    assert f"What is finished is kept in {out}, go on with --resume." in done.stderr
    assert len(units_kept(out)) == 2


def test_what_is_asked_of_a_stopped_run_says_that_it_is_one(unfinished, call, tmp_path):
    said = f"emigbench: {unfinished} holds an unfinished run and no "
    for command in (
        ["score", unfinished],
        ["compare", unfinished, unfinished],
        ["init-submission", "mine", "--run", unfinished, "--submissions", tmp_path, "--dataset", "spinels"],
        ["leaderboard", "build", "--dataset", "spinels", "--add", unfinished, "--submissions", tmp_path / "none"],
    ):
        code, _, err = call(*command)
        assert code == 2
        assert said in err
        assert err.endswith("yet; go on with emigbench evaluate … --resume.\n")


def test_a_run_that_finished_nothing_leaves_nothing(models, data, tmp_path):
    out = tmp_path / "out"
    done = run("evaluate", f"{models}:Fewer", "--dataset", "spinels", "--split", "material-cv", "--out", out)
    assert done.returncode == 2
    assert "--resume" not in done.stderr
    do(f"{models}:Steady", data, out)  # the same folder, with a model that was mended


@pytest.mark.parametrize("changes", [{"seeds": (1, 2)}, {"split_names": ("official",)}])
def test_settings_that_would_lose_what_is_finished_do_not_resume(unfinished, models, data, changes):
    message = refused(f"{models}:Breaks", data, unfinished, resume=True, **changes)
    assert str(unfinished) in message
    assert f"is of other {next(iter(changes)).removesuffix('_names')}" in message
    assert "what it has finished would be lost; go on with what was stopped there by --split material-cv" in message
    assert message.endswith(" --seeds 1 --resume, or choose another --out.")
    assert len(units_kept(unfinished)) == 2


@pytest.mark.parametrize(
    ("asked", "n_lacking"),
    [
        ({"split_names": ["official"], "seeds": (0, 1)}, 0),  # all that is asked for is there
        ({"split_names": ["official"], "seeds": (0, 1, 2)}, 1),
        ({"split_names": ["material-cv", "official"], "seeds": (0, 1)}, 10),
    ],
)
def test_a_stopped_run_ends_with_other_seeds_and_splits_if_nothing_finished_is_lost(
    models, data, tmp_path, asked, n_lacking
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    refused(f"{models}:Breaks", data, out, split_names=["official"], seeds=range(5))
    models.with_name("mended").touch()
    before = len(fits(models))
    do(f"{models}:Breaks", data, out, resume=True, **asked)
    assert len(fits(models)) == before + n_lacking
    assert sorted(file.name for file in out.iterdir()) == ["predictions.csv", "run.json"]
    do(f"{models}:Breaks", data, whole, **asked)
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_seeds_that_no_option_asks_for_are_named_as_python_has_them(models, data, tmp_path):
    with pytest.raises(StoppedError):
        do(f"{models}:Breaks", data, tmp_path, seeds=[3, 5])
    message = refused(f"{models}:Breaks", data, tmp_path, seeds=[5], resume=True)
    assert "is of other seeds ([3, 5], now [5]), and some of what it has finished would be lost; go on " in message
    assert "by split_names=['material-cv'], seeds=[3, 5], resume=True, or choose" in message


def test_another_model_does_not_resume(unfinished, models, data):
    assert "another model" in refused(f"{models}:Steady", data, unfinished, resume=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"e_m": 0', '"e_m": "x', 1),
        lambda text: text.replace('"id": "', '"id": "other-', 1),
        lambda text: text.replace('"fit_seconds"', '"another_key"'),
        lambda text: json.dumps(json.loads(text) | {"predictions": []}),
    ],
)
def test_a_damaged_unit_is_computed_again(unfinished, models, data, tmp_path, damage):
    file = unfinished / UNFINISHED / units_kept(unfinished)[0]
    file.write_text(damage(file.read_text()))
    do(f"{models}:Breaks", data, unfinished, resume=True)
    assert len(fits(models)) == 2 + 1 + 4
    do(f"{models}:Breaks", data, tmp_path / "whole")
    assert (unfinished / "predictions.csv").read_bytes() == (tmp_path / "whole" / "predictions.csv").read_bytes()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7"])
def test_a_damaged_plan_is_refused(unfinished, models, data, text):
    plan = unfinished / UNFINISHED / PLAN_FILE
    plan.write_text(text)
    assert str(plan) in refused(f"{models}:Breaks", data, unfinished, resume=True)


def test_units_without_a_plan_are_not_trusted(unfinished, models, data):
    (unfinished / UNFINISHED / PLAN_FILE).unlink()
    do(f"{models}:Steady", data, unfinished)
    assert len(fits(models)) == 3 + 5


def test_a_finished_folder_is_left_alone(models, data, tmp_path):
    out = tmp_path / "out"
    do(f"{models}:Steady", data, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    for resume in (False, True):
        message = refused(f"{models}:Steady", data, out, resume=resume)
        assert str(out) in message
    (out / "run.json").unlink()  # predictions alone may be a person's own
    assert "predictions.csv" in refused(f"{models}:Steady", data, out)
    assert (out / "predictions.csv").read_bytes() == before["predictions.csv"]


def test_splits_are_added_to_a_finished_run(models, data, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    do(f"{models}:Steady", data, out, seeds=(0, 1))
    first = json.loads((out / "run.json").read_text())
    found = do(f"{models}:Steady", data, out, split_names=["official"], resume=True)
    assert {split: list(seeds) for split, seeds in found.items()} == {"official": [0], "material-cv": [0, 1]}
    assert list(read_predictions(out / "predictions.csv", SPINELS)) == list(found)
    record = read_run(out, SPINELS)
    assert record["units"][:10] == first["units"]
    assert [unit["split"] for unit in record["units"][10:]] == ["official"]
    assert record["command"] == f"{first['command']} && {first['command']}"
    assert record["versions"] == first["versions"]
    assert sorted(file.name for file in out.iterdir()) == ["predictions.csv", "run.json"]
    assert len(fits(models)) == 11
    do(f"{models}:Steady", data, whole)
    assert set((whole / "predictions.csv").read_text().split()) < set((out / "predictions.csv").read_text().split())


def test_seeds_are_added_to_a_finished_run(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "whole", split_names=["official", "material-cv"], seeds=(0, 1, 2))
    models.with_name("log").unlink()
    out = tmp_path / "out"
    do(f"{models}:Steady", data, out, split_names=["official"], seeds=[1])
    do(f"{models}:Steady", data, out, split_names=["official", "material-cv"], seeds=(0, 1, 2), resume=True)
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "whole" / "predictions.csv").read_bytes()
    assert len(fits(models)) == 3 + 15
    units = [(unit["split"], unit["seed"]) for unit in read_run(out, SPINELS)["units"]]
    assert units[:3] == [("official", 1), ("official", 0), ("official", 2)]


def test_adding_splits_can_be_stopped_and_loses_nothing(models, data, tmp_path):
    out = tmp_path / "out"
    do(f"{models}:Breaks", data, out, split_names=["official"])
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert "out of memory" in refused(f"{models}:Breaks", data, out, resume=True)
    assert {name: (out / name).read_bytes() for name in before} == before
    models.with_name("mended").touch()
    assert list(do(f"{models}:Breaks", data, out, resume=True)) == ["official", "material-cv"]
    assert len(fits(models)) == 1 + 2 + 4


@pytest.mark.parametrize("n_moved", [0, 1])
def test_a_run_that_is_stopped_while_it_writes_its_result_loses_nothing(models, data, tmp_path, monkeypatch, n_moved):
    out, whole = tmp_path / "out", tmp_path / "whole"
    do(f"{models}:Steady", data, out, split_names=["official"])
    moves = []

    def stopped(source, target):
        if len(moves) == n_moved:
            raise KeyboardInterrupt
        moves.append(source.name)
        return os.rename(source, target)  # noqa: PTH104

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        do(f"{models}:Steady", data, out, split_names=["material-cv"], resume=True)
    monkeypatch.undo()
    n_fits = len(fits(models))
    assert "already" in refused(f"{models}:Steady", data, out, split_names=["material-cv"], resume=True)
    assert len(fits(models)) == n_fits
    assert sorted(file.name for file in out.iterdir()) == ["predictions.csv", "run.json"]
    do(f"{models}:Steady", data, whole, split_names=["official", "material-cv"])
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert len(read_run(out, SPINELS)["units"]) == 6


def test_a_run_that_is_stopped_after_it_has_written_its_result_is_a_finished_one(models, data, tmp_path, monkeypatch):
    out, forget = tmp_path / "out", unfinished_runs.forget

    def stopped(folder):
        if (folder / "run.json").is_file():
            raise KeyboardInterrupt
        forget(folder)

    monkeypatch.setattr(unfinished_runs, "forget", stopped)
    with pytest.raises(KeyboardInterrupt):
        do(f"{models}:Steady", data, out, split_names=["official"])
    monkeypatch.undo()
    assert (out / UNFINISHED).is_dir()
    message = refused(f"{models}:Steady", data, out, split_names=["official"], resume=True)
    assert message.endswith("holds these splits and seeds already; choose another --out.")
    assert sorted(file.name for file in out.iterdir()) == ["predictions.csv", "run.json"]


def test_asking_for_what_is_finished_leaves_what_was_stopped(models, data, tmp_path):
    do(f"{models}:Breaks", data, tmp_path, split_names=["official"])
    refused(f"{models}:Breaks", data, tmp_path, resume=True)
    before = units_kept(tmp_path)
    message = refused(f"{models}:Breaks", data, tmp_path, split_names=["official"], resume=True)
    assert "by --split material-cv --seeds 1 --resume" in message
    assert units_kept(tmp_path) == before != []


def test_the_record_of_a_run_that_was_added_to_tells_of_both():
    before = {"command": "a", "kind": "floor", "units": [1], "hardware": {"cores": 2}}
    before["versions"] = {"numpy": "1", "ase": "3"}
    now = {"command": "b", "kind": "graph", "units": [2], "hardware": {"cores": 4}, "versions": {"numpy": "2"}, "x": 1}
    assert run_record.added(now, before) == {
        "command": "a && b",
        "kind": "graph",
        "units": [1, 2],
        "versions": {"numpy": "1, 2", "ase": "3"},
        "hardware": {"cores": "2, 4"},
        "x": 1,
    }
    assert run_record.added(now, {})["units"] == [2]  # of a record that says little


def test_a_kind_that_is_not_told_again_stays(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path, split_names=["official"])
    models.write_text(MODELS.replace('kind = "floor"', ""))
    do(f"{models}:Steady", data, tmp_path, resume=True)
    assert read_run(tmp_path, SPINELS)["kind"] == "floor"


def test_nothing_is_added_to_another_run(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path, split_names=["official"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    assert "is of model" in refused(f"{models}:Single", data, tmp_path, resume=True)
    assert "splits and seeds already" in refused(
        f"{models}:Steady", data, tmp_path, split_names=["official"], resume=True
    )
    text = before["run.json"].replace(data.sha256.encode(), b"0" * 64)
    (tmp_path / "run.json").write_bytes(text)
    assert "made on another dataset" in refused(f"{models}:Steady", data, tmp_path, resume=True)
    assert (tmp_path / "predictions.csv").read_bytes() == before["predictions.csv"]
    assert not (tmp_path / UNFINISHED).exists()


def test_results_of_other_code_stay_and_are_told(unfinished, models, data, tmp_path, caplog):
    models.write_text(MODELS + "\n")
    do(f"{models}:Breaks", data, unfinished, resume=True)
    (told,) = caplog.messages
    before, after = (f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}" for text in (MODELS, MODELS + "\n"))
    part = f"since 2 of the results in {unfinished} were made (the first is material-cv--0--seed-0, of {before} and not"
    assert part in one_sentence(told)
    assert [unit["code"] for unit in read_run(unfinished, SPINELS)["units"]] == [before] * 2 + [after] * 3
    do(f"{models}:Breaks", data, unfinished, seeds=(0, 1), resume=True)  # the same of a finished run
    assert part in caplog.messages[1]
    do(f"{models}:Breaks", data, tmp_path / "anew", split_names=["official"])
    do(f"{models}:Breaks", data, tmp_path / "anew", resume=True)
    assert len(caplog.messages) == 2


def test_results_that_do_not_say_what_code_made_them_are_taken(unfinished, models, data, caplog):
    for name in units_kept(unfinished):
        file = unfinished / UNFINISHED / name
        content = json.loads(file.read_text())
        assert content.pop("code").startswith("sha256 ")
        file.write_text(json.dumps(content))
    do(f"{models}:Breaks", data, unfinished, resume=True)
    assert len(fits(models)) == 2 + 1 + 3
    assert ["code" in unit for unit in read_run(unfinished, SPINELS)["units"]] == [False] * 2 + [True] * 3
    assert not caplog.messages


def test_resume_starts_where_nothing_was_started(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "run.json").is_file()


def test_a_card_that_lies_in_the_folder_is_kept(models, data, tmp_path):
    (tmp_path / "submission.yaml").write_text("name: mine\n")
    do(f"{models}:Steady", data, tmp_path)
    assert (tmp_path / "submission.yaml").read_text() == "name: mine\n"
