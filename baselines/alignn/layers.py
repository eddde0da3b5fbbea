"""The layers of ALIGNN, as in the authors' code, made for graphs whose rows come in runs (`batch`).

Each has the result of the textbook formula; the tests hold them to a plain one. What is different is the way there
(`kernels`), and that a row may stand for several equal edges.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from emigbench_baselines.alignn.batch import Kinds, Links
from emigbench_baselines.alignn.kernels import GatedConvolution, NormSilu

WIDTH = 256
EMBEDDING_WIDTH = 64
DROPOUT = 0.2


class RadialBasis(nn.Module):
    """exp(-(x - c)^2 / spacing) for evenly spaced centres c; by the spacing, not by its square."""

    centers: Tensor

    def __init__(self, low: float, high: float, n_centres: int):
        super().__init__()
        self.register_buffer("centers", torch.linspace(low, high, n_centres))
        self.gamma = (n_centres - 1) / (high - low)

    def forward(self, x: Tensor) -> Tensor:
        """(n,) scalars to (n, centres)."""
        return (x[:, None] - self.centers).square_().mul_(-self.gamma).exp_()


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation followed by SiLU, over rows that may stand for several equal ones."""

    def forward(self, x: Tensor, count: Tensor, residual: Tensor | None = None) -> Tensor:
        """Add SiLU(BN(x)) to the residual.

        Args:
            x: (n, width).
            count: (n,) how many rows each one stands for.
            residual: (n, width), or None for zero.
        """
        y, mean, var = NormSilu.apply(x, residual, count, self.weight, self.bias, *self.running(), self.eps)
        self.update(mean, var, count)
        return y

    def running(self) -> tuple[Tensor | None, Tensor | None]:
        """Mean and variance to use in eval mode; None in training, where the batch gives them."""
        return (None, None) if self.training else (self.running_mean, self.running_var)

    @torch.no_grad()
    def update(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        """In training, move the running statistics towards those of a batch (`var` is the biased one)."""
        if not self.training:
            return
        n = count.sum()
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_((var * n / (n - 1).clamp(min=1)).to(self.running_var.dtype), self.momentum)


class DenseLayer(nn.Module):
    """Linear, batch normalisation, SiLU."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(n_in, n_out), BatchNorm(n_out))

    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        """(n, n_in) to (n, n_out); `count` as in `BatchNorm`."""
        linear, norm = self.layer
        return norm(linear(x), count)


class ScalarEmbedding(nn.Sequential):
    """A scalar of an edge or angle in a radial basis, then two dense layers."""

    def __init__(self, low: float, high: float, n_centres: int):
        super().__init__(
            RadialBasis(low, high, n_centres),
            DenseLayer(n_centres, EMBEDDING_WIDTH),
            DenseLayer(EMBEDDING_WIDTH, WIDTH),
        )

    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        """(n,) to (n, 256); `count` as in `BatchNorm`."""
        basis, first, second = self
        return second(first(basis(x), count), count)


class EdgeGatedConvolution(nn.Module):
    """Edge-gated graph convolution, residual in nodes and edges.

    For a row e from u to v:
        m_e = src_gate(h_u) + dst_gate(h_v) + edge_gate(y_e),  s_e = sigmoid(m_e)
        x_v = src_update(h_v) + sum_e s_e * dst_update(h_u) / (sum_e s_e + 1e-6)
        h'_v = h_v + SiLU(BN(x_v)),  y'_e = y_e + SiLU(BN(m_e))
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.src_gate = nn.Linear(width, width)
        self.dst_gate = nn.Linear(width, width)
        self.edge_gate = nn.Linear(width, width)
        self.src_update = nn.Linear(width, width)
        self.dst_update = nn.Linear(width, width)
        self.bn_edges = BatchNorm(width)
        self.bn_nodes = BatchNorm(width)

    def forward(
        self,
        links: Links,
        nodes: Tensor,
        edges: Tensor,
        node_count: Tensor,
        *,
        kinds: Kinds | None = None,
        update_edges: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """New features of the nodes and of the edges.

        Args:
            links: which rows enter which node.
            nodes: (n, width).
            edges: (rows, width), in the order of `links`. Without gradients it is overwritten.
            node_count: (n,) how many equal nodes each one stands for.
            kinds: of the rows, where `edges` are (kinds, width) and stay as they are.
            update_edges: False where nothing reads the new edges any more; then the old ones come back.
        """
        dtype = edges.dtype
        if torch.is_autocast_enabled(edges.device.type):
            dtype = torch.get_autocast_dtype(edges.device.type)
        norm = self.bn_edges
        keep = torch.is_grad_enabled() or (norm.training and update_edges)
        x, new_edges, mean, var = GatedConvolution.apply(
            links,
            kinds,
            self.src_gate(nodes).to(dtype),
            self.dst_gate(nodes).to(dtype),
            self.dst_update(nodes).to(dtype),
            edges.to(dtype),
            self.edge_gate.weight.to(dtype),
            self.edge_gate.bias.to(dtype),
            norm.weight if update_edges else None,
            norm.bias if update_edges else None,
            *norm.running(),
            norm.eps,
            keep,
        )
        if update_edges:
            norm.update(mean, var, links.count)
        return self.bn_nodes(self.src_update(nodes) + x, node_count, nodes), new_edges if update_edges else edges


class AlignnLayer(nn.Module):
    """One convolution on the crystal graph, then one on the line graph, whose nodes are the bonds."""

    def __init__(self) -> None:
        super().__init__()
        self.node_update = EdgeGatedConvolution()
        self.edge_update = EdgeGatedConvolution()

    def forward(
        self,
        bonds: Links,
        angles: Links,
        atoms: Tensor,
        edges: Tensor,
        triplets: Tensor,
        atom_count: Tensor,
        *,
        kinds: Kinds | None = None,
        update_triplets: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New features of atoms, bonds and angles; `kinds` as in the convolution, of the angles."""
        atoms, edges = self.node_update(bonds, atoms, edges, atom_count)
        edges, triplets = self.edge_update(
            angles, edges, triplets, bonds.count, kinds=kinds, update_edges=update_triplets
        )
        return atoms, edges, triplets


class Attention(nn.Module):
    """MODEL-4's readout: one head, its weights summed over the queries, dropout on them.

    Q, K, V = ReLU(Linear(X)); w = softmax over atoms of the row sums of tanh(K Q^T);
    output = LayerNorm(mean(X) + w V).
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, n_atoms: Tensor) -> Tensor:
        """(atoms, width), graph after graph, to (graphs, width); not in half precision where the rest is."""
        sizes = n_atoms.tolist()
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x)
            queries, keys, values = (
                torch.relu(layer(x)).split(sizes) for layer in (self.linear_q, self.linear_k, self.linear_v)
            )
            pooled = [self._of_one(*graph) for graph in zip(queries, keys, values, strict=True)]
            return self.norm(mean_of_runs(x, n_atoms) + torch.stack(pooled))

    def _of_one(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        score = torch.tanh(key @ query.t()).sum(1)
        weight = F.dropout(torch.softmax(score, dim=0), DROPOUT, self.training)
        return weight @ value


def mean_of_runs(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean of each of consecutive runs of rows: (rows, width) to (runs, width)."""
    return torch.segment_reduce(x, "mean", lengths=lengths, unsafe=True)


def full_precision(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
