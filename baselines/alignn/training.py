"""Fit a network to graphs: an epoch loop that can be stopped anywhere and goes on to the same weights.

It needs torch and numpy alone, and runs on a CPU and on a GPU alike.
"""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emigbench import EmigbenchError
from emigbench.errors import in_words
from emigbench.records import FloatArray
from emigbench.storage import write_bytes
from emigbench_baselines.alignn import passes
from emigbench_baselines.alignn.batch import GraphBatch, HalfwayBatch, HalfwayGraph, PreparedGraph
from emigbench_baselines.alignn.device import has_bfloat16, memory_told, rows_a_pass
from emigbench_baselines.alignn.network import Backbone
from emigbench_baselines.alignn.recipes import Recipe

logger = logging.getLogger(__name__)
Log = Callable[["Epoch", int], None]
"""Called after each epoch with its figures and the number of epochs of the schedule."""

SAVE_SECONDS = 60.0
"""How often a run is kept at most."""
COMPILED_FROM_ROWS = 5_000_000
"""Rows of all epochs from which on a CPU saves more time by compiled passes than it takes to compile them."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What one prediction is made from, and what it should be.

    Attributes:
        graphs: the inputs of the network: one for MODEL-3, two for the others, three for MODEL-2 with frozen layers.
        target: (k,) scaled targets, anything where the mask is 0.
        mask: (k,) 1 where the target is known.
    """

    graphs: tuple[PreparedGraph | HalfwayGraph, ...]
    target: FloatArray
    mask: FloatArray

    @property
    def n_rows(self) -> int:
        """Rows of the largest tensors: what memory and time go by."""
        return sum(graph.n_rows for graph in self.graphs)


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch, in scaled units.

    Attributes:
        number: counted from 1.
        train_loss: mean loss while training.
        validation_mae: mean absolute error over the known validation targets, NaN without validation.
        seconds: time that it took.
    """

    number: int
    train_loss: float
    validation_mae: float
    seconds: float


@dataclass
class _Progress:
    """Where a run stands; what a checkpoint holds beside the weights."""

    epochs: list[Epoch] = field(default_factory=list)
    best_mae: float = math.inf
    best_epoch: int = 0


def train(
    network: nn.Module,
    samples: Sequence[Sample],
    validation: Sequence[Sample],
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    checkpoint: Path | None = None,
    log: Log = lambda epoch, total: None,
    weights: FloatArray | None = None,
) -> list[Epoch]:
    """Fit a network in place; it ends with the weights of the epoch that the recipe keeps.

    Args:
        network: on any device; it is moved.
        samples: to fit to.
        validation: to choose the epoch by; the last epoch is kept if there are none, or if the recipe keeps it.
        recipe: schedule and settings.
        seed: of the order of the samples and of dropout.
        device: "cpu" or "cuda".
        checkpoint: file of this very run, which is kept in it about every minute, and taken up from it if it is there.
        log: called after each epoch.
        weights: (n,) shares by which the samples of an epoch are drawn, with replacement; each once if None.

    Returns:
        The figures of every epoch.

    Raises:
        EmigbenchError: if there are no samples, the loss or the validation error is no longer a number, the checkpoint
            cannot be read, or memory does not suffice.
    """
    if not samples:
        raise EmigbenchError("There is nothing to train on.")
    network.to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe), lr=recipe.max_learning_rate)
    steps = len(epoch_batches(len(samples), recipe, seed, 1, weights))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.max_learning_rate, epochs=recipe.epochs, steps_per_epoch=steps, pct_start=0.3
    )
    progress, best, saved = _Progress(), _copy_of(network), time.monotonic()
    if checkpoint is not None and checkpoint.is_file():
        progress, best = _resume(checkpoint, network, optimizer, schedule)
    with passes.compiled() if _compiling_pays(samples, recipe, device) else nullcontext():
        for number in range(len(progress.epochs) + 1, recipe.epochs + 1):
            if recipe.patience is not None and number - 1 - progress.best_epoch >= recipe.patience:
                break
            started = time.monotonic()
            torch.manual_seed(_epoch_seed(seed, number))
            batches = epoch_batches(len(samples), recipe, seed, number, weights)
            with memory_told(device):
                loss = _train_epoch(network, samples, batches, recipe, optimizer, schedule, device)
                mae = mean_absolute_error(network, validation, device)
            if not math.isfinite(loss) or (validation and not math.isfinite(mae)):
                raise EmigbenchError(
                    f"The loss of epoch {number} is {loss}, its validation error {mae}: lower the learning rate of the "
                    f"recipe."
                )
            if not validation or recipe.keep == "last" or mae < progress.best_mae:
                progress.best_mae, progress.best_epoch, best = mae, number, _copy_of(network)
            progress.epochs.append(Epoch(number, loss, mae, time.monotonic() - started))
            if checkpoint is not None and time.monotonic() - saved > SAVE_SECONDS:
                saved = time.monotonic()
                _save(checkpoint, network, optimizer, schedule, progress, best)
            log(progress.epochs[-1], recipe.epochs)
    network.load_state_dict(best)
    return progress.epochs


@torch.no_grad()
def halfway(network: Backbone, graph: PreparedGraph, device: str) -> HalfwayGraph:
    """A graph's features behind the ALIGNN layers, in eval mode."""
    network.eval()
    half = network.halfway(GraphBatch.of([graph], device))
    return HalfwayGraph(graph, half.atoms.cpu(), half.edges.half().cpu())


@torch.no_grad()
def predict(network: nn.Module, samples: Sequence[Sample], device: str) -> FloatArray:
    """(n, k) scaled predictions in eval mode, in the order of the samples."""
    network.eval()
    values = np.zeros((len(samples), len(samples[0].target) if samples else 0))
    for part in _parts(range(len(samples)), samples, rows_a_pass(device)):
        values[part] = _forward(network, [samples[i] for i in part], device).double().cpu().numpy()
    return values


def mean_absolute_error(network: nn.Module, samples: Sequence[Sample], device: str) -> float:
    """Mean absolute error over the known targets, in scaled units; NaN for no samples."""
    if not samples:
        return math.nan
    mask = np.array([sample.mask for sample in samples])
    error = np.abs(predict(network, samples, device) - np.array([sample.target for sample in samples]))
    return float((error * mask).sum() / mask.sum())


def epoch_batches(
    n: int, recipe: Recipe, seed: int, epoch: int, weights: FloatArray | None = None
) -> list[NDArray[np.int64]]:
    """The batches of one epoch as row numbers: the same for the same seed and epoch."""
    order, random = np.arange(n), np.random.default_rng((seed, epoch))
    if weights is not None:
        order = random.choice(n, size=n, p=weights)
    elif recipe.shuffle:
        order = random.permutation(n)
    batches = np.split(order, range(recipe.batch_size, n, recipe.batch_size))
    if len(batches) > 1 and len(batches[-1]) < recipe.smallest_batch:
        batches.pop()
    return batches


def _train_epoch(
    network: nn.Module,
    samples: Sequence[Sample],
    batches: Sequence[NDArray[np.int64]],
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    device: str,
) -> float:
    network.train()
    half = recipe.mixed_precision and has_bfloat16(device)  # predictions are in float32
    limit = rows_a_pass(device, half=half)
    total = torch.zeros((), device=device)
    for rows in batches:
        optimizer.zero_grad(set_to_none=True)
        known = sum(float(samples[i].mask.size if recipe.average_over_all else samples[i].mask.sum()) for i in rows)
        for part in _parts(rows.tolist(), samples, limit):
            chosen = [samples[i] for i in part]
            with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
                output = _forward(network, chosen, device)
            loss = _summed_loss(output, chosen, recipe, device) / known
            loss.backward()
            total += loss.detach()
        optimizer.step()
        schedule.step()
    return float(total) / len(batches)


def _compiling_pays(samples: Sequence[Sample], recipe: Recipe, device: str) -> bool:
    """The same for a run that goes on as for one from its start; how much a GPU saves has not been tried."""
    return device == "cpu" and recipe.epochs * sum(sample.n_rows for sample in samples) >= COMPILED_FROM_ROWS


def _forward(network: nn.Module, samples: Sequence[Sample], device: str) -> Tensor:
    """(n, k) outputs of the network."""
    n_inputs = len(samples[0].graphs)
    batches = [_packed([sample.graphs[i] for sample in samples], device) for i in range(n_inputs)]
    output: Tensor = network(*batches)
    return output.float().reshape(len(samples), -1)


def _packed(graphs: Sequence[PreparedGraph | HalfwayGraph], device: str) -> GraphBatch | HalfwayBatch:
    return (HalfwayBatch if isinstance(graphs[0], HalfwayGraph) else GraphBatch).of(graphs, device)


def _summed_loss(output: Tensor, samples: Sequence[Sample], recipe: Recipe, device: str) -> Tensor:
    target = torch.tensor(np.array([sample.target for sample in samples]), dtype=torch.float32, device=device)
    mask = torch.tensor(np.array([sample.mask for sample in samples]), dtype=torch.float32, device=device)
    error = (output - target) * mask
    return (error.square() if recipe.loss == "mse" else error.abs()).sum()


def _parts(rows: Sequence[int], samples: Sequence[Sample], limit: int) -> list[list[int]]:
    """As few passes as fit into memory, of like size; a row that is too large comes alone.

    The others do so only where memory leaves no choice: the batch statistics of a single graph say little.
    """
    sizes = {row: samples[row].n_rows for row in rows}
    fewest = -(-sum(sizes[row] for row in rows) // limit)
    for n_parts in range(min(fewest, len(rows)), len(rows) + 1):
        parts = _dealt(rows, sizes, n_parts)
        if all(len(part) == 1 or sum(sizes[row] for row in part) <= limit for part in parts):
            break
    for part in parts:
        most = max(parts, key=len)
        if len(part) == 1 and len(most) > 2 and sizes[part[0]] + sizes[most[-1]] <= limit:
            part.append(most.pop())
    return parts


def _dealt(rows: Sequence[int], sizes: Mapping[int, int], n_parts: int) -> list[list[int]]:
    """Largest first, each row into the part that is the smallest so far."""
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    filled = [0] * n_parts
    for row in sorted(rows, key=lambda row: -sizes[row]):
        smallest = filled.index(min(filled))
        parts[smallest].append(row)
        filled[smallest] += sizes[row]
    return parts


def _parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Weights with decay; biases and batch-norm parameters without. What is frozen is in neither.

    The authors tell them apart by name, and so decay the norms inside the embeddings; the original
    recipe does the same.
    """
    norms = {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    free, decayed = [], []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if recipe.decay_by_name:
            is_free = any(word in name for word in ("bias", "bn", "norm"))
        else:
            is_free = name.endswith("bias") or name in norms
        (free if is_free else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]


def _epoch_seed(seed: int, epoch: int) -> int:
    """One number from both, so that dropout is the same whether a run was stopped or not."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _save(
    file: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    progress: _Progress,
    best: dict[str, Tensor],
) -> None:
    """Write the whole run; it goes on without a checkpoint, too."""
    content = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "best": best,
        "epochs": [asdict(epoch) for epoch in progress.epochs],
        "best_mae": progress.best_mae,
        "best_epoch": progress.best_epoch,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        write_bytes(file, buffer.getvalue())
    except EmigbenchError as error:
        logger.warning("Training goes on without a new checkpoint. %s", error)


def _resume(
    file: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[_Progress, dict[str, Tensor]]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)  # each takes what it needs to its device
        network.load_state_dict(content["network"])
        optimizer.load_state_dict(content["optimizer"])
        schedule.load_state_dict(content["schedule"])
        epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        return _Progress(epochs, content["best_mae"], content["best_epoch"]), content["best"]
    except Exception as error:  # torch, pickle and zip each have their own
        raise EmigbenchError(
            f"The checkpoint {file} cannot be used ({in_words(error)}); remove it to start anew."
        ) from error
