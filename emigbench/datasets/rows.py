"""The dataset as a table that others can read: one row for each path, a type, a shape and a meaning for each column.

Rows hold what `labels.csv` holds and, beside it, the structures. `from_row(to_row(entry))` is the entry again, to the
last bit, so a published table has the content hash of the dataset that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from emigbench.datasets.labels import Facts
from emigbench.errors import EmigbenchError, in_words
from emigbench.records import FloatArray, LabelledPath, MigrationPath, OfficialSide

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        name: its name; figures that have a unit end in it (`_ev`, `_a` for Å).
        meaning: what stands in it, for people.
        kind: type of its values.
        shape: of nested lists, None for a length that differs from row to row; () for a single value.
    """

    name: str
    meaning: str
    kind: Literal["string", "float64", "int64"] = "string"
    shape: tuple[int | None, ...] = ()


COLUMNS = (
    Column("id", "Unique name of the path, as in the authors' files."),
    Column("split", "Side of the paper's own split: train or test."),
    Column("e_m_ev", "Migration barrier by DFT-NEB from the literature, in eV: the target.", "float64"),
    Column("structural_group", "One of 27 structural groups."),
    Column("mobile_ion", "Element of the moving ion."),
    Column("material_id", "Name of the material, equal for all paths of one structure."),
    Column("composition", "Formula, typing errors mended."),
    Column(
        "state",
        "How full the host is of the mobile ion: charged, discharged, intermediate, electrolyte or unknown.",
    ),
    Column("xc", "Exchange-correlation functional of the barrier: GGA, GGA+U, SCAN or LDA."),
    Column("space_group", "International symbol, standard setting."),
    Column("crystal_system", "One of the seven."),
    Column("path_label", "The authors' own words for the path."),
    Column("hop_length_a", "Straight length of the band, in Å.", "float64"),
    Column("n_atoms", "Atoms in the cell, with one moving ion.", "int64"),
    Column("framework", "Reduced formula of all atoms that are not of the mobile element."),
    Column("framework_cluster", "Id of the first path whose framework has the same formula and topology."),
    Column("material_cv_fold", "The fold of the split material-cv that holds the path out, 0 to 4.", "int64"),
    Column(
        "duplicate_of", "Id of the first path with a symmetry-identical band, maybe its own; empty where it is unique."
    ),
    Column("flags", "Findings about the geometry, explained below.", shape=(None,)),
    Column("label_flags", "Findings about the barrier, explained below.", shape=(None,)),
    Column(
        "space_group_framework",
        "What spglib finds at 0.1 Å without the mobile element; empty where nothing.",
    ),
    Column("space_group_filled", "The same for the host with both ends of the band occupied."),
    Column("structural_group_raw", "The authors' own string, before curation."),
    Column("composition_raw", "The authors' own string, before curation."),
    Column("space_group_raw", "The authors' own string, before curation."),
    Column("crystal_system_raw", "The authors' own string, before curation."),
    Column("lattice", "Cell vectors, one in a row, in Å.", "float64", (3, 3)),
    Column("host_species", "Element of every atom but the moving one.", shape=(None,)),
    Column("host_frac_coords", "Their fractional coordinates at the initial state.", "float64", (None, 3)),
    Column(
        "band_frac_coords",
        "Fractional coordinates of the moving ion, unwrapped: initial site, three linear images, final site.",
        "float64",
        (5, 3),
    ),
    Column(
        "final_lattice",
        "Cell vectors of the final state in Å, where the authors relaxed it apart; else null.",
        "float64",
        (3, 3),
    ),
    Column(
        "final_host_frac_coords",
        "Host of the final state, each atom at the image nearest to its initial place; else null.",
        "float64",
        (None, 3),
    ),
)
RENEW = "make it anew with emigbench data build, or with emigbench data get where EMIGBENCH_DATA is not set"
"""A copy of a dataset, whatever is wrong with it."""
SIDES: tuple[OfficialSide, ...] = get_args(OfficialSide)
"""Each has a file of its own."""
_FACTS = tuple(field.name for field in fields(Facts))
_NULLABLE = ("final_lattice", "final_host_frac_coords")
_GEOMETRY = ("lattice", "host_frac_coords", "band_frac_coords", *_NULLABLE)


def schema() -> pa.Schema:
    """The columns as Arrow knows them, and `datasets` from Arrow.

    A column with nulls is of lists of any length: Arrow up to 25 neither writes nor reads the null of a fixed length.
    """
    import pyarrow as pa

    def of(column: Column) -> Any:
        kind: Any = pa.type_for_alias(column.kind)
        shape = (None, *column.shape[1:]) if column.name in _NULLABLE else column.shape
        for length in reversed(shape):
            kind = pa.list_(kind, -1 if length is None else length)
        return kind

    return pa.schema([(column.name, of(column)) for column in COLUMNS])


def table_path(config: str, side: str) -> str:
    """Where a side of a config stands in the dataset's repository."""
    return f"data/{config}/{side}.parquet"


OFFICIAL = tuple(table_path("official", side) for side in SIDES)
"""The files that hold all records of the full dataset, in its order."""


def to_row(entry: LabelledPath, fact: Facts) -> dict[str, Any]:
    """An entry and what `labels.csv` says of it, as plain values."""
    arrays = {name: getattr(entry.path, name) for name in _GEOMETRY}
    return {
        **{name: getattr(fact, name) for name in _FACTS},
        **{name: None if values is None else values.tolist() for name, values in arrays.items()},
        "host_species": entry.path.host_species,
    }


def from_row(row: Mapping[str, Any]) -> LabelledPath:
    """The entry of a row.

    Raises:
        TypeError: if a column of texts holds something else, as the bytes of a damaged file may.
    """
    for column in COLUMNS:
        found = row[column.name] if column.shape else [row[column.name]]
        if column.kind == "string" and not all(isinstance(text, str) for text in found):
            raise TypeError(f"{column.name} is no text")
    values = {name: row[name] for name in _FACTS}
    values |= {name: tuple(values[name]) for name in ("flags", "label_flags")}
    values |= {"e_m_ev": float(values["e_m_ev"])}
    absent = [name for name in _NULLABLE if row[name] is None]
    arrays: Any = {name: None if name in absent else np.array(row[name], dtype=float) for name in _GEOMETRY}
    return from_facts(Facts(**values), host_species=row["host_species"], **arrays)


def from_facts(
    fact: Facts,
    lattice: FloatArray,
    host_species: Sequence[str],
    host_frac_coords: FloatArray,
    band_frac_coords: FloatArray,
    final_lattice: FloatArray | None = None,
    final_host_frac_coords: FloatArray | None = None,
) -> LabelledPath:
    """The entry of a path, from what `labels.csv` says of it and its geometry (as in `MigrationPath`)."""
    path = MigrationPath(
        id=fact.id,
        material_id=fact.material_id,
        structural_group=fact.structural_group,
        mobile_ion=fact.mobile_ion,
        composition=fact.composition,
        state=fact.state,  # type: ignore[arg-type]
        lattice=lattice,
        host_species=tuple(host_species),
        host_frac_coords=host_frac_coords,
        band_frac_coords=band_frac_coords,
        final_lattice=final_lattice,
        final_host_frac_coords=final_host_frac_coords,
        xc=fact.xc,
        space_group=fact.space_group,
        crystal_system=fact.crystal_system,
        path_label=fact.path_label,
        flags=fact.flags,
        raw=fact.raw,
    )
    return LabelledPath(path, fact.e_m_ev, fact.split, fact.label_flags, fact.duplicate_of)


def to_parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as a Parquet file; equal rows give equal bytes with the same version of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema()), sink, compression="zstd")
    return bytes(sink.getvalue())


def read(file: Path) -> tuple[LabelledPath, ...]:
    """Read a file that `to_parquet` made.

    Raises:
        EmigbenchError: if it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tuple(from_row(row) for row in pq.ParquetFile(file).read().to_pylist())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise EmigbenchError(f"{file} is damaged ({in_words(error)}); {RENEW}.") from error
