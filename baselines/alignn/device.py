"""The device that a network runs on: which one, how much its memory holds, and what is said when that is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from emigbench import EmigbenchError


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
