"""Learned corrections of a potential's NEB: with a few facts of the path, and with the path forest on top.

Both learn the fourth root of E_m from energies of the band, of which some went wrong. What else was tried in
cross-validation inside the official training paths stands in README.md beside this file.

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
    """The path forest's answer, corrected by MatterSim's NEB; 90 % intervals.

    The correction is learned from answers of the forest for materials that it had not seen, on the training paths
    whose bands ship with the package. A path whose band fails is answered by the forest alone.

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
        """Grow the forest, learn the correction, and measure both on materials that they have not seen.

        Raises:
            EmigbenchError: if too few of the paths have a band, or they are of one material.
        """
        table = descriptor_table([t.path for t in train], workers=self.workers).to_numpy()
        self._fill = medians(table)
        facts = filled(table, self._fill)[:, _FACT_COLUMNS]
        targets, materials = roots(train), [t.path.material_id for t in train]
        centres, spreads = answers_unseen(table, targets, materials, seed)
        known, energies = _known(train, self._bands)
        has = np.isin([t.id for t in train], [t.id for t in known])
        columns = np.column_stack([centres[has], energies, facts[has]])
        self._correction = Correction(columns, targets[has], seed)
        corrected = np.empty(len(known))
        for inside, outside in grouped_folds([t.path.material_id for t in known], seed=seed + 1):
            correction = Correction(columns[inside], targets[has][inside], seed)
            corrected[outside] = correction.answers(columns[outside])
        self._forest: Forest = grow(table, targets, seed)
        with_band, without = np.abs(corrected - targets[has]) / spreads[has], np.abs(centres - targets) / spreads
        self._stretch = {
            True: tuple(conformal(with_band, share) for share in (INTERVAL, STANDARD)),
            False: tuple(conformal(without, share) for share in (INTERVAL, STANDARD)),
        }
        e_m = np.array([t.e_m for t in train])
        self.details = {
            "n_paths_with_band": len(known),
            "cv_mae_ev": round(float(np.abs(barrier(corrected) - e_m[has]).mean()), 4),
            "cv_mae_of_forest_there_ev": round(float(np.abs(barrier(centres) - e_m)[has].mean()), 4),
        }

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV with standard deviation and 90 % interval.

        Raises:
            EmigbenchError: if a band has to be computed and MatterSim is not installed.
        """
        if self._correction is None:
            raise EmigbenchError("EmigBest has to be fitted before it predicts.")
        if not paths:
            return []
        table = descriptor_table(paths, workers=self.workers).to_numpy()
        table = filled(table, self._fill)
        centres, spreads = centre_and_spread(self._forest, table)
        predictions = []
        for path, centre, spread, row in zip(paths, centres, spreads, table, strict=True):
            band = self._bands.of(path)
            has = band.status != "failed"
            if has:
                centre = self._correction.answers(np.hstack([centre, _energies(band), row[_FACT_COLUMNS]])[None])[0]
            cautions = () if has else ("the NEB failed, so only descriptors were used",)
            predictions.append(prediction(path, centre, spread, self._stretch[has], cautions))
        return predictions


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
