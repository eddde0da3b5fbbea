"""Forward and backward passes of the two operations that take the time: gated convolution, normalisation with SiLU.

Sums over runs of rows are taken chunk by chunk while the rows are in the cache, and the backward passes compute gates
and activations again instead of keeping them. Of the tensors with a row for every angle, a convolution keeps two: its
input and the inputs of its gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from emigbench_baselines.alignn import passes
from emigbench_baselines.alignn.batch import Chunk, Kinds, Links, chunk_rows

GATE_EPSILON = 1e-6
"""Added to the sum of the gates."""


def _norm(
    x: Tensor | None,
    count: Tensor,
    rows: Sequence[slice],
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> tuple[passes.Norm, Tensor, Tensor]:
    """The normalisation, its mean and its variance: those given, or those of the rows x."""
    total = None
    if mean is None or var is None:
        mean, var, total = _moments(x, count.to(weight.dtype), rows)
    return passes.Norm(mean, torch.rsqrt(var + eps), weight, bias, total), mean, var


def _moments(x: Tensor, count: Tensor, rows: Sequence[slice]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (width,) of rows that count several times, and the sum of the counts.

    Each chunk is centred on its own mean, and the chunks are put together afterwards (Chan et al. 1983).
    """
    parts = [passes.run(passes.moments, x[part], count[part]) for part in rows]
    n, centre, square = (torch.stack(values) for values in zip(*parts, strict=True))
    total = n.sum()
    mean = (n @ centre) / total
    return mean, (square.sum(0) + n @ (centre - mean).square()) / total, total


def _parameter_gradients(
    norm: passes.Norm, x: Tensor, gradient: Tensor, rows: Sequence[slice]
) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias, (width,) each."""
    of_weight, of_bias = torch.zeros_like(norm.weight), torch.zeros_like(norm.bias)
    for part in rows:
        more_of_weight, more_of_bias = passes.run(passes.parameter_gradients, norm, x[part], gradient[part])
        of_weight += more_of_weight
        of_bias += more_of_bias
    return of_weight, of_bias


def _row_slices(x: Tensor) -> list[slice]:
    size = chunk_rows(x.device)
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
                y[part] = passes.run(passes.add_silu, norm, x[part], None if residual is None else residual[part])
        ctx.save_for_backward(x, count, *norm)
        ctx.has_residual = residual is not None
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the residual, weight and bias from that of the result."""
        x, count, *norm = ctx.saved_tensors
        norm, rows = passes.Norm(*norm), _row_slices(x)
        of_weight, of_bias = _parameter_gradients(norm, x, gradient, rows)
        of_x = torch.empty_like(x)
        for part in rows:
            of_x[part] = passes.run(
                passes.input_gradient, norm, x[part], gradient[part], count[part], of_weight, of_bias
            )
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
        kinds: Kinds | None,
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

        Nodes bring two parts of the gates and the message, (n, width) each; `edges` are (rows, width), or
        (kinds, width) of rows of these kinds. Rows are overwritten unless `keep`, which keeps the inputs of the gates
        for the backward pass or for their moments. Without weights of the normalisation there are no new edges;
        without mean and variance those of the rows are taken.
        """
        chunks = list(links.chunks())
        rows = [chunk.rows for chunk in chunks]
        x, gate_sum = torch.empty_like(message), torch.empty_like(message)
        gates = message.new_empty(len(links.row), message.shape[1]) if keep else None
        norm = new_edges = of_kinds = None
        with torch.autocast(edges.device.type, enabled=False):
            if norm_weight is not None and not keep:
                norm, mean, var = _norm(None, links.count, rows, norm_weight, norm_bias, mean, var, eps)
                new_edges = edges if kinds is None else message.new_empty(len(links.row), message.shape[1])
            if kinds is not None:
                of_kinds = _product(edges, weight, bias)
            for chunk in chunks:
                part = chunk.rows
                source, target = links.source[part], links.target[part]
                of_edges = _product(edges[part], weight, bias) if of_kinds is None else _rows(of_kinds, part, kinds)
                m, gate, carried = passes.run(passes.gates, of_edges, source_gate, target_gate, message, source, target)
                if gates is not None:
                    gates[part] = m
                total = _sum_at_targets(gate, links, chunk, weighted=True)
                mean_message = _sum_at_targets(carried, links, chunk, weighted=True).div_(total + GATE_EPSILON)
                nodes = links.target_node[chunk.targets]
                x[nodes], gate_sum[nodes] = mean_message, total
                if new_edges is not None:
                    new_edges[part] = passes.run(passes.add_silu, norm, m, _rows(edges, part, kinds))
            if norm_weight is not None and gates is not None:
                norm, mean, var = _norm(gates, links.count, rows, norm_weight, norm_bias, mean, var, eps)
                new_edges = torch.empty_like(gates)
                for part in rows:
                    new_edges[part] = passes.run(passes.add_silu, norm, gates[part], _rows(edges, part, kinds))
        ctx.links, ctx.kinds, ctx.has_norm = links, kinds, norm is not None
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
        kinds: Kinds | None = ctx.kinds
        chunks = list(links.chunks())
        norm = passes.Norm(*norm) if ctx.has_norm else None
        of_norm: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)
        if norm is not None:
            of_norm = _parameter_gradients(norm, gates, of_new_edges, [chunk.rows for chunk in chunks])
        q = of_x / (gate_sum + GATE_EPSILON)
        qx = q * x
        of_source, of_target, of_message = (torch.zeros_like(message) for _ in range(3))
        of_weight = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        for chunk in chunks:
            part = chunk.rows
            source, target = links.source[part], links.target[part]
            rows = gates[part], message, q, qx, source, target, links.weight[part]
            if norm is None:
                of_m, of_carried = passes.run(passes.gate_gradients, *rows)
            else:
                of_edge = of_new_edges[part], links.count[part], *of_norm
                of_m, of_carried = passes.run(passes.gate_gradients_with_edges, *rows, norm, *of_edge)
            of_message[chunk.sources] = _sum_at_sources(of_carried, links, chunk)
            of_source[chunk.sources] = _sum_at_sources(of_m, links, chunk)
            of_target[links.target_node[chunk.targets]] = _sum_at_targets(of_m, links, chunk, weighted=False)
            if kinds is None:
                of_weight += _product(of_m.t(), edges[part].t())
                of_edges = _product(of_m, weight.t())
                gates[part] = of_edges if norm is None else of_edges.add_(of_new_edges[part])
            else:
                gates[part] = of_m
        of_edges = gates
        if kinds is not None:
            of_m = _sum_of_kinds(gates, kinds)
            of_weight += _product(of_m.t(), edges.t())
            of_edges = _product(of_m, weight.t())
            if norm is not None:
                of_edges += _sum_of_kinds(of_new_edges, kinds)
        of_bias = of_target.sum(0)
        gradients = (of_source, of_target, of_message, of_edges, of_weight.to(weight.dtype), of_bias, *of_norm)
        return None, None, *gradients, None, None, None, None


_one_dnn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
"""oneDNN's product in single precision: on AMD processors twice as fast as the MKL that torch takes by default."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply, x W^T + bias: (n, k) and (m, k) to (n, m)."""
    if _one_dnn is not None and x.dtype == torch.float32 and x.device.type == "cpu":
        return _one_dnn(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _rows(values: Tensor, part: slice, kinds: Kinds | None) -> Tensor:
    """(part, width): some rows, of which there are values for each or for each kind."""
    return values[part] if kinds is None else values.index_select(0, kinds.of_row[part])


def _sum_of_kinds(values: Tensor, kinds: Kinds) -> Tensor:
    """(kinds, width): the sum of the rows of each kind."""
    return F.embedding_bag(kinds.by_kind, values, kinds.start, mode="sum")


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
