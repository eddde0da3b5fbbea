"""Features of a path for the classical models: the paper's six families from matminer, and nine of the hop.

The paper (section 6.4.2) names the families, not the featurizers, so the choice is ours: those that need no
download, survive cells of a thousand atoms and take well under a second. `FEATURES` says what each number is.
Composition and structure are those of the initial cell, with one moving ion in it; features of a site are those
of the moving ion at its initial site.

Features are kept on disk, one small file for each geometry. matminer and pymatgen, which take seconds to
import, are imported only when a path is not there yet.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pooch
from emigbench_baselines.classical.path_features import PATH_FEATURES, path_features
from numpy.typing import NDArray

from emigbench import EmigbenchError, MigrationPath

if TYPE_CHECKING:
    from pymatgen.core import Structure

FloatArray = NDArray[np.float64]
Featurizer = Callable[["Structure"], Sequence[float]]

FEATURES_VERSION = 1
"""Raise it whenever a value changes: older cache files are then never read again."""
