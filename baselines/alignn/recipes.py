"""How each network is trained, in one table, from the authors' code, with the original's oddities mended or kept.

The published settings are those of Devi, Butler, Sai Gautam (DOI 10.1038/s41524-026-01972-8). Mended by default:
batches are shuffled, no path is dropped, validation paths are drawn by material, weight decay leaves batch-norm
parameters alone, early stopping works, MODEL-4's two graphs share their batch statistics, scratch models start at the
mean barrier. `original(recipe)` undoes that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from emigbench import EmigbenchError

Inputs = Literal["band", "endpoints", "band-and-subgraph"]
VALIDATION_SHARE = 0.1
"""Of the paths, or structures, on the training side: they choose the epoch."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Attributes:
        network: name in `emigbench_baselines.alignn.network.NETWORKS`.
        inputs: which graphs of a path the network reads.
        canonical: graphs hold each bond once.
        pretrained: start from the multi-property weights.
        loss: "l1" or "mse", on scaled targets.
        epochs: length of the one-cycle schedule.
        batch_size: paths a step.
        max_learning_rate: top of the one-cycle schedule.
        weight_decay: of AdamW.
        patience: epochs without a better validation error before the run stops; None for never.
        shuffle: new batches in every epoch.
        smallest_batch: a last batch below this is left out of the epoch (batch statistics of a few paths).
        grouped_validation: validation paths share no material with the others; else paths come in the order of the
            original's file, and those after the first 90 % validate.
        decay_by_name: decay every parameter without bias, bn or norm in its name, as the original does.
        average_over_all: divide the loss by all targets, known or not (Equation 2 of the paper).
        mixed_precision: train in bfloat16 where the device has instructions for it.
        frozen_alignn_layers: leave the pre-trained embeddings and ALIGNN layers as they are; see `frozen`.
        single_path: train on one path of each material alone, see `emigbench.splits.is_single_path`.
        original_graphs: split shells of neighbours as the original does, see `neighbours.nearest`.
        keep: the epoch whose weights are kept: that of the best validation error, or the last.
        starts_at_mean: every answer before the first step is the mean of the targets, see `network.start_at`; for the
            scratch models.
    """

    network: str
    inputs: Inputs = "band"
    canonical: bool = False
    pretrained: bool = True
    loss: Literal["l1", "mse"] = "l1"
    epochs: int = 500
    batch_size: int = 16
    max_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int | None = 150
    shuffle: bool = True
    smallest_batch: int = 2
    grouped_validation: bool = True
    decay_by_name: bool = False
    average_over_all: bool = False
    mixed_precision: bool = True
    frozen_alignn_layers: bool = False
    single_path: bool = False
    original_graphs: bool = False
    keep: Literal["best", "last"] = "best"
    starts_at_mean: bool = False


def original(recipe: Recipe) -> Recipe:
    """The recipe as published, oddities included: for strict reproduction.

    The published MODEL-3 and MODEL-4 are those of the best epoch, all others of the last. MODEL-1 was started anew
    for its last epochs, which is not repeated here.
    """
    scratch = recipe.network.startswith("scratch")
    return replace(
        recipe,
        network="model-4-apart" if recipe.network == "model-4" else recipe.network,
        shuffle=scratch,
        patience=None,
        grouped_validation=False,
        decay_by_name=True,
        mixed_precision=False,
        smallest_batch=recipe.batch_size if scratch else 1,
        original_graphs=True,
        keep="best" if recipe.network in ("model-3", "model-4") else "last",
        starts_at_mean=False,
    )


def short(recipe: Recipe) -> Recipe:
    """25 epochs in small batches, 10 where two cells are read: what a CPU can do; a stopgap.

    The scratch models' learning rate, made for 500 epochs, would get them nowhere in these; theirs becomes that of the
    others.
    """
    epochs = 10 if recipe.inputs == "endpoints" else 25
    return replace(recipe, epochs=epochs, batch_size=16, patience=None, max_learning_rate=1e-3)


def frozen(recipe: Recipe) -> Recipe:
    """Train what stands behind the pre-trained ALIGNN layers, whose answers are computed once; a stopgap.

    An epoch is a fourteenth of the work. MODEL-2 has an ALIGNN layer that is not pre-trained, which both cells go
    through in every epoch; it gets fewer of these.

    Raises:
        EmigbenchError: for a model without pre-trained layers.
    """
    if not recipe.pretrained:
        raise EmigbenchError(
            f"{recipe.network} with this recipe has ALIGNN layers that start from random weights, so they cannot be "
            f"left as they are; use short: for a short training of all layers."
        )
    epochs = 15 if recipe.network == "model-2" else 60
    return replace(recipe, epochs=epochs, batch_size=16, patience=None, frozen_alignn_layers=True)


_SCRATCH = Recipe(
    "scratch-cc",
    inputs="endpoints",
    canonical=True,
    pretrained=False,
    loss="mse",
    max_learning_rate=1e-4,
    weight_decay=1e-5,
    starts_at_mean=True,
)

RECIPES = MappingProxyType(
    {
        "scratch-add": replace(_SCRATCH, network="scratch-add"),
        "scratch-sub": replace(_SCRATCH, network="scratch-sub"),
        "scratch-cc": _SCRATCH,
        "model-1-add": Recipe("model-1-add", inputs="endpoints"),
        "model-1-sub": Recipe("model-1-sub", inputs="endpoints"),
        "model-1-cc": Recipe("model-1-cc", inputs="endpoints"),
        "model-1-cc-single-path": Recipe("model-1-cc", inputs="endpoints", single_path=True),
        "model-2": Recipe("model-2", inputs="endpoints"),
        "model-3": Recipe("model-3", batch_size=128),
        "model-4": Recipe("model-4", inputs="band-and-subgraph", batch_size=64),
        "model-3-scratch": Recipe("model-3", batch_size=128, pretrained=False),
    }
)
"""Registry name -> recipe. `model-3-scratch` is MODEL-3 from random weights, the ablation that the paper lacks."""

PRETRAINING = Recipe("mpt", pretrained=False, epochs=60, batch_size=128, patience=15, average_over_all=True)
"""Seven bulk properties at once, one masked head each."""
