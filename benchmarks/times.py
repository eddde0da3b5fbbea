"""Whole-process times of what users wait for, each beside a yardstick from the same run.

`python -m benchmarks.times [--runs N]` (or `make benchmark`). Absolute seconds depend on the machine; the ratio to
the yardstick, taken in turns with it, much less so. Rows of the full dataset need the source files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tabulate import tabulate

from emigbench.datasets import catalogue

ROOT = Path(__file__).parents[1]
SOURCE = Path(os.environ.get("EMIGBENCH_SOURCE") or ROOT.parent / "shared" / "upstream")
YARDSTICK = "import numpy"

SCORE = """
from emigbench.cli import main
import sys; sys.argv = ["emigbench", "score", "submissions/devi2026-model-3", "--json"]; main()
"""
CURATE = f"""
from pathlib import Path
from emigbench.datasets import curation, sources
assert len(curation.curate(sources.read(Path({str(SOURCE)!r})))) == 619
"""
BUILD = f"""
import sys
from pathlib import Path
from emigbench.datasets import store
store.build(Path({str(SOURCE)!r}), Path(sys.argv[1]))
"""
WARM = """
import emigbench
data = emigbench.load("full")
assert len(data) == 619 and data[0].e_m > 0
"""
FEATURES = """
import sys, time
from emigbench_baselines.classical.features import feature_table
import emigbench
paths = [entry.path for entry in emigbench.load("full", path=sys.argv[1])]
started = time.perf_counter()
assert len(feature_table(paths, workers=2)) == 619
print(time.perf_counter() - started)
"""
ENDS = """
import sys
import emigbench
path = emigbench.load("spinels")[0].path
for name, image in (("initial", 0), ("final", -1)):
    path.structure(image).to(f"{sys.argv[1]}/{name}.vasp", fmt="poscar")
"""
PREDICT = """
from emigbench.cli import main
import sys
ends = [f"{sys.argv[1]}/{name}.vasp" for name in ("initial", "final")]
sys.argv = ["emigbench", "predict", "path-forest", *ends, "--json"]; main()
"""


def seconds(code: str, *arguments: str, **environment: str) -> float:
    """Wall time of one fresh Python that runs `code`; what it prints is its own idea of the time, if it is a number."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    elapsed = time.perf_counter() - started
    try:
        return float(done.stdout)
    except ValueError:
        return elapsed


def paired(name: str, limit: str, code: str, runs: int, *arguments: str, **environment: str) -> list[str]:
    """One row: median time, and the median ratio to the yardstick, run in turns."""
    pairs = [(seconds(code, *arguments, **environment), seconds(YARDSTICK)) for _ in range(runs)]
    own = median(a for a, _ in pairs)
    ratio = median(a / b for a, b in pairs)
    return [name, f"{own:.2f} s", limit, f"{ratio:.1f}", str(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    rows = [
        paired("import emigbench", "0.5 s", "import emigbench", runs),
        paired("score 60 predictions, 10,000 resamples", "3 s", SCORE, runs),
    ]
    with tempfile.TemporaryDirectory() as folder:
        seconds(ENDS, folder)
        rows.append(paired("predict by path-forest, from two POSCARs", "3 s", PREDICT, runs, folder))
    if SOURCE.is_dir():
        rows.append(paired("curate 619 paths", "60 s", CURATE, 1))
        with tempfile.TemporaryDirectory() as folder:
            cache = {"EMIGBENCH_CACHE": f"{folder}/cache"}
            built = f"{folder}/cache/full-{catalogue.info('full').version}"  # where load() keeps what it downloads
            seconds(BUILD, built)
            nowhere_else = {"EMIGBENCH_DATA": "", "EMIGBENCH_SOURCE": ""}
            rows.append(paired("load 619 paths from the warm cache", "1 s", WARM, runs, **cache, **nowhere_else))
            rows.append(paired("features of 619 paths, by 2 processes", "", FEATURES, 1, built, **cache))
            rows.append(paired("features of 619 paths, read back", "2 s", FEATURES, runs, built, **cache))
    else:
        print(f"No source files in {SOURCE}: the rows of the full dataset are left out.", file=sys.stderr)
    print(tabulate(rows, headers=["what", "median", "limit", f"times '{YARDSTICK}'", "runs"]))


if __name__ == "__main__":
    main()
