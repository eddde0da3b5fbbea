"""From a table of predictions to a pull request, as an outsider goes it."""

import json
import re
import shlex
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import helpers
import pytest
import yaml
from helpers import CARD, FULL, SPINELS, one_sentence, write_submission

from emigbench import EmigbenchError, Prediction, comparison, contribution, splits, submission
from emigbench.doubts import doubts
from emigbench.predictions import ALL_SPLITS
from emigbench.submission import Card, read, read_card

ROOT = Path(__file__).parents[1]


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "predictions.csv"
    lines = [f"{i},{FULL.by_id[i].e_m_ev + 0.3:.3f}" for i in splits.held_out(FULL, "official")]
    file.write_text("\r\n".join(["e_m_ev,id", *(",".join(reversed(line.rsplit(",", 1))) for line in lines)]))
    return file


@pytest.fixture
def run(call, monkeypatch):
    """As `helpers.run`, but in this process: a start of one takes far longer than these commands."""

    def run_here(*arguments, cwd="."):
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            code, out, err = call(*arguments)
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run_here


def refused(done) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("emigbench: ")
    return one_sentence(done.stderr.rstrip("\n"))


# --- init-submission


def test_a_table_becomes_a_valid_folder(table, tmp_path):
    arguments = ["my-model", "--from", table, "--kind", "graph", "--author", "Ann"]
    done = helpers.run("init-submission", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "submissions/my-model\n"), done.stderr
    folder = tmp_path / "submissions" / "my-model"
    assert sorted(file.name for file in folder.iterdir()) == sorted(submission.FILES)
    found = read(folder, FULL)
    assert (found.card.name, found.card.kind, found.card.authors) == ("my-model", "graph", ["Ann"])
    assert found.run["command"].startswith("emigbench init-submission my-model")
    assert "hardware" not in found.run  # this machine is not the one that made the predictions
    first = next(iter(found.predictions["official"][0]))
    assert first.e_m == pytest.approx(FULL.by_id[first.id].e_m_ev + 0.3, abs=1e-3)


def test_a_run_becomes_a_valid_folder(run, tmp_path):
    source = write_submission(tmp_path / "in")
    (source / "submission.yaml").unlink()
    record = json.loads((source / "run.json").read_text()) | {
        "kind": "floor",
        "hardware": {"cores": 3},
        "command": "as typed",
    }
    (source / "run.json").write_text(json.dumps(record))
    done = run("init-submission", "mine", "--run", source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "submissions" / "mine", FULL)
    assert found.card.kind == "floor"
    assert (found.run["hardware"], found.run["command"]) == ({"cores": 3}, "as typed")  # not that of this copy
    folder = contribution.start(tmp_path, "other", FULL, {"kind": "hybrid"}, run_folder=source)
    assert read(folder, FULL).card.kind == "hybrid"


def test_results_are_put_beside_a_card_that_stands_alone(run, table, tmp_path):
    """As the first command without a table advises; the card stays as a person may have changed it."""
    assert "--from or --run" in run("init-submission", "mine", "--submissions", tmp_path).stderr
    card = tmp_path / "mine" / "submission.yaml"
    card.write_text(card.read_text().replace("name: mine", "name: Mine, mended"))
    text = card.read_text()
    message = refused(run("init-submission", "mine", "--submissions", tmp_path, "--from", table, "--kind", "graph"))
    assert "has a card already; write its kind there" in message
    assert run("init-submission", "mine", "--submissions", tmp_path, "--from", table).returncode == 0
    assert card.read_text() == text
    assert sorted(file.name for file in card.parent.iterdir()) == ["predictions.csv", "run.json", "submission.yaml"]
    assert "there already" in refused(run("init-submission", "mine", "--submissions", tmp_path, "--from", table))


def test_a_run_on_the_spinels_is_none_for_the_leaderboard(run, tmp_path):
    source = write_submission(tmp_path / "in", labels=SPINELS)
    done = run("init-submission", "mine", "--run", source, "--dataset", "spinels", "--kind", "floor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "on spinels cannot be submitted: the leaderboard is of full." in done.stderr
    assert "emigbench submit" not in done.stderr
    assert "another dataset" in refused(run("submit", tmp_path / "submissions" / "mine"))


def test_more_seeds_than_are_taken_are_refused_before_anything_is_written(run, tmp_path):
    ids = splits.held_out(FULL, "official")
    rows = [f"{seed},{path_id},0.5" for seed in range(21) for path_id in ids]
    (tmp_path / "seeds.csv").write_text("\n".join(["seed,id,e_m_ev", *rows]))
    assert "has 21 seeds on split official" in refused(run("init-submission", "a", "--from", "seeds.csv", cwd=tmp_path))
    assert not (tmp_path / "submissions").exists()


def test_the_template_explains_every_key_from_the_schema(run, tmp_path):
    done = run("init-submission", "my-model", cwd=tmp_path)
    assert done.returncode == 0
    text = (tmp_path / "submissions" / "my-model" / "submission.yaml").read_text()
    content = yaml.safe_load(text)
    assert list(content) == list(Card.model_fields)
    for name, field in Card.model_fields.items():
        assert re.search(rf"^# {re.escape(field.description)}.*\n{name}:", text, re.MULTILINE)
    assert "one of floor, classical, graph" in text
    message = refused(run("validate", "submissions/my-model", cwd=tmp_path))
    assert "'kind' is empty; expected 'floor'" in message
    assert "graph" in message
    assert f"What is required is not all there yet: {message.removeprefix('emigbench: ')}\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["../up"], "cannot be a slug"),
        (["Caps"], "cannot be a slug"),
        (["con"], "'con' is a reserved name"),
        (["a-model"], "there already"),
        (["new", "--kind", "magic"], "'kind'"),
        (["new", "--from", "absent.csv"], "There is no file absent.csv"),
        (["new", "--from", "a", "--run", "b"], "not both"),
        (["new", "--split", "none"], "'none'"),
        (["new", "--name", "x" * 81], "'name'"),
    ],
)
def test_init_refuses(run, tmp_path, arguments, said):
    write_submission(tmp_path / "submissions")
    before = sorted(tmp_path.rglob("*"))
    assert said in refused(run("init-submission", *arguments, cwd=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_empty_is_as_if_it_were_not_there(tmp_path):
    file = tmp_path / "submission.yaml"
    file.write_text(yaml.safe_dump(CARD) + "paper:\nn_parameters:\n")
    assert read_card(file).paper == ""
    file.write_text(yaml.safe_dump(CARD) + "unknown:\n")
    with pytest.raises(EmigbenchError, match="'unknown'"):
        read_card(file)


# --- submit


@pytest.fixture
def board(tmp_path):
    for slug, value in (("low", 0.59), ("middle", 0.6), ("middling", 0.61), ("silly", 5)):
        write_submission(tmp_path / "submissions", value, card={"slug": slug, "name": f"Model {slug}"})
    return tmp_path / "submissions"


def test_submit_shows_the_row_and_the_commands(run, board):
    done = run("submit", board / "middle")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| 1–[234] of 4 +\| Model middle +\| 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", done.stdout)
    (tied,) = re.findall(r"^Not told apart from .*$", done.stdout, re.MULTILINE)
    assert set(tied.partition(": ")[2].removesuffix(".").split("; ")) == {"Model low", "Model middling"}
    assert "git add submissions/middle\n" in done.stdout


def test_submit_as_json(run, board):
    done = run("submit", board / "middle", "--json")
    content = json.loads(done.stdout)["official"]
    assert content["n_rows"] == 4
    assert content["score"]["n"] == 60
    assert "Model silly" not in content["not_told_apart_from"]


def test_submit_alone_and_beside_a_broken_one(run, board, tmp_path):
    (board / "low" / "run.json").unlink()
    done = run("submit", board / "middle")
    assert done.returncode == 0
    assert f"Left out: There is no file {board / 'low' / 'run.json'}.\n" in done.stderr
    alone = run("submit", write_submission(tmp_path / "alone"))
    assert "| 1–1 of 1 " in alone.stdout
    assert "Not told apart" not in alone.stdout
    assert f"There is no other row in {tmp_path / 'alone'}; say where they are with --submissions.\n" in alone.stderr


@pytest.mark.parametrize("command", ["validate", "submit"])
def test_labels_in_place_of_predictions_are_asked_about(run, tmp_path, command):
    def asked_about(slug, n_same):
        values = {f.id: f.e_m_ev + (0.01 if k >= n_same else 0) for k, f in enumerate(held_out)}
        done = run(command, write_submission(tmp_path, values, card={"slug": slug}))
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if "right column" in line]

    held_out = [FULL.by_id[path_id] for path_id in splits.held_out(FULL, "official")]
    expected = "all: 60 of 60 predictions on official equal the label; is it the right column?"
    assert asked_about("all", 60) == [expected]
    assert asked_about("few", 29) == []


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, []),
        (5.0, []),
        (23.06, ["kcal: Half of the predictions on official are beyond 13.8, where the labels' median is 0.63"]),
        (0.0104, ["kcal: Half of the predictions on official are beyond 0.00624, where the labels' median is 0.63"]),
    ],
)
def test_another_unit_is_asked_about(run, tmp_path, factor, said):
    done = run("submit", write_submission(tmp_path, 0.6 * factor, card={"slug": "kcal"}))
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stderr.splitlines() if line.startswith("kcal: ")]
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_no_value_at_all_is_asked_about():
    nothing = [Prediction(i, None, status="failed") for i in splits.held_out(FULL, "official")]
    (said,) = doubts({"official": {0: nothing}}, FULL)
    assert said == "No path of official has a value, so that this is the score of the training median."


def test_standard_deviations_that_are_too_sure_are_told():
    ids = list(splits.held_out(FULL, "official"))
    given = [Prediction(i, 0.6 + 0.01 * k, std=0.1) for k, i in enumerate(ids)]
    assert doubts({"official": {0: given}}, FULL) == []
    for std, worth in ((1e-6, "means little"), (0.0, "is undefined")):
        sharp = [*given[:2], Prediction(ids[2], 0.5, std=std), *given[3:]]
        (said,) = doubts({"official": {0: sharp}}, FULL)
        assert said == (
            f"1 of 60 predictions on official have a standard deviation below 0.001 eV (the first is {ids[2]!r}), so "
            f"that NLL {worth}."
        )
        assert doubts({"official": {0: [*sharp[:-1], Prediction(ids[-1], 0.5)]}}, FULL) == []  # no NLL at all


def test_barriers_below_zero_are_asked_about():
    negated = [Prediction(i, -FULL.by_id[i].e_m_ev) for i in splits.held_out(FULL, "official")]
    (said,) = doubts({"official": {0: negated}}, FULL)
    assert said == "Most predictions on official are not above 0 eV, and no barrier is; is a sign wrong?"


def test_a_name_that_another_has_is_not_valid(run, board):
    folder = write_submission(board, 0.7, card={"slug": "late", "name": "model  LOW"})
    assert "late and low have the same name" in refused(run("validate", folder))


def test_a_row_is_told_apart_by_its_own_comparisons(board, tmp_path):
    """More rows that are alike do not hide that the new one differs: their pairs are not its own."""
    for k in range(12):
        write_submission(board, 0.6 + k / 1000, card={"slug": f"copy-{k}", "name": f"Copy {k}"})
    labels = FULL
    own = submission.read(board / "silly", labels)
    others, _ = contribution.siblings(board, "silly", labels)
    (found,) = contribution.standings(own, others, labels).values()
    predictions = {each.card.slug: each.predictions["official"] for each in (own, *others)}
    on_board = comparison.compare_submissions(predictions, labels, "official")
    for other in others:
        pair = on_board.difference("silly", other.card.slug)
        assert (other.card.name in found.tied) == (pair.p * len(others) >= 0.05)  # Holm's first step; all are alike


def test_names_of_two_lines_stay_in_their_row(run, tmp_path):
    for slug in ("first", "second"):
        write_submission(tmp_path, card={"slug": slug, "name": f"Model\n{slug}"})
    shown = run("submit", tmp_path / "first").stdout
    assert r"| Model\nfirst " in shown
    assert r"these comparisons alone): Model\nsecond." in shown


def test_points_of_a_learning_curve_are_no_row(run, tmp_path):
    done = run("submit", write_submission(tmp_path, split="official@50"))
    assert done.returncode == 0, done.stderr
    assert "a-model has no row on a board" in done.stderr
    assert done.stdout.startswith("To open the pull request")


def test_submit_of_training_paths_ranks_nobody(run, tmp_path):
    done = run("submit", write_submission(tmp_path, split=splits.FITTED))
    assert done.returncode == 0, done.stderr
    assert "nobody is ranked" in done.stdout


def test_submit_refuses_what_validate_refuses(run, board):
    (board / "middle" / "submission.yaml").write_text("name: x\n")
    assert refused(run("submit", board / "middle")) == refused(run("validate", board / "middle"))


def test_the_git_commands_work(board, tmp_path):
    """In a clone of a fork, with the folder made elsewhere."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    fork, clone = tmp_path / "fork.git", tmp_path / "clone"
    subprocess.run([*git, "init", "-q", "--bare", fork], check=True)
    subprocess.run([*git, "clone", "-q", fork, clone], check=True, capture_output=True)
    (clone / "submissions").mkdir()
    (clone / "submissions" / "README").write_text("")
    subprocess.run(["git", "add", "."], cwd=clone, check=True)
    subprocess.run([*git, "commit", "-qm", "start"], cwd=clone, check=True)
    made = tmp_path / "my runs" / "middle"
    made.parent.mkdir()
    (board / "middle").rename(made)
    for command in contribution.git_commands(made, "middle"):
        first, *rest = shlex.split(command)
        subprocess.run([*git, *rest] if first == "git" else [first, *rest], cwd=clone, check=True, capture_output=True)
    listed = ["git", "--git-dir", str(fork), "ls-tree", "-r", "--name-only", "submission-middle"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    assert names == ["submissions/README", *(f"submissions/middle/{name}" for name in sorted(submission.FILES))]
    assert not contribution.git_commands(clone / "submissions" / "middle", "middle")[0].startswith("cp")


# --- The Hub: the real client against a server on this machine


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub as an upload of three files asks for."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        status, content = self._content(body)
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _chunks(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _content(self, body):
        if self.server.status != 200:
            return self.server.status, {"error": "no"}
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in self.path:
            repository = f"http://127.0.0.1:{self.server.server_port}/datasets/group/name"
            return 200, {
                "success": True,
                "commitOid": "0" * 40,
                "commitUrl": f"{repository}/commit/{'0' * 40}",
                "pullRequestUrl": f"{repository}/discussions/7",
            }
        return 200, {"id": "group/name", "sha": "0" * 40, "siblings": []}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.seen, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


def test_a_pull_request_of_a_hub_repository(hub, tmp_path):
    folder = write_submission(tmp_path)
    (folder / ".unfinished").mkdir()
    (folder / ".unfinished" / "plan.json").write_text("{}")
    done = helpers.run("submit", folder, "--pull-request", "group/name")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^The pull request is http://\S+/datasets/group/name/discussions/7$", done.stderr, re.MULTILINE)
    ((path, token, body),) = [request for request in hub.seen if "/commit/" in request[0]]
    assert path.startswith("/api/datasets/group/name/commit/main")
    assert "create_pr=1" in path
    assert token == "Bearer hf_secret"
    lines = [json.loads(line) for line in body.decode().splitlines()]
    assert lines[0]["value"]["summary"] == "Submission: a-model"
    names = [line["value"]["path"] for line in lines if line["key"] == "file"]
    assert sorted(names) == sorted(f"submissions/a-model/{name}" for name in submission.FILES)
    assert "hf_secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "token"), (403, "may not open pull requests of group/name"), (404, "no dataset repository"), (400, "400")],
)
def test_the_hub_refuses(hub, tmp_path, status, said):
    hub.status = status
    done = helpers.run("submit", write_submission(tmp_path), "--pull-request", "group/name")
    assert done.returncode == 2
    assert said in one_sentence(done.stderr.splitlines()[-1])
    assert "hf_secret" not in done.stderr


def test_no_token(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = helpers.run("submit", write_submission(tmp_path), "--pull-request", "group/name")
    assert done.returncode == 2
    assert "HF_TOKEN" in one_sentence(done.stderr.splitlines()[-1])
    assert hub.seen == []


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("HF_ENDPOINT", "http://127.0.0.1:1", "cannot be reached"), ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE")],
)
def test_no_network(hub, tmp_path, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    done = helpers.run("submit", write_submission(tmp_path), "--pull-request", "group/name")
    assert done.returncode == 2
    assert said in one_sentence(done.stderr.splitlines()[-1])


def test_a_name_that_is_no_repository(hub, tmp_path):
    done = helpers.run("submit", write_submission(tmp_path), "--pull-request", "a/b/c")
    assert done.returncode == 2
    assert "'a/b/c'" in one_sentence(done.stderr.splitlines()[-1])


# --- CONTRIBUTING.md


def test_the_commands_of_the_guide_run(table, tmp_path):
    """Every shell block, in order, in a copy of the project with a few of its submissions, which score in no time."""
    copy = tmp_path / "copy"
    for slug in ("devi2026-model-3", "chgnet-neb", "mattersim-neb"):
        shutil.copytree(ROOT / "submissions" / slug, copy / "submissions" / slug)
    shutil.copy(table, copy / "predictions.csv")
    (copy / "my_model.py").write_text(_block("python"))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, program in _stubs().items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (bin_folder / name).chmod(0o755)
    script = "set -eu\n" + "\n".join(_blocks("sh"))
    environment = _environment() | {"PATH": f"{bin_folder}:{_environment()['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=copy, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert read(copy / "submissions" / "my-model", FULL).card.kind == "graph"
    assert "| Ranks" in done.stdout


def test_the_guide_names_every_split_that_a_file_may_have():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| `split` |")[2].partition("\n")[0]
    assert [split for split in ALL_SPLITS if f"`{split}`" not in text] == []


def _blocks(language):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _block(language):
    (only,) = _blocks(language)
    return only


def _environment():
    import os

    return dict(os.environ)


def _stubs():
    """Commands that would change the world outside, or take long; the guide must not name any other such."""
    from helpers import program

    return {
        "git": "exit 0",
        "make": 'case "$1" in lint|test|install) exit 0;; *) exit 1;; esac',
        "emigbench": f'exec {shlex.join(program())} "$@"',
    }
