"""A table with a row for each path, by its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from emigbench import MigrationPath
from emigbench.records import FloatArray


def path_table(rows: Sequence[FloatArray], paths: Sequence[MigrationPath], columns: Iterable[str]) -> pd.DataFrame:
    """The values of each path, (n, d) in all, under the names of the d columns; with none where there is no path."""
    names = list(columns)
    values = np.array(rows, dtype=np.float64).reshape(len(paths), len(names))
    ids = pd.Index([path.id for path in paths], dtype=object)  # a file's name may be no UTF-8, which pandas' text is
    return pd.DataFrame(values, index=ids, columns=names)
