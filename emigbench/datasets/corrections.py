"""The manual decisions about the data, read from `corrections.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml


@dataclass(frozen=True)
class FieldCorrection:
    """One field of one path: the value the source must hold, and the value that replaces it."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True)
class Corrections:
    """All manual decisions.

    Attributes:
        structural_groups: class string of the source -> structural group.
        space_group_notation: space-group string of the source -> standard symbol.
        fields: (field, id) -> correction of that one value.
        disputed_groups: ids whose group the chemistry contradicts.
        suspicious_labels: ids whose barrier a reader should doubt.
        reasons: (list, string of the source or id) -> why, for all lists but `fields`.
    """

    structural_groups: Mapping[str, str]
    space_group_notation: Mapping[str, str]
    fields: Mapping[tuple[str, str], FieldCorrection]
    disputed_groups: frozenset[str]
    suspicious_labels: frozenset[str]
    reasons: Mapping[tuple[str, str], str]


@cache
def read() -> Corrections:
    """Read the corrections that ship with the package."""
    content = yaml.safe_load((files("emigbench.datasets") / "corrections.yaml").read_text(encoding="utf-8"))
    fields = {
        (entry["field"], path_id): FieldCorrection(entry["old"], entry["new"], entry["reason"])
        for entry in content["fields"]
        for path_id in entry["ids"]
    }
    reasons = {
        (name, key): entry["reason"]
        for name, entries in content.items()
        if name != "fields"
        for entry in entries
        for key in entry.get("ids", [entry.get("old")])
    }
    return Corrections(
        structural_groups=_old_to_new(content["structural_groups"]),
        space_group_notation=_old_to_new(content["space_group_notation"]),
        fields=MappingProxyType(fields),
        disputed_groups=_all_ids(content["disputed_groups"]),
        suspicious_labels=_all_ids(content["suspicious_labels"]),
        reasons=MappingProxyType(reasons),
    )


def _old_to_new(entries: list[dict[str, str]]) -> Mapping[str, str]:
    return MappingProxyType({entry["old"]: entry["new"] for entry in entries})


def _all_ids(entries: list[dict[str, list[str]]]) -> frozenset[str]:
    return frozenset(path_id for entry in entries for path_id in entry["ids"])
