"""The benchmark for ionic migration barriers in solids.

```python
import emigbench
data = emigbench.load("full")
train, test = data.split("official")
model.fit(train, seed=0)
report = emigbench.score(model.predict(test), data, split="official")

path = emigbench.read_path("initial.vasp", "final.vasp")
emigbench.predict("path-forest", [path])
emigbench.screen_structure("LiCoO2.cif", "Li").percolation
```
"""

from emigbench.datasets.labels import Labels
from emigbench.datasets.labels import read as load_labels
from emigbench.datasets.store import Dataset, cache_folder, load
from emigbench.errors import EmigbenchError
from emigbench.hop_barriers import screen_structure
from emigbench.hops.hop import read_path
from emigbench.inference import predict
from emigbench.model import BarrierModel
from emigbench.predictions import read_predictions, write_predictions
from emigbench.records import LabelledPath, MigrationPath, Prediction
from emigbench.scoring import Score, score

__version__ = "0.1.0"

__all__ = [
    "BarrierModel",
    "Dataset",
    "EmigbenchError",
    "LabelledPath",
    "Labels",
    "MigrationPath",
    "Prediction",
    "Score",
    "cache_folder",
    "load",
    "load_labels",
    "predict",
    "read_path",
    "read_predictions",
    "score",
    "screen_structure",
    "write_predictions",
]
