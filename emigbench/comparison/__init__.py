"""Which models can be told apart: paired differences, tie groups, and what a split is able to resolve.

Everything here is a pure function of the predictions: the order of the rows and of the models does not matter.
"""

from emigbench.comparison.board import Comparison, compare_submissions
from emigbench.comparison.contenders import MAE, Contender, contender, restricted, train_median, value_of
from emigbench.comparison.differences import LEVEL, POWER, Difference, paired_difference
from emigbench.comparison.influence import influence_of_paths

__all__ = [
    "LEVEL",
    "MAE",
    "POWER",
    "Comparison",
    "Contender",
    "Difference",
    "compare_submissions",
    "contender",
    "influence_of_paths",
    "paired_difference",
    "restricted",
    "train_median",
    "value_of",
]
