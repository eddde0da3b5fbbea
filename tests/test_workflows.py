"""The shell steps of the workflows, run as GitHub runs them, on repositories made to do harm."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import PATIENCE_S, write_submission

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NUMBER = "7"


def read(file):
    content = yaml.safe_load(file.read_text())
    return content | {"on": content.pop(True)}  # "on" is a truth value in YAML 1.1


def steps(workflow):
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


SUBMISSION = ROOT / ".github" / "workflows" / "submission.yml"
TAKE, VALIDATE = (step["run"] for step in steps(SUBMISSION) if step.get("name"))


# --- Rights


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_least_rights(workflow):
    content = read(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert set(content["on"]) <= {"push", "pull_request"}  # pull_request_target would bring secrets along
    assert all("permissions" not in job for job in content["jobs"].values())
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")  # values of the event are never pasted into a script
        assert "${{ secrets" not in yaml.safe_dump(step)


def test_the_code_that_checks_submissions_is_the_base_branchs():
    [checkout] = [step for step in steps(SUBMISSION) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert read(SUBMISSION)["defaults"]["run"]["shell"] == "bash"


@pytest.mark.parametrize("target", ["lint", "test"])
def test_ci_calls_what_the_makefile_has(target):
    commands = [step["run"] for step in steps(ROOT / ".github" / "workflows" / "ci.yml") if "run" in step]
    assert f"make {target} PYTHON=python" in commands
    subprocess.run(["make", "-n", target, f"PYTHON={sys.executable}"], cwd=ROOT, check=True, capture_output=True)


# --- The submission workflow on a pull request


class Pull:
    """A repository with a pull request, its base branch checked out as the workflow does."""

    def __init__(self, folder: Path):
        self.head, self.base, self.temp = folder / "head", folder / "base", folder / "runner"
        self.temp.mkdir()
        self.head.mkdir()
        self.git("init", "-q", "-b", "main")
        (self.head / "README.md").write_text("the base\n")
        self.commit()
        subprocess.run(["git", "clone", "-q", self.head, self.base], check=True)

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=self.head, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", "a change")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """As GitHub runs a step with `shell: bash`, in the checkout of the base branch."""
        self.git("update-ref", f"refs/pull/{NUMBER}/head", "HEAD")
        tools = self.temp.parent / "tools"
        tools.mkdir(exist_ok=True)
        python = tools / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        (tools / "step.sh").write_text(script)
        environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.temp),
            "NUMBER": NUMBER,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", tools / "step.sh"],
            cwd=self.base,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def taken(self) -> list[str]:
        folder = self.temp / "head"
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def pull(tmp_path):
    if not shutil.which("git") or not shutil.which("bash"):
        pytest.skip("needs git and bash")
    return Pull(tmp_path)


FILES = ["predictions.csv", "run.json", "submission.yaml"]


def test_a_good_submission_passes(pull):
    write_submission(pull.head / "submissions")
    pull.commit()
    taken = pull.run(TAKE)
    assert taken.returncode == 0, taken.stderr
    assert pull.taken() == [f"submissions/a-model/{name}" for name in FILES]
    for name in FILES:
        file = f"submissions/a-model/{name}"
        assert (pull.temp / "head" / file).read_bytes() == (pull.head / file).read_bytes()
    validated = pull.run(VALIDATE)
    assert validated.returncode == 0, validated.stderr
    assert "a-model: official, 60 paths, 1 seed(s): valid" in validated.stdout
    assert (pull.temp / "leaderboard" / "index.html").is_file()


def test_a_bad_one_fails_and_its_output_is_no_command(pull):
    folder = write_submission(pull.head / "submissions")
    table = folder / "predictions.csv"
    table.write_text(table.read_text().replace(",0.5\n", ",nan\n", 1))
    pull.commit()
    assert pull.run(TAKE).returncode == 0
    found = pull.run(VALIDATE)
    assert found.returncode == 2
    first, last = found.stdout.splitlines()[0], found.stdout.splitlines()[-1]
    [marker] = re.findall(r"^::stop-commands::([0-9a-f]{32})$", first)
    assert last == f"::{marker}::"
    assert not (pull.temp / "leaderboard").exists()


def link(pull, where):
    (pull.head / "submissions" / "a-model" / "run.json").unlink()
    (pull.head / "submissions" / "a-model" / "run.json").symlink_to(where)


HARM = {
    "a link": lambda pull: link(pull, "/etc/passwd"),
    "a link to a folder": lambda pull: (pull.head / "submissions" / "other").symlink_to("a-model"),
    "a program": lambda pull: (pull.head / "submissions" / "a-model" / "run.json").chmod(0o755),
    "a space": lambda pull: (pull.head / "submissions" / "a-model" / "run json").write_text("x"),
    "a command": lambda pull: (pull.head / "submissions" / "$(touch owned)").write_text("x"),
    "a backtick": lambda pull: (pull.head / "submissions" / "a-model" / "`touch owned`").write_text("x"),
    "an option": lambda pull: (pull.head / "submissions" / "--output=owned").write_text("x"),
    "a line end": lambda pull: (pull.head / "submissions" / "a-model\nsubmissions").write_text("x"),
    "a second line that is well": lambda pull: (pull.head / "submissions" / "x\trun.json").write_text("x"),
    "code": lambda pull: (pull.head / "submissions" / "a-model" / "sitecustomize.py").write_text("open('owned', 'w')"),
    "a folder below": lambda pull: write_submission(pull.head / "submissions" / "a-model" / "more"),
    "capitals": lambda pull: write_submission(pull.head / "submissions" / "A"),
    "an attribute file": lambda pull: (pull.head / "submissions" / ".gitattributes").write_text("* export-ignore\n"),
}


@pytest.mark.parametrize("harm", HARM, ids=lambda name: name.replace(" ", "-"))
def test_what_is_no_plain_submission_ends_the_run_before_it_is_written(pull, harm):
    write_submission(pull.head / "submissions")
    HARM[harm](pull)
    pull.commit()
    found = pull.run(TAKE)
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("A file below submissions/ is ")
    assert not (pull.temp / "head").exists()
    assert not list(pull.temp.parent.rglob("owned"))


def test_a_submodule_ends_the_run(pull):
    write_submission(pull.head / "submissions")
    pull.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},submissions/sub")
    pull.git("commit", "-q", "-m", "a submodule")
    found = pull.run(TAKE)
    assert found.returncode == 2
    assert not (pull.temp / "head").exists()


def test_nothing_outside_of_submissions_is_taken_or_acts(pull):
    """Code, hooks and attributes of the head: none is in the folder, none hides a submission, none is run."""
    write_submission(pull.head / "submissions")
    for name in ("conftest.py", "sitecustomize.py", "emigbench/__init__.py", "emigbench/cli.py", "yaml.py"):
        (pull.head / name).parent.mkdir(exist_ok=True)
        (pull.head / name).write_text("open('owned', 'w')\n")
    (pull.head / ".gitattributes").write_text("submissions/** export-ignore filter=evil\n")
    pull.commit()
    assert pull.run(TAKE).returncode == 0
    assert pull.taken() == [f"submissions/a-model/{name}" for name in FILES]
    found = pull.run(VALIDATE)
    assert found.returncode == 0, found.stderr
    assert not list(pull.temp.parent.rglob("owned"))
    assert sorted(path.name for path in pull.base.iterdir()) == [".git", "README.md"]


def test_a_pull_request_without_submissions_fails(pull):
    assert pull.run(TAKE).returncode == 0
    assert pull.run(VALIDATE).returncode == 2
