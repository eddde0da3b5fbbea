"""The authors' trained networks, where their files are at hand, as `authors:NAME` of the registry.

EMIGBENCH_AUTHORS names the folder that has them, see `checkpoints.of_authors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emigbench import EmigbenchError, LabelledPath
from emigbench_baselines.alignn.checkpoints import AUTHORS, fill, load, of_authors
from emigbench_baselines.alignn.models import GraphModel
from emigbench_baselines.alignn.network import build
from emigbench_baselines.alignn.recipes import RECIPES, original

LOWEST, HIGHEST, MEAN = 0.0035, 8.77, 0.8441084078711987
"""Barriers in eV of the 559 training paths, as the authors scaled them."""
STRETCH = (559 / 558) ** 0.5
"""Their way back multiplies by the sample's standard deviation, where the way there divided by the population's."""
SCALE = (MEAN + STRETCH * (LOWEST - MEAN), STRETCH * (HIGHEST - LOWEST))
"""What they take -1 for, and the width from there to 1, in eV."""
NAMES = tuple(name for name in AUTHORS if name in RECIPES)


class Released(GraphModel):
    """A network with the weights that the authors published.

    Args:
        name: one of `NAMES`.
        device: "cpu" or "cuda"; a GPU if there is one by default.

    Raises:
        EmigbenchError: if no file of that name was released, or there is no such device.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        if name not in NAMES:
            raise EmigbenchError(f"The authors released no {name!r}; they did {', '.join(NAMES)}.")
        super().__init__(original(RECIPES[name]), device)
        self._name = name

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Read the weights; the training paths teach them nothing.

        Raises:
            EmigbenchError: if the split is not the official one, whose training paths the weights have seen; or as
                `load_trained`.
        """
        if any(labelled.split == "test" for labelled in train):
            raise EmigbenchError(
                "The authors' weights have seen the labels of all training paths of the official split, so of the "
                "splits that hold out paths to be scored this is the only one for them; leave --split away."
            )
        self.load_trained()

    def load_trained(self) -> None:
        """Read the weights.

        Raises:
            EmigbenchError: if EMIGBENCH_AUTHORS does not lead to them, or they are not this network's.
        """
        file = of_authors(self._name)
        network = build(self.recipe.network)
        fill(network, load(file), str(file))
        self._network, self._scale = network.to(self.device), SCALE

    @property
    def details(self) -> dict[str, Any]:
        """What a run record keeps."""
        return {"weights_git_blob": AUTHORS[self._name]}
