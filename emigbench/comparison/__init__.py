"""Which models can be told apart: paired differences, tie groups, and what a split is able to resolve.

Everything here is a pure function of the predictions: the order of the rows and of the models does not matter.
"""

from emigbench.comparison.board import MAE, Comparison, Spread, compare_all, compare_submissions
from emigbench.comparison.contenders import Contender, contender, on_common_ids, restricted, train_median, value_of
from emigbench.comparison.differences import (
    LEVEL,
    POWER,
    Difference,
    corrected,
    detectable_difference,
    holm,
    paired_difference,
)
from emigbench.comparison.error_bars import CALIBRATION_LEVELS, Calibration, CalibrationRow, calibration
from emigbench.comparison.influence import Influence, group_influence, influence_of_paths
from emigbench.comparison.ties import tie_groups, tie_letters

__all__ = [
    "CALIBRATION_LEVELS",
    "LEVEL",
    "MAE",
    "POWER",
    "Calibration",
    "CalibrationRow",
    "Comparison",
    "Contender",
    "Difference",
    "Influence",
    "Spread",
    "calibration",
    "compare_all",
    "compare_submissions",
    "contender",
    "corrected",
    "detectable_difference",
    "group_influence",
    "holm",
    "influence_of_paths",
    "on_common_ids",
    "paired_difference",
    "restricted",
    "tie_groups",
    "tie_letters",
    "train_median",
    "value_of",
]
