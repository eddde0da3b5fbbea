"""Which descriptors matter: how much worse the path forest gets when those of one family are shuffled.

python -m emigbench_baselines.classical.importance docs/figures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import emigbench
from emigbench import LabelledPath
from emigbench.records import FloatArray
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.folds import grouped_folds
from emigbench_baselines.classical.kinship import framework
from emigbench_baselines.classical.path_forest import barrier, filled, grow, medians, roots

REPEATS = 10


def family_importance(train: Sequence[LabelledPath], *, seed: int = 0) -> pd.DataFrame:
    """Permutation importance of each family of descriptors (Breiman, Mach. Learn. 45, 5, 2001, section 10).

    The forest is fitted to four of five folds that share no framework; on the fifth, the descriptors of a family
    are exchanged together between paths. Families whose descriptors say the same thing share their importance.

    Args:
        train: the paths.
        seed: of the folds, the trees and the exchanges.

    Returns:
        A row a family, the most important first: `n` descriptors, `mae_increase` in eV (mean over all paths and
        REPEATS exchanges) and its standard deviation `sd` over the exchanges.
    """
    table = descriptor_table([t.path for t in train]).to_numpy()
    barriers = np.array([t.e_m for t in train])
    columns = _columns_by_family()
    rng = np.random.default_rng(seed)
    plain = np.empty(len(train))
    shuffled = {family: np.empty((REPEATS, len(train))) for family in columns}
    for inside, outside in grouped_folds([framework(t.path) for t in train], seed=seed):
        forest = grow(table[inside], roots([train[i] for i in inside]), seed)
        fill, new = medians(table[inside]), table[outside]
        plain[outside] = _errors(forest.answers(filled(new, fill)), barriers[outside])
        for family, chosen in columns.items():
            for repeat in range(REPEATS):
                exchanged = new.copy()
                exchanged[:, chosen] = new[rng.permutation(len(new))][:, chosen]
                shuffled[family][repeat, outside] = _errors(forest.answers(filled(exchanged, fill)), barriers[outside])
    increase = {family: errors.mean(axis=1) - plain.mean() for family, errors in shuffled.items()}
    found = pd.DataFrame(
        {
            "n": {family: len(chosen) for family, chosen in columns.items()},
            "mae_increase": {family: float(values.mean()) for family, values in increase.items()},
            "sd": {family: float(values.std(ddof=1)) for family, values in increase.items()},
        }
    )
    return found.sort_values("mae_increase", ascending=False)


def _columns_by_family() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, descriptor in enumerate(DESCRIPTORS.values()):
        found.setdefault(descriptor.family, []).append(i)
    return found


def _errors(answers: FloatArray, barriers: FloatArray) -> FloatArray:
    return np.abs(barrier(answers.mean(axis=1)) - barriers)


def draw(importance: pd.DataFrame, file: Path) -> None:
    """A bar a family, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    upwards = importance.iloc[::-1]
    with rc_context({"svg.hashsalt": "emigbench", "font.size": 9}):
        figure = Figure(figsize=(6.0, 0.32 * len(upwards) + 0.9), layout="constrained")
        axes = figure.subplots()
        labels = [f"{family} ({n})" for family, n in zip(upwards.index, upwards["n"], strict=True)]
        axes.barh(labels, 1000 * upwards["mae_increase"], xerr=1000 * upwards["sd"], color="#3b6ea8", ecolor="#555555")
        axes.set_xlabel("increase of the MAE when the family is shuffled (meV)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(0, color="#555555", linewidth=0.8)
        figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Write `importance.csv` and `importance.svg`, measured on the official training paths."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    train, _ = emigbench.load("full").split("official")
    importance = family_importance(list(train))
    importance.round(5).to_csv(folder / "importance.csv", index_label="family")
    draw(importance, folder / "importance.svg")
    print(importance.to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
