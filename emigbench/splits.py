"""Splits of a dataset, the subsets that every score reports, and what two sides of a split share.

All of it is computed from the facts of `labels.csv`; no structure is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import groupby

from emigbench import storage
from emigbench.datasets.findings import without_prefix
from emigbench.datasets.labels import Facts, Labels
from emigbench.errors import EmigbenchError


@dataclass(frozen=True)
class Fold:
    """Two sides of a split, and what is on neither.

    Attributes:
        name: name of the fold.
        train: ids that a model may be fitted to.
        held_out: ids that it is scored on.
        unused: ids on neither side, because they share with the held-out side what must not cross.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    unused: tuple[str, ...] = ()


def compound(facts: Facts) -> str:
    """The formula of a path's composition, without a polymorph's prefix and notes: `O-LiMnO2(DV)` is LiMnO2."""
    formula = without_prefix(facts.composition)
    return re.sub(r"\((?:[a-z][\w-]*|MV|DV|Pmn21)\)|\s", "", formula)


SHARED: dict[str, Callable[[Facts], str | None]] = {
    "material": lambda facts: facts.material_id,
    "duplicate band": lambda facts: facts.duplicate_of or None,
    "framework cluster": lambda facts: facts.framework_cluster,
    "framework formula": lambda facts: facts.framework,
    "prototype": lambda facts: f"{facts.structural_group} {_ratio(facts.framework)}",
    "prototype and ion": lambda facts: f"{facts.mobile_ion} in {facts.structural_group} {_ratio(facts.framework)}",
    "composition": compound,
}
"""What two sides of a split may share: name -> key of a path, None where it has none."""


@dataclass(frozen=True)
class Split:
    """A way to cut a dataset.

    Attributes:
        name: name in commands and files.
        description: one line for people.
        held_out_by: facts -> name of the fold that holds the path out, or None.
        never_shared: names in `SHARED` of what is never on both sides of a fold: paths that would bring it to the
            training side are left out of the fold.
        cluster: facts -> name of what resampling draws as a whole. A score on unseen ions holds for another ion only
            as far as nine ions tell, so that intervals are over these.
    """

    name: str
    description: str
    held_out_by: Callable[[Facts], str | None]
    never_shared: tuple[str, ...] = ()
    cluster: Callable[[Facts], str] = lambda facts: facts.material_id


SPLITS = {
    split.name: split
    for split in (
        Split(
            "official",
            "the paper's 559 training and 60 test paths",
            lambda facts: "test" if facts.split == "test" else None,
        ),
        Split(
            "material-cv",
            "5 folds over all paths; no framework, material or duplicate band on both sides",
            lambda facts: str(facts.material_cv_fold),
            ("material", "duplicate band", "framework cluster", "framework formula"),
            cluster=lambda facts: facts.framework,
        ),
        Split(
            "leave-group-out",
            "a fold for each of 27 structural groups; paths of others that share a material, duplicate band or "
            "framework cluster with it are on neither side",
            lambda facts: facts.structural_group,
            ("material", "duplicate band", "framework cluster"),
            cluster=lambda facts: facts.structural_group,
        ),
        Split(
            "leave-ion-out",
            "a fold for each of 9 mobile ions; no material or duplicate band on both sides, but the same framework "
            "may host another ion in train",
            lambda facts: facts.mobile_ion,
            ("material", "duplicate band"),
            cluster=lambda facts: facts.mobile_ion,
        ),
    )
}
FITTED = "official-train"
"""Predictions for the paths that a model was fitted to: published rows may have them, they rank nowhere."""
CURVE = {f"official@{size}": size for size in (50, 100, 200, 400)}
"""Points of the learning curve: the official test set, after so many training paths; they rank nowhere."""
NAMES = (*SPLITS, *CURVE)
"""Of all splits that a model can be run on."""


def folds(labels: Labels, split: str) -> list[Fold]:
    """The folds of a split, in order; every id is in one of the three parts of each fold of one of `SPLITS`.

    Raises:
        EmigbenchError: if there is no split of that name.
    """
    return list(_folds(labels, split))


@lru_cache(maxsize=32)  # a leaderboard asks for the same folds hundreds of times
def _folds(labels: Labels, split: str) -> tuple[Fold, ...]:
    if split == FITTED:
        ids = tuple(facts.id for facts in labels if facts.split == "train")
        return (Fold("train", ids, ids),)
    if split in CURVE:
        size = CURVE[split]
        return tuple(replace(fold, train=_first_materials(labels, fold, size)) for fold in _folds(labels, "official"))
    if split not in SPLITS:
        raise EmigbenchError(f"There is no split {split!r}; there are {', '.join(NAMES)}.")
    named = SPLITS[split]
    names = sorted({name for facts in labels if (name := named.held_out_by(facts)) is not None})
    return tuple(_fold(labels, named, name) for name in names)


def _fold(labels: Labels, split: Split, name: str) -> Fold:
    held_out = [facts for facts in labels if split.held_out_by(facts) == name]
    others = [facts for facts in labels if split.held_out_by(facts) != name]
    keys = [SHARED[kind] for kind in split.never_shared]
    taken = [(key, {key(facts) for facts in held_out} - {None}) for key in keys]
    unused = {facts.id for facts in others if any(key(facts) in values for key, values in taken)}
    return Fold(
        name,
        train=tuple(facts.id for facts in others if facts.id not in unused),
        held_out=tuple(facts.id for facts in held_out),
        unused=tuple(facts.id for facts in others if facts.id in unused),
    )


def _first_materials(labels: Labels, fold: Fold, size: int) -> tuple[str, ...]:
    """At least `size` training paths of whole materials, in an order that is random but the same for everyone.

    Smaller parts lie inside larger ones: materials are taken in the order of the SHA-256 of their names.

    Raises:
        EmigbenchError: if there are not more paths than that.
    """
    if len(fold.train) <= size:
        raise EmigbenchError(f"{labels.name} has {len(fold.train)} training paths, too few for a part of {size}.")
    members: dict[str, list[str]] = {}
    for path_id in fold.train:
        members.setdefault(labels.by_id[path_id].material_id, []).append(path_id)
    chosen: set[str] = set()
    for material in sorted(members, key=lambda name: sha256(name.encode()).hexdigest()):
        if len(chosen) >= size:
            break
        chosen.update(members[material])
    return tuple(path_id for path_id in fold.train if path_id in chosen)


def held_out(labels: Labels, split: str) -> dict[str, Fold]:
    """Id -> the fold that holds it out, in a fixed order."""
    return {path_id: fold for fold in folds(labels, split) for path_id in fold.held_out}


def clusters(labels: Labels, split: str) -> list[str]:
    """What intervals of scores on a split are over, for each held-out path in the order of `held_out`."""
    cluster = SPLITS[split if split in SPLITS else "official"].cluster
    return [cluster(labels.by_id[path_id]) for path_id in held_out(labels, split)]


def csv_text(labels: Labels, split: str) -> str:
    """One of `SPLITS` as a CSV file that needs no code of ours to be read: a row for each fold and path, in order.

    Its columns are split, fold, id and side (train, held_out or unused).
    """
    rows = [("split", "fold", "id", "side")]
    for fold in folds(labels, split):
        side_of = {path_id: side for side in ("train", "held_out", "unused") for path_id in getattr(fold, side)}
        rows += [(split, fold.name, facts.id, side_of[facts.id]) for facts in labels]
    return storage.csv_text(rows)


SCENARIOS = ("A", "B", "C")


def scenario(facts: Facts, train: Iterable[Facts]) -> str | None:
    """The first of the paper's scenarios (section 3.7) that holds for a held-out path, or None.

    A: another path of the same material is in train. B: the same framework with the same ion at another filling is.
    C: a framework of the same prototype and group, with another ion or element, is. The authors' own lists for B and C
    are not published; these rules are ours. A prototype is the framework formula with its elements left out (AB2,
    ABC5).
    """
    train = list(train)
    if any(other.material_id == facts.material_id for other in train):
        return "A"
    if any(
        other.framework == facts.framework
        and other.mobile_ion == facts.mobile_ion
        and other.state != facts.state
        and other.structural_group == facts.structural_group
        for other in train
    ):
        return "B"
    if any(
        other.structural_group == facts.structural_group and prototype(other.framework) == prototype(facts.framework)
        for other in train
    ):
        return "C"
    return None


def prototype(framework: str) -> tuple[float, ...]:
    """The stoichiometry of a framework formula without its elements: Cr2S4 and O4V2 are alike."""
    counts = re.findall(r"[A-Z][a-z]?([\d.]*)", framework)
    return tuple(sorted(float(count or 1) for count in counts))


def _ratio(framework: str) -> str:
    return ":".join(f"{count:g}" for count in prototype(framework))


def subsets(labels: Labels, split: str) -> dict[str, tuple[str, ...]]:
    """Named parts of a split's held-out ids that every score also reports, in order; `official` only.

    `leak-free` leaves out bands with a symmetry-identical twin in train; `same-cell` leaves out paths whose
    final state was relaxed in its own cell; for `single-path` see `is_single_path`.
    """
    if split != "official":
        return {}
    test = [facts for facts in labels if facts.split == "test"]
    train = [facts for facts in labels if facts.split == "train"]
    twins = {facts.duplicate_of for facts in train} - {""}
    scenarios = {facts.id: scenario(facts, train) for facts in test}
    rules: Mapping[str, Callable[[Facts], bool]] = {
        "scenario-a": lambda facts: scenarios[facts.id] == "A",
        "scenario-b": lambda facts: scenarios[facts.id] == "B",
        "scenario-c": lambda facts: scenarios[facts.id] == "C",
        "leak-free": lambda facts: facts.duplicate_of not in twins,
        "same-cell": lambda facts: "final_relaxed_separately" not in facts.flags,
        "single-path": lambda facts: is_single_path(facts.id),
    }
    return {name: tuple(facts.id for facts in test if rule(facts)) for name, rule in rules.items()}


@lru_cache(maxsize=32)
def subset_rows(labels: Labels, split: str) -> dict[str, list[int]]:
    """The `subsets` as positions among the held-out paths in the order of `held_out`."""
    position = {path_id: k for k, path_id in enumerate(held_out(labels, split))}
    return {name: [position[path_id] for path_id in ids] for name, ids in subsets(labels, split).items()}


def is_single_path(path_id: str) -> bool:
    """Whether an id carries no number, or number 1: the paper's way to one path of each material.

    It gives the paper's 45 test paths, and 395 of the 559 training paths.
    """
    number = re.search(r"_(\d+)$", path_id)
    return number is None or int(number[1]) == 1


def leakage(labels: Labels, split: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each kind of sharing: held-out id -> the ids of its training side that share it.

    Raises:
        EmigbenchError: if there is no split of that name.
    """
    report: dict[str, dict[str, tuple[str, ...]]] = {}
    for kind, key in SHARED.items():
        report[kind] = {}
        for fold in folds(labels, split):
            train = sorted((k, i) for i in fold.train if (k := key(labels.by_id[i])) is not None)
            by_key = {k: tuple(i for _, i in pairs) for k, pairs in groupby(train, key=lambda pair: pair[0])}
            for path_id in fold.held_out:
                if (shared := by_key.get(key(labels.by_id[path_id]))) is not None:
                    report[kind][path_id] = shared
    return report
