"""What every metric looks at: predicted beside true barriers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emigbench.records import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Predicted and true barriers of n paths; row i of every array is one path. Arrays are read-only copies.

    Attributes:
        e_m: (n,) eV, the literature's barriers.
        predicted: (n,) eV.
        material: (n,) names of the paths' materials.
        std: (n,) eV, predicted standard deviations, or None for a model that gives none.
        low, high: (n,) eV, ends of the predicted 90% intervals, or None for a model that gives none.
        cluster: (n,) names of what resampling draws as a whole; the materials if not given.
        material_code, cluster_code: (n,) whole numbers, equal where the materials or clusters are.

    Raises:
        ValueError: if the lengths differ, a number is not finite or a std is negative.
    """

    e_m: FloatArray
    predicted: FloatArray
    material: NDArray[np.str_]
    std: FloatArray | None = None
    cluster: NDArray[np.str_] = None  # type: ignore[assignment]  # an array as soon as there is a sample
    low: FloatArray | None = None
    high: FloatArray | None = None
    material_code: IntArray = field(init=False, repr=False)
    cluster_code: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        material = np.array(self.material, dtype=np.str_)
        cluster = material if self.cluster is None else np.array(self.cluster, dtype=np.str_)
        for name, names in (("material", material), ("cluster", cluster)):
            self._freeze(name, names, (material.size,))
            self._freeze(f"{name}_code", np.unique(names, return_inverse=True)[1], material.shape)
        for name in ("e_m", "predicted", "std", "low", "high"):
            if getattr(self, name) is not None:
                self._freeze(name, np.array(getattr(self, name), dtype=np.float64), material.shape)
        if self.std is not None and (self.std < 0).any():
            raise ValueError("std holds a negative value.")
        if (self.low is None) != (self.high is None):
            raise ValueError("An interval has both ends, or there is none.")

    def _freeze(self, name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}: one entry a path.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not finite.")
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.e_m)

    @property
    def error(self) -> FloatArray:
        """(n,) eV, predicted minus true: positive where the model's barrier is too high."""
        return self.predicted - self.e_m

    @property
    def ones(self) -> FloatArray:
        """(n,) weights that count each path once."""
        return np.ones(len(self))
