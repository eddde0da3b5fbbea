"""Forward and backward passes of the two operations that take the time: gated convolution, normalisation with SiLU.

Sums over runs of rows are taken chunk by chunk while the rows are in the cache, and the backward passes compute gates
and activations again instead of keeping them. Of the tensors with a row for every angle, a convolution keeps two: its
input and the inputs of its gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from emigbench_baselines.alignn.batch import CHUNK_ROWS, Chunk, Links

GATE_EPSILON = 1e-6
"""Added to the sum of the gates."""


class _Norm(NamedTuple):
    """What a batch normalisation with SiLU needs: everything (width,), and the rows of the batch in training."""

    mean: Tensor
    rstd: Tensor
    weight: Tensor
    bias: Tensor
    total: Tensor | None

    def add_silu(self, x: Tensor, residual: Tensor | None, out: Tensor) -> None:
        """Write residual + SiLU(BN(x)) into `out`."""
        scale = self.weight * self.rstd
        shift = self.bias - self.mean * scale
        if residual is not None:
            torch.add(residual, F.silu(torch.addcmul(shift, x, scale), inplace=True), out=out)
        elif out.dtype == scale.dtype:
            F.silu(torch.addcmul(shift, x, scale, out=out), inplace=True)
        else:
            out.copy_(F.silu(torch.addcmul(shift, x, scale), inplace=True))

    def unit_and_gradient(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised x and the gradient before SiLU, from the one behind it."""
        unit = (x - self.mean).mul_(self.rstd)
        return unit, torch.ops.aten.silu_backward(gradient.to(unit.dtype), torch.addcmul(self.bias, unit, self.weight))

    def parameter_gradients(self, x: Tensor, gradient: Tensor, rows: Sequence[slice]) -> tuple[Tensor, Tensor]:
        """Gradients of weight and bias, (width,) each."""
        of_weight, of_bias = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        for part in rows:
            unit, inner = self.unit_and_gradient(x[part], gradient[part])
            of_bias += inner.sum(0)
            of_weight += unit.mul_(inner).sum(0)
        return of_weight, of_bias

    def input_gradient(self, x: Tensor, gradient: Tensor, count: Tensor, of_weight: Tensor, of_bias: Tensor) -> Tensor:
        """Gradient of some rows x. In training each row also moves the mean and the variance of all."""
        unit, inner = self.unit_and_gradient(x, gradient)
        if self.total is not None:
            inner -= torch.addcmul(of_bias, unit, of_weight).mul_((count / self.total)[:, None])
        return inner.mul_(self.weight * self.rstd)


def _norm(
    x: Tensor | None,
    count: Tensor,
    rows: Sequence[slice],
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> tuple[_Norm, Tensor, Tensor]:
    """The normalisation, its mean and its variance: those given, or those of the rows x."""
    total = None
    if mean is None or var is None:
        mean, var, total = _moments(x, count.to(weight.dtype), rows)
    return _Norm(mean, torch.rsqrt(var + eps), weight, bias, total), mean, var


def _moments(x: Tensor, count: Tensor, rows: Sequence[slice]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (width,) of rows that count several times, and the sum of the counts.

    Each chunk is centred on its own mean, and the chunks are put together afterwards (Chan et al. 1983).
    """
    parts = []
    for part in rows:
        some, times = x[part].to(count.dtype), count[part]
        n = times.sum().clamp(min=1)
        centre = (times @ some) / n
        parts.append((n, centre, times @ (some - centre).square_()))
    n, centre, square = (torch.stack(values) for values in zip(*parts, strict=True))
    total = n.sum()
    mean = (n @ centre) / total
    return mean, (square.sum(0) + n @ (centre - mean).square()) / total, total


def _row_slices(x: Tensor) -> list[slice]:
    size = CHUNK_ROWS.get(x.device.type, CHUNK_ROWS["cuda"])
    return [slice(begin, min(begin + size, len(x))) for begin in range(0, len(x), size)]


class NormSilu(torch.autograd.Function):
    """residual + SiLU(BN(x)), of which the backward pass keeps x alone."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        count: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The result, and the mean and variance (width,) that it was normalised by.

        `x` and the residual are (n, width), `count` says how many rows each one stands for. Without mean and variance
        to normalise by, those of x are taken.
        """
        with torch.autocast(x.device.type, enabled=False):
            rows = _row_slices(x)
            norm, mean, var = _norm(x, count, rows, weight, bias, mean, var, eps)
            y = torch.empty_like(x if residual is None else residual)
            for part in rows:
                norm.add_silu(x[part], None if residual is None else residual[part], out=y[part])
        ctx.save_for_backward(x, count, *norm)
        ctx.has_residual = residual is not None
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the residual, weight and bias from that of the result."""
        x, count, *norm = ctx.saved_tensors
        norm, rows = _Norm(*norm), _row_slices(x)
        of_weight, of_bias = norm.parameter_gradients(x, gradient, rows)
        of_x = torch.empty_like(x)
        for part in rows:
            of_x[part] = norm.input_gradient(x[part], gradient[part], count[part], of_weight, of_bias)
        return of_x, gradient if ctx.has_residual else None, None, of_weight, of_bias, None, None, None


class GatedConvolution(torch.autograd.Function):
    """The row part of `layers.EdgeGatedConvolution`: gates, their weighted means at the nodes, and the new edges.

    With g = d loss/d x, q = g / (sum s + 1e-6) and r the gradient that reaches m through y':
        d s_e = weight_e q_v (dst_update(h_u) - x_v),  d m_e = d s_e s_e (1 - s_e) + r_e
    The backward pass writes the gradient of the edges over m, so it can run only once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        links: Links,
        source_gate: Tensor,
        target_gate: Tensor,
        message: Tensor,
        edges: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        eps: float,
        keep: bool,
    ) -> tuple[Tensor | None, ...]:
        """Weighted means at the nodes, the new edges, and the mean and variance that these were normalised by.

        Nodes bring two parts of the gates and the message, (n, width) each; `edges`, (rows, width), are overwritten
        unless `keep`, which keeps the inputs of the gates for the backward pass or for their moments. Without weights
        of the normalisation there are no new edges; without mean and variance those of the rows are taken.
        """
        chunks = list(links.chunks())
        rows = [chunk.rows for chunk in chunks]
        x, gate_sum = torch.empty_like(message), torch.empty_like(message)
        gates = torch.empty_like(edges) if keep else None
        norm = new_edges = None
        with torch.autocast(edges.device.type, enabled=False):
            if norm_weight is not None and not keep:
                norm, mean, var = _norm(None, links.count, rows, norm_weight, norm_bias, mean, var, eps)
                new_edges = edges
            for chunk in chunks:
                part = chunk.rows
                source, target = links.source[part], links.target[part]
                m = torch.empty_like(edges[part]) if gates is None else gates[part]
                torch.add(_product(edges[part], weight, bias), source_gate.index_select(0, source), out=m)
                m += target_gate.index_select(0, target)
                gate = torch.sigmoid(m)
                total = _sum_at_targets(gate, links, chunk, weighted=True)
                gate *= message.index_select(0, source)
                mean_message = _sum_at_targets(gate, links, chunk, weighted=True).div_(total + GATE_EPSILON)
                nodes = links.target_node[chunk.targets]
                x[nodes], gate_sum[nodes] = mean_message, total
                if new_edges is not None:
                    norm.add_silu(m, edges[part], out=new_edges[part])
            if norm_weight is not None and gates is not None:
                norm, mean, var = _norm(gates, links.count, rows, norm_weight, norm_bias, mean, var, eps)
                new_edges = torch.empty_like(edges)
                for part in rows:
                    norm.add_silu(gates[part], edges[part], out=new_edges[part])
        ctx.links, ctx.has_norm = links, norm is not None
        if keep:
            ctx.save_for_backward(message, edges, weight, x, gate_sum, gates, *(norm or ()))
        if norm is None:
            return x, None, None, None
        ctx.mark_non_differentiable(mean, var)
        return x, new_edges, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_x: Tensor, of_new_edges: Tensor | None, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all tensors that `forward` takes, but mean and variance, from those of the means and edges."""
        message, edges, weight, x, gate_sum, gates, *norm = ctx.saved_tensors
        links: Links = ctx.links
        chunks = list(links.chunks())
        norm = _Norm(*norm) if ctx.has_norm else None
        of_norm: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)
        if norm is not None:
            of_norm = norm.parameter_gradients(gates, of_new_edges, [chunk.rows for chunk in chunks])
        q = of_x / (gate_sum + GATE_EPSILON)
        qx = q * x
        of_source, of_target, of_message = (torch.zeros_like(message) for _ in range(3))
        of_weight = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        for chunk in chunks:
            part = chunk.rows
            source, target = links.source[part], links.target[part]
            times = links.weight[part, None].to(edges.dtype)
            m, gate = gates[part], torch.sigmoid(gates[part])
            q_rows = q.index_select(0, target).mul_(times)
            of_gate = message.index_select(0, source).mul_(q_rows)
            of_gate -= qx.index_select(0, target).mul_(times)
            of_m = torch.ops.aten.sigmoid_backward(of_gate, gate)
            of_message[chunk.sources] = _sum_at_sources(gate.mul_(q_rows), links, chunk)
            if norm is not None:
                of_m += norm.input_gradient(m, of_new_edges[part], links.count[part], *of_norm)
            of_source[chunk.sources] = _sum_at_sources(of_m, links, chunk)
            of_target[links.target_node[chunk.targets]] = _sum_at_targets(of_m, links, chunk, weighted=False)
            of_weight += _product(of_m.t(), edges[part].t())
            of_edges = _product(of_m, weight.t())
            if norm is not None:
                of_edges += of_new_edges[part]
            m.copy_(of_edges)
        of_bias = of_target.sum(0)
        gradients = (of_source, of_target, of_message, gates, of_weight.to(weight.dtype), of_bias, *of_norm)
        return None, *gradients, None, None, None, None


_one_dnn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
"""oneDNN's product in single precision: on AMD processors twice as fast as the MKL that torch takes by default."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply, x W^T + bias: (n, k) and (m, k) to (n, m)."""
    if _one_dnn is not None and x.dtype == torch.float32 and x.device.type == "cpu":
        return _one_dnn(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _sum_at_targets(values: Tensor, links: Links, chunk: Chunk, *, weighted: bool) -> Tensor:
    """(runs, width): the sum of each run of rows, each row times its weight or once."""
    start = chunk.rows.start
    weight = links.weight[chunk.rows].to(values.dtype) if weighted else None
    index, begin = links.row[: len(values)], links.target_start[chunk.targets] - start
    return F.embedding_bag(index, values, begin, mode="sum", per_sample_weights=weight)


def _sum_at_sources(values: Tensor, links: Links, chunk: Chunk) -> Tensor:
    """(sources, width): the sum of the rows that leave each node."""
    start = chunk.rows.start
    index, begin = links.by_source[chunk.rows] - start, links.source_start[chunk.sources] - start
    return F.embedding_bag(index, values, begin, mode="sum")
