"""The networks of the paper: the backbone, its pre-training heads and the variants for migration paths.

Names of modules are the authors', so that their checkpoints load. Features of two cells come from one
network that is applied twice; batch statistics are those of each application, but for MODEL-4's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from emigbench import EmigbenchError
from emigbench_baselines.alignn import elements
from emigbench_baselines.alignn.batch import GraphBatch, HalfwayBatch, HalfwayGraph, Kinds, PreparedGraph, together
from emigbench_baselines.alignn.layers import (
    WIDTH,
    AlignnLayer,
    Attention,
    DenseLayer,
    EdgeGatedConvolution,
    ScalarEmbedding,
    full_precision,
    mean_of_runs,
)

PROPERTIES = ("GV", "PH", "PZ", "DC", "EBG", "FE", "BG")
"""Heads of the pre-trained network, in the authors' order: shear modulus, phonon peak, piezoelectric modulus,
dielectric, experimental band gap, formation energy, band gap."""
N_LAYERS = 4
HEAD_WIDTH = 128


class Embedded(NamedTuple):
    """What enters the first convolution.

    Attributes:
        atoms: (atoms, 256).
        edges: (edges, 256).
        triplets: (kinds, 256), features of the angles of each kind.
        kinds: of the angles.
    """

    atoms: Tensor
    edges: Tensor
    triplets: Tensor
    kinds: Kinds


class Backbone(nn.Module):
    """Embeddings, four ALIGNN layers, four convolutions on the crystal graph."""

    element_features: Tensor

    def __init__(self, n_heads: int = 0, n_joined: int = 1):
        """Build it.

        Args:
            n_heads: heads with two hidden layers, one output each.
            n_joined: pooled vectors that are joined into one before the heads; 2 adds the layer `fc`.
        """
        super().__init__()
        self.frozen: tuple[nn.Module, ...] = ()
        table = torch.tensor(elements.features())
        self.register_buffer("element_features", table, persistent=False)
        self.atom_embedding = DenseLayer(table.shape[1], WIDTH)
        self.edge_embedding = ScalarEmbedding(0.0, 8.0, 80)
        self.angle_embedding = ScalarEmbedding(-1.0, 1.0, 40)
        self.alignn_layers = nn.ModuleList(AlignnLayer() for _ in range(N_LAYERS))
        self.gcn_layers = nn.ModuleList(EdgeGatedConvolution() for _ in range(N_LAYERS))
        if n_joined > 1:
            self.fc = nn.Linear(n_joined * WIDTH, WIDTH)
        if n_heads:
            self.conv_to_fc = nn.ModuleList(nn.Linear(WIDTH, HEAD_WIDTH) for _ in range(n_heads))
            self.fc_hp = nn.ModuleList(nn.Sequential(nn.Linear(HEAD_WIDTH, HEAD_WIDTH)) for _ in range(n_heads))
            self.fc_out = nn.ModuleList(nn.Linear(HEAD_WIDTH, 1) for _ in range(n_heads))

    def embed(self, batch: GraphBatch) -> Embedded:
        """Features before the first convolution."""
        elements_of_atoms = self.element_features[batch.atomic_numbers]
        atoms = self.atom_embedding(elements_of_atoms, _ones(elements_of_atoms))
        edges = self.edge_embedding(batch.lengths, batch.bonds.count)
        kinds = Kinds.of(batch.cosines, batch.angles.count)
        triplets = self.angle_embedding(kinds.values, kinds.count)
        return Embedded(full_precision(atoms), full_precision(edges), triplets, kinds)

    def halfway(
        self,
        batch: GraphBatch,
        embedded: Embedded | None = None,
        alignn_layers: nn.ModuleList | None = None,
    ) -> HalfwayBatch:
        """Behind the last ALIGNN layer.

        The angles there are read by nothing and not computed; neither are the batch statistics of theirs, which no
        prediction depends on.
        """
        atoms, edges, triplets, kinds = embedded or self.embed(batch)
        alignn_layers = alignn_layers or self.alignn_layers
        count = _ones(atoms)
        for layer in alignn_layers:
            first, last = layer is alignn_layers[0], layer is alignn_layers[-1]
            atoms, edges, triplets = layer(
                batch.bonds,
                batch.angles,
                atoms,
                edges,
                triplets,
                count,
                kinds=kinds if first else None,
                update_triplets=not last,
            )
        return HalfwayBatch(batch.n_atoms, batch.bonds, atoms, edges)

    def atom_features(self, batch: GraphBatch | HalfwayBatch) -> Tensor:
        """(atoms, 256) behind the last convolution."""
        return _convolved(batch if isinstance(batch, HalfwayBatch) else self.halfway(batch), self.gcn_layers)

    def freeze_alignn_layers(self) -> None:
        """Leave the pre-trained embeddings and ALIGNN layers, batch statistics included, out of training."""
        self.frozen = (self.atom_embedding, self.edge_embedding, self.angle_embedding, self.alignn_layers)
        for module in self.frozen:
            module.requires_grad_(False)

    def frozen_inputs(
        self, graphs: Sequence[PreparedGraph], halfway: Callable[[PreparedGraph], HalfwayGraph]
    ) -> tuple[PreparedGraph | HalfwayGraph, ...]:
        """What `forward` reads while the ALIGNN layers are frozen: each graph behind them."""
        return tuple(halfway(graph) for graph in graphs)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers but those that are frozen, which stay in eval mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def pooled(self, batch: GraphBatch | HalfwayBatch) -> Tensor:
        """(graphs, 256), the mean over the atoms of each graph."""
        return mean_of_runs(self.atom_features(batch), batch.n_atoms)

    def heads(self, pooled: Tensor) -> Tensor:
        """(graphs, 256) to (graphs, heads); the activation comes before the first layer too."""
        silu = nn.functional.silu
        with torch.autocast(pooled.device.type, enabled=False):
            first = silu(full_precision(pooled))
            outputs = [
                out(silu(hidden(silu(enter(first)))))
                for enter, hidden, out in zip(self.conv_to_fc, self.fc_hp, self.fc_out, strict=True)
            ]
            return torch.cat(outputs, dim=1)


class MultiProperty(Backbone):
    """MPT: the pre-trained network, a head for each of seven properties."""

    def __init__(self) -> None:
        super().__init__(n_heads=len(PROPERTIES))

    def forward(self, batch: GraphBatch) -> Tensor:
        """(graphs, 7) scaled properties."""
        return self.heads(self.pooled(batch))


class Band(Backbone):
    """MODEL-3: one cell that holds all five images of the moving ion."""

    def __init__(self) -> None:
        super().__init__(n_heads=1)

    def forward(self, band: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return self.heads(self.pooled(band)).squeeze(1)


class Sum(Backbone):
    """MODEL-1-ADD: the sum of the pooled features of both endpoints."""

    def __init__(self) -> None:
        super().__init__(n_heads=1)

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return self.heads(self.pooled(initial) + self.pooled(final)).squeeze(1)


class Difference(Sum):
    """MODEL-1-SUB: initial minus final."""

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return self.heads(self.pooled(initial) - self.pooled(final)).squeeze(1)


class Joined(Backbone):
    """MODEL-1-CC: the pooled features of both endpoints side by side."""

    def __init__(self) -> None:
        super().__init__(n_heads=1, n_joined=2)

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        pair = torch.cat([self.pooled(initial), self.pooled(final)], dim=1)
        return self.heads(_in_full_precision(self.fc, pair)).squeeze(1)


class Change(Backbone):
    """MODEL-2: the initial cell in full, beside the change to the final one seen by a short stack of its own."""

    def __init__(self) -> None:
        super().__init__(n_heads=1, n_joined=2)
        self.alignn_layers_1 = nn.ModuleList([AlignnLayer()])
        self.gcn_layers_1 = nn.ModuleList([EdgeGatedConvolution()])

    def forward(self, initial: GraphBatch, final: GraphBatch, behind: HalfwayBatch | None = None) -> Tensor:
        """(graphs,) scaled barriers.

        Args:
            initial: the cell with the ion at its initial site.
            final: the same at its final one.
            behind: the initial cell behind the ALIGNN layers, where these are frozen; computed if None.
        """
        start = self.embed(initial)
        kept = start._replace(edges=_private(start.edges))
        change = self._short(initial, kept) - self._short(final, self.embed(final))
        behind = self.halfway(initial, start) if behind is None else behind
        full = mean_of_runs(_convolved(behind, self.gcn_layers), initial.n_atoms)
        pair = torch.cat([full, change], dim=1)
        return self.heads(_in_full_precision(self.fc, pair)).squeeze(1)

    def frozen_inputs(
        self, graphs: Sequence[PreparedGraph], halfway: Callable[[PreparedGraph], HalfwayGraph]
    ) -> tuple[PreparedGraph | HalfwayGraph, ...]:
        """Both cells, which the short stack learns to read, and the initial one behind the ALIGNN layers."""
        return *graphs, halfway(graphs[0])

    def _short(self, batch: GraphBatch, embedded: Embedded) -> Tensor:
        atoms = _convolved(self.halfway(batch, embedded, self.alignn_layers_1), self.gcn_layers_1)
        return mean_of_runs(atoms, batch.n_atoms)


class BandAndSurroundings(Backbone):
    """MODEL-4: the band's cell and the bonds of its images, both read out by attention.

    Atoms of a cell and those of the few bonds around its images differ: in the convolutions on the crystal graph their
    means are half a standard deviation apart. Both go through the network as one batch, so that batch statistics of
    training are those that the running ones become. The authors' network takes one after the other
    (`BandThenSurroundings`).
    """

    def __init__(self) -> None:
        super().__init__(n_heads=1, n_joined=2)
        self.attention = Attention()
        self.attention1 = Attention()

    def forward(self, band: GraphBatch | HalfwayBatch, subgraph: GraphBatch | HalfwayBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        of_band, of_subgraph = self._atom_features(band, subgraph)
        whole, near = self.attention(of_band, band.n_atoms), self.attention1(of_subgraph, subgraph.n_atoms)
        pair = torch.cat([whole, near], dim=1)
        return self.heads(_in_full_precision(self.fc, pair)).squeeze(1)

    def _atom_features(self, band: Any, subgraph: Any) -> tuple[Tensor, Tensor]:
        both = self.atom_features(together(band, subgraph))
        n = len(band.bonds.target_node)
        return both[:n], both[n:]


class BandThenSurroundings(BandAndSurroundings):
    """MODEL-4 as published: in training each of the two is normalised by itself, in prediction both by a mixture."""

    def _atom_features(self, band: Any, subgraph: Any) -> tuple[Tensor, Tensor]:
        return self.atom_features(band), self.atom_features(subgraph)


class ScratchSum(Backbone):
    """SCRATCH-ADD: the sum of both endpoints and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, 1)

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return _in_full_precision(self.fc, self.pooled(initial) + self.pooled(final)).squeeze(1)


class ScratchDifference(ScratchSum):
    """SCRATCH-SUB: initial minus final."""

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return _in_full_precision(self.fc, self.pooled(initial) - self.pooled(final)).squeeze(1)


class ScratchJoined(Backbone):
    """SCRATCH-CC: both endpoints side by side and two linear layers without an activation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, 1))

    def forward(self, initial: GraphBatch, final: GraphBatch) -> Tensor:
        """(graphs,) scaled barriers."""
        return _in_full_precision(self.fc, torch.cat([self.pooled(initial), self.pooled(final)], dim=1)).squeeze(1)


NETWORKS: Mapping[str, Callable[[], Backbone]] = MappingProxyType(
    {
        "mpt": MultiProperty,
        "model-1-add": Sum,
        "model-1-sub": Difference,
        "model-1-cc": Joined,
        "model-2": Change,
        "model-3": Band,
        "model-4": BandAndSurroundings,
        "model-4-apart": BandThenSurroundings,
        "scratch-add": ScratchSum,
        "scratch-sub": ScratchDifference,
        "scratch-cc": ScratchJoined,
    }
)
"""Every network by its name, freshly initialised when called."""


def build(name: str) -> Backbone:
    """A freshly initialised network.

    Raises:
        EmigbenchError: if there is none of that name.
    """
    if name not in NETWORKS:
        raise EmigbenchError(f"there is no network {name!r}, expected one of {', '.join(NETWORKS)}")
    return NETWORKS[name]()


def start_at(network: Backbone, value: float) -> None:
    """Let a scratch model's answers all begin at a value, in scaled units: its last layer's bias, with no weight.

    Barriers are scaled by their extremes, so that their mean is about -0.8. Two cells that are nearly one leave
    SCRATCH-SUB no way there but this bias, which an optimiser moves by a learning rate a step. Random weights put
    SCRATCH-ADD's first answers six units off, and two and a half units apart.
    """
    *_, last = network.get_submodule("fc").modules()
    nn.init.zeros_(last.get_parameter("weight"))
    nn.init.constant_(last.get_parameter("bias"), value)


def _in_full_precision(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer's answer, in float32 even where the rest is in half precision."""
    with torch.autocast(x.device.type, enabled=False):
        answer: Tensor = layer(full_precision(x))
    return answer


def _convolved(half: HalfwayBatch, layers: nn.ModuleList) -> Tensor:
    """(atoms, 256) behind convolutions on the crystal graph; the bonds behind the last are read by nothing."""
    atoms, edges = half.atoms, half.edges
    count = _ones(atoms)
    for layer in layers:
        atoms, edges = layer(half.bonds, atoms, edges, count, update_edges=layer is not layers[-1])
    return atoms


def _ones(atoms: Tensor) -> Tensor:
    """(atoms,) counts: an atom is never a copy of another."""
    return atoms.new_ones(len(atoms))


def _private(x: Tensor) -> Tensor:
    """A tensor that a convolution without gradients may overwrite."""
    return x if torch.is_grad_enabled() else x.clone()
