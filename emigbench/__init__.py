"""The benchmark for ionic migration barriers in solids."""

from emigbench.errors import EmigbenchError
from emigbench.model import BarrierModel
from emigbench.records import LabelledPath, MigrationPath, Prediction

__all__ = ["BarrierModel", "EmigbenchError", "LabelledPath", "MigrationPath", "Prediction"]
