"""NEBs in the registry: one potential each, nothing is fitted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from emigbench import LabelledPath, MigrationPath, Prediction
from emigbench_baselines.neb import foundation, potentials, store
from emigbench_baselines.neb.band import NebResult, PathFailedError, run_neb, single_points
from emigbench_baselines.neb.endpoints import band, endpoints
from emigbench_baselines.neb.potentials import Potential
from emigbench_baselines.neb.settings import NebSettings

log = logging.getLogger(__name__)

WANDERED = 1.0
"""An ion that relaxes further than this from its site, in Å, is remarked on."""


class _PotentialModel:
    """What both sorts of model share: a potential, made when it is first needed, and the cache before it.

    Args:
        potential: makes the potential.
        how: it is used, for the record and as part of what results are kept under.
    """

    kind = "interatomic-potential"
    one_by_one = True

    def __init__(self, potential: Callable[[], Potential], how: Mapping[str, Any]) -> None:
        self._make_potential = potential
        self._how = dict(how)
        self._potential: Potential | None = None
        self._remarks: dict[str, str] = {}

    @property
    def potential(self) -> Potential:
        """The potential, made once.

        Raises:
            EmigbenchError: if it is not installed or its weights are not there.
        """
        if self._potential is None:
            self._potential = self._make_potential()
        return self._potential

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Do nothing: the potential is as its authors trained it."""

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """The forward barrier of each path. A path that fails does not stop the others."""
        return [self._predict(path) for path in paths]

    def _predict(self, path: MigrationPath) -> Prediction:
        result = self.result(path)
        if remarks := [text for text in (result.reason, *result.notes, *_wandered(path, result)) if text]:
            self._remarks[path.id] = "; ".join(remarks)
        if result.status != "ok":
            log.warning("%s: %s: %s.", path.id, result.status.replace("_", " "), result.reason)
        barrier = None if result.status == "failed" else result.forward
        return Prediction(path.id, barrier, status=result.status, seconds=result.seconds)

    def kept(self, path: MigrationPath) -> NebResult | None:
        """The band of one path if the cache has it."""
        return store.read_result(path, self.potential, self._how)

    def result(self, path: MigrationPath) -> NebResult:
        """The band of one path, from the cache if it is there.

        Raises:
            EmigbenchError: if the potential is not there, or the cache cannot be written to.
        """
        if (kept := self.kept(path)) is not None:
            return kept
        started = time.perf_counter()
        try:
            result = self._compute(path)
        except PathFailedError as error:
            result = NebResult("failed", str(error), seconds=time.perf_counter() - started)
        result = replace(result, seconds=round(result.seconds, 2))  # as it will be read
        store.write_result(result, path, self.potential, self._how)
        return result

    @property
    def details(self) -> dict[str, Any]:
        """For the record: the potential, its weights, how it is used, and what to know of single paths."""
        facts = (
            {}
            if self._potential is None
            else {
                "potential": self._potential.name,
                "fingerprint": self._potential.fingerprint,
                "versions": list(self._potential.versions),
            }
        )
        return {**facts, "settings": dict(self._how), "remarks": dict(self._remarks)}

    def _compute(self, path: MigrationPath) -> NebResult:
        raise NotImplementedError


def _wandered(path: MigrationPath, result: NebResult) -> list[str]:
    """Which sites the ion left while the ends relaxed: then the barrier may be that of another hop."""
    remarks = []
    for name, end in (("initial", 0), ("final", -1)) if result.images else ():
        way = result.images[end].positions[0] - path.band_frac_coords[end] @ path.lattice
        if (length := float(np.linalg.norm(way))) > WANDERED:
            remarks.append(f"the ion leaves its {name} site by {length:.1f} Å as it relaxes")
    return remarks


class NebModel(_PotentialModel):
    """NEB between the ends of the path.

    Args:
        potential: makes the potential.
        settings: how the NEB is run.
    """

    def __init__(self, potential: Callable[[], Potential], settings: NebSettings | None = None) -> None:
        self.settings = settings or NebSettings()
        super().__init__(potential, asdict(self.settings))

    def _compute(self, path: MigrationPath) -> NebResult:
        return run_neb(endpoints(path), self.potential, self.settings, store.relax_once)


class PathEnergyModel(_PotentialModel):
    """Single points on the dataset's own five images: the ion on a straight line through a frozen host."""

    def __init__(self, potential: Callable[[], Potential]) -> None:
        super().__init__(potential, {"single_points": True})

    def _compute(self, path: MigrationPath) -> NebResult:
        return single_points(band(path), self.potential)


NO_RELAX = NebSettings(relax_endpoints=False)
COARSE = NebSettings(fmax=0.1, endpoint_steps=40, band_steps=40)
"""For models that learn from many bands: of 281 training paths 92 % (MatterSim) come to an end within these steps."""


def chgnet_neb() -> NebModel:
    """NEB with CHGNet 0.3.0."""
    return NebModel(foundation.chgnet)


def chgnet_neb_no_relax() -> NebModel:
    """NEB with CHGNet 0.3.0 between the ends as the dataset has them."""
    return NebModel(foundation.chgnet, NO_RELAX)


def chgnet_path_energy() -> PathEnergyModel:
    """Single points with CHGNet 0.3.0 on the dataset's own band."""
    return PathEnergyModel(foundation.chgnet)


def sevennet_neb() -> NebModel:
    """NEB with SevenNet-0."""
    return NebModel(foundation.sevennet)


def sevennet_l3i5_neb() -> NebModel:
    """NEB with SevenNet-l3i5."""
    return NebModel(partial(foundation.sevennet, "7net-l3i5"))


def sevennet_path_energy() -> PathEnergyModel:
    """Single points with SevenNet-0 on the dataset's own band."""
    return PathEnergyModel(foundation.sevennet)


def mattersim_neb() -> NebModel:
    """NEB with MatterSim v1.0.0 1M, or what EMIGBENCH_MATTERSIM names."""
    return NebModel(foundation.mattersim)


def mattersim_neb_coarse() -> NebModel:
    """NEB with MatterSim v1.0.0 1M in at most 40 steps a stage, for models that learn from many bands."""
    return NebModel(foundation.mattersim, COARSE)


def mace_neb() -> NebModel:
    """NEB with MACE: MACE-MP-0 "large", or what EMIGBENCH_MACE names."""
    return NebModel(foundation.mace)


def mace_neb_no_relax() -> NebModel:
    """NEB with MACE between the ends as the dataset has them."""
    return NebModel(foundation.mace, NO_RELAX)


def from_factory(spec: str) -> NebModel:
    """NEB with the ASE calculator that `MODULE:FACTORY` makes; in the registry as `neb:MODULE:FACTORY`."""
    return NebModel(partial(potentials.from_factory, spec))
