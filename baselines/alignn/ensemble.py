"""Five networks of one recipe, each trained without a fifth of the materials.

Their mean is the answer for a new path. A training path has an answer from the one network that did not see it, which
is what a model on top of this one may learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
from emigbench_baselines.alignn.models import GraphModel
from emigbench_baselines.alignn.recipes import Recipe
from emigbench_baselines.classical.folds import Fold, grouped_folds

FloatArray = NDArray[np.float64]


class FoldEnsemble:
    """Networks of one recipe, one for each fold; see the module's docstring.

    A network keeps its checkpoint until all are trained: a run that was stopped goes on with the network it was at.

    Args:
        recipe: of each network. All its paths are trained on, and the last epoch is kept.
        device: as for `GraphModel`.

    Attributes:
        unseen: after `fit`, (n,) eV, the answer for each training path from the network that did not see it.
        fit_seconds: after `fit`, the time of all trainings.
    """

    kind = "graph"

    def __init__(self, recipe: Recipe, device: str | None = None) -> None:
        self.recipe = replace(recipe, validation="none")
        self.device = device
        self.unseen: FloatArray = np.empty(0)
        self.fit_seconds = 0.0
        self.details: dict[str, Any] = {}
        self._networks: list[GraphModel] = []

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Train the networks one after the other.

        Raises:
            EmigbenchError: if a path cannot be made a graph, or the paths are of one material.
        """
        folds = folds_by_material(train, seed)
        networks = [fold_network(self.recipe, train, fold, seed + k, self.device) for k, fold in enumerate(folds)]
        self.unseen = np.full(len(train), np.nan)
        for network, (_, outside) in zip(networks, folds, strict=True):
            self.unseen[outside] = _e_m(network.predict([train[i].path for i in outside]))
        for network in networks:
            network.forget_checkpoint()
        self._networks = networks
        self.fit_seconds = sum(network.fit_seconds for network in networks)
        errors = np.abs(self.unseen - np.array([t.e_m for t in train]))
        self.details = {"cv_mae_ev": round(float(np.nanmean(errors)), 4), **networks[0].details}

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV: means of the networks' answers; failed for a path that none has an answer for."""
        if not self._networks:
            raise EmigbenchError("FoldEnsemble has to be fitted before it predicts.")
        answers = np.mean([_e_m(network.predict(paths)) for network in self._networks], axis=0)
        return [
            Prediction(path.id, float(e_m)) if np.isfinite(e_m) else Prediction(path.id, None, status="failed")
            for path, e_m in zip(paths, answers, strict=True)
        ]


def folds_by_material(train: Sequence[LabelledPath], seed: int) -> list[Fold]:
    """Five folds as pairs of (train, left out) row numbers; no two share a material."""
    return grouped_folds([t.path.material_id for t in train], seed=seed)


def fold_network(
    recipe: Recipe, train: Sequence[LabelledPath], fold: Fold, seed: int, device: str | None = None
) -> GraphModel:
    """A network trained on the paths inside a fold, or taken from the checkpoint of that training."""
    network = GraphModel(recipe, device)
    network.train([train[i] for i in fold[0]], seed=seed)
    return network


def _e_m(predictions: Sequence[Prediction]) -> FloatArray:
    """(n,) eV, NaN for a failed one."""
    return np.array([np.nan if p.e_m is None else p.e_m for p in predictions])
