"""Crystal graphs with the semantics of the original ALIGNN stack, in numpy alone.

Their line graphs are made where they are used, batch by batch (`batch.GraphBatch`).

A crystal graph is a multigraph: every neighbour that an atom counts among its nearest becomes an edge in both
directions. In the plain list (pre-training and MODEL-1 to 4) both atoms of a mutual pair put it there, so such a pair
appears twice in each direction and a one-sided pair once; the canonical list (the scratch models) holds each bond
once. One oddity of the original is kept: a bond of an atom with its own image is two entries (image s and -s) in both
lists, so it appears twice in each direction even in the canonical one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        """Number of directed edges, which are the nodes of its line graph."""
        return len(self.source)


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


def has_final_state(path: MigrationPath) -> bool:
    """Whether the final cell is the source's own, not the band's last image in the initial host."""
    return "final_from_band" not in path.flags


def band_neighbours(path: MigrationPath, *, k: int = K, original: bool = False) -> Neighbours:
    """MODEL-3's input: neighbours in the cell of all five images of the moving ion, then the host of the initial state.

    Raises:
        EmigbenchError: if the cell has no host, or what `neighbours.nearest` refuses.
    """
    coords = np.vstack([path.band_frac_coords, path.host_frac_coords])
    numbers = _numbers(path, len(path.band_frac_coords))
    return nearest(path.lattice, numbers, coords, k=k, original=original, name=path.id)


def endpoint_neighbours(path: MigrationPath, *, original: bool = False) -> tuple[Neighbours, Neighbours]:
    """MODEL-1's and MODEL-2's input: neighbours in the initial and in the final cell, the moving ion first in both.

    A record without a final state of its own gets the final image of the band in the initial host (`has_final_state`
    tells). Raises like `band_neighbours`.
    """
    final_lattice, final_host = path.final_cell
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
    """MODEL-4's second input: of the band's neighbours, six an atom, those that touch an image; the images stay first.

    Raises like `band_neighbours`.
    """
    return band_neighbours(path, k=SUBGRAPH_K, original=original).touching(len(path.band_frac_coords))


def _numbers(path: MigrationPath, n_mobile: int) -> list[int]:
    """Atomic numbers of the moving ion, as often as it stands in the cell, and of the host."""
    if not path.host_species:
        raise EmigbenchError(f"{path.id}: the cell holds the moving ion alone; a path needs the host around it.")
    return [atomic_number(symbol, path.id) for symbol in (*[path.mobile_ion] * n_mobile, *path.host_species)]
