"""What the pages call splits and subsets."""

from __future__ import annotations

from emigbench import splits
from emigbench.scoring import COVERED

ALL = "all"
"""Name of the subset that holds every path."""
SUBSET_LABELS = {
    ALL: "all paths",
    "scenario-a": "scenario A: another path of the material in train",
    "scenario-b": "scenario B: the same framework at another filling",
    "scenario-c": "scenario C: a like framework of other elements",
    "leak-free": "leak-free: no symmetry-identical twin in train",
    "same-cell": "same-cell: final state not relaxed in its own cell",
    "single-path": "single-path: one path a material",
    COVERED: "only the paths that a row has a value for",
}
SPLIT_LABELS = {
    "official": "Official split",
    "material-cv": "Five folds by framework",
    "leave-group-out": "Leave a group out",
    "leave-ion-out": "Leave an ion out",
    splits.FITTED: "Fit to the training paths",
}
SPLIT_NOTES = {
    "official": "The paper’s test set. Many of its paths share their framework with a training path.",
    "material-cv": "Every path, each predicted by a model that saw no path of its framework, material or band.",
    "leave-group-out": "Every path, each predicted by a model that saw none of its structural group. Intervals are "
    "over the groups.",
    "leave-ion-out": "Every path, each predicted by a model that saw none of its mobile ion, but maybe its framework. "
    "Intervals are over the ions.",
    splits.FITTED: "How well models fit the training paths, which is not a test: nobody ranks here.",
}
