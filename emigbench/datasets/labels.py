"""`labels.csv`: every fact about the 619 paths but the coordinates, so that scoring needs no structures."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from emigbench.datasets import catalogue
from emigbench.errors import EmigbenchError, quoted
from emigbench.records import OfficialSide
from emigbench.storage import csv_text, write_text

TABLE = Path(__file__).with_name("labels.csv")


@dataclass(frozen=True)
class Facts:
    """One row of `labels.csv`.

    The fields that a `MigrationPath` or `LabelledPath` has mean the same here. Further ones:

    Attributes:
        e_m_ev: barrier in eV.
        hop_length_a: straight length of the band in Å.
        n_atoms: atoms in the cell, with one moving ion.
        framework: reduced formula of all atoms that are not of the mobile element.
        framework_cluster: id of the first path whose framework has the same formula and topology, by pymatgen's
            StructureMatcher with loose tolerances (`emigbench.datasets.symmetry`).
        material_cv_fold: 0 to 4, the fold of `material-cv` that holds the path out.
        space_group_framework: what spglib finds at 0.1 Å without the mobile element, "" where nothing.
        space_group_filled: the same for the host with both ends of the band occupied.
        *_raw: the source's own strings.
    """

    id: str
    split: OfficialSide
    e_m_ev: float
    structural_group: str
    mobile_ion: str
    material_id: str
    composition: str
    state: str
    xc: str
    space_group: str
    crystal_system: str
    path_label: str
    hop_length_a: float
    n_atoms: int
    framework: str
    framework_cluster: str
    material_cv_fold: int
    duplicate_of: str
    flags: tuple[str, ...]
    label_flags: tuple[str, ...]
    space_group_framework: str
    space_group_filled: str
    structural_group_raw: str
    composition_raw: str
    space_group_raw: str
    crystal_system_raw: str

    @property
    def raw(self) -> dict[str, str]:
        """The source's strings, keyed as in `MigrationPath.raw`."""
        names = ("structural_group", "composition", "space_group", "crystal_system")
        return {name: str(getattr(self, f"{name}_raw")) for name in names}


@dataclass(frozen=True, eq=False)
class Labels(Sequence[Facts]):
    """The facts of one dataset, in a fixed order or by id, with its version and content hash.

    Attributes:
        name: dataset name.
        version: dataset version.
        sha256: content hash of the dataset's records.
        by_id: id -> facts.
    """

    name: str
    version: str
    sha256: str
    by_id: Mapping[str, Facts]

    def __repr__(self) -> str:
        return f"<Labels {self.name} {self.version}: {len(self)} paths>"

    @property
    def identity(self) -> dict[str, str]:
        """What says which data it is, in records and results: name, version and content hash."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    def __len__(self) -> int:
        return len(self.by_id)

    def __getitem__(self, index: int | slice | str) -> Any:
        if isinstance(index, str):
            return self.by_id[known_id(index, self)]
        return list(self.by_id.values())[index]

    def __contains__(self, item: object) -> bool:
        return item in self.by_id if isinstance(item, str) else item in self.by_id.values()

    def __iter__(self) -> Iterator[Facts]:
        return iter(self.by_id.values())


@cache
def read(name: str = "full") -> Labels:
    """The labels of a dataset of the catalogue, from the table in the package.

    Raises:
        EmigbenchError: if there is no such dataset.
    """
    info = catalogue.info(name)
    rows = read_table()
    if name == "spinels":
        from emigbench.datasets import spinels

        members = {row.id for row in spinels.read_table()}
        rows = [row for row in rows if row.id in members]
    return Labels(info.name, info.version, info.sha256, {row.id: row for row in rows})


def known_id(path_id: str, labels: Labels) -> str:
    """The id itself.

    Raises:
        EmigbenchError: if the dataset has no such path; it names those that are spelt alike.
    """
    if path_id in labels.by_id:
        return path_id
    lower = {other.lower(): other for other in labels.by_id}
    alike = [lower[each] for each in difflib.get_close_matches(path_id.lower(), lower, n=4, cutoff=0.6)]
    named = f"did you mean {' or '.join(alike)}?" if alike else "see the first column of emigbench/datasets/labels.csv."
    raise EmigbenchError(f"{labels.name} has no path {quoted(path_id)}: {named}")


def labels_of(data: object) -> Labels:
    """The labels of a dataset, or the labels that are given themselves.

    Raises:
        EmigbenchError: if it is neither.
    """
    labels = data if isinstance(data, Labels) else getattr(data, "labels", None)
    if not isinstance(labels, Labels):
        raise EmigbenchError(
            f"An object of type {type(data).__name__} is no dataset; give what emigbench.load or emigbench.load_labels "
            f"gives."
        )
    return labels


def read_table(file: Path = TABLE) -> list[Facts]:
    """The rows of `labels.csv`."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [_parse(row) for row in csv.DictReader(stream)]


def write_table(rows: Iterable[Facts], file: Path = TABLE) -> None:
    """Write rows as `read_table` reads them."""
    names = [field.name for field in fields(Facts)]
    write_text(file, csv_text([names, *([_format(getattr(row, name)) for name in names] for row in rows)]))


_NUMBERS = {"e_m_ev": float, "hop_length_a": float, "n_atoms": int, "material_cv_fold": int}
_LISTS = ("flags", "label_flags")


def _parse(row: dict[str, str]) -> Facts:
    values: dict[str, Any] = dict(row)
    for name, convert in _NUMBERS.items():
        values[name] = convert(row[name])
    for name in _LISTS:
        values[name] = tuple(row[name].split())
    return Facts(**values)


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)
