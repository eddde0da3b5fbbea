"""Floors: predictions that any model has to beat. Of the geometry they see the hop length at most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction


class _Floor:
    """Keeps the training paths; a floor answers `barrier` for one path at a time."""

    kind = "floor"

    def __init__(self) -> None:
        self._train: tuple[LabelledPath, ...] = ()

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Keep the training paths. Nothing is random here: the seed has no effect."""
        if not train:
            raise EmigbenchError(f"{type(self).__name__} needs at least one training path, got none.")
        self._train = tuple(train)

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV, one for each path."""
        if not self._train:
            raise EmigbenchError(f"{type(self).__name__} has to be fitted before it predicts.")
        return [Prediction(path.id, self.barrier(path), cautions=self.cautions(path)) for path in paths]

    def barrier(self, path: MigrationPath) -> float:
        """Predicted barrier of one path, in eV."""
        raise NotImplementedError

    def cautions(self, path: MigrationPath) -> tuple[str, ...]:
        """Why the floor cannot judge a path."""
        return ()


class _GroupFloor(_Floor):
    """A floor that looks at the training paths of the same structural group first."""

    def cautions(self, path: MigrationPath) -> tuple[str, ...]:
        """What is missing where no group is given."""
        if path.structural_group:
            return ()
        return (
            "no structural group was given, so the median of all training paths is the answer; emigbench predict takes "
            "it with --group",
        )

    def _same_group(self, path: MigrationPath) -> list[LabelledPath]:
        return [t for t in self._train if t.path.structural_group == path.structural_group]


class TrainMean(_Floor):
    """Mean E_m of the training paths."""

    def barrier(self, path: MigrationPath) -> float:
        """The same value, in eV, for every path."""
        return fmean(_barriers(self._train))


class TrainMedian(_Floor):
    """Median E_m of the training paths."""

    def barrier(self, path: MigrationPath) -> float:
        """The same value, in eV, for every path."""
        return median(_barriers(self._train))


class GroupMedian(_GroupFloor):
    """Median E_m of the training paths of the same structural group, of all of them where there is none."""

    def barrier(self, path: MigrationPath) -> float:
        """One value, in eV, for each structural group."""
        return median(_barriers(self._same_group(path) or self._train))


class NearestHop(_GroupFloor):
    """Median E_m of the three training paths with the most similar hop.

    They are of the same structural group and mobile ion, and nearest in hop length (equally near ones by id).
    Where a group has no path of that ion, the median of the group is taken, where there is no such group, the
    median of all training paths.
    """

    n_neighbours = 3

    def barrier(self, path: MigrationPath) -> float:
        """Median, in eV, over the paths that are most like this one."""
        group = self._same_group(path)
        same_ion = [t for t in group if t.path.mobile_ion == path.mobile_ion]
        hop = path.hop_length
        nearest = sorted(same_ion, key=lambda t: (abs(t.path.hop_length - hop), t.id))[: self.n_neighbours]
        return median(_barriers(nearest or group or self._train))


def _barriers(labelled: Iterable[LabelledPath]) -> list[float]:
    return [t.e_m for t in labelled]
