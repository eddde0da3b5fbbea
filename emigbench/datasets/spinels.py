"""The embedded dataset: cubic spinels, rebuilt from a few figures each.

A spinel A B2 X4 has space group Fd-3m and, in its cubic cell, 8 A (on 8a), 16 B (16d) and 32 X (32e). Two
figures fix all places: the lattice parameter a and the anion parameter u (with the origin at an A site, so
that 3/8 is ideal close packing of X). The ion moves from one 8a site to a neighbouring one; these two sites
also fix the origin and the orientation of the cell, so that structures stay in the source's own frame. The
other six 8a sites hold the same ion ("filled") or nothing ("empty").

`spinels.csv` holds these figures for every path of the source whose host and band are Fd-3m within
`TOLERANCE`, fitted by `table_from` to the structures of Devi, Butler, Sai Gautam, npj Computational Materials
2026, DOI 10.1038/s41524-026-01972-8. Barriers and all other facts are in `labels.csv`, under the same id.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from emigbench.datasets.geometry import wrapped
from emigbench.records import N_IMAGES, FloatArray, MigrationPath
from emigbench.storage import csv_text, write_text

Filling = Literal["filled", "empty"]
HostOrder = Literal["ABX", "BAX", "BX"]
Site = tuple[float, float, float]

TABLE = Path(__file__).with_name("spinels.csv")
TOLERANCE = 0.01  # Å
IDEAL_U = 0.375
DECIMALS = 6  # of a in Å and of u: places move by less than 2e-5 Å
DEVIATION_DECIMALS = 5

# Fractional places relative to an 8a site whose nearest 8a sites lie along _TETRAHEDRON. Each X belongs to
# one 8a site, at (u - 1/4) * direction from it, and turns away from that site's nearest 8a sites.
_FACES = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
_A_SITES = np.vstack([_FACES, _FACES + 0.25])
_B_SITES = np.vstack([_FACES + corner for corner in 0.625 + _FACES / 2])
_X_CENTRES = np.repeat(_A_SITES, 4, axis=0)
_X_DIRECTIONS = np.vstack([-_TETRAHEDRON] * 4 + [_TETRAHEDRON] * 4)


class NotSpinelError(ValueError):
    """The structure is no Fd-3m spinel within the tolerance; the message says what is different."""


@dataclass(frozen=True)
class SpinelFigures:
    """What determines one path in a cubic spinel: a row of `spinels.csv`.

    Attributes:
        id: id of the path, as in `labels.csv`.
        mobile_ion: element on the 8a sites, the moving ion.
        b_species: element on the 16d sites.
        x_species: element on the 32e sites.
        a_a: lattice parameter in Å.
        u: anion parameter, fractional, with the origin at an 8a site (ideal packing: 3/8).
        filling: what the six 8a sites outside the hop hold, the mobile ion or nothing.
        host_order: order of the species in the source's host.
        initial: 8a site where the hop starts, fractional and unwrapped.
        final: 8a site where it ends, next to `initial`.
        max_deviation_a: largest distance in Å between the source's atoms, band images or cell vectors and
            those that the figures give.
    """

    id: str
    mobile_ion: str
    b_species: str
    x_species: str
    a_a: float
    u: float
    filling: Filling
    host_order: HostOrder
    initial: Site
    final: Site
    max_deviation_a: float

    def __post_init__(self) -> None:
        for name, allowed in (("filling", Filling), ("host_order", HostOrder)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{self.id}: {name} is {getattr(self, name)!r}, not in {get_args(allowed)}.")
        if ("A" in self.host_order) != (self.filling == "filled"):
            raise ValueError(f"{self.id}: host_order {self.host_order} is not of a host {self.filling!r}.")
        if not _neighbours(self.initial, self.final):
            raise ValueError(f"{self.id}: the hop does not join neighbouring 8a sites.")


class Geometry(NamedTuple):
    """A rebuilt path, in the layout of `MigrationPath`.

    Attributes:
        lattice: (3, 3) Å, rows are the cell vectors.
        host_species: n element symbols.
        host_frac_coords: (n, 3) fractional, inside [0, 1).
        band_frac_coords: (5, 3) fractional and unwrapped.
    """

    lattice: FloatArray
    host_species: tuple[str, ...]
    host_frac_coords: FloatArray
    band_frac_coords: FloatArray


def geometry(row: SpinelFigures) -> Geometry:
    """Lattice, host and band of a row; the same bits on every platform."""
    sites = {"A": _a_sites(row), "B": _place(row, _B_SITES), "X": _x_sites(row)}
    elements = {"A": row.mobile_ion, "B": row.b_species, "X": row.x_species}
    species = tuple(elements[kind] for kind in row.host_order for _ in sites[kind])
    host = np.vstack([sites[kind] for kind in row.host_order])
    hop = np.subtract(row.final, row.initial)
    steps = np.arange(N_IMAGES)[:, None] / (N_IMAGES - 1)
    return Geometry(row.a_a * np.eye(3), species, host, np.array(row.initial) + steps * hop)


def _hand(row: SpinelFigures) -> float:
    """1 where the neighbours of the initial site lie along `_TETRAHEDRON`, -1 where they lie opposite.

    The two halves of the 8a sites differ in this, and an inversion swaps them.
    """
    return float(np.sign(np.prod(np.subtract(row.final, row.initial))))


def _place(row: SpinelFigures, relative: FloatArray) -> FloatArray:
    """Wrapped fractional coordinates of places given relative to the initial site."""
    return wrapped(np.array(row.initial) + _hand(row) * relative)


def _a_sites(row: SpinelFigures) -> FloatArray:
    """(6, 3): the 8a sites without the two ends of the hop."""
    ends = wrapped(np.array([row.initial, row.final])).tolist()
    return np.array([site for site in _place(row, _A_SITES).tolist() if site not in ends])


def _x_sites(row: SpinelFigures) -> FloatArray:
    """(32, 3): the 32e sites."""
    return _place(row, _X_CENTRES + (row.u - 0.25) * _X_DIRECTIONS)


def fit(source: Geometry, *, mobile_ion: str, id: str = "") -> SpinelFigures:
    """Fit a and u (least squares) to a path in a conventional spinel cell.

    Args:
        source: the path; its host may be at any lattice image.
        mobile_ion: element of the moving ion.
        id: id of the path.

    Raises:
        NotSpinelError: if an atom, an image or a cell vector is `TOLERANCE` or more from its place in Fd-3m.
    """
    a = float(np.trace(source.lattice)) / 3
    if _cell_deviation(source.lattice, a) >= TOLERANCE:
        raise NotSpinelError("the cell is not cubic along x, y, z")
    b_species, x_species, host_order = _chemistry(source.host_species, mobile_ion)
    initial, final = (_nearest_eighths(source.band_frac_coords[image]) for image in (0, -1))
    if not _neighbours(initial, final):
        raise NotSpinelError("the hop does not join neighbouring 8a sites")
    row = SpinelFigures(
        id=id,
        mobile_ion=mobile_ion,
        b_species=b_species,
        x_species=x_species,
        a_a=round(a, DECIMALS),
        u=IDEAL_U,
        filling="filled" if "A" in host_order else "empty",
        host_order=host_order,
        initial=initial,
        final=final,
        max_deviation_a=0.0,
    )
    row = replace(row, u=round(_fit_u(row, _sites_of(x_species, source)), DECIMALS))
    deviation = _deviation(row, source)
    if deviation >= TOLERANCE:
        raise NotSpinelError(f"{deviation:.3f} Å from Fd-3m")
    return replace(row, max_deviation_a=round(deviation, DEVIATION_DECIMALS))


def _chemistry(species: Sequence[str], mobile_ion: str) -> tuple[str, str, HostOrder]:
    """Elements on 16d and 32e, and the order of the species in the host."""
    elements: dict[str, str] = {}
    for element, n in Counter(species).items():
        kind = {6: "A", 16: "B", 32: "X"}.get(n, "?")
        elements["?" if kind == "A" and element != mobile_ion else kind] = element
    order = "".join(elements)
    if order not in get_args(HostOrder):
        raise NotSpinelError("the host is not 16 B and 32 X with none or six of the mobile ion")
    return elements["B"], elements["X"], cast(HostOrder, order)


def _neighbours(initial: Site, final: Site) -> bool:
    """Whether the two sites differ by a quarter of the cell along x, y and z, as neighbouring 8a sites do."""
    return all(abs(end - start) == 0.25 for start, end in zip(initial, final, strict=True))


def _sites_of(element: str, source: Geometry) -> FloatArray:
    return np.asarray(source.host_frac_coords)[[s == element for s in source.host_species]]


def _nearest_eighths(coords: FloatArray) -> Site:
    x, y, z = (round(float(c) * 8) / 8 for c in coords)
    return x, y, z


def _fit_u(row: SpinelFigures, anions: FloatArray) -> float:
    """Least-squares u: a mean, as each coordinate of each anion is linear in u with slope 1 or -1."""
    index, offsets = _nearest(anions, _x_sites(row))
    directions = _hand(row) * _X_DIRECTIONS[index]
    return row.u + float(np.mean(offsets * directions))


def _nearest(coords: FloatArray, sites: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """For each place its own site, and the fractional offset from there (n, 3)."""
    offsets = coords[:, None] - sites[None]
    offsets -= np.round(offsets)
    index = np.argmin((offsets**2).sum(axis=2), axis=1)
    if len(set(index)) != len(sites):
        raise NotSpinelError("an atom is missing from its site")
    return index, offsets[np.arange(len(coords)), index]


def _cell_deviation(lattice: FloatArray, a: float) -> float:
    return float(np.linalg.norm(lattice - a * np.eye(3), axis=1).max())


def _deviation(row: SpinelFigures, source: Geometry) -> float:
    """Largest distance in Å between a path and what its figures give: atoms, band images, cell vectors."""
    ideal = geometry(row)
    offsets = [_nearest(_sites_of(e, source), _sites_of(e, ideal))[1] for e in set(ideal.host_species)]
    offsets.append(source.band_frac_coords - ideal.band_frac_coords)
    distances = np.linalg.norm(np.vstack(offsets) @ source.lattice, axis=1)
    return max(float(distances.max()), _cell_deviation(source.lattice, row.a_a))


def table_from(paths: Iterable[MigrationPath]) -> list[SpinelFigures]:
    """Figures of all paths that are cubic spinels, ordered by id."""
    rows = []
    for path in paths:
        source = Geometry(path.lattice, path.host_species, path.host_frac_coords, path.band_frac_coords)
        with suppress(NotSpinelError):
            rows.append(fit(source, mobile_ion=path.mobile_ion, id=path.id))
    return sorted(rows, key=lambda row: row.id)


_SITES = ("initial", "final")  # three columns each: initial_x, initial_y, initial_z
_DECIMALS = {"a_a": DECIMALS, "u": DECIMALS, "max_deviation_a": DEVIATION_DECIMALS}


def read_table(file: Path = TABLE) -> list[SpinelFigures]:
    """Rows of `spinels.csv`, in its order."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [_parse(record) for record in csv.DictReader(stream)]


def write_table(rows: Iterable[SpinelFigures], file: Path = TABLE) -> None:
    """Write rows as `read_table` reads them."""
    records = [_format(row) for row in rows]
    write_text(file, csv_text([records[0].keys(), *(record.values() for record in records)]))


def _parse(record: dict[str, str]) -> SpinelFigures:
    values: dict[str, Any] = dict(record)
    for name in _DECIMALS:
        values[name] = float(values[name])
    for name in _SITES:
        values[name] = tuple(float(values.pop(f"{name}_{axis}")) for axis in "xyz")
    return SpinelFigures(**values)


def _format(row: SpinelFigures) -> dict[str, str]:
    record: dict[str, str] = {}
    for name in (field.name for field in fields(row)):
        value = getattr(row, name)
        if name in _SITES:
            record |= {f"{name}_{axis}": f"{number:g}" for axis, number in zip("xyz", value, strict=True)}
        else:
            record[name] = f"{value:.{_DECIMALS[name]}f}" if name in _DECIMALS else value
    return record
