"""Learned corrections of a potential's NEB: with a few facts of the path, and with the path forest on top.

Both learn the fourth root of E_m. A NEB is only as good as the hop that it is given: where the straight way to the
final state leads through another atom, or past a nearer site of the same ion, the label is that of another way. What
was tried in cross-validation inside the official training paths stands in README.md beside this file.

The bands are MatterSim's, from a coarse NEB (`emigbench_baselines.neb.models.COARSE`). Those of the dataset's paths
that were computed already ship with the package; a new path takes a core some ten seconds for 50 atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.environment import MOBILE_RADIUS
from emigbench_baselines.classical.features import available_cores
from emigbench_baselines.classical.folds import grouped_folds
from emigbench_baselines.classical.forest import Forest
from emigbench_baselines.classical.path_forest import (
    INTERVAL,
    POWER,
    STANDARD,
    answers_unseen,
    barrier,
    centre_and_spread,
    conformal,
    filled,
    grow,
    medians,
    prediction,
    roots,
)
from emigbench_baselines.neb.energies import BandEnergies, Bands, shipped

FloatArray = NDArray[np.float64]

ENERGIES = ("forward", "span")
"""Of the band: its highest image above the first, and above the lowest."""
FACTS = ("hop length", "volume per anion", "ion charge", "ion radius")
FEWEST = 10
"""Training paths with a band that a correction is learned from at the least."""
N_TREES = 300
SMALLEST_LEAF = 5
KERNEL = {"C": 2.0, "epsilon": 0.03, "gamma": 0.05}
"""Of the support vector regression, on standardised columns."""
BLOCKED = 1.2
"""Å; an image on the straight line that comes closer than this to another atom is on its way through it."""
PASSED = 1.3
"""Length of a hop over the distance from its ends to the next ion of its kind (at most `MOBILE_RADIUS`), beyond which
it passes a site."""


class NebCorrected:
    """MatterSim's NEB barrier, corrected by what two energies of the band and four facts of the path say.

    It learns from the training paths whose bands ship with the package. A held-out path whose band does not is
    computed, which needs the extra `mattersim`.

    Args:
        workers: processes for the descriptors; the model does not depend on it.
    """

    kind = "hybrid"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = available_cores() if workers is None else workers
        self.details: dict[str, Any] = {}
        self._bands = mattersim_bands()
        self._correction: Correction | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Learn the correction.

        Raises:
            EmigbenchError: if too few of the paths have a band.
        """
        known, energies = _known(train, self._bands)
        facts = _facts([t.path for t in known], self.workers)
        self._fill = medians(facts)
        columns = np.column_stack([energies, filled(facts, self._fill)])
        self._correction = Correction(columns, roots(known), seed)
        self.details = {"n_paths_with_band": len(known)}

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV; a path whose band fails has none.

        Raises:
            EmigbenchError: if a band has to be computed and MatterSim is not installed.
        """
        if self._correction is None:
            raise EmigbenchError("NebCorrected has to be fitted before it predicts.")
        predictions = []
        table = _facts(paths, self.workers)
        for path, facts in zip(paths, filled(table, self._fill), strict=True):
            band = self._bands.of(path)
            if band.status == "failed":
                predictions.append(Prediction(path.id, None, status="failed"))
            else:
                answer = self._correction.answers(np.hstack([_energies(band), facts])[None])[0]
                predictions.append(Prediction(path.id, float(barrier(answer))))
        return predictions


class EmigBest:
    """The path forest's answer and MatterSim's NEB in one line; 90 % intervals.

    The line is robust (Huber, Ann. Math. Stat. 35, 73, 1964) and fitted to answers of the forest for materials that
    it had not seen, on those plain hops of the training paths whose bands ship with the package. A path that is no
    plain hop (`obstacles`), or whose band fails, is answered by the forest alone.

    Args:
        workers: processes for the descriptors; the model does not depend on it.
    """

    kind = "hybrid"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = available_cores() if workers is None else workers
        self.details: dict[str, Any] = {}
        self._bands = mattersim_bands()
        self._line: Line | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Grow the forest, fit the line, and measure the errors of both on materials that they have not seen.

        Raises:
            EmigbenchError: if too few of the paths are plain hops with a band, or they are of one material.
        """
        paths = [t.path for t in train]
        table = descriptor_table(paths, workers=self.workers).to_numpy()
        self._fill = medians(table)
        facts = filled(table, self._fill)[:, _FACT_COLUMNS]
        targets, materials = roots(train), [t.path.material_id for t in train]
        centres, spreads = answers_unseen(table, targets, materials, seed)
        plain = [t for t, row in zip(train, table, strict=True) if not obstacles(t.path, row)]
        known, energies = _known(plain, self._bands)
        has = np.isin([t.id for t in train], [t.id for t in known])
        columns = np.column_stack([centres[has], energies, facts[has]])
        self._line = Line(columns, targets[has])
        corrected = np.empty(len(known))
        for inside, outside in grouped_folds([t.path.material_id for t in known], seed=seed + 1):
            corrected[outside] = Line(columns[inside], targets[has][inside]).answers(columns[outside])
        self._forest: Forest = grow(table, targets, seed)
        with_band, without = np.abs(corrected - targets[has]) / spreads[has], np.abs(centres - targets) / spreads
        self._stretch = {
            True: tuple(conformal(with_band, share) for share in (INTERVAL, STANDARD)),
            False: tuple(conformal(without, share) for share in (INTERVAL, STANDARD)),
        }
        e_m = np.array([t.e_m for t in train])
        self.details = {
            "n_plain_hops": len(plain),
            "n_plain_hops_with_band": len(known),
            "slopes": self._line.slopes(("forest", *ENERGIES, *FACTS)),
            "cv_mae_ev": round(float(np.abs(barrier(corrected) - e_m[has]).mean()), 4),
            "cv_mae_of_forest_there_ev": round(float(np.abs(barrier(centres) - e_m)[has].mean()), 4),
        }

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV with standard deviation and 90 % interval, and why a NEB was not used.

        Raises:
            EmigbenchError: if a band has to be computed and MatterSim is not installed.
        """
        if self._line is None:
            raise EmigbenchError("EmigBest has to be fitted before it predicts.")
        if not paths:
            return []
        table = descriptor_table(paths, workers=self.workers).to_numpy()
        full = filled(table, self._fill)
        centres, spreads = centre_and_spread(self._forest, full)
        predictions = []
        for path, centre, spread, row, facts in zip(
            paths, centres, spreads, table, full[:, _FACT_COLUMNS], strict=True
        ):
            cautions = tuple(f"{obstacle}, so only descriptors were used" for obstacle in obstacles(path, row))
            if not cautions:
                band = self._bands.of(path)
                if band.status == "failed":
                    cautions = ("the NEB failed, so only descriptors were used",)
                else:
                    centre = self._line.answers(np.hstack([centre, _energies(band), facts])[None])[0]
            predictions.append(prediction(path, centre, spread, self._stretch[not cautions], cautions))
        return predictions


def obstacles(path: MigrationPath, descriptors: FloatArray) -> tuple[str, ...]:
    """Why no NEB is asked about a path, for a reader; none for a plain hop.

    Args:
        path: for its ion.
        descriptors: (d,) of the path, in the order of `DESCRIPTORS`; NaN for what it does not have.
    """
    of = dict(zip(DESCRIPTORS, descriptors, strict=True))
    found = []
    if (closest := np.nanmin([of[f"{kind} 1 lowest"] for kind in ("anion", "cation", "mobile")])) < BLOCKED:
        found.append(f"the straight way between the ends comes within {closest:.1f} Å of an atom")
    hop, site = of["hop length"], of["mobile 1 ends"]
    if hop > PASSED * site:
        near = f"the next {path.mobile_ion} is {site:.1f} Å from the ends of this hop of {hop:.1f} Å"
        found.append(near if site < MOBILE_RADIUS else f"a hop of {hop:.1f} Å is too long for one jump")
    return tuple(found)


class Line:
    """A robust linear fit of standardised columns.

    Args:
        columns: (n, d).
        targets: (n,).
    """

    def __init__(self, columns: FloatArray, targets: FloatArray) -> None:
        from sklearn.linear_model import HuberRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._model = make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000)).fit(columns, targets)

    def answers(self, columns: FloatArray) -> FloatArray:
        """(n,) fitted values."""
        answers: FloatArray = self._model.predict(columns)
        return answers

    def slopes(self, names: Sequence[str]) -> dict[str, float]:
        """Change of the answer with one standard deviation of each named column."""
        return {name: round(float(slope), 4) for name, slope in zip(names, self._model[-1].coef_, strict=True)}


class Correction:
    """The mean of extremely randomised trees and a support vector regression, both of the same columns.

    Trees do not follow a NEB that went wrong by electronvolts; the kernel is the better of the two between materials
    that are alike.

    Args:
        columns: (n, d).
        targets: (n,).
        seed: of the trees.
    """

    def __init__(self, columns: FloatArray, targets: FloatArray, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor, VotingRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        trees = ExtraTreesRegressor(N_TREES, min_samples_leaf=SMALLEST_LEAF, random_state=seed)
        kernel = make_pipeline(StandardScaler(), SVR(**KERNEL))
        self._model = VotingRegressor([("trees", trees), ("kernel", kernel)]).fit(columns, targets)

    def answers(self, columns: FloatArray) -> FloatArray:
        """(n,) fitted values."""
        answers: FloatArray = self._model.predict(columns)
        return answers


_FACT_COLUMNS = [list(DESCRIPTORS).index(name) for name in FACTS]


def _facts(paths: Sequence[MigrationPath], workers: int) -> FloatArray:
    """(n, 4) `FACTS` of each path."""
    if not paths:
        return np.empty((0, len(FACTS)))
    return descriptor_table(paths, workers=workers)[list(FACTS)].to_numpy()


def mattersim_bands() -> Bands:
    """Coarse NEBs with MatterSim: what ships, and what is computed where it does not."""
    return Bands(shipped("mattersim-coarse"), _mattersim)


def _mattersim() -> Any:
    try:
        from emigbench_baselines.neb.models import mattersim_neb_coarse
    except ImportError as error:
        raise EmigbenchError(
            f"The band of a new path has to be computed, but {error.name} is not installed; "
            f"pip install 'emigbench[mattersim]' brings it."
        ) from error
    return mattersim_neb_coarse()


def _known(train: Sequence[LabelledPath], bands: Bands) -> tuple[list[LabelledPath], FloatArray]:
    """Those of the paths whose bands are known, and the (n, 2) energies of these."""
    rows = [(t, band) for t in train if (band := bands.known(t.path)) is not None and band.status != "failed"]
    if len(rows) < FEWEST:
        raise EmigbenchError(f"Only {len(rows)} of {len(train)} training paths have a band, and {FEWEST} are needed.")
    return [t for t, _ in rows], np.array([_energies(band) for _, band in rows])


def _energies(band: BandEnergies) -> FloatArray:
    """(2,) fourth roots of `ENERGIES`."""
    return np.asarray([band.forward, band.span]) ** POWER
