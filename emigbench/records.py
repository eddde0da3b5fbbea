"""The records that everything else passes on: a migration path, its label, a prediction.

Records are frozen and their arrays are read-only, so no model can change the data that the next one sees.
`MigrationPath` has no label field: hiding the answer from a model is a type, not a flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
State = Literal["charged", "discharged", "intermediate", "electrolyte", "unknown"]
Status = Literal["ok", "not_converged", "failed"]
OfficialSide = Literal["train", "test"]
"""Of the paper's own split."""

N_IMAGES = 5
INTERVAL_LEVEL = 0.9
"""Of the interval that a prediction may carry."""


def _frozen_array(values: object, shape: tuple[int, int], name: str, path_id: str) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{path_id}: {name} has shape {array.shape}, expected {shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{path_id}: {name} holds a value that is not finite.")
    array.setflags(write=False)
    return array


class _ReadOnlyDict(dict[str, str]):
    """A dictionary that refuses writes; unlike a mapping proxy it can be copied, pickled and written as JSON."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("The source's strings cannot be changed.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[_ReadOnlyDict], tuple[dict[str, str]]]:
        return _ReadOnlyDict, (dict(self),)


@dataclass(frozen=True, eq=False)
class MigrationPath:
    """One hop of one ion in one structure: what a model sees.

    Attributes:
        id: unique name of the path, as in the source files (`sys_name`).
        material_id: name of the material, equal for all paths of one structure.
        structural_group: one of the 27 groups of the dataset.
        mobile_ion: element symbol of the moving ion.
        composition: formula as the source's table gives it, typing errors mended.
        state: how full the host is of the mobile ion.
        lattice: (3, 3) Å, rows are the cell vectors.
        host_species: n element symbols of every atom but the moving one.
        host_frac_coords: (n, 3) fractional, inside [0, 1), at the initial state.
        band_frac_coords: (5, 3) fractional and unwrapped: initial site, three linear images, final site.
        final_lattice: (3, 3) Å of the final state, where the source relaxed it apart; else None.
        final_host_frac_coords: (n, 3) of the final state, each atom at the image nearest to its place in the
            initial state, where the source relaxed it apart; else None.
        xc: exchange-correlation functional of the barrier (GGA, GGA+U, SCAN, LDA).
        space_group: international symbol, standard setting.
        crystal_system: one of the seven, capitalised.
        path_label: the source's own words for the path.
        flags: findings about the geometry, see `emigbench.datasets.findings`.
        raw: the source's strings for the fields that curation may change; none of a path that is not of the dataset.
    """

    id: str
    material_id: str
    structural_group: str
    mobile_ion: str
    composition: str
    state: State
    lattice: FloatArray
    host_species: tuple[str, ...]
    host_frac_coords: FloatArray
    band_frac_coords: FloatArray
    final_lattice: FloatArray | None = None
    final_host_frac_coords: FloatArray | None = None
    xc: str = "unknown"
    space_group: str = ""
    crystal_system: str = ""
    path_label: str = ""
    flags: tuple[str, ...] = ()
    raw: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_host = len(self.host_species)
        if self.state not in get_args(State):
            raise ValueError(f"{self.id}: unknown state {self.state!r}, expected one of {get_args(State)}.")
        if (self.final_lattice is None) != (self.final_host_frac_coords is None):
            raise ValueError(f"{self.id}: a final lattice and a final host come together or not at all.")
        shapes = {
            "lattice": (3, 3),
            "host_frac_coords": (n_host, 3),
            "band_frac_coords": (N_IMAGES, 3),
            "final_lattice": (3, 3),
            "final_host_frac_coords": (n_host, 3),
        }
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _frozen_array(values, shape, name, self.id))
        object.__setattr__(self, "host_species", tuple(self.host_species))
        object.__setattr__(self, "flags", tuple(self.flags))
        object.__setattr__(self, "raw", _ReadOnlyDict(self.raw))

    def __reduce__(self) -> tuple[type[MigrationPath], tuple[object, ...]]:
        """Be made anew in a worker process, since arrays lose on the way that they are read-only."""
        return MigrationPath, tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def __repr__(self) -> str:
        facts = f"{self.mobile_ion} in {self.composition}, {self.n_atoms} atoms, hop of {self.hop_length:.2f} Å"
        return f"<MigrationPath {self.id}: {facts}>"

    @property
    def hop_length(self) -> float:
        """Straight distance from the initial to the final site along the band, in Å."""
        return float(np.linalg.norm((self.band_frac_coords[-1] - self.band_frac_coords[0]) @ self.lattice))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell: the host and the one moving ion."""
        return len(self.host_species) + 1

    @property
    def final_cell(self) -> tuple[FloatArray, FloatArray]:
        """Lattice (3, 3) in Å and host (n, 3) of the final state; those of the initial one unless relaxed apart."""
        if self.final_lattice is None or self.final_host_frac_coords is None:
            return self.lattice, self.host_frac_coords
        return self.final_lattice, self.final_host_frac_coords

    def structure(self, image: int = 0) -> Structure:
        """The cell with the moving ion at one image of the band, as a pymatgen Structure.

        The moving ion is site 0. The final image (4, or -1) takes the final cell and host where the source
        relaxed them apart.

        Raises:
            IndexError: if `image` is outside the band.
        """
        from pymatgen.core.structure import Structure

        is_final = range(N_IMAGES)[image] == N_IMAGES - 1
        lattice, host = self.final_cell if is_final else (self.lattice, self.host_frac_coords)
        coords = np.vstack([self.band_frac_coords[image], host])
        return Structure(lattice, [self.mobile_ion, *self.host_species], coords)


@dataclass(frozen=True, eq=False)
class LabelledPath:
    """A path and what DFT-NEB says about it: what a model is fitted to.

    Attributes:
        path: what a model may see at prediction.
        e_m: migration barrier of the literature, in eV.
        split: side of the paper's own split.
        label_flags: findings about the label (conflicting, suspiciously small or large).
        duplicate_of: id of the first path with a symmetry-identical band (its own id for that first one), or ""
            where the band is unique. It stands here because it would tell a model where to look a label up.
    """

    path: MigrationPath
    e_m: float
    split: OfficialSide
    label_flags: tuple[str, ...] = ()
    duplicate_of: str = ""

    def __repr__(self) -> str:
        return f"<LabelledPath {self.id}: {self.e_m:g} eV, {self.split}>"

    @property
    def id(self) -> str:
        """The id of the path."""
        return self.path.id


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one path.

    Attributes:
        id: id of the path.
        e_m: predicted barrier in eV; None only where `status` is "failed".
        std: predicted standard deviation in eV, if the model gives one.
        status: "ok", "not_converged" (a value that the model itself does not trust) or "failed".
        seconds: time that this path took, where the model measures paths one by one.
        low: lower end of the 90% interval of the barrier in eV, if the model gives one; `e_m` may lie outside, as a
            mean can of its own quantiles.
        high: upper end of it; there are both ends or none.
        cautions: why the path is outside of what the model can judge, each a plain sentence.
    """

    id: str
    e_m: float | None
    std: float | None = None
    status: Status = "ok"
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise ValueError(f"The id of a prediction is of type {type(self.id).__name__}, not a text such as path.id.")
        for name in ("e_m", "std", "seconds", "low", "high"):  # plain floats, whatever a model computes with
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, self._number(name, value))
        object.__setattr__(self, "cautions", tuple(str(caution) for caution in self.cautions))
        if self.status not in get_args(Status):
            raise ValueError(f"{self.id}: unknown status {self.status!r}, expected one of {get_args(Status)}.")
        if self.status == "failed":
            if self.e_m is not None:
                raise ValueError(f"{self.id}: a failed prediction carries no barrier, got {self.e_m}.")
        elif self.e_m is None or not math.isfinite(self.e_m):
            raise ValueError(
                f"{self.id}: the predicted barrier is {self.e_m}, expected a finite number in eV; where there is none, "
                f"give e_m=None and status='failed'."
            )
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0):
            raise ValueError(f"{self.id}: the predicted std is {self.std}, expected a finite number >= 0 in eV.")
        self._check_interval()
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"{self.id}: the time is {self.seconds}, expected a finite number >= 0 in seconds.")

    def _number(self, name: str, value: Any) -> float:
        """A plain float; arrays and tensors of one number count as that number."""
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            return float(value.item() if hasattr(value, "item") else value)
        except Exception as error:  # each library refuses in its own way
            shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
            raise ValueError(f"{self.id}: {name} is a {type(value).__name__}{shape}, expected one number.") from error

    def _check_interval(self) -> None:
        if self.low is None and self.high is None:
            return
        if self.low is None or self.high is None or self.e_m is None:
            raise ValueError(f"{self.id}: an interval has a lower end, an upper end and a barrier, or is not given.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(
                f"{self.id}: the interval is {self.low} to {self.high} eV, expected two finite numbers, the lower one "
                f"first."
            )
