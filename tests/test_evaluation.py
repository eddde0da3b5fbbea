import hashlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from helpers import SPINELS, one_sentence, program, run

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction, evaluation, load, splits, units
from emigbench.errors import StoppedError
from emigbench.evaluation import evaluate
from emigbench.predictions import read_predictions
from emigbench.submission import read_run
from emigbench.unfinished import FOLDER as UNFINISHED
from emigbench.unfinished import PLAN_FILE

MODELS = """
import functools, math, os, time
from pathlib import Path
import numpy as np
from emigbench import LabelledPath, MigrationPath, Prediction

LOG = Path(__file__).with_name("log")

def note(text):
    with LOG.open("a") as stream:
        stream.write(text + "\\n")

class Steady:
    kind = "floor"

    def fit(self, train, *, seed):
        note(f"fit {seed} {train[0].id}")
        self.mean = float(np.mean([path.e_m for path in train]))
        self.random = np.random.default_rng(seed)
        self.details = {"mean": np.float32(self.mean), "loss": np.array([0.5, np.nan]), "n": len(train), 3: LOG}

    def predict(self, paths):
        values = self.random.normal(self.mean, 0.1, len(paths))
        return [Prediction(path.id, value, std=0.1) for path, value in zip(paths, values)]

class Slow(Steady):
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        time.sleep(0.25)

class Resumed(Steady):
    fit_seconds = 86400

class Backwards(Steady):
    def predict(self, paths):
        return reversed(super().predict(paths))

class Single(Steady):
    "What a network gives: another type of float."
    def predict(self, paths):
        return [Prediction(path.id, np.float32(0.1)) for path in paths]

class Curious(Steady):
    def fit(self, train, *, seed):
        assert all(type(path) is LabelledPath for path in train)
        super().fit(train, seed=seed)

    def predict(self, paths):
        for path in paths:
            assert type(path) is MigrationPath
            assert not hasattr(path, "e_m") and not hasattr(path, "split")
            assert not [name for name in vars(path) if "e_m" in name or "label_flags" in name]
        return super().predict(paths)

class Breaks(Steady):
    "Fails from the third fit on, unless there is a file that says otherwise."
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        if len(LOG.read_text().split("\\n")) > 3 and not LOG.with_name("mended").exists():
            raise RuntimeError("out of\\nmemory.")

class Dies(Steady):
    def fit(self, train, *, seed):
        os._exit(1)

class Answers(Steady):
    def predict(self, paths):
        return self.answer(super().predict(paths))

class Fewer(Answers):
    answer = staticmethod(lambda given: given[1:])
class More(Answers):
    answer = staticmethod(lambda given: [*given, given[0]])
class Others(Answers):
    answer = staticmethod(lambda given: [*given[1:], Prediction("elsewhere", 0.5)])
class Diverged(Answers):
    "One barrier and one standard deviation that no file of predictions takes, and a long story."
    answer = staticmethod(lambda given: [
        Prediction(given[0].id, 150.0), Prediction(given[1].id, 0.5, std=1e3), *given[2:]
    ])
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        nested = functools.reduce(lambda inner, _: [inner], range(50))
        self.details = {"log": ["x" * 30_000], "y" * 30_000: 1e30, "deep": nested}
        self.fit_seconds = math.nan
class Talkative(Steady):
    details = property(lambda self: {"losses": [0.123] * 10**6}, lambda self, value: None)
class Numbered(Answers):
    answer = staticmethod(lambda given: [*given[1:], Prediction(7, 0.5)])
class Numbers(Answers):
    answer = staticmethod(lambda given: np.array([p.e_m for p in given]))
class Nothing(Answers):
    answer = staticmethod(lambda given: None)
class NotFinite(Answers):
    answer = staticmethod(lambda given: [Prediction(p.id, float("nan")) for p in given])
class Leaves(Steady):
    def fit(self, train, *, seed):
        raise SystemExit(0)
class BadDetails(Steady):
    details = property(lambda self: 1 / 0, lambda self, value: None)
"""


@pytest.fixture(scope="module")
def data():
    return load("spinels")


@pytest.fixture
def models(tmp_path):
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    return file


def fits(models) -> list[str]:
    log = models.with_name("log")
    return log.read_text().splitlines() if log.exists() else []


def do(model, data, out, *, split_names=("material-cv",), seeds=(0,), **others):
    return evaluate(str(model), data, split_names=split_names, seeds=seeds, out=out, **others)


def refused(*arguments, **options) -> str:
    with pytest.raises(EmigbenchError) as error:
        do(*arguments, **options)
    return one_sentence(error)


def units_kept(out) -> list[str]:
    return sorted(file.name for file in (out / UNFINISHED).glob("*--*.json"))


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


def test_what_a_model_tells_is_kept_as_plain_json(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "out", split_names=["official"])
    text = (tmp_path / "out" / "run.json").read_text()
    assert "NaN" not in text
    details = json.loads(text)["units"][0]["details"]
    assert details["loss"] == [0.5, None]
    assert details["n"] == 71
    assert details["3"] == str(models.with_name("log"))
    assert isinstance(details["mean"], float)


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


def test_two_workers_give_the_same_file_as_one(models, data, tmp_path):
    do(f"{models}:Steady", data, tmp_path / "one", seeds=(0, 1))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        do(f"{models}:Steady", data, tmp_path / "two", seeds=(0, 1), executor=executor)
    one, two = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("one", "two"))
    assert two == one
    assert len(fits(models)) == 20


# --- Stopped runs


def test_a_killed_run_goes_on_to_the_same_bytes_without_repeating_itself(models, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ["evaluate", f"{models}:Slow", "--dataset", "spinels", "--split", "material-cv", "--seeds", "2"]
    assert run(*arguments, "--out", whole).returncode == 0
    models.with_name("log").unlink()

    process = subprocess.Popen(
        [*program(), *arguments, "--out", str(killed)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(units_kept(killed)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept, before = len(units_kept(killed)), fits(models)
    assert 3 <= kept < 10
    assert not (killed / "predictions.csv").exists()

    again = run(*arguments, "--out", killed)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    resumed = run(*arguments, "--out", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (killed / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert len(fits(models)) == len(before) + 10 - kept  # what was finished is not computed again
    assert len(before) - kept in (0, 1)  # only the unit that was killed was lost
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


@pytest.mark.parametrize(
    "changes", [{"seeds": (0, 1)}, {"split_names": ("official",)}, {"split_names": ("material-cv", "official")}]
)
def test_other_settings_do_not_resume(unfinished, models, data, changes):
    message = refused(f"{models}:Breaks", data, unfinished, resume=True, **changes)
    assert str(unfinished) in message
    assert next(iter(changes)).removesuffix("_names") in message
    assert len(units_kept(unfinished)) == 2


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


def test_asking_for_what_is_finished_leaves_what_was_stopped(models, data, tmp_path):
    do(f"{models}:Breaks", data, tmp_path, split_names=["official"])
    refused(f"{models}:Breaks", data, tmp_path, resume=True)
    before = units_kept(tmp_path)
    message = refused(f"{models}:Breaks", data, tmp_path, split_names=["official"], resume=True)
    assert "by --split material-cv --seeds 1 --resume" in message
    assert units_kept(tmp_path) == before != []


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


# --- Models that do not do what they should


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Fewer", "23 predictions for 24 paths"),
        ("More", "25 predictions for 24 paths"),
        ("Others", "'elsewhere' is none of them"),
        ("Numbered", "'7' is none of them"),
        ("Numbers", "not a Prediction"),
        ("Nothing", "TypeError"),
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


def test_more_seeds_than_a_submission_takes_are_refused_at_once(models, data, tmp_path):
    assert "at most 20" in refused(f"{models}:Steady", data, tmp_path / "out", seeds=range(21))
    assert not (tmp_path / "out").exists()


def test_a_model_that_fails_beside_others_keeps_what_they_finish(models, data, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        message = refused(f"{models}:Breaks", data, tmp_path / "out", executor=executor)
        assert "RuntimeError" in message
    assert units_kept(tmp_path / "out")


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
