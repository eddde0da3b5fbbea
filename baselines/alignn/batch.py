"""Graphs packed into one batch of tensors: the crystal graph, its line graph and the runs that make sums fast.

Three facts about the graphs carry the speed of the network.

1. The plain edge list holds most bonds twice. Copies have the same features in every layer, so one of
   them stands for all, with its multiplicity as a weight in sums and in batch statistics. The result is the same; the
   line graph has about a third of its edges. `prepare` merges the copies.
2. Edges are sorted by destination, so the edges that enter an atom are one run. The line graph is the product of the
   incoming and outgoing edges of each atom; written down atom by atom, its rows split into blocks between which no
   sum runs over.
3. Bonds of a crystal meet at few different angles: of 8 bands' rows every third to every 24th is new. Until the first
   convolution tells them apart, rows of one angle have the same features, which are worked out once (`Kinds`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emigbench import EmigbenchError
from emigbench_baselines.alignn.elements import LAST

if TYPE_CHECKING:
    from emigbench_baselines.alignn.graph import CrystalGraph

SAME_BOND = 1e-4
"""Å; edges between the same two atoms closer than this are copies of one (distinct images are a cell vector apart)."""
CHUNK_ROWS = {"cpu": 2048, "cuda": 131072}
"""Rows of the line graph worked on at a time: on a CPU by each thread, whose cache they stay in; on a GPU by all."""
_DIRECTION = np.array([0.6180339887, 0.7548776662, 0.2187008])
"""Edges of one pair are sorted along it; no lattice direction, so that copies come to lie side by side."""


def chunk_rows(device: torch.device) -> int:
    """How many rows are worked on at a time, by all threads together."""
    return CHUNK_ROWS[device.type] * (torch.get_num_threads() if device.type == "cpu" else 1)


@dataclass(frozen=True, eq=False)
class PreparedGraph:
    """A crystal graph with every edge once.

    Attributes:
        atomic_numbers: (n,) uint8.
        source: (e,) int32.
        destination: (e,) int32, non-decreasing.
        displacement: (e, 3) float32 Å, from source to destination.
        multiplicity: (e,) int32, how many edges of the crystal graph each one stands for.
    """

    atomic_numbers: NDArray[np.uint8]
    source: NDArray[np.int32]
    destination: NDArray[np.int32]
    displacement: NDArray[np.float32]
    multiplicity: NDArray[np.int32]

    @property
    def n_rows(self) -> int:
        """Rows of the line graph: what memory and time of a batch go by."""
        n = len(self.atomic_numbers)
        return int((np.bincount(self.destination, minlength=n) * np.bincount(self.source, minlength=n)).sum())


def prepare(graph: CrystalGraph, *, merge: bool = True) -> PreparedGraph:
    """A graph ready for batches.

    Args:
        graph: edges sorted by destination.
        merge: keep one edge of each set of copies; False keeps all, for comparison.

    Raises:
        EmigbenchError: if the graph has no atom, no edge, an unknown element, unsorted edges or an edge of no length.
    """
    source, destination, displacement = graph.source, graph.destination, graph.displacement
    _check(graph)
    multiplicity = np.ones(len(source), dtype=np.int32)
    if merge:
        order = np.lexsort((displacement @ _DIRECTION, source, destination))
        source, destination, displacement = source[order], destination[order], displacement[order]
        new = (np.diff(source) != 0) | (np.diff(destination) != 0)
        new |= np.abs(np.diff(displacement, axis=0)).max(axis=1, initial=0) > SAME_BOND
        first = np.flatnonzero(np.concatenate([[True], new]))
        multiplicity = np.diff(first, append=len(source)).astype(np.int32)
        source, destination, displacement = source[first], destination[first], displacement[first]
    return PreparedGraph(graph.atomic_numbers, source, destination, displacement, multiplicity)


def _check(graph: CrystalGraph) -> None:
    n, numbers = len(graph.atomic_numbers), np.asarray(graph.atomic_numbers)
    if n == 0 or len(graph.source) == 0:
        raise EmigbenchError(f"a graph of {n} atoms and {len(graph.source)} edges cannot be predicted for")
    if numbers.min() < 1 or numbers.max() > LAST:
        wrong = numbers[(numbers < 1) | (numbers > LAST)][0]
        raise EmigbenchError(f"atomic number {wrong} has no features, expected 1 to {LAST}")
    ends = np.concatenate([graph.source, graph.destination])
    if ends.min() < 0 or ends.max() >= n or (np.diff(graph.destination) < 0).any():
        raise EmigbenchError("the edges of a graph must be sorted by destination and lie between its atoms")
    if not np.linalg.norm(graph.displacement, axis=1).min() > 0:
        raise EmigbenchError("a graph holds an edge without length or with one that is not a number")


B = TypeVar("B", "GraphBatch", "HalfwayBatch")


class Chunk(NamedTuple):
    """Rows that can be worked on alone: every sum into its targets and its sources stays inside."""

    rows: slice
    targets: slice
    sources: slice


@dataclass(frozen=True, eq=False)
class Links:
    """The edges of a graph as rows, grouped by the node that they enter.

    Attributes:
        source: (rows,) int32, node that each row leaves.
        target: (rows,) int32, node that each row enters.
        weight: (rows,) float32, times that the row counts in the sum of its target.
        count: (rows,) float32, edges of the original graph that the row stands for.
        target_start: (n,) int32, first row of each run of rows with one target, in order of rows.
        target_node: (n,) int64, the node that each run enters.
        source_start: (n,) int32, first place of each node in `by_source`.
        by_source: (rows,) int32, rows in order of the node that they leave.
        row: (rows,) int32, 0 to rows - 1.
        borders: (blocks + 1, 3) int64 numpy, where independent blocks begin in rows, runs and sources.
    """

    source: Tensor
    target: Tensor
    weight: Tensor
    count: Tensor
    target_start: Tensor
    target_node: Tensor
    source_start: Tensor
    by_source: Tensor
    row: Tensor
    borders: NDArray[np.int64]

    def chunks(self) -> Iterator[Chunk]:
        """Whole blocks, together about as many rows as suit the device."""
        rows = self.borders[:, 0]
        cuts = np.searchsorted(rows, np.arange(0, rows[-1], chunk_rows(self.source.device)))
        bounds = self.borders[np.unique([*cuts, len(rows) - 1])].tolist()
        for begin, end in itertools.pairwise(bounds):
            yield Chunk(*(slice(a, b) for a, b in zip(begin, end, strict=True)))


@dataclass(frozen=True, eq=False)
class Kinds:
    """Rows that have the same features, as angles of one size do before the first convolution.

    Attributes:
        values: (kinds,) what the rows of each kind share.
        count: (kinds,) float32, edges of the original graph that each kind stands for.
        of_row: (rows,) int32, kind of each row.
        by_kind: (rows,) int32, rows in order of their kind.
        start: (kinds,) int32, first place of each kind in `by_kind`.
    """

    values: Tensor
    count: Tensor
    of_row: Tensor
    by_kind: Tensor
    start: Tensor

    @classmethod
    def of(cls, values: Tensor, count: Tensor) -> Kinds:
        """Kinds of rows by their values to the last bit.

        Args:
            values: (rows,).
            count: (rows,) edges of the original graph that each row stands for.
        """
        ordered, by_kind = torch.sort(values, stable=True)
        distinct, of_ordered, sizes = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
        return cls(
            values=distinct,
            count=torch.segment_reduce(count[by_kind], "sum", lengths=sizes, unsafe=True),
            of_row=torch.empty_like(of_ordered).index_copy_(0, by_kind, of_ordered).int(),
            by_kind=by_kind.int(),
            start=_starts(sizes).int(),
        )


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Several graphs as one, disconnected, with everything that the network reads.

    Attributes:
        atomic_numbers: (atoms,) int64.
        n_atoms: (graphs,) int64, atoms of each graph; they lie one graph after the other.
        lengths: (edges,) float32 Å, bond lengths.
        bonds: the crystal graph, atoms linked by edges.
        cosines: (angles,) float32, cosine of the angle between the two bonds of each row of `angles`.
        angles: the line graph, edges linked by the atom that the first enters and the second leaves.
    """

    atomic_numbers: Tensor
    n_atoms: Tensor
    lengths: Tensor
    bonds: Links
    cosines: Tensor
    angles: Links

    @classmethod
    def of(cls, graphs: Sequence[PreparedGraph | CrystalGraph], device: torch.device | str = "cpu") -> GraphBatch:
        """Pack graphs; the line graph is made on `device`.

        Crystal graphs are prepared on the way. Training does that once (`prepare`) instead of once a batch.

        Raises:
            EmigbenchError: if there is no graph, or one that cannot be used.
        """
        if not graphs:
            raise EmigbenchError("a batch needs at least one graph")
        ready = [graph if isinstance(graph, PreparedGraph) else prepare(graph) for graph in graphs]
        bonds, n_atoms = _crystal_links(ready, device)
        displacement = _joined([graph.displacement for graph in ready], device)
        angles = _line_graph(bonds.source.long(), bonds.target.long(), bonds.count, len(bonds.target_node))
        lengths = torch.linalg.vector_norm(displacement, dim=1)
        unit = displacement / lengths[:, None]
        cosines = -(unit.index_select(0, angles.source) * unit.index_select(0, angles.target)).sum(1)
        return cls(
            atomic_numbers=_joined([graph.atomic_numbers for graph in ready], device).long(),
            n_atoms=n_atoms,
            lengths=lengths,
            bonds=bonds,
            cosines=cosines.clamp_(-1, 1),
            angles=angles,
        )


@dataclass(frozen=True, eq=False)
class HalfwayGraph:
    """A graph with its features behind the ALIGNN layers, for training that leaves those layers as they are.

    Attributes:
        graph: the graph.
        atoms: (n, 256) float32.
        edges: (e, 256) float16, to save memory.
    """

    graph: PreparedGraph
    atoms: Tensor
    edges: Tensor

    @property
    def n_rows(self) -> int:
        """Bonds: what memory and time of a batch go by, since nothing reads the line graph any more."""
        return len(self.edges)


@dataclass(frozen=True, eq=False)
class HalfwayBatch:
    """Several graphs as one, behind the ALIGNN layers.

    Attributes:
        n_atoms: (graphs,) int64, atoms of each graph; they lie one graph after the other.
        bonds: the crystal graph, atoms linked by edges.
        atoms: (atoms, 256) float32.
        edges: (edges, 256) float32.
    """

    n_atoms: Tensor
    bonds: Links
    atoms: Tensor
    edges: Tensor

    @classmethod
    def of(cls, graphs: Sequence[HalfwayGraph], device: torch.device | str = "cpu") -> HalfwayBatch:
        """Pack graphs."""
        bonds, n_atoms = _crystal_links([half.graph for half in graphs], device)
        atoms, edges = ([getattr(half, name).to(device).float() for half in graphs] for name in ("atoms", "edges"))
        return cls(n_atoms, bonds, torch.cat(atoms), torch.cat(edges))


def together(first: B, second: B) -> B:
    """Two batches as one: the graphs of the first, then those of the second."""
    return replace(first, **{name: _together(a, getattr(second, name)) for name, a in vars(first).items()})


def _together(first: Tensor | Links, second: Tensor | Links) -> Tensor | Links:
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    n_nodes, n_rows = len(first.target_node), len(first.row)
    shift = dict.fromkeys(("source", "target", "target_node"), n_nodes)
    shift |= dict.fromkeys(("row", "target_start", "source_start", "by_source"), n_rows)
    values = {
        name: torch.cat([a, getattr(second, name) + shift.get(name, 0)])
        for name, a in vars(first).items()
        if isinstance(a, Tensor)
    }
    return Links(**values, borders=np.concatenate([first.borders, first.borders[-1] + second.borders[1:]]))


def _joined(parts: Sequence[NDArray[np.generic]], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)).to(device)


def _crystal_links(graphs: Sequence[PreparedGraph], device: torch.device | str) -> tuple[Links, Tensor]:
    """The crystal graphs as links between atoms, blocks are whole graphs; and the atoms of each, (graphs,) int64."""
    first_atom = np.cumsum([0, *(len(graph.atomic_numbers) for graph in graphs)])
    first_edge = np.cumsum([0, *(len(graph.source) for graph in graphs)])
    shifted = list(zip(graphs, first_atom[:-1], strict=True))
    source = _joined([graph.source.astype(np.int64) + start for graph, start in shifted], device)
    destination = _joined([graph.destination.astype(np.int64) + start for graph, start in shifted], device)
    multiplicity = _joined([graph.multiplicity for graph in graphs], device).float()
    n_atoms = int(first_atom[-1])
    links = Links(
        source=source.int(),
        target=destination.int(),
        weight=multiplicity,
        count=multiplicity,
        target_start=_starts(torch.bincount(destination, minlength=n_atoms)).int(),
        target_node=torch.arange(n_atoms, device=source.device),
        source_start=_starts(torch.bincount(source, minlength=n_atoms)).int(),
        by_source=torch.argsort(source, stable=True).int(),
        row=torch.arange(len(source), dtype=torch.int32, device=source.device),
        borders=np.stack([first_edge, first_atom, first_atom], axis=1),
    )
    return links, torch.from_numpy(np.diff(first_atom)).to(device)


def _line_graph(source: Tensor, destination: Tensor, multiplicity: Tensor, n_atoms: int) -> Links:
    """The line graph as links between edges; blocks are atoms.

    Rows go atom by atom, within an atom by outgoing edge, within that by incoming edge: the block of an atom is a
    table of `out` runs of `in` rows. Incoming edges are consecutive; outgoing ones are taken from `leaving`.

    An edge from an atom to its own image enters the atom that it leaves, but is not linked to itself (so in DGL); it
    is to its copies. Its row stays and counts once less.
    """
    leaving = torch.argsort(source, stable=True)
    n_in = torch.bincount(destination, minlength=n_atoms)
    n_out = torch.bincount(source, minlength=n_atoms)
    first_in, first_row = _starts(n_in), _starts(n_in * n_out)

    atom = source[leaving]
    start = _starts(n_in[atom])
    run = torch.repeat_interleave(n_in[atom])
    row = torch.arange(len(run), device=source.device)
    incoming = first_in[atom][run] + row - start[run]
    outgoing = leaving[run]

    per_source = n_out[destination]
    source_start = _starts(per_source)
    entering = torch.repeat_interleave(per_source)
    at = destination[entering]
    by_source = first_row[at] + (entering - first_in[at]) + (row - source_start[entering]) * n_in[at]

    weight = multiplicity[incoming] - (incoming == outgoing).float()
    sizes = torch.stack([n_in * n_out, n_out, n_in], dim=1).cpu().numpy()
    return Links(
        source=incoming.int(),
        target=outgoing.int(),
        weight=weight,
        count=weight * multiplicity[outgoing],
        target_start=start.int(),
        target_node=leaving,
        source_start=source_start.int(),
        by_source=by_source.int(),
        row=row.int(),
        borders=np.concatenate([np.zeros((1, 3), dtype=np.int64), np.cumsum(sizes, axis=0)]),
    )


def _starts(sizes: Tensor) -> Tensor:
    """Where each of consecutive groups begins."""
    return sizes.cumsum(0) - sizes
