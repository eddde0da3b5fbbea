"""Energies along finished bands as a table, so that a model that learns from them needs no potential.

The bands of the training paths took hours. Their energies ship with the package, a table for each potential and way
to use it, found by the geometry of a path. A path that no table has is computed when it is asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
from emigbench.datasets.hashing import geometry_hash
from emigbench.errors import in_words
from emigbench.records import Status

if TYPE_CHECKING:
    from emigbench_baselines.neb.band import NebResult
    from emigbench_baselines.neb.potentials import Potential

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BandEnergies:
    """What a table keeps of a band.

    Attributes:
        id: of the path when the table was written, for people.
        status: how the band ended, as in `NebResult`.
        energies_ev: of each image, in eV; empty where it failed.
    """

    id: str
    status: Status
    energies_ev: tuple[float, ...]

    @property
    def forward(self) -> float:
        """Highest image minus the first, in eV."""
        return max(self.energies_ev) - self.energies_ev[0]

    @property
    def backward(self) -> float:
        """Highest image minus the last, in eV."""
        return max(self.energies_ev) - self.energies_ev[-1]

    @property
    def span(self) -> float:
        """Highest image minus the lowest, in eV."""
        return max(self.energies_ev) - min(self.energies_ev)


@dataclass(frozen=True)
class EnergyTable:
    """Energies of bands that were computed alike.

    Attributes:
        potential: name of the potential.
        fingerprint: of its weights.
        settings: how the bands were computed.
        bands: hash of a path's geometry -> what is kept of its band.
    """

    potential: str
    fingerprint: str
    settings: Mapping[str, Any]
    bands: Mapping[str, BandEnergies]


class BandModel(Protocol):
    """What runs bands: the models of `emigbench_baselines.neb.models`."""

    @property
    def potential(self) -> Potential:
        """The potential."""

    def result(self, path: MigrationPath) -> NebResult:
        """The band of a path."""


class Bands:
    """Bands of any path: those of a table, and what a model says of the others.

    Args:
        table: what is known already.
        make: the model that the table was made with; called once, for the first path that the table does not have.
    """

    def __init__(self, table: EnergyTable, make: Callable[[], BandModel]) -> None:
        self.table = table
        self._make = make
        self._model: BandModel | None = None

    def known(self, path: MigrationPath) -> BandEnergies | None:
        """The band of a path if the table has it."""
        return self.table.bands.get(geometry_hash(path))

    def of(self, path: MigrationPath) -> BandEnergies:
        """The band of a path, computed if need be; failed where the potential breaks off.

        Raises:
            EmigbenchError: if it has to be computed, and the potential is not there or not the table's.
        """
        if (known := self.known(path)) is not None:
            return known
        model = self.model()
        try:
            return band_energies(path, model.result(path))
        except EmigbenchError:
            raise
        except Exception as error:  # a potential raises what it likes: memory, its own bugs
            log.warning("%s: %s broke off (%s).", path.id, self.table.potential, in_words(error))
            return BandEnergies(path.id, "failed", ())

    def model(self) -> BandModel:
        """What runs bands that the table does not have; made once.

        Raises:
            EmigbenchError: if the potential is not there or not the table's.
        """
        if self._model is None:
            model = self._make()
            if (model.potential.name, model.potential.fingerprint) != (self.table.potential, self.table.fingerprint):
                raise EmigbenchError(
                    f"The weights of {model.potential.name} are not those that the table of {self.table.potential} was "
                    f"made with. Install the version of constraints.txt, and let no variable (EMIGBENCH_MATTERSIM, "
                    f"EMIGBENCH_MACE) name other weights."
                )
            self._model = model
        return self._model


class ShippedBarriers:
    """Barriers of the bands that ship with the package, as they are: what a correction of them has to beat.

    It computes nothing, so a path that the table does not have has no answer.
    """

    kind = "interatomic-potential"

    def __init__(self) -> None:
        self._table = shipped("mattersim-coarse")
        self.details = {"potential": self._table.potential, "settings": dict(self._table.settings)}

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Do nothing: the potential is as its authors trained it."""

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV, the highest image above the first; none where the band failed or is not in the table."""
        return [self._of(path) for path in paths]

    def _of(self, path: MigrationPath) -> Prediction:
        band = self._table.bands.get(geometry_hash(path))
        if band is None:
            return Prediction(path.id, None, status="failed", cautions=("its band does not ship with the package",))
        return Prediction(path.id, None if band.status == "failed" else band.forward, status=band.status)


def band_energies(path: MigrationPath, result: NebResult) -> BandEnergies:
    """What a table keeps of a finished band."""
    return BandEnergies(path.id, result.status, tuple(round(energy, 5) for energy in result.energies))


def shipped(name: str) -> EnergyTable:
    """A table that ships with the package, such as "mattersim-coarse".

    Raises:
        EmigbenchError: if it is missing or damaged.
    """
    file = files("emigbench_baselines.neb") / "energies" / f"{name}.json"
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmigbenchError(f"The energies of {name!r} are missing or damaged; install emigbench again.") from error


def from_json(text: str) -> EnergyTable:
    """Read what `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: if it is something else.
    """
    content = json.loads(text)
    return EnergyTable(
        potential=content["potential"],
        fingerprint=content["fingerprint"],
        settings=content["settings"],
        bands={
            row["geometry"]: BandEnergies(row["id"], row["status"], tuple(map(float, row["energies_ev"])))
            for row in content["bands"]
        },
    )


def to_json(table: EnergyTable) -> str:
    """The table as text, a path a line, by id."""
    rows = sorted(({**asdict(band), "geometry": key} for key, band in table.bands.items()), key=lambda row: row["id"])
    head = json.dumps({**asdict(table), "bands": []}, indent=1, ensure_ascii=False)
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return head.replace('"bands": []', f'"bands": [\n  {lines}\n ]') + "\n"
