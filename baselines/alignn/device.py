"""The device that a network runs on: which one, how much its memory holds, and what is said when that is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from emigbench import EmigbenchError

CPU_ROWS = 400_000
"""Rows in one pass on a CPU, 3 to 6 GB."""
BYTES_A_ROW = {"float32": 14_000, "bfloat16": 7_000}
"""Memory of a training pass for each row, by the precision of its products: what MODEL-3 adds from 45 to 136 thousand
rows (on a CPU, cells of 60 atoms) is 13.5 and 7.0 kB. A prediction, which keeps nothing, takes 2.4 kB."""
USED_SHARE = 0.75
"""Of a GPU's memory; the rest is for weights, their optimiser, the rows at work and gaps between tensors."""


def device_named(name: str | None) -> str:
    """The name of a device, or a GPU if there is one where none is named.

    Raises:
        EmigbenchError: if it is not "cpu" or "cuda", or there is no GPU.
    """
    gpu = torch.cuda.is_available()
    if name is None:
        return "cuda" if gpu else "cpu"
    if name not in ("cpu", "cuda"):
        raise EmigbenchError(f"There is no device {name!r}; choose cpu or cuda.")
    if name == "cuda" and not gpu:
        raise EmigbenchError("torch finds no GPU for the device cuda; choose cpu, or install a torch built for CUDA.")
    return name


def has_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16; False for a CPU where torch is too old to tell."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return told is not None and told()


def rows_a_pass(device: str, *, half: bool = False) -> int:
    """How many rows of line graphs go through the network together; a larger batch is cut, its gradients added up.

    The rows of the line graph are by far the most, and a training pass keeps some vectors of each for the way back:
    its memory goes by them. All memory of a GPU counts, not what is free, so that where batches are cut does not
    depend on what else it does.

    Args:
        device: "cpu" or "cuda".
        half: products are in bfloat16.
    """
    if device == "cpu":
        return CPU_ROWS
    memory = torch.cuda.get_device_properties(device).total_memory
    return int(USED_SHARE * memory / BYTES_A_ROW["bfloat16" if half else "float32"])


def out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: torch on a GPU, torch on a CPU, which has no type of its own for it, or numpy."""
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return True
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


@contextmanager
def memory_told(device: str) -> Iterator[None]:
    """Make one sentence of what torch and numpy raise where memory does not suffice.

    Raises:
        EmigbenchError: that sentence.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EmigbenchError(
            f"The memory that is free on {device} does not suffice to train; end what else uses it, or take a device "
            f"that has more."
        ) from error
