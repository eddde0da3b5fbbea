"""What several test modules share."""

import os
import sys
from pathlib import Path

import fitted
import pandas as pd
import pytest
from helpers import FULL
from hypothesis import settings

from emigbench import cli, load
from emigbench.datasets.curation import curate
from emigbench.datasets.sources import read
from emigbench.datasets.store import Dataset
from emigbench.records import LabelledPath

settings.register_profile("emigbench", deadline=None)  # the machine may be busy
settings.load_profile("emigbench")

BANDS = "RAW-Em-5-images-TRAIN.json"


@pytest.fixture(scope="session")
def source_dir() -> Path:
    """The folder with the source files; tests that need it are skipped where it is not there."""
    beside_project = Path(__file__).parents[2] / "shared" / "upstream"
    folder = Path(os.environ.get("EMIGBENCH_SOURCE") or beside_project)
    if not (folder / BANDS).is_file():
        pytest.skip(f"no {BANDS} in {folder}: point EMIGBENCH_SOURCE at the folder with the source files")
    return folder


@pytest.fixture(scope="session")
def full(source_dir: Path) -> tuple[LabelledPath, ...]:
    """All 619 records, curated once from the source files."""
    return curate(read(source_dir))


@pytest.fixture(scope="session")
def whole(full: tuple[LabelledPath, ...]) -> Dataset:
    """The full dataset of these records."""
    return Dataset(FULL.name, FULL.version, FULL.sha256, full)


@pytest.fixture(scope="session")
def data() -> Dataset:
    """The spinels, which are part of the package."""
    return load("spinels")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A file of the models in `fitted`, by whose side they note their fits."""
    file = tmp_path / "models.py"
    file.write_text(fitted.MODELS)
    return file


@pytest.fixture(scope="session")
def audit(source_dir: Path) -> pd.DataFrame:
    """The tables of the data audit, by id: made by other code, so an oracle where they are at hand."""
    folder = Path(__file__).parents[2] / "shared" / "audit"
    files = [folder / "curated_facts.csv", folder / "curated_extra.csv"]
    if not all(file.is_file() for file in files):
        pytest.skip(f"no audit tables in {folder}")
    facts, extra = (pd.read_csv(file, keep_default_na=False).set_index("id") for file in files)
    return facts.join(extra)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process: arguments -> exit code, stdout, stderr."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["emigbench", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run_here
