import json
import os
import pty
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import FULL, PATIENCE_S, SPINELS, constant, csv_lines, one_sentence, program, run, write_submission
from typer.main import get_command

import emigbench
from emigbench import progress, scoring, splits
from emigbench.cli import app
from emigbench.cli.console import talk_on_stderr

MODEL = """
import ctypes
import os
import time
from emigbench import Prediction

class Half:
    "Half an eV.\\n\\nAlways."
    kind = "floor"
    def fit(self, train, *, seed): pass
    def predict(self, paths): return [Prediction(path.id, 0.5) for path in paths]

class Raises(Half):
    def fit(self, train, *, seed): raise RuntimeError("no luck")

class Chatty(Half):
    def fit(self, train, *, seed): print("talk")

class Native(Half):
    def fit(self, train, *, seed):
        os.system("echo from a process")
        ctypes.CDLL(None).printf(b"from C\\n")

class Slow(Half):
    def fit(self, train, *, seed): time.sleep(0.7)
"""


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 300)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "mine.py").write_text(MODEL)
    return f"{tmp_path / 'mine.py'}:Half"


@pytest.fixture
def spinels_csv(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("\n".join(["id,e_m_ev", *csv_lines()]))
    return file


def refused(result) -> str:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("emigbench: ")
    assert err.count("\n") == 1
    return one_sentence(err.rstrip("\n"))


# --- The whole way, as a user goes it


def test_evaluate_then_score_in_processes_of_their_own(model, tmp_path):
    done = run("evaluate", model, "--dataset", "spinels", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)["official"]  # nothing but the result is on stdout
    assert content["dataset"]["name"] == "spinels"
    assert str(tmp_path / "out") in done.stderr
    again = run("score", tmp_path / "out", "--json")  # the run record says which dataset it is
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert json.loads(again.stdout) == content


def test_errors_of_a_process(tmp_path):
    quiet = run("score", tmp_path / "absent.csv")
    assert (quiet.returncode, quiet.stdout) == (2, "")
    assert quiet.stderr == f"emigbench: There is no file {tmp_path / 'absent.csv'}.\n"
    loud = run("score", tmp_path / "absent.csv", "--debug")
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr
    assert "EmigbenchError" in loud.stderr


def test_import_is_light():
    heavy = ["torch", "pymatgen", "datasets", "pandas", "scipy", "sklearn", "pyarrow", "rich"]
    code = f"import sys, emigbench; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_packages(call):
    assert call("--version")[1].strip() == emigbench.__version__


def test_a_run_needs_little(tmp_path):
    """A machine that is there for training has few packages; typer brings pydantic where it needs it."""
    absent = "yaml pooch pandas pymatgen sklearn matminer safetensors huggingface_hub datasets jinja2 altair ase"
    arguments = ["evaluate", "train-median", "--dataset", "spinels", "--split", "official", "--out", str(tmp_path)]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent.split()!r}))\n"
    code += f"from emigbench.cli import main; sys.argv = ['emigbench', *{arguments!r}]; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert "The MAE is that of the training median." in done.stdout


def test_a_closed_pipe_is_no_error(spinels_csv):
    command = " ".join([*program(), "score", str(spinels_csv), "--dataset", "spinels"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.stdout.startswith("spinels 1.")
    assert done.stderr == ""


# --- Lists


def test_datasets(call):
    code, out, err = call("datasets")
    assert (code, err) == (0, "")
    for part in ("full", "619 paths", "spinels", "82 paths", "official", "material-cv"):
        assert part in out


def test_models(call):
    code, out, err = call("models")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines == sorted(lines)
    assert any(line.startswith("train-median ") for line in lines)


def test_models_that_cannot_be_imported_are_listed(call, monkeypatch):
    class Broken:
        name = "broken"
        extras = ()

        def load(self):
            raise RuntimeError("two\nlines")

    monkeypatch.setattr("emigbench.model.entry_points", lambda group: [Broken()])
    code, out, _ = call("models")
    assert code == 0
    why = "cannot be imported here (RuntimeError: two lines)\n"
    assert out == f"broken  {why}broken: {why}"


def test_without_arguments_there_is_help(call):
    code, out, _ = call()
    assert code in (0, 2)
    assert "evaluate random-forest" in " ".join(out.split())
    assert "--debug" in out


def commands(group, name="emigbench"):
    """(name as it is typed, command) of every command below a group."""
    for command in group.commands.values():
        full_name = f"{name} {command.name}"
        yield from commands(command, full_name) if hasattr(command, "commands") else [(full_name, command)]


def test_every_command_that_takes_something_shows_an_example():
    found = {name: command.help for name, command in commands(get_command(app)) if command.params}
    assert len(found) > 15
    for name, text in found.items():
        assert re.search(rf"Examples:\n +{name}", text), name


def test_usage_errors(call):
    code, out, err = call("score")
    assert (code, out) == (2, "")
    assert "Missing argument" in err


# --- evaluate


def test_evaluate_writes_where_it_says(call, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))  # a busy machine is no slower
    code, out, err = call("evaluate", "mine.py:Half", "--dataset", "spinels")
    assert code == 0
    assert out.startswith("spinels 1.")
    said, hint = err.splitlines()
    assert said == "Predictions and run record are in runs/mine.py-Half-spinels."
    assert hint.startswith("Plots, and the run beside the leaderboard's models: emigbench leaderboard build ")
    assert (tmp_path / "runs" / "mine.py-Half-spinels" / "run.json").is_file()
    assert "holds a finished run" in refused(call("evaluate", "mine.py:Half", "--dataset", "spinels"))


def test_a_split_is_added_to_a_run_whose_record_has_no_details(call, model, tmp_path):
    arguments = ["evaluate", model, "--dataset", "spinels", "--out", tmp_path / "out"]
    assert call(*arguments)[0] == 0
    file = tmp_path / "out" / "run.json"
    record = json.loads(file.read_text())
    del record["units"][0]["details"]
    file.write_text(json.dumps(record))
    code, out, err = call(*arguments, "--split", "material-cv", "--resume")
    assert (code, "material-cv: 82 paths" in out) == (0, True), err


def test_evaluate_says_how_many_paths_failed_and_why(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "units.py").write_text(MODEL.replace("0.5", "500.0"))
    code, out, err = call("evaluate", "units.py:Half", "--dataset", "spinels")
    assert code == 0
    assert "11 of 11 predictions on official failed and are scored with the training median (the first is " in err
    assert "the model gave a barrier of 500 eV, beyond the plausible 100 eV" in err
    assert "No path of official has a value" in err
    assert "Paths without a value are scored with the median barrier of their training side." in out


def test_the_default_folder_of_an_absolute_path_stays_below_runs(call, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("evaluate", model, "--dataset", "spinels")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("mine.py-Half-spinels")


def test_a_smoke_run_keeps_nothing_and_can_be_repeated(call, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, out, err = call("evaluate", model, "--smoke", "--split", "material-cv", "--seeds", "3", "--json")
        assert code == 0
        ((name, content),) = json.loads(out).items()
        assert (name, content["split"], content["seeds"]) == ("official", "official", [0])
        assert err.startswith("--smoke passes over --split, --seeds: it runs spinels, official, one seed.\n")
        assert "nothing was kept" in err
    assert [file.name for file in tmp_path.iterdir() if file.name != "__pycache__"] == ["mine.py"]


def test_a_smoke_run_as_asked_for_says_nothing_of_options(call, model):
    for options in ([], ["--dataset", "spinels", "--split", "official", "--seeds", "1"]):
        code, _, err = call("evaluate", model, "--smoke", *options)
        assert code == 0
        assert "passes over" not in err
    assert "passes over --dataset: it" in call("evaluate", model, "--smoke", "--dataset", "full")[2]


def test_several_splits_and_seeds(call, model, tmp_path):
    options = ["--split", "official", "--split", "material-cv", "--split", "official", "--seeds", "2", "--json"]
    code, out, _ = call("evaluate", model, "--dataset", "spinels", "--out", tmp_path / "out", *options)
    assert code == 0
    assert {name: each["seeds"] for name, each in json.loads(out).items()} == {
        "official": [0, 1], "material-cv": [0, 1],
    }  # fmt: skip


def test_a_model_that_raises(call, model, tmp_path):
    arguments = ["evaluate", model.replace("Half", "Raises"), "--dataset", "spinels", "--out", tmp_path / "out"]
    message = refused(call(*arguments))
    assert "RuntimeError: no luck (--debug shows the traceback)" in message
    assert "--resume" not in message  # nothing was finished
    assert refused(call("evaluate", arguments[1], "--smoke")) == message
    with pytest.raises(Exception, match="no luck"):
        call(*arguments, "--debug")


def test_what_a_model_prints_is_no_result(call, model, tmp_path):
    arguments = ["evaluate", model.replace("Half", "Chatty"), "--dataset", "spinels", "--json", "--out"]
    code, out, err = call(*arguments, tmp_path / "one")
    assert (code, json.loads(out)["official"]["n"]) == (0, 11)
    assert err.startswith("talk\n")
    done = run(*arguments, tmp_path / "two", "--workers", "2")
    assert json.loads(done.stdout)["official"]["n"] == 11
    assert done.stderr.startswith("talk\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_native_code_and_processes_of_a_model_print_is_no_result(model, tmp_path, workers):
    native = model.replace("Half", "Native")
    command = ["evaluate", native, "--dataset", "spinels", "--json", "--out", tmp_path / "out", "--workers", workers]
    done = run(*command)
    assert json.loads(done.stdout)["official"]["n"] == 11
    for told in ("from a process\n", "from C\n"):
        assert told in done.stderr


def test_results_are_on_stdout_again_after_a_model_has_printed(capfd):
    with talk_on_stderr():
        print("talk")
        os.system("echo from a process")
    print("result")
    os.system("echo result")
    assert sorted(capfd.readouterr().out.split()) == ["result", "result"]


def test_a_closed_stdout_is_left_alone(model):
    command = [*map(shlex.quote, [*program(), "evaluate", model, "--smoke", "--json"]), ">&-"]
    done = subprocess.run(["sh", "-c", " ".join(command)], stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert "nothing was kept" in done.stderr


def test_a_folder_that_cannot_be_written(call, model, tmp_path):
    out = tmp_path / "mine.py" / "out"
    assert str(out) in refused(call("evaluate", model, "--dataset", "spinels", "--out", out))


@pytest.mark.parametrize(
    "arguments",
    [("--dataset", "none"), ("--dataset", "spinels", "--split", "none"), ("--dataset", "full", "--source", "none")],
)
def test_evaluate_on_what_there_is_not(call, model, tmp_path, arguments, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_SOURCE", os.environ.get("EMIGBENCH_SOURCE", ""))  # restored afterwards
    assert "none" in refused(call("evaluate", model, "--out", tmp_path / "out", *arguments))


def test_python_dash_m_is_the_program(tmp_path):
    """Also with workers, which read the file that was started, and in the record of the run."""
    arguments = ["evaluate", "train-mean", "--dataset", "spinels", "--workers", "2", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "emigbench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.count("split official")) == (0, 1), done.stderr
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())["command"]
    assert recorded == shlex.join(["python", "-m", "emigbench", *arguments])


def test_two_workers(call, model, tmp_path):
    arguments = ["evaluate", model, "--dataset", "spinels", "--split", "material-cv"]
    one = call(*arguments, "--out", tmp_path / "one")
    two = run(*arguments, "--out", tmp_path / "two", "--workers", "2")
    assert (one[0], two.returncode) == (0, 0), two.stderr
    files = [tmp_path / name / "predictions.csv" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [("train-mean", ["--workers", "2"], "exclude each other"), (None, [], "is a file of this machine")],
)
def test_what_cannot_go_to_a_cluster(call, model, tmp_path, name, options, part):
    arguments = ["evaluate", name or model, "--dask", "tcp://127.0.0.1:1", "--out", tmp_path / "out", *options]
    assert part in refused(call(*arguments))
    assert not (tmp_path / "out").exists()


# --- Progress


def test_progress_in_a_log_is_plain_lines_and_only_for_long_work(model, tmp_path):
    slow = model.replace("Half", "Slow")
    done = run("evaluate", slow, "--dataset", "spinels", "--split", "material-cv", "--out", tmp_path / "out")
    assert done.returncode == 0
    *lines, last, _ = done.stderr.splitlines()
    assert last == f"Predictions and run record are in {tmp_path / 'out'}."
    assert lines  # the first after two seconds
    for line in lines:
        assert re.fullmatch(
            r"mine\.py:Slow on spinels: \d of 5 done, about 0:\d\d:\d\d left, the last is material-cv--\d--seed-0", line
        )
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr + done.stdout


def test_progress_in_a_terminal_is_a_bar(model, tmp_path):
    ours, theirs = pty.openpty()
    command = [*program(), "evaluate", model, "--dataset", "spinels", "--out", str(tmp_path / "out"), "--json"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):  # as it comes: a terminal that nobody reads holds a program up
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert json.loads(out)["official"]["n"] == 11
    assert "━" in seen.decode()
    assert "1/1" in seen.decode()
    assert "mine.py:Half on spinels" in seen.decode()


# --- score and validate


def test_score_prints_a_table(call, spinels_csv):
    code, out, err = call("score", spinels_csv, "--dataset", "spinels")
    assert (code, err) == (0, "")
    assert out.startswith("spinels 1.")
    assert "nan" not in out
    assert "SD over seeds" not in out  # there is one seed
    for part in (
        "MAE",
        "95% interval",
        "E_m <= 0.65 eV is good",
        "undefined",
        "single-path: one path a material (11 paths)",
    ):
        assert part in out


def test_the_dataset_is_that_of_the_run_whether_its_folder_or_its_file_is_named(call, model, tmp_path):
    call("evaluate", model, "--dataset", "spinels", "--out", tmp_path / "out")
    folder = call("score", tmp_path / "out")
    assert folder[1].startswith("spinels 1.")
    assert call("score", tmp_path / "out" / "predictions.csv") == folder


def test_what_an_encoding_lacks_is_written_by_its_number(spinels_csv):
    """Results in a file on Windows are in the code page of the system, which may have no ρ."""
    done = run("score", spinels_csv, "--dataset", "spinels", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Spearman \\u03c1" in done.stdout


def test_score_of_several_seeds_shows_their_spread(call, spinels_csv):
    lines = [f"{seed},{line}" for seed in (0, 1) for line in csv_lines(value=0.5 + seed / 10)]
    spinels_csv.write_text("\n".join(["seed,id,e_m_ev", *lines]))
    code, out, _ = call("score", spinels_csv, "--dataset", "spinels")
    assert code == 0
    assert "2 seed(s)" in out
    assert "SD over seeds" in out
    assert "of mean prediction" in out
    assert "nan" not in out


def test_score_as_json_has_the_documented_keys(call, spinels_csv):
    code, out, err = call("score", spinels_csv, "--dataset", "spinels", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert {"dataset", "split", "n", "coverage", "metrics", "classification", "subsets"} <= set(content)
    assert set(content.pop("beside_train_median")) == {"mae_difference_ev", "low_ev", "high_ev", "p", "told_apart"}
    assert content == scoring.score(constant(SPINELS), SPINELS).to_json()


def test_score_of_a_table_without_splits_takes_the_split_asked_for(call, spinels_csv):
    spinels_csv.write_text("\n".join(["id,e_m_ev", *csv_lines(split="material-cv")]))
    code, out, _ = call("score", spinels_csv, "--dataset", "spinels", "--split", "material-cv", "--json")
    assert code == 0
    assert (json.loads(out)["split"], json.loads(out)["n"]) == ("material-cv", 82)


def test_score_says_that_some_standard_deviations_are_missing(call, spinels_csv):
    first, *others = csv_lines()
    spinels_csv.write_text("\n".join(["id,e_m_ev,std_ev", f"{first},", *(f"{line},0.2" for line in others)]))
    code, out, err = call("score", spinels_csv, "--dataset", "spinels")
    assert (code, "CRPS" in out) == (0, False)
    assert err == (
        "Split official is scored without NLL, CRPS and coverage of intervals, since a standard deviation is missing "
        f"in 1 of 11 predictions (the first is {first.partition(',')[0]!r}, seed 0).\n"
    )
    failed = "id,e_m_ev,std_ev,status"  # one without a value needs none
    lines = [f"{first.partition(',')[0]},,,failed", *(f"{line},0.2,ok" for line in others)]
    spinels_csv.write_text("\n".join([failed, *lines]))
    (said,) = call("score", spinels_csv, "--dataset", "spinels")[2].splitlines()
    assert said.startswith("1 of 11 predictions on official failed")


def test_score_of_a_split_that_the_file_lacks(call, tmp_path):
    folder = write_submission(tmp_path)
    message = refused(call("score", folder, "--split", "material-cv"))
    assert "no predictions for split material-cv; it has official" in message
    assert str(folder / "predictions.csv") in message


@pytest.mark.parametrize("option", ["--split", "--dataset"])
def test_score_of_a_split_or_dataset_that_there_is_not(call, spinels_csv, option):
    assert "'nothing'" in refused(call("score", spinels_csv, option, "nothing"))


def test_score_names_the_file_and_line(call, spinels_csv):
    spinels_csv.write_text(spinels_csv.read_text().replace(",0.5", ",nan", 1))
    message = refused(call("score", spinels_csv, "--dataset", "spinels"))
    assert f"{spinels_csv}, line 2" in message


def test_validate(call, tmp_path):
    folder = write_submission(tmp_path)
    assert call("validate", folder) == (0, "a-model: official, 60 paths, 1 seed(s): valid\n", "")
    (folder / "submission.yaml").write_text("name: x\n")
    assert "submission.yaml" in refused(call("validate", folder))


# --- data


def test_splits_as_files(call, tmp_path):
    code, out, err = call("data", "splits", "--out", tmp_path / "splits", "--dataset", "spinels")
    assert (code, err) == (0, "")
    files = {name: tmp_path / "splits" / f"{name}.csv" for name in splits.SPLITS}
    assert out.split() == [str(file) for file in files.values()]
    for name, file in files.items():
        header, *rows = file.read_text().splitlines()
        assert header == "split,fold,id,side"
        assert len(rows) == len(SPINELS) * len(splits.folds(SPINELS, name))
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(call("data", "splits", "--out", tmp_path / "file"))


def test_leakage(call, monkeypatch):
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))  # a busy machine is no slower
    code, out, err = call("data", "leakage", "--json", "--split", "official", "--split", "leave-ion-out")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert list(content) == ["official", "leave-ion-out"]
    shared = content["official"]["shared"]
    assert len(shared["duplicate band"]["paths"]) == 3
    assert "devi2026-model-3" in shared["material"]["scores"]
    for path_id, others in shared["material"]["paths"].items():
        assert FULL.by_id[path_id].split == "test"
        assert {FULL.by_id[other].split for other in others} == {"train"}


def test_leakage_in_words(call, tmp_path):
    code, out, err = call("data", "leakage", "--submissions", tmp_path / "absent", "--out", tmp_path / "page.md")
    assert (code, out) == (0, "")
    assert err.count("no scores are shown") == 1
    page = (tmp_path / "page.md").read_text()
    code, out, _ = call("data", "leakage", "--submissions", tmp_path / "absent", "--split", "official")
    assert code == 0
    for text in (out, page):
        assert re.search(r"\| duplicate band +\| 3 of 60 ", text)
    assert "LiAlPO4F_4" in page
    assert "MAE" not in page.partition("## official")[2]
    assert "'none'" in refused(call("data", "leakage", "--split", "none"))


def test_show(call, tmp_path):
    code, out, err = call("data", "show", "MgMn2S4", "--dataset", "spinels")
    assert (code, err) == (0, "")
    assert out.startswith("id  ")
    code, out, err = call(
        "data", "show", "MgMn2S4", "--dataset", "spinels", "--json", "--out", tmp_path / "new" / "p.html"
    )
    assert code == 0
    assert [image["coordination"] for image in json.loads(out)["images"]] == [4, 3, 6, 3, 4]
    assert err == f"The picture is {tmp_path / 'new' / 'p.html'}\n"
    assert "MgMn2S4" in (tmp_path / "new" / "p.html").read_text(encoding="utf-8")
    assert call("data", "show", "MgMn2S4", "--dataset", "spinels", "--out", tmp_path / "p.PNG")[0] == 0
    assert (tmp_path / "p.PNG").read_bytes().startswith(b"\x89PNG")


def test_show_refuses_before_it_loads(call, tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_DATA", str(tmp_path / "absent"))
    assert "a .png or an .html file" in refused(call("data", "show", "MgMn2S4", "--out", tmp_path / "p.gif"))
    code, out, err = call("data", "show", "Mn204_Mg")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Mn2O4_Mg" in err
    (tmp_path / "file").write_text("")
    bad = ("data", "show", "MgMn2S4", "--dataset", "spinels", "--out", tmp_path / "file" / "p.png")
    assert str(tmp_path / "file") in refused(call(*bad))


def test_verify_and_get_of_the_embedded_dataset(call):
    for arguments in (("data", "get", "--dataset", "spinels"), ("data", "verify", "--dataset", "spinels")):
        code, out, _ = call(*arguments)
        assert code == 0
        assert SPINELS.sha256 in out


def test_a_folder_proves_nothing_of_the_embedded_dataset(call, tmp_path):
    said = refused(call("data", "verify", tmp_path / "nowhere", "--dataset", "spinels"))
    assert "part of the package" in said
    assert "nowhere" in said


def test_verify_leaves_none_of_two_places_out(call, tmp_path):
    assert "not both" in refused(call("data", "verify", tmp_path, "--source", tmp_path))


def test_figures_do_not_overwrite_a_file_by_a_folder(call, tmp_path):
    (tmp_path / "file").write_text("kept")
    arguments = ("--submission", "devi2026-model-3", "--out", tmp_path / "file")
    assert str(tmp_path / "file") in refused(call("leaderboard", "figures", *arguments))
    assert (tmp_path / "file").read_text() == "kept"


def test_build_says_what_it_needs(call, tmp_path, monkeypatch):
    monkeypatch.delenv("EMIGBENCH_SOURCE", raising=False)
    assert "--source" in refused(call("data", "build", "--out", tmp_path))
    monkeypatch.setenv("EMIGBENCH_SOURCE", "")
    assert "--source" in refused(call("data", "build", "--out", tmp_path))


def test_source_wins_over_the_environment(call, model, tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_DATA", str(tmp_path / "from-environment"))
    monkeypatch.setenv("EMIGBENCH_SOURCE", "")
    message = refused(call("evaluate", model, "--source", tmp_path / "asked-for", "--out", tmp_path / "out"))
    assert "asked-for" in message


# --- leaderboard


@pytest.fixture
def board(tmp_path):
    for slug, value in (("low", 0.3), ("middle", 0.6)):
        write_submission(tmp_path / "submissions", value, card={"slug": slug, "name": f"Model {slug}"})
    return ["leaderboard", "build", "--submissions", tmp_path / "submissions", "--out", tmp_path / "board"]


def test_leaderboard_build_and_check(call, board, tmp_path):
    code, out, err = call(*board)
    assert code == 0
    assert "| Model middle " in out
    assert err == f"The page is {tmp_path / 'board' / 'index.html'}\n"
    names = ["README.md", "assets", "index.html", "models", "results.json"]
    assert sorted(file.name for file in (tmp_path / "board").iterdir()) == names
    assert call(*board, "--check")[0] == 0
    assert call(*board)[0] == 0  # its own pages are replaced


@pytest.mark.parametrize("name", ["README.md", "results.json", "index.html", "models/low.html", "assets/paths.js"])
def test_check_fails_after_a_byte_is_changed(call, board, tmp_path, name):
    call(*board)
    file = tmp_path / "board" / name
    content = file.read_bytes()
    changed = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    file.write_bytes(changed)
    message = refused(call(*board, "--check"))
    assert name in message
    assert "leaderboard build" in message
    assert file.read_bytes() == changed  # a check writes nothing
    file.unlink()
    assert name in refused(call(*board, "--check"))


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_a_page_of_somebody_else_is_not_replaced(call, board, tmp_path, name):
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / name).write_text("My project, scored by emigbench leaderboard build.")
    assert f"{name} is no page of a leaderboard" in refused(call(*board))
    assert [file.name for file in (tmp_path / "board").iterdir()] == [name]


def test_leaderboard_of_spinels_with_a_run_of_ones_own(call, board, model, tmp_path):
    assert call("evaluate", model, "--dataset", "spinels", "--out", tmp_path / "own")[0] == 0
    code, out, _ = call(*board, "--dataset", "spinels", "--add", tmp_path / "own")
    assert code == 0
    assert "(your run)" in out
    assert "| floor " in out
    assert "another dataset" in refused(call(*board, "--add", tmp_path / "own"))


def test_runs_stand_alone_where_there_are_no_submissions(call, tmp_path, monkeypatch):
    """As for someone who has installed the package and has no clone; `evaluate` says what to type."""
    monkeypatch.chdir(tmp_path)
    _, _, err = call("evaluate", "train-mean", "--dataset", "spinels", "--out", "my run")
    command = shlex.split(err.splitlines()[-1].partition(": ")[2])
    assert command[0] == "emigbench"
    code, out, err = call(*command[1:])
    assert code == 0
    assert "train-mean (your run)" in out
    assert "your runs stand alone" in err
    assert "1 submission scored" in (tmp_path / "runs" / "leaderboard" / "index.html").read_text(encoding="utf-8")


def test_leaderboard_of_a_bad_submission_names_the_file(call, board, tmp_path):
    (tmp_path / "submissions" / "low" / "run.json").write_text("{}")
    assert str(tmp_path / "submissions" / "low" / "run.json") in refused(call(*board))
    assert not (tmp_path / "board").exists()


# --- Errors of the program itself


def test_an_unforeseen_error_is_one_sentence(call, spinels_csv, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("somewhere\ndeep")

    monkeypatch.setattr(scoring, "score", broken)
    code, out, err = call("score", spinels_csv, "--dataset", "spinels")
    assert (code, out) == (1, "")
    assert err == (
        "emigbench: internal error, ZeroDivisionError: somewhere deep; run again with --debug and report it.\n"
    )
    with pytest.raises(ZeroDivisionError):
        call("score", spinels_csv, "--dataset", "spinels", "--debug")
