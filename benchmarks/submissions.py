"""How long `leaderboard build` takes with many submissions.

`python -m benchmarks.submissions [--count N] [--check]` makes N synthetic submissions in a temporary folder: all on
the official split, every fifth with 5 seeds, every fifth also on material-cv, some with failures or a std. The limit
is 60 s for 200 on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from emigbench import Prediction, load_labels, splits
from emigbench.datasets.hashing import predictions_hash
from emigbench.predictions import PREDICTIONS_FILE, write_predictions

LIMIT = 60.0
KINDS = ("classical", "graph", "interatomic-potential", "hybrid")
CLI = "from emigbench.cli import main; main()"


def predictions(number: int, split: str, seeds: int) -> dict[int, list[Prediction]]:
    """The truth with noise whose size depends on the number, so that the board is well spread."""
    labels = load_labels("full")
    rng = np.random.default_rng(number)
    sigma, failing, has_std = 0.15 + 0.003 * number, number % 10 == 3, number % 4 == 1

    def one(path_id: str) -> Prediction:
        if failing and rng.random() < 0.03:
            return Prediction(path_id, None, status="failed")
        value = labels.by_id[path_id].e_m_ev + sigma * float(rng.standard_normal())
        return Prediction(path_id, value, sigma if has_std else None)

    return {seed: [one(path_id) for path_id in splits.held_out(labels, split)] for seed in range(seeds)}


def make(folder: Path, number: int) -> None:
    """One valid submission."""
    labels, slug = load_labels("full"), f"model-{number:03}"
    seeds = 5 if number % 5 == 0 else 1
    content = {"official": predictions(number, "official", seeds)}
    if number % 5 == 2:
        content["material-cv"] = predictions(number, "material-cv", 1)
    target = folder / slug
    write_predictions(content, target / PREDICTIONS_FILE)
    card = {
        "name": f"Model {number}",
        "slug": slug,
        "version": "1.0",
        "kind": KINDS[number % len(KINDS)],
        "authors": ["A. Author"],
        "source": "synthetic",
        "inputs": "noise",
        "training_data": "none",
    }
    (target / "submission.yaml").write_text(yaml.safe_dump(card))
    run = {
        "predictions_sha256": predictions_hash((target / PREDICTIONS_FILE).read_text()),
        "dataset": {"name": "full", "sha256": labels.sha256},
    }
    (target / "run.json").write_text(json.dumps(run))


def build(folder: Path, *options: str) -> float:
    """Seconds of one `leaderboard build`."""
    command = [sys.executable, "-c", CLI, "leaderboard", "build", "--submissions", str(folder / "submissions")]
    started = time.perf_counter()
    subprocess.run([*command, "--out", str(folder / "leaderboard"), *options], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--check", action="store_true", help="also build again with --check: the same bytes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for number in range(options.count):
            make(Path(name) / "submissions", number)
        seconds = build(Path(name))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = sum(file.stat().st_size for file in (Path(name) / "leaderboard").rglob("*") if file.is_file()) / 1e6
        load = os.getloadavg()[0]
        print(
            f"{options.count} submissions: {seconds:.1f} s (limit {LIMIT:g} s for 200), peak {peak:.0f} MB, "
            f"{size:.1f} MB written, {os.cpu_count()} cores, load {load:.1f}"
        )
        if options.check:
            print(f"built again with --check: {build(Path(name), '--check'):.1f} s, the same bytes")


if __name__ == "__main__":
    main()
