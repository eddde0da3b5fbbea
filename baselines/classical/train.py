"""Fit the path forest that ships with the package to all paths of the full dataset.

python -m emigbench_baselines.classical.train
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import emigbench
from emigbench_baselines.classical import path_forest


def main() -> None:
    """Write `path_forest.npz` beside this module, or where the first argument says."""
    model = path_forest.PathForest()
    model.fit(list(emigbench.load("full")), seed=0)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(path_forest.TRAINED)
    np.savez_compressed(target, **model.arrays())  # type: ignore[arg-type]
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {model.details}")


if __name__ == "__main__":
    main()
