"""What the tests of models, submissions and scores build their cases from."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from emigbench import EmigbenchError, Prediction, load_labels, splits
from emigbench.datasets.hashing import predictions_hash

FULL, SPINELS = load_labels("full"), load_labels("spinels")
PATIENCE_S = 120
"""What takes so long hangs, however busy the machine is."""

CARD = {
    "name": "A model",
    "slug": "a-model",
    "version": "1.0",
    "kind": "floor",
    "authors": ["A. Author"],
    "source": "https://example.org",
    "inputs": "nothing",
    "training_data": "none",
}


def one_sentence(error) -> str:
    """The message of an error, after checking that it is one clear line."""
    text = str(getattr(error, "value", error))
    assert text.strip() == text
    assert text.endswith(".")
    assert not re.search(r"[\n\r]", text)
    assert "Traceback" not in text
    assert len(text) < 700
    return text


def result_or_sentence(at_fault, function, *arguments):
    """What a function gives, or None where it refuses with one sentence that names what is at fault."""
    try:
        return function(*arguments)
    except EmigbenchError as error:
        if str(at_fault) not in one_sentence(error):
            raise
        return None


def constant(labels, split="official", value=0.5, **others):
    """The same barrier for every held-out path."""
    return [Prediction(path_id, value, **others) for path_id in splits.held_out(labels, split)]


def csv_lines(labels=SPINELS, split="official", value="0.5"):
    """The rows of a valid file with the columns id and e_m_ev alone."""
    return [f"{path_id},{value}" for path_id in splits.held_out(labels, split)]


def write_submission(folder: Path, values=0.5, labels=FULL, card=None, split="official") -> Path:
    """A valid submission in `folder/<slug>`; `values` is one barrier, or id -> barrier."""
    card = CARD | {"name": (card or {}).get("slug", CARD["name"])} | (card or {})
    target = folder / card["slug"]
    target.mkdir(parents=True)
    (target / "submission.yaml").write_text(yaml.safe_dump(card, allow_unicode=True), encoding="utf-8")
    value_of = values.get if isinstance(values, dict) else lambda _: values
    rows = [f"{split},0,{i},{value_of(i)}" for i in splits.held_out(labels, split)]
    lines = ["split,seed,id,e_m_ev", *rows]
    text = "\n".join(lines) + "\n"
    (target / "predictions.csv").write_text(text)
    run = (
        f'{{"predictions_sha256": "{predictions_hash(text)}", '
        f'"dataset": {{"name": "{labels.name}", "sha256": "{labels.sha256}"}}}}'
    )
    (target / "run.json").write_text(run)
    return target


def program() -> list[str]:
    """The command line of this environment."""
    beside = Path(sys.executable).with_name("emigbench")
    found = str(beside) if beside.is_file() else shutil.which("emigbench")
    return [found] if found else [sys.executable, "-m", "emigbench"]


def run(*arguments, cwd=None, **options) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    command = [*program(), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)


def wait_for(condition) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
