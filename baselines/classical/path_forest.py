"""Extremely randomised trees on physical descriptors of the path, with intervals and a range of use.

The trees (Geurts, Ernst & Wehenkel, Mach. Learn. 63, 3, 2006) answer the fourth root of E_m, since barriers span two
decades. In cross-validation inside the 559 training paths it beat the logarithm whether folds were grouped by material
(MAE 0.281 against 0.288 eV, R2 0.57 against 0.50), framework (0.298, 0.298; 0.43, 0.42) or structural group (0.406,
0.417; 0.19, 0.16); the square root is better by material (0.280) and worse by framework (0.307).

To the answer for a material that they have not seen comes what errors on paths of the same ion and framework say
(`kinship`): with it, nested cross-validation has 0.271 instead of 0.281 eV by material, 0.288 instead of 0.295 by
framework and 0.385 instead of 0.400 by group.

Intervals are conformal (Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018, section 5.2): errors of paths whose
framework a model has not seen, over the spread of its trees, give the factor by which the spread of a new path's
trees is stretched.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
from emigbench.records import INTERVAL_LEVEL, FloatArray
from emigbench_baselines.classical.bonds import valence_per_charge
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.folds import grouped_folds
from emigbench_baselines.classical.forest import Forest, from_arrays, from_sklearn
from emigbench_baselines.classical.kinship import N_NEIGHBOURS, Effects, Kin, expected_unseen, hosts, siblings

N_TREES = 300
MAX_FEATURES = 0.3
STANDARD = 0.6827
"""Share of a normal distribution within one standard deviation."""
POWER = 0.25
"""Of E_m, which the trees answer."""
ROOT_DIGITS = 9
"""Of a fourth root. Processors differ in the last digit of a power, and by that digit trees choose between two splits
that part the paths alike: answers on the official test set differed by 0.015 eV on average."""
LEAST_SPREAD = 0.01
"""Of the fourth root: trees that all agree are not certain."""
FARTHEST = 0.99
"""Share of the training paths that are nearer to a path of another framework than a path in range."""
TOLD: Mapping[str, str] = {
    "hop length": "the hop length",
    "volume per anion": "the volume of the cell per anion",
    "clearance lowest": "the least distance of the straight path from the surface of a host ion",
}
"""Descriptors whose range a path should be in, in words that follow without the table of descriptors."""
USUAL_VALENCE = (0.7, 1.35)
"""Of the bonds per charge. 2% of the 559 training paths are outside; with all lengths 15% shorter or longer 100% would
be, with 10% 97 and 86%, but with 5%, which is 15% of the volume, 46 and 23%: so little is not seen for sure."""
TRAINED = "path_forest.npz"


@dataclass(frozen=True, eq=False)
class Trained:
    """Everything that a prediction needs.

    Attributes:
        forest: answers the fourth root of E_m / eV.
        effects: what its answers are too low by for an ion and a framework, where it has not seen the host.
        fill: (d,) what stands for an undefined descriptor: the training median.
        stretch: spread of the trees to half an interval of INTERVAL_LEVEL and of STANDARD, of the root.
        known: (n, d) standardised descriptors of the training paths.
        centre: (d,) and
        scale: (d,) what they are standardised with.
        farthest: largest distance to the nearest training path that is still in range.
        ions: elements that move in the training paths.
        elements: all elements of the training paths.
    """

    forest: Forest
    effects: Effects
    fill: FloatArray
    stretch: tuple[float, float]
    known: FloatArray
    centre: FloatArray
    scale: FloatArray
    farthest: float
    ions: frozenset[str]
    elements: frozenset[str]


class PathForest:
    """Extremely randomised trees on physical descriptors of the path; 90 % intervals."""

    kind = "classical"

    def __init__(self) -> None:
        self.details: dict[str, Any] = {}
        self._trained: Trained | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Grow the trees, and measure their errors on frameworks that they have not seen.

        Raises:
            EmigbenchError: if the paths are of fewer than two frameworks.
        """
        table = descriptor_table([t.path for t in train]).to_numpy()
        targets = roots(train)
        kin = Kin.of([t.path for t in train])
        errors = targets - answers_unseen(table, targets, hosts(kin, [t.path.material_id for t in train]), seed)[0]
        frameworks = kin.frameworks.tolist()
        centres, spreads = answers_unseen(table, targets, frameworks, seed)
        centres += expected_unseen(kin, errors, frameworks, seed)
        scores = np.abs(centres - targets) / spreads
        fill = medians(table)
        full = filled(table, fill)
        centre, scale = full.mean(axis=0), np.maximum(full.std(axis=0), 1e-9)
        known = (full - centre) / scale
        self._trained = Trained(
            forest=grow(table, targets, seed),
            effects=Effects.learned(kin, errors),
            fill=fill,
            stretch=stretches(scores),
            known=known,
            centre=centre,
            scale=scale,
            farthest=float(np.quantile(_to_other_frameworks(known, kin.frameworks), FARTHEST)),
            ions=frozenset(t.path.mobile_ion for t in train),
            elements=frozenset(e for t in train for e in (t.path.mobile_ion, *t.path.host_species)),
        )
        self.details = {
            "n_trees": N_TREES,
            "cv_mae_ev": round(float(np.abs(barrier(centres) - [t.e_m for t in train]).mean()), 4),
            "interval_stretch": round(self._trained.stretch[0], 3),
        }

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV with standard deviation, 90 % interval, and what puts a path out of range."""
        trained = self._get()
        if not paths:
            return []
        table = descriptor_table(paths).to_numpy()
        table = filled(table, trained.fill)
        centre, spread = centre_and_spread(trained.forest, table)
        kin = Kin.of(paths)
        centre += np.where(siblings(kin, trained.effects.kin) < 0, trained.effects.expected(kin), 0.0)
        standardised = (table - trained.centre) / trained.scale
        return [
            prediction(path, centre[i], spread[i], trained.stretch, _cautions(path, standardised[i], trained))
            for i, path in enumerate(paths)
        ]

    def load_trained(self) -> None:
        """Take the trees that ship with the package, grown on all paths of the full dataset.

        Raises:
            EmigbenchError: if the file is missing or damaged.
        """
        file = files("emigbench_baselines.classical") / TRAINED
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                self._trained = _read(dict(archive))
        except FileNotFoundError as error:
            raise EmigbenchError(
                f"{TRAINED} is not in this installation; python -m emigbench_baselines.classical.train makes it."
            ) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise EmigbenchError(f"{TRAINED} is damaged ({error}); install emigbench again.") from error

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `load_trained` reads, after `fit`."""
        trained = self._get()
        return {
            **trained.forest.arrays(),
            "columns": np.array(list(DESCRIPTORS)),
            "power": np.array(POWER),
            "errors_ions": trained.effects.kin.ions,
            "errors_frameworks": trained.effects.kin.frameworks,
            "errors_neighbours": trained.effects.kin.neighbours,
            "errors_weights": trained.effects.weights,
            "ions": np.array(sorted(trained.ions)),
            "elements": np.array(sorted(trained.elements)),
            "known": trained.known.astype(np.float32),
            "stretch": np.array(trained.stretch),
            "farthest": np.array(trained.farthest),
            **{name: getattr(trained, name) for name in ("fill", "centre", "scale")},
        }

    def _get(self) -> Trained:
        if self._trained is None:
            raise EmigbenchError("PathForest has to be fitted, or its trees loaded, before it predicts.")
        return self._trained


def roots(train: Sequence[LabelledPath]) -> FloatArray:
    """(n,) fourth root of E_m / eV, what the trees answer, to `ROOT_DIGITS`."""
    return np.round(np.maximum([t.e_m for t in train], 0.0) ** POWER, ROOT_DIGITS)


def barrier(root: FloatArray | float) -> FloatArray:
    """E_m in eV of its fourth root, of one or of (n,); a root below 0 is none."""
    return np.maximum(root, 0.0) ** (1 / POWER)


def medians(table: FloatArray) -> FloatArray:
    """(d,) median of each column; 0 where it is undefined for all paths."""
    defined = ~np.isnan(table).all(axis=0)
    found = np.zeros(table.shape[1])
    found[defined] = np.nanmedian(table[:, defined], axis=0)
    return found


def filled(table: FloatArray, fill: FloatArray) -> FloatArray:
    """The (n, d) table with its column's `fill` (d,) for what is undefined."""
    return np.where(np.isnan(table), fill, table)


def grow(table: FloatArray, targets: FloatArray, seed: int) -> Forest:
    """The trees alone, fitted to (n, d) descriptors and (n,) roots of E_m."""
    from sklearn.ensemble import ExtraTreesRegressor

    trees = ExtraTreesRegressor(N_TREES, max_features=MAX_FEATURES, random_state=seed)
    return from_sklearn(trees.fit(filled(table, medians(table)), targets))


def answers_unseen(
    table: FloatArray, targets: FloatArray, groups: Sequence[str], seed: int
) -> tuple[FloatArray, FloatArray]:
    """(n,) centre and spread of the trees' answer for each path, from trees that have not seen its group."""
    centres, spreads = np.empty(len(table)), np.empty(len(table))
    for inside, outside in grouped_folds(groups, seed=seed):
        forest, fill = grow(table[inside], targets[inside], seed), medians(table[inside])
        centres[outside], spreads[outside] = centre_and_spread(forest, filled(table[outside], fill))
    return centres, spreads


def prediction(
    path: MigrationPath, centre: float, spread: float, stretch: Sequence[float], cautions: Sequence[str]
) -> Prediction:
    """The answer for a path in eV: standard deviation and 90 % interval from the spread and its two stretches."""
    wide, one = (spread * factor for factor in stretch)
    return Prediction(
        path.id,
        float(barrier(centre)),
        std=float(barrier(centre + one) - barrier(centre - one)) / 2,
        low=float(barrier(centre - wide)),
        high=float(barrier(centre + wide)),
        cautions=tuple(cautions),
    )


def centre_and_spread(forest: Forest, table: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) mean and spread of the trees' answers for the rows of an (n, d) table without NaN, of the root."""
    answers = forest.answers(table)
    return answers.mean(axis=1), np.maximum(answers.std(axis=1), LEAST_SPREAD)


def stretches(scores: FloatArray) -> tuple[float, float]:
    """Spread of the trees to half an interval of INTERVAL_LEVEL and of STANDARD, from (n,) errors over spreads."""
    return conformal(scores, INTERVAL_LEVEL), conformal(scores, STANDARD)


def conformal(scores: FloatArray, share: float) -> float:
    """The score that a new path stays below with this probability, if it is exchangeable with these.

    Of too few scores for that (fewer than nine, for 90 %) the largest, which a new path exceeds more often.
    """
    rank = min(len(scores), ceil(round(share * (len(scores) + 1), 9)))
    return float(np.sort(scores)[rank - 1])


def _to_other_frameworks(known: FloatArray, frameworks: NDArray[np.str_]) -> FloatArray:
    """(n,) distance of each path to the nearest one of another framework."""
    squares = (known**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * known @ known.T, 0)
    distances[frameworks[:, None] == frameworks[None]] = np.inf
    return np.sqrt(distances.min(axis=1))


def _cautions(path: MigrationPath, standardised: FloatArray, trained: Trained) -> list[str]:
    """Why a path is outside of what the trees have seen."""
    found = []
    if path.mobile_ion not in trained.ions:
        found.append(f"no path of a moving {path.mobile_ion} was among the {len(trained.known)} it was fitted to")
    if unknown := sorted(set(path.host_species) - trained.elements):
        found.append(f"no material with {', '.join(unknown)} was among those it was fitted to")
    found += _out_of_range(standardised, trained)
    found += _about_bonds(path)
    distance = float(np.sqrt(((trained.known - standardised) ** 2).sum(axis=1).min()))
    if distance > trained.farthest:
        found.append(
            f"the path is farther from every path it was fitted to than {FARTHEST:.0%} of those are from the nearest "
            f"one in another framework"
        )
    return found


def _about_bonds(path: MigrationPath) -> Iterator[str]:
    """Whether bonds are so long or short, or so few or many, that the cell is hardly the one that was meant."""
    share, (least, most) = valence_per_charge(path), USUAL_VALENCE
    if share < least or share > most:
        seems = "stretched, or lack atoms" if share < least else "squeezed, or have too many atoms"
        yield (
            f"the cell may be {seems}: its bonds have {share:.0%} of the valence that its ions' charges ask for, and "
            f"{least:.0%} to {most:.0%} in 98 % of the paths it was developed on"
        )


def _out_of_range(standardised: FloatArray, trained: Trained) -> Iterator[str]:
    """Which descriptors of `TOLD` are outside of the training paths' range, each with its value and that range."""
    columns = list(DESCRIPTORS)
    for name, words in TOLD.items():
        column, unit = columns.index(name), DESCRIPTORS[name].unit
        known = trained.known[:, column]
        values = np.array([standardised[column], known.min(), known.max()])
        if values[1] - 1e-3 <= values[0] <= values[2] + 1e-3:
            continue
        value, low, high = values * trained.scale[column] + trained.centre[column]
        within = f"({low:.2f} to {high:.2f} {unit})"
        yield f"{words} ({value:.2f} {unit}) is outside of the range that it was fitted to {within}"


def _read(arrays: Mapping[str, NDArray[np.generic]]) -> Trained:
    if arrays["columns"].tolist() != list(DESCRIPTORS):
        raise ValueError("it is of other descriptors")
    if arrays["power"] != POWER:
        raise ValueError("its trees answer another power of E_m")
    forest = from_arrays(arrays)
    n = len(DESCRIPTORS)
    vectors = {name: arrays[name].astype(np.float64) for name in ("fill", "centre", "scale")}
    known, stretch = arrays["known"].astype(np.float64), arrays["stretch"].astype(np.float64)
    if known.ndim != 2 or known.shape[1] != n or any(v.shape != (n,) for v in vectors.values()) or len(stretch) != 2:
        raise ValueError("its arrays have other shapes")
    if not 0 <= forest.feature.max() < n:
        raise ValueError("its trees ask for other descriptors")
    kin = Kin(arrays["errors_ions"], arrays["errors_frameworks"], arrays["errors_neighbours"].astype(np.float64))
    effects = Effects(kin, arrays["errors_weights"].astype(np.float64))
    if kin.neighbours.shape != (len(effects.weights), N_NEIGHBOURS) or not (
        kin.ions.shape == kin.frameworks.shape == effects.weights.shape
    ):
        raise ValueError("its errors have other shapes")
    return Trained(
        forest=forest,
        effects=effects,
        stretch=(float(stretch[0]), float(stretch[1])),
        known=known,
        farthest=float(arrays["farthest"]),
        ions=frozenset(arrays["ions"].tolist()),
        elements=frozenset(arrays["elements"].tolist()),
        **vectors,
    )
