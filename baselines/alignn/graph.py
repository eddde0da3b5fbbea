"""Crystal graphs and line graphs with the semantics of the original ALIGNN stack (models.md 1.1), in numpy alone.

A crystal graph is a multigraph: every neighbour that an atom counts among its nearest becomes an edge in both
directions. In the plain list (pre-training and MODEL-1 to 4) both atoms of a mutual pair put it there, so such a pair
appears twice in each direction and a one-sided pair once; the canonical list (the scratch models) holds each bond
once. One oddity of the original is kept: a bond of an atom with its own image is two entries (image s and -s) in both
lists, so it appears twice in each direction even in the canonical one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emigbench import EmigbenchError, MigrationPath
from emigbench_baselines.alignn.elements import atomic_number
from emigbench_baselines.alignn.neighbours import Neighbours, nearest

K = 12
"""Neighbours of an atom before its last shell is completed."""
SUBGRAPH_K = 6
"""The same in MODEL-4's sub-graph."""

Index = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CrystalGraph:
    """One structure as a k-nearest multigraph; directed edges are sorted by destination atom.

    Attributes:
        atomic_numbers: (n,) uint8.
        source: (e,) int32, the atom that an edge leaves.
        destination: (e,) int32, the atom that it enters; non-decreasing.
        displacement: (e, 3) float32 Å, Cartesian, from the source to the image of the destination.
    """

    atomic_numbers: NDArray[np.uint8]
    source: Index
    destination: Index
    displacement: NDArray[np.float32]

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)

    @property
    def n_edges(self) -> int:
        """Number of directed edges, which are the nodes of the line graph."""
        return len(self.source)

    @property
    def in_degree(self) -> NDArray[np.int64]:
        """(n,) how many edges enter each atom (as many leave it)."""
        return np.bincount(self.destination, minlength=self.n_atoms)

    @property
    def n_self_edges(self) -> int:
        """Number of edges that join an atom with its own image: only in cells of a few Å."""
        return int((self.source == self.destination).sum())

    @property
    def n_line_edges(self) -> int:
        """Number of edges of the line graph: incoming times outgoing, summed over the atoms, less the self edges."""
        out_degree = np.bincount(self.source, minlength=self.n_atoms)
        return int((self.in_degree * out_degree).sum()) - self.n_self_edges


def crystal_graph(neighbours: Neighbours, *, canonical: bool) -> CrystalGraph:
    """The multigraph of a neighbour list.

    Args:
        neighbours: whom each atom counts among its nearest.
        canonical: hold each bond once; otherwise once for each of its atoms that counts the other.
    """
    u, v, r = neighbours.centre, neighbours.neighbour, neighbours.displacement
    if canonical:
        kept = _first_of_each_bond(neighbours)
        u, v, r = u[kept], v[kept], r[kept]
    source, destination = np.concatenate([u, v]), np.concatenate([v, u])
    order = np.lexsort((source, destination))
    displacement = np.concatenate([r, -r])[order].astype(np.float32)
    return CrystalGraph(neighbours.atomic_numbers, source[order], destination[order], displacement)


def _first_of_each_bond(neighbours: Neighbours) -> NDArray[np.int64]:
    """One entry for each bond: the one that starts at the atom of lower index, wherever both are there."""
    swapped = neighbours.neighbour < neighbours.centre
    low = np.where(swapped, neighbours.neighbour, neighbours.centre)
    high = np.where(swapped, neighbours.centre, neighbours.neighbour)
    image = np.where(swapped[:, None], -neighbours.image, neighbours.image)
    order = np.lexsort((swapped, *image.T, high, low))
    bonds = np.column_stack([low, high, image])[order]
    return order[np.concatenate([[True], (bonds[1:] != bonds[:-1]).any(axis=1)])]


def line_graph(graph: CrystalGraph) -> tuple[Index, Index]:
    """The edges of the line graph: e1 -> e2 wherever e1 enters the atom that e2 leaves, backtracking included.

    As in DGL, no edge follows itself, though one from an atom to its own image could (none of the 619 bands has such
    an edge; of the pre-training structures, those with a few atoms do).

    Returns:
        Indices of e1 and of e2, both (l,) int32; sorted by e2, then by e1. The e1 of each e2 are one block of
        consecutive edges, because edges are sorted by destination; a self edge is missing from its own block.
    """
    degree = graph.in_degree
    start = np.cumsum(degree) - degree
    count = degree[graph.source]
    offset = np.cumsum(count) - count
    lg_destination = np.repeat(np.arange(graph.n_edges, dtype=np.int32), count)
    shift = (start[graph.source] - offset).astype(np.int32)
    lg_source = np.arange(len(lg_destination), dtype=np.int32) + np.repeat(shift, count)
    if graph.n_self_edges:
        kept = lg_source != lg_destination
        return lg_source[kept], lg_destination[kept]
    return lg_source, lg_destination


def cosines(graph: CrystalGraph, lg_source: Index, lg_destination: Index) -> NDArray[np.float32]:
    """(l,) cosine of the angle between the two bonds at their shared atom, in [-1, 1]."""
    unit = (graph.displacement / np.linalg.norm(graph.displacement, axis=1, keepdims=True)).T.copy()
    cosine = -sum(axis[lg_source] * axis[lg_destination] for axis in unit)  # axis by axis: thrice as fast
    return np.clip(cosine, -1, 1, out=cosine)


def knn_graph(
    lattice: ArrayLike,
    atomic_numbers: ArrayLike,
    frac_coords: ArrayLike,
    *,
    k: int = K,
    canonical: bool,
    original: bool = False,
    name: str = "structure",
) -> CrystalGraph:
    """The k-nearest graph of any cell; see `neighbours.nearest` for the arguments and errors."""
    found = nearest(lattice, atomic_numbers, frac_coords, k=k, original=original, name=name)
    return crystal_graph(found, canonical=canonical)


def band_graph(path: MigrationPath, *, canonical: bool, original: bool = False) -> CrystalGraph:
    """MODEL-3's input: the five images of the moving ion, all occupied, and then the host of the initial state."""
    return crystal_graph(band_neighbours(path, original=original), canonical=canonical)


def endpoint_graphs(
    path: MigrationPath, *, canonical: bool, original: bool = False
) -> tuple[CrystalGraph, CrystalGraph]:
    """MODEL-1's and MODEL-2's input: the initial and the final cell, the moving ion at index 0 of both.

    A record without a final state of its own gets the final image of the band in the initial host
    (`has_final_state` tells).
    """
    initial, final = endpoint_neighbours(path, original=original)
    return crystal_graph(initial, canonical=canonical), crystal_graph(final, canonical=canonical)


def image_subgraph(path: MigrationPath, *, original: bool = False) -> CrystalGraph:
    """MODEL-4's second input: the bonds that touch an image, with six neighbours an atom, never canonical.

    Atoms without such a bond are left out; the images stay first.
    """
    return crystal_graph(subgraph_neighbours(path, original=original), canonical=False)


def has_final_state(path: MigrationPath) -> bool:
    """Whether the final cell is the source's own, not the band's last image in the initial host."""
    return "final_from_band" not in path.flags


def band_neighbours(path: MigrationPath, *, k: int = K, original: bool = False) -> Neighbours:
    """Neighbours in the cell that holds all five images of the moving ion, then the host of the initial state."""
    coords = np.vstack([path.band_frac_coords, path.host_frac_coords])
    numbers = _numbers(path, len(path.band_frac_coords))
    return nearest(path.lattice, numbers, coords, k=k, original=original, name=path.id)


def endpoint_neighbours(path: MigrationPath, *, original: bool = False) -> tuple[Neighbours, Neighbours]:
    """Neighbours in the initial and in the final cell."""
    final_lattice = path.lattice if path.final_lattice is None else path.final_lattice
    final_host = path.host_frac_coords if path.final_host_frac_coords is None else path.final_host_frac_coords
    numbers = _numbers(path, 1)
    initial, final = (
        nearest(lattice, numbers, np.vstack([site, host]), k=K, original=original, name=path.id)
        for lattice, site, host in (
            (path.lattice, path.band_frac_coords[0], path.host_frac_coords),
            (final_lattice, path.band_frac_coords[-1], final_host),
        )
    )
    return initial, final


def subgraph_neighbours(path: MigrationPath, *, original: bool = False) -> Neighbours:
    """The entries of the band's neighbour list, six neighbours an atom, that touch an image."""
    return band_neighbours(path, k=SUBGRAPH_K, original=original).touching(len(path.band_frac_coords))


def _numbers(path: MigrationPath, n_mobile: int) -> list[int]:
    """Atomic numbers of the moving ion, as often as it stands in the cell, and of the host."""
    if not path.host_species:
        raise EmigbenchError(f"{path.id}: the cell holds the moving ion alone; a path needs the host around it.")
    return [atomic_number(symbol, path.id) for symbol in (*[path.mobile_ion] * n_mobile, *path.host_species)]
