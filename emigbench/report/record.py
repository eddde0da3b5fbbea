"""One path of the dataset for a human: its facts, doubts, sides, surroundings and relatives, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from emigbench import splits
from emigbench.datasets import corrections
from emigbench.datasets.findings import FLAGS, LABEL_FLAGS
from emigbench.datasets.geometry import near_pairs
from emigbench.datasets.labels import Facts, Labels, known_id
from emigbench.datasets.store import Dataset
from emigbench.records import MigrationPath

BOND_FACTOR = 1.2
"""A bond is at most this times the sum of the two atomic radii (Slater, J. Chem. Phys. 41, 3199, 1964)."""
LIGANDS = frozenset({"C", "N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
N_NEAREST = 4
REACH_A = 6.0
"""Host atoms farther than this from the ion are not looked at."""


@dataclass(frozen=True)
class Neighbour:
    """A host atom and its distance from an image of the moving ion, in Å."""

    element: str
    distance_a: float


@dataclass(frozen=True)
class Image:
    """The moving ion at one image of the band.

    Attributes:
        along_a: distance from the initial site along the band, in Å.
        nearest: the nearest host atoms, nearest first.
        bonded: element -> number of ligands within the limit of a bond.
    """

    along_a: float
    nearest: tuple[Neighbour, ...]
    bonded: Mapping[str, int]

    @property
    def coordination(self) -> int:
        """Number of ligands within the limit of a bond."""
        return sum(self.bonded.values())


@dataclass(frozen=True)
class Mended:
    """A value that curation changed: what the source or a rule gave, what the record has, and why."""

    field: str
    source: str
    value: str
    reason: str


@dataclass(frozen=True)
class Relative:
    """Another path of the same material or with the same band by symmetry."""

    id: str
    hop_length_a: float
    e_m_ev: float
    split: str
    same_band: bool


@dataclass(frozen=True)
class Record:
    """Everything that `emigbench data show` says about one path.

    Attributes:
        facts: its row of `labels.csv`.
        flags: flag -> what it means; the label's flags among them.
        doubts: reasons of a person for doubting the group or the barrier.
        mended: values that curation changed.
        sides: split -> where the path stands in it, in words.
        limits_a: ligand element of the host -> longest bond to the moving ion, in Å.
        images: the five images of the band.
        relatives: paths of the same band, then others of the same material, the most alike in hop length first.
    """

    facts: Facts
    flags: Mapping[str, str]
    doubts: tuple[str, ...]
    mended: tuple[Mended, ...]
    sides: Mapping[str, str]
    limits_a: Mapping[str, float]
    images: tuple[Image, ...]
    relatives: tuple[Relative, ...]

    def to_json(self) -> dict[str, Any]:
        """The record as plain values."""
        content = asdict(self)
        for image, plain in zip(self.images, content["images"], strict=True):
            plain["coordination"] = image.coordination
        return content


def of(path_id: str, data: Dataset) -> Record:
    """The record of one path.

    Raises:
        EmigbenchError: if the dataset has no such path.
    """
    labels = data.labels
    facts, path = labels.by_id[known_id(path_id, labels)], data.by_id[path_id].path
    decided = corrections.read().reasons
    doubts = [decided.get((kind, path_id)) for kind in ("disputed_groups", "suspicious_labels")]
    return Record(
        facts=facts,
        flags={flag: {**FLAGS, **LABEL_FLAGS}[flag] for flag in (*facts.flags, *facts.label_flags)},
        doubts=tuple(reason for reason in doubts if reason),
        mended=mended(facts),
        sides={split: _side(labels, split, path_id) for split in splits.SPLITS},
        limits_a={e: bond_limit(path.mobile_ion, e) for e in sorted(set(path.host_species) & LIGANDS)},
        images=images(path),
        relatives=_relatives(facts, labels),
    )


# --- Surroundings


@cache
def bond_limit(a: str, b: str) -> float:
    """The longest bond of two elements in Å; 0 where they make none: one of the two has to be a ligand."""
    from pymatgen.core.periodic_table import Element

    if a == b or not {a, b} & LIGANDS:
        return 0.0
    return BOND_FACTOR * sum(float(Element(element).atomic_radius or 0) for element in (a, b))


def images(path: MigrationPath) -> tuple[Image, ...]:
    """The surroundings of the moving ion at each image; host atoms within `REACH_A` are looked at."""
    lengths = np.linalg.norm((path.band_frac_coords - path.band_frac_coords[0]) @ path.lattice, axis=1)
    return tuple(_image(path, k, float(along)) for k, along in enumerate(lengths))


def _image(path: MigrationPath, k: int, along: float) -> Image:
    _, indices, distances = near_pairs(path.band_frac_coords[[k]], path.host_frac_coords, path.lattice, REACH_A)
    found = sorted((round(float(d), 6), path.host_species[int(i)]) for d, i in zip(distances, indices, strict=True))
    bonded = Counter(element for distance, element in found if distance < bond_limit(path.mobile_ion, element))
    nearest = tuple(Neighbour(element, distance) for distance, element in found[:N_NEAREST])
    return Image(round(along, 6), nearest, dict(sorted(bonded.items())))


# --- What the dataset says about it


def mended(facts: Facts) -> tuple[Mended, ...]:
    """The values of a path that curation changed, in the order of the fields."""
    decisions = corrections.read()
    found = []
    for field in ("structural_group", "composition", "space_group", "crystal_system", "state"):
        by_hand = decisions.fields.get((field, facts.id))
        now, source = str(getattr(facts, field)), facts.raw.get(field, by_hand.old if by_hand else "")
        if by_hand is None and source in ("", now):
            continue
        lists = {"structural_group": "structural_groups", "space_group": "space_group_notation"}
        listed = decisions.reasons.get((lists.get(field, ""), source.strip()))
        found.append(Mended(field, source, now, by_hand.reason if by_hand else listed or _by_rule(field, source, now)))
    return tuple(found)


def _by_rule(field: str, source: str, now: str) -> str:
    if source.strip() == now:
        return "white space"
    return "it follows from the space group" if field == "crystal_system" else "the source's columns were swapped"


def _side(labels: Labels, split: str, path_id: str) -> str:
    folds = splits.folds(labels, split)
    unused = [fold.name for fold in folds if path_id in fold.unused]
    held_out = [fold.name for fold in folds if path_id in fold.held_out]
    if len(folds) == 1:
        return "test" if held_out else "train"
    left_out = f", unused in {', '.join(unused)}" if unused else ""
    return f"held out in fold {held_out[0]}{left_out}, train in the other {len(folds) - 1 - len(unused)}"


def _relatives(facts: Facts, labels: Labels) -> tuple[Relative, ...]:
    def same_band(other: Facts) -> bool:
        return bool(facts.duplicate_of) and other.duplicate_of == facts.duplicate_of

    found = [o for o in labels if o.id != facts.id and (o.material_id == facts.material_id or same_band(o))]
    found.sort(key=lambda o: (not same_band(o), abs(o.hop_length_a - facts.hop_length_a), o.id))
    return tuple(Relative(o.id, o.hop_length_a, o.e_m_ev, o.split, same_band(o)) for o in found)


# --- Text


def in_words(record: Record) -> str:
    """The record as text for a terminal."""
    from tabulate import tabulate

    facts = record.facts
    lines = [
        ("id", facts.id),
        ("material", facts.material_id),
        ("composition", facts.composition),
        ("structural group", facts.structural_group),
        ("moving ion", f"{facts.mobile_ion} ({facts.state})"),
        ("barrier", f"{facts.e_m_ev:.4g} eV ({facts.xc})"),
        ("hop", f"{facts.hop_length_a:.2f} Å, {facts.path_label}"),
        ("cell", f"{facts.n_atoms} atoms"),
        ("space group", f"{facts.space_group} ({facts.crystal_system.lower()})"),
        ("found by spglib", _found(facts)),
        *((f"split {name}", side) for name, side in record.sides.items()),
    ]
    parts = [tabulate(lines, tablefmt="plain", disable_numparse=True)]
    if record.flags:
        parts.append("Flags:\n" + "\n".join(f"  {flag}: {meaning}" for flag, meaning in record.flags.items()))
    if record.doubts:
        parts.append("Doubts:\n" + "\n".join(f"  {doubt}" for doubt in record.doubts))
    if record.mended:
        changes = (f"  {m.field}: {m.source!r} became {m.value!r}: {m.reason}" for m in record.mended)
        parts.append("Mended:\n" + "\n".join(changes))
    parts.append(_images_in_words(record))
    if record.relatives:
        rows = [
            (r.id, f"{r.hop_length_a:.2f}", f"{r.e_m_ev:.4g}", r.split, "same band" if r.same_band else "")
            for r in record.relatives
        ]
        head = ["id", "hop (Å)", "E_m (eV)", "side", ""]
        table = tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True)
        parts.append(f"Other paths of the material, the most alike first:\n{table}")
    return "\n\n".join(parts) + "\n"


def _found(facts: Facts) -> str:
    framework, filled = (symbol or "nothing" for symbol in (facts.space_group_framework, facts.space_group_filled))
    return f"{framework} without the mobile element, {filled} with both ends of the band filled"


def _images_in_words(record: Record) -> str:
    from tabulate import tabulate

    rows = [
        (
            k,
            f"{image.along_a:.2f}",
            ", ".join(f"{n.element} {n.distance_a:.2f}" for n in image.nearest),
            f"{image.coordination} ({', '.join(f'{n} {element}' for element, n in image.bonded.items())})"
            if image.coordination
            else "0",
        )
        for k, image in enumerate(record.images)
    ]
    table = tabulate(rows, headers=["image", "at (Å)", "nearest host atoms (Å)", "bonded"], disable_numparse=True)
    limits = ", ".join(f"{element} {limit:.2f} Å" for element, limit in record.limits_a.items())
    bonds = f"{BOND_FACTOR:g} times the sum of the atomic radii: {limits}" if limits else "no ligand is in the host"
    return f"Along the band (a straight line; bonded is within {bonds}):\n{table}"
