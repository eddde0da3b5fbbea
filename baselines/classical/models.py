"""Random forest and gradient boosting on the features of `emigbench_baselines.classical.features`.

They follow the paper (arXiv 2508.06436, section 6.4.2): correlated features are dropped, those that correlate
with E_m are kept, hyperparameters come from five-fold cross-validation. What the paper leaves open is settled so
that no choice sees more than the training paths: selection is part of the model that each fold fits anew, and
folds never share a material. The paper's exact features, thresholds and hyperparameters are in an SI that we do
not have, so these are not the paper's models, but models of the same kind.

The square root of E_m is fitted, not E_m: few barriers are very high, and under grouped cross-validation inside
the 559 training paths the square root gives a lower error than E_m, and a higher R2 than the logarithm.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction
