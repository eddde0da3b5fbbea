"""Learned corrections of a potential's NEB: with a few facts of the path, and with the path forest on top.

Both learn the fourth root of E_m. A NEB is only as good as the hop that it is given: where the straight way to the
final state leads through another atom, or past a nearer site of the same ion, the label is that of another way. What
was tried in cross-validation inside the official training paths stands in README.md beside this file.

The bands are MatterSim's, from a coarse NEB (`emigbench_baselines.neb.models.COARSE`). Those of the dataset's paths
that were computed already ship with the package; a new path takes a core some ten seconds for 50 atoms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
from emigbench.records import FloatArray
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.environment import MOBILE_RADIUS
from emigbench_baselines.classical.folds import grouped_folds
from emigbench_baselines.classical.forest import Forest
from emigbench_baselines.classical.kinship import Effects, Kin, expected_unseen, hosts
from emigbench_baselines.classical.path_forest import (
    LEAST_SPREAD,
    POWER,
    answers_unseen,
    barrier,
    centre_and_spread,
    filled,
    grow,
    medians,
    prediction,
    roots,
    stretches,
)
from emigbench_baselines.neb.energies import BandEnergies, BandModel, Bands, shipped

if TYPE_CHECKING:
    from sklearn.ensemble import VotingRegressor
    from sklearn.pipeline import Pipeline


ENERGIES = ("forward", "span")
"""Of the band, for `NebCorrected`: its highest image above the first, and above the lowest."""
COLUMNS = ("forest", "forward", "backward", "span", "spread x (span - forest)")
"""What the line of `EmigBest` reads: fourth roots, and how much more than usual the trees differ."""
FACTS = ("hop length", "volume per anion", "ion charge", "ion radius")
FEWEST = 10
"""Training paths with a band that a correction is learned from at the least."""
N_TREES = 300
SMALLEST_LEAF = 5
KERNEL = {"C": 2.0, "epsilon": 0.03, "gamma": 0.05}
"""Of the support vector regression, on standardised columns."""
HALF = 0.5
"""Share of the answer that is left to a NEB in doubt."""
ENDED = {"failed": "failed", "not_converged": "did not converge"}
BLOCKED = 1.2
"""Å; an image on the straight line that comes closer than this to another atom is on its way through it."""
PASSED = 1.3
"""Length of a hop over the distance from its ends to the next ion of its kind (at most `MOBILE_RADIUS`), beyond which
it passes a site."""


class _OnBands:
    """What both models share: the bands that are known, and the potential for the others."""

    kind = "hybrid"

    def __init__(self) -> None:
        self.details: dict[str, Any] = {}
        self._bands = mattersim_bands()

    def check_ready(self) -> None:
        """Make sure that the band of a new path can be computed.

        Raises:
            EmigbenchError: if MatterSim is not installed, or its weights are not there or not the table's.
        """
        self._bands.model()


class NebCorrected(_OnBands):
    """MatterSim's NEB barrier, corrected by what two energies of the band and four facts of the path say.

    It learns from the training paths whose bands ship with the package. A held-out path whose band does not is
    computed, which needs the extra `mattersim`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._correction: VotingRegressor | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Learn the correction.

        Raises:
            EmigbenchError: if too few of the paths have a band.
        """
        known, energies = _known(train, self._bands)
        facts = _facts([t.path for t in known])
        self._fill = medians(facts)
        columns = np.column_stack([energies, filled(facts, self._fill)])
        self._correction = fitted_correction(columns, roots(known), seed)
        self.details = {"n_paths_with_band": len(known)}

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV; a path whose band fails has none.

        Raises:
            EmigbenchError: if a band has to be computed and MatterSim is not installed.
        """
        if self._correction is None:
            raise EmigbenchError("NebCorrected has to be fitted before it predicts.")
        predictions = []
        table = _facts(paths)
        for path, facts in zip(paths, filled(table, self._fill), strict=True):
            band = self._bands.of(path)
            if band.status == "failed":
                predictions.append(Prediction(path.id, None, status="failed"))
            else:
                answer = self._correction.predict(np.hstack([_energies(band), facts])[None])[0]
                predictions.append(Prediction(path.id, float(barrier(answer))))
        return predictions


class EmigBest(_OnBands):
    """The path forest's answer and MatterSim's NEB in one line; 90 % intervals.

    The line is robust (Huber, Ann. Math. Stat. 35, 73, 1964) and fitted to answers of the forest for hosts that
    it had not seen, on those plain hops of the training paths whose bands ship with the package and converged. The
    more the trees differ about a path, the more the NEB counts. What speaks against a NEB (`doubts`) halves its share
    or leaves the answer to the forest. To that comes what errors on paths of the same ion and framework say
    (`kinship`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._line: Pipeline | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Grow the forest, fit the line, and measure the errors of both on hosts that they have not seen.

        Raises:
            EmigbenchError: if too few of the paths are plain hops with a band, or they are of one material.
        """
        self._check_known(train)
        table = descriptor_table([t.path for t in train]).to_numpy()
        self._fill = medians(table)
        targets, kin = roots(train), Kin.of([t.path for t in train])
        host = hosts(kin, [t.path.material_id for t in train])
        centres, spreads = answers_unseen(table, targets, host, seed)
        self._usual = float(spreads.mean()), max(float(spreads.std()), LEAST_SPREAD)
        shares = np.array([neb_share(doubts(t.path, row)) for t, row in zip(train, table, strict=True)])
        columns = self._known_columns(train, shares, centres, spreads)
        plain = (shares == 1) & has_band(columns)
        if plain.sum() < FEWEST:
            raise _too_few(plain.sum(), len(train))
        self._line = fitted_line(columns[plain], targets[plain])
        answers = joined_unseen(centres, columns, shares, targets, host, seed + 1)
        self._effects = Effects.learned(kin, targets - answers)
        answers += expected_unseen(kin, targets - answers, host, seed + 1)
        self._forest: Forest = grow(table, targets, seed)
        scores = np.abs(answers - targets) / spreads
        others = scores[~plain] if (~plain).sum() >= FEWEST else scores
        self._stretch = {True: stretches(scores[plain]), False: stretches(others)}
        errors, of_forest = (np.abs(barrier(roots_) - barrier(targets)) for roots_ in (answers, centres))
        self.details = {
            "n_plain_hops": int((shares == 1).sum()),
            "n_plain_hops_with_band": int(plain.sum()),
            "slopes": {name: round(float(slope), 4) for name, slope in zip(COLUMNS, self._line[-1].coef_, strict=True)},
            "cv_mae_ev": round(float(errors.mean()), 4),
            "cv_mae_of_plain_hops_ev": round(float(errors[plain].mean()), 4),
            "cv_mae_of_forest_there_ev": round(float(of_forest[plain].mean()), 4),
        }

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV with standard deviation and 90 % interval, and why a NEB has less than its full share.

        Raises:
            EmigbenchError: if a band has to be computed and MatterSim is not installed.
        """
        if self._line is None:
            raise EmigbenchError("EmigBest has to be fitted before it predicts.")
        if not paths:
            return []
        table = descriptor_table(paths).to_numpy()
        centres, spreads = centre_and_spread(self._forest, filled(table, self._fill))
        expected = self._effects.expected(Kin.of(paths))
        predictions = []
        for path, centre, spread, missed, row in zip(paths, centres, spreads, expected, table, strict=True):
            against = doubts(path, row)
            share = neb_share(against)
            band = self._bands.of(path) if share else None
            if band is not None and band.status == "ok":
                line = self._line.predict(self._columns(centre, spread, band)[None])[0]
                centre = _joined(centre, line, share)
            elif band is not None:
                against, share = {f"the NEB {ENDED[band.status]}": 0.0}, 0.0
            effect = "the NEB counts half" if share else "only descriptors were used"
            cautions = [f"{doubt}, so {effect}" for doubt in against]
            predictions.append(prediction(path, centre + missed, spread, self._stretch[share == 1], cautions))
        return predictions

    def _check_known(self, train: Sequence[LabelledPath]) -> None:
        """Make sure that there are bands enough, before trees are grown in vain."""
        n_known = sum((band := self._bands.known(t.path)) is not None and band.status == "ok" for t in train)
        if n_known < FEWEST:
            raise _too_few(n_known, len(train))

    def _known_columns(
        self, train: Sequence[LabelledPath], shares: FloatArray, centres: FloatArray, spreads: FloatArray
    ) -> FloatArray:
        """(n, 5) `COLUMNS` of each path; NaN where no NEB is asked, or none that converged is known."""
        columns = np.full((len(train), len(COLUMNS)), np.nan)
        for i in np.flatnonzero(shares):
            band = self._bands.known(train[i].path)
            if band is not None and band.status == "ok":
                columns[i] = self._columns(centres[i], spreads[i], band)
        return columns

    def _columns(self, centre: float, spread: float, band: BandEnergies) -> FloatArray:
        """(5,) `COLUMNS` of a path."""
        forward, backward, span = np.asarray([band.forward, band.backward, band.span]) ** POWER
        usual, width = self._usual
        return np.array([centre, forward, backward, span, (spread - usual) / width * (span - centre)])


def doubts(path: MigrationPath, descriptors: FloatArray) -> dict[str, float]:
    """What speaks against the NEB of a path, for a reader, and the share that each leaves to it; {} if nothing.

    Past a site of its ion, a label most likely is that of another way. Where an atom is on the straight line, or the
    hop is long, the band had to find its own way; that says something, but less.

    Args:
        path: for its ion.
        descriptors: (d,) of the path, in the order of `DESCRIPTORS`; NaN for what it does not have.
    """
    of = dict(zip(DESCRIPTORS, descriptors, strict=True))
    found = {}
    if (closest := np.nanmin([of[f"{kind} 1 lowest"] for kind in ("anion", "cation", "mobile")])) < BLOCKED:
        found[f"the straight way between the ends comes within {closest:.1f} Å of an atom"] = HALF
    hop, site = of["hop length"], of["mobile 1 ends"]
    if hop > PASSED * site:
        if site < MOBILE_RADIUS:
            found[f"the next {path.mobile_ion} is {site:.1f} Å from the ends of this hop of {hop:.1f} Å"] = 0.0
        else:
            found[f"a hop of {hop:.1f} Å is long for one jump"] = HALF
    return found


def neb_share(against: Mapping[str, float]) -> float:
    """The share of the line with the NEB in the answer, 0 to 1, where these `doubts` speak against it."""
    return min(against.values(), default=1.0)


def has_band(columns: FloatArray) -> NDArray[np.bool_]:
    """(n,) which paths have a band that a line can be asked about, of their (n, 5) `COLUMNS`."""
    return ~np.isnan(columns).any(axis=1)


def joined_unseen(
    centres: FloatArray,
    columns: FloatArray,
    shares: FloatArray,
    targets: FloatArray,
    groups: Sequence[str],
    seed: int,
) -> FloatArray:
    """(n,) answers of forest and line together, from lines that have not seen a path's group.

    Args:
        centres: (n,) answers of the forest, the whole answer where there is no band.
        columns: (n, 5) `COLUMNS`, NaN where there is no band.
        shares: (n,) share of the line; it is fitted where that is 1.
        targets: (n,) fourth roots of E_m / eV.
        groups: (n,) what a line must not have seen of a path.
        seed: of the folds.
    """
    usable = has_band(columns)
    plain = usable & (shares == 1)
    answers = centres.copy()
    for inside, outside in grouped_folds(groups, seed=seed):
        asked = outside[usable[outside]]
        if len(asked):
            learnt = inside[plain[inside]]
            line = fitted_line(columns[learnt], targets[learnt]).predict(columns[asked])
            answers[asked] = _joined(centres[asked], line, shares[asked])
    return answers


def _joined(of_forest: FloatArray, of_line: FloatArray, share: FloatArray | float) -> FloatArray:
    """The answer of the forest and that of the line, which has this share of it; all of the fourth root."""
    return (1 - share) * of_forest + share * of_line


def fitted_line(columns: FloatArray, targets: FloatArray) -> Pipeline:
    """A robust linear fit of standardised (n, d) columns to (n,) targets."""
    from sklearn.linear_model import HuberRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000)).fit(columns, targets)


def fitted_correction(columns: FloatArray, targets: FloatArray, seed: int) -> VotingRegressor:
    """The mean of extremely randomised trees and a support vector regression of (n, d) columns, fitted to (n,) targets.

    Trees do not follow a NEB that went wrong by electronvolts; the kernel is the better of the two between materials
    that are alike.
    """
    from sklearn.ensemble import ExtraTreesRegressor, VotingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    trees = ExtraTreesRegressor(N_TREES, min_samples_leaf=SMALLEST_LEAF, random_state=seed)
    kernel = make_pipeline(StandardScaler(), SVR(**KERNEL))
    return VotingRegressor([("trees", trees), ("kernel", kernel)]).fit(columns, targets)


def _facts(paths: Sequence[MigrationPath]) -> FloatArray:
    """(n, 4) `FACTS` of each path."""
    if not paths:
        return np.empty((0, len(FACTS)))
    return descriptor_table(paths)[list(FACTS)].to_numpy()


def mattersim_bands() -> Bands:
    """Coarse NEBs with MatterSim: what ships, and what is computed where it does not."""
    return Bands(shipped("mattersim-coarse"), _mattersim)


def _mattersim() -> BandModel:
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
        raise _too_few(len(rows), len(train))
    return [t for t, _ in rows], np.array([_energies(band) for _, band in rows])


def _too_few(n_known: int, n_train: int) -> EmigbenchError:
    return EmigbenchError(f"Only {n_known} of {n_train} training paths have a band, and {FEWEST} are needed.")


def _energies(band: BandEnergies) -> FloatArray:
    """(2,) fourth roots of `ENERGIES`."""
    return np.asarray([getattr(band, energy) for energy in ENERGIES]) ** POWER
