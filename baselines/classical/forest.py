"""A forest of regression trees as plain arrays: grown by scikit-learn, kept without pickle, read by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emigbench.records import FloatArray

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

LEAF = -1


@dataclass(frozen=True, eq=False)
class Forest:
    """All nodes of all trees, one after the other.

    Attributes:
        roots: (t,) node that each tree starts with.
        feature: (n,) column that a node asks about, LEAF where it asks nothing.
        threshold: (n,) a path goes left if its value is at most this.
        left: (n,) next node; of a leaf, itself.
        right: (n,) likewise.
        value: (n,) answer of a leaf.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]

    def answers(self, table: FloatArray) -> FloatArray:
        """(p, t) what each tree answers for each row of a (p, columns) table without NaN."""
        rows = table.astype(np.float32)
        at = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        while (self.feature[at] != LEAF).any():
            asked = np.take_along_axis(rows, np.maximum(self.feature[at], 0), axis=1)
            at = np.where(asked <= self.threshold[at], self.left[at], self.right[at])
        return self.value[at].astype(np.float64)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, as `from_arrays` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Forest:
    """A forest from its arrays, checked: a damaged file must not send a reader round in circles.

    Raises:
        ValueError: if an array is missing, has another type or shape, or a node leads backwards or outside.
    """
    types = {"roots": "i4", "feature": "i2", "threshold": "f4", "left": "i4", "right": "i4", "value": "f4"}
    for name, kind in types.items():
        if name not in arrays or arrays[name].dtype != np.dtype(kind) or arrays[name].ndim != 1:
            raise ValueError(f"{name} is missing or not a list of {np.dtype(kind).name}")
    forest = Forest(**{name: arrays[name] for name in types})  # type: ignore[arg-type]
    n = len(forest.feature)
    if any(len(arrays[name]) != n for name in types if name != "roots"):
        raise ValueError("its arrays have different lengths")
    inner = np.flatnonzero(forest.feature != LEAF)
    onward = all(((to[inner] > inner) & (to[inner] < n)).all() for to in (forest.left, forest.right))
    if not onward or not ((forest.roots >= 0) & (forest.roots < n)).all() or (forest.feature < LEAF).any():
        raise ValueError("a node leads nowhere")
    return forest


def from_sklearn(grown: ExtraTreesRegressor) -> Forest:
    """The same forest as arrays. Thresholds are rounded down to what a 32-bit value can be compared with."""
    trees = [estimator.tree_ for estimator in grown.estimators_]
    starts = np.cumsum([0] + [tree.node_count for tree in trees])[:-1]
    threshold = np.concatenate([tree.threshold for tree in trees])
    rounded = threshold.astype(np.float32)
    rounded = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    feature = np.concatenate([tree.feature for tree in trees])
    own = np.arange(len(feature))

    def onward(name: str) -> NDArray[np.int32]:
        to = np.concatenate([getattr(tree, name) + start for tree, start in zip(trees, starts, strict=True)])
        return np.where(feature < 0, own, to).astype(np.int32)

    return Forest(
        roots=starts.astype(np.int32),
        feature=np.maximum(feature, LEAF).astype(np.int16),
        threshold=rounded.astype(np.float32),
        left=onward("children_left"),
        right=onward("children_right"),
        value=np.concatenate([tree.value[:, 0, 0] for tree in trees]).astype(np.float32),
    )
