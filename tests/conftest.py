"""What several test modules share."""

import os
from pathlib import Path

import pytest

BANDS = "RAW-Em-5-images-TRAIN.json"


@pytest.fixture(scope="session")
def source_dir() -> Path:
    """The folder with the source files; tests that need it are skipped where it is not there."""
    beside_project = Path(__file__).parents[2] / "shared" / "upstream"
    folder = Path(os.environ.get("EMIGBENCH_SOURCE") or beside_project)
    if not (folder / BANDS).is_file():
        pytest.skip(f"no {BANDS} in {folder}: point EMIGBENCH_SOURCE at the folder with the source files")
    return folder
