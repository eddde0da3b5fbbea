"""What is done to each chunk of rows between matrix products and sums: passes over memory that can be made one.

Read line by line each pass goes through the rows once an operation; `compiled` makes each of them one loop, written by
torch's compiler in C++. The numbers are the same up to rounding: in half precision a compiled pass rounds once, at its
end.

A pass changes none of its arguments. Where one of them were changed and another shared its memory, torch 2.13 would
compile for that and take the result for all calls.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

log = logging.getLogger(__name__)
T = TypeVar("T")

_compiled: dict[Callable[..., Any], Callable[..., Any]] | None = None
"""The compiled form of each pass that was called inside `compiled`, None outside of it."""


def run(function: Callable[..., T], *args: Any) -> T:
    """What a pass returns, by its compiled form inside `compiled`."""
    if _compiled is None:
        return function(*args)
    if function not in _compiled:
        _compiled[function] = torch.compile(function, dynamic=True)
    return cast("T", _compiled[function](*map(_detached, args)))


def _detached(value: Any) -> Any:
    """The same without a history of gradients, which would be a reason to compile anew."""
    if isinstance(value, Norm):
        return Norm(*map(_detached, value))
    return value.detach() if isinstance(value, Tensor) else value


@contextmanager
def compiled() -> Iterator[bool]:
    """Compile each pass when it is first called; that takes about a minute in all.

    What other processes compiled is not taken over, so that numbers do not depend on what ran before.

    Yields:
        Whether passes are compiled: they stay as they are where torch finds no C++ compiler that works.
    """
    global _compiled
    works = _compiler_works()
    with _settings() if works else nullcontext():
        _compiled = {} if works else None
        try:
            yield works
        finally:
            _compiled = None


@contextmanager
def _settings() -> Iterator[None]:
    from torch._dynamo import config as tracing
    from torch._functorch import config as graphs
    from torch._inductor import config as loops

    with (
        tracing.patch(recompile_limit=64),
        graphs.patch(enable_autograd_cache=False),
        loops.patch(fx_graph_cache=False),
    ):
        yield


@functools.cache
def _compiler_works() -> bool:
    try:
        with _settings():
            torch.compile(torch.neg)(torch.ones(2))
    except Exception as error:  # a setting, a compiler, its headers or a folder is missing: each has its own
        log.info("Passes are not compiled, which takes longer (%s).", type(error).__name__)
        return False
    return True


class Norm(NamedTuple):
    """What a batch normalisation with SiLU needs: everything (width,), and the rows of the batch in training."""

    mean: Tensor
    rstd: Tensor
    weight: Tensor
    bias: Tensor
    total: Tensor | None


def moments(x: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of rows that count several times: the sum of counts, the mean (width,), the sum of squares around it."""
    some = x.to(times.dtype)
    n = times.sum().clamp(min=1)
    centre = (times @ some) / n
    return n, centre, times @ (some - centre).square_()


def add_silu(norm: Norm, x: Tensor, residual: Tensor | None) -> Tensor:
    """The residual and SiLU(BN(x)), in the precision of the residual, or of x without one."""
    scale = norm.weight * norm.rstd
    shift = norm.bias - norm.mean * scale
    y = F.silu(torch.addcmul(shift, x, scale), inplace=True)
    return y.to(x.dtype) if residual is None else y.add_(residual).to(residual.dtype)


def parameter_gradients(norm: Norm, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What some rows x bring to the gradients of weight and bias, (width,) each."""
    unit, inner = _unit_and_gradient(norm, x, gradient)
    return unit.mul_(inner).sum(0), inner.sum(0)


def input_gradient(
    norm: Norm, x: Tensor, gradient: Tensor, count: Tensor, of_weight: Tensor, of_bias: Tensor
) -> Tensor:
    """Gradient of some rows x. In training each row also moves the mean and the variance of all."""
    unit, inner = _unit_and_gradient(norm, x, gradient)
    if norm.total is not None:
        inner -= torch.addcmul(of_bias, unit, of_weight).mul_((count / norm.total)[:, None])
    return inner.mul_(norm.weight * norm.rstd)


def gates(
    of_edges: Tensor, source_gate: Tensor, target_gate: Tensor, message: Tensor, source: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What enters the gates of some rows, the gates, and the messages through them."""
    m = of_edges + source_gate.index_select(0, source)
    m += target_gate.index_select(0, target)
    gate = torch.sigmoid(m)
    return m, gate, gate * message.index_select(0, source)


def gate_gradients(
    m: Tensor, message: Tensor, q: Tensor, qx: Tensor, source: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of what enters the gates of some rows, m, and of their messages; see `kernels.GatedConvolution`."""
    times = weight[:, None].to(m.dtype)
    gate = torch.sigmoid(m)
    q_rows = q.index_select(0, target).mul_(times)
    of_gate = message.index_select(0, source).mul_(q_rows)
    of_gate -= qx.index_select(0, target).mul_(times)
    of_m = torch.ops.aten.sigmoid_backward(of_gate, gate)
    return of_m, gate.mul_(q_rows)


def gate_gradients_with_edges(
    m: Tensor,
    message: Tensor,
    q: Tensor,
    qx: Tensor,
    source: Tensor,
    target: Tensor,
    weight: Tensor,
    norm: Norm,
    of_new_edges: Tensor,
    count: Tensor,
    of_norm_weight: Tensor,
    of_norm_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same where new edges are made from m as well, by the normalisation `norm`."""
    of_m, of_carried = gate_gradients(m, message, q, qx, source, target, weight)
    of_m += input_gradient(norm, m, of_new_edges, count, of_norm_weight, of_norm_bias)
    return of_m, of_carried


def _unit_and_gradient(norm: Norm, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The normalised x and the gradient before SiLU, from the one behind it."""
    unit = (x - norm.mean).mul_(norm.rstd)
    return unit, torch.ops.aten.silu_backward(gradient.to(unit.dtype), torch.addcmul(norm.bias, unit, norm.weight))
