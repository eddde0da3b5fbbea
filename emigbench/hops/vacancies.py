"""The vacancy hops of a crystal: every pair of sites of an ion up to a distance, each once up to symmetry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emigbench.datasets.geometry import near_pairs, plane_spacings
from emigbench.datasets.symmetry import SYMPREC_A, SpglibCell, by_spglib, spglib_cell
from emigbench.errors import EmigbenchError
from emigbench.hops.files import OVERLAP_A, Crystal, check_size
from emigbench.hops.hop import clearance
from emigbench.hops.paths import new_path
from emigbench.records import FloatArray, MigrationPath

SHORTEST_HOP_A = 1.0
CROWDED_A = 2.0
"""Two metal ions are not nearer, in Li3N 2.1 Å; such sites belong to one ion that is now here, now there: in Li6PS5Cl
they are 1.9 Å apart."""
SMALLEST_CELL_A = 7.0
"""A cell with lattice planes nearer than this is repeated, so that the ion does not meet its own image."""
ROUNDING_A = 1e-6
"""Lengths that differ by no more than this are equal but for rounding."""

Edge = tuple[int, int, tuple[int, int, int]]
"""A hop from a site to another site in the cell that stands so many cell vectors away."""


@dataclass(frozen=True)
class VacancyHop:
    """A hop of an ion into a vacant site of its own kind, and all hops that symmetry makes of it.

    Attributes:
        edge: the hop that stands for all.
        equivalents: every hop of the cell that is equivalent to it, in one of the two directions each.
        length: Å.
        turns: whether a symmetry operation turns it round, so that the way back has the same barrier.
    """

    edge: Edge
    equivalents: tuple[Edge, ...]
    length: float
    turns: bool

    def reversed(self) -> VacancyHop:
        """The way back: the ion is at the final site, and the initial one is empty."""
        return replace(self, edge=_reversed(self.edge))


def primitive(crystal: Crystal) -> Crystal:
    """The smallest cell of a crystal in Niggli's reduced form, in the same place and orientation.

    A supercell hides the symmetry operations that do not keep its shape, so hops are counted in this cell; and it is
    repeated for each hop, so that the same crystal in another cell must not give other vacancies.
    """
    import spglib

    cell = _spglib_cell(crystal)
    found = by_spglib(spglib.standardize_cell, cell, to_primitive=True, no_idealize=True, symprec=SYMPREC_A)
    if found is None or len(found[2]) >= len(crystal):
        return _reduced(crystal)
    elements = np.unique(crystal.species)
    species = tuple(str(elements[number]) for number in found[2])
    return _reduced(replace(crystal, lattice=np.array(found[0]), species=species, frac_coords=np.array(found[1])))


def _reduced(crystal: Crystal) -> Crystal:
    """The crystal in its Niggli cell; in its own where spglib finds none."""
    import spglib

    lattice = by_spglib(spglib.niggli_reduce, crystal.lattice)
    if lattice is None:
        return crystal
    frac_coords = crystal.frac_coords @ crystal.lattice @ np.linalg.inv(lattice)
    return replace(crystal, lattice=np.array(lattice), frac_coords=frac_coords % 1.0)


def vacancy_hops(crystal: Crystal, ion: str, max_hop: float) -> list[VacancyHop]:
    """The symmetry-distinct hops between sites of an ion, shortest first.

    A hop and its reverse are one. Hops that symmetry makes equal within its tolerance stay together, even if some of
    them are a little longer than `max_hop`. Pairs whose straight line passes within 0.5 Å of an atom, or of an image of
    one of its own ends, are left out: such an ion would have to pass through another one, so that these are several
    hops.

    Args:
        crystal: in its primitive cell, with every site of the ion occupied.
        ion: element.
        max_hop: longest hop in Å.

    Raises:
        EmigbenchError: if there is no such ion, no two of its sites are so near, two are so near that they cannot
            both be occupied, or an atom is on every way.
    """
    if ion not in crystal.species:
        raise EmigbenchError(f"{crystal.name} has no {ion}; it has {', '.join(sorted(set(crystal.species)))}.")
    lengths = _edges(crystal, ion, max_hop + 2 * SYMPREC_A)
    if min(lengths.values(), default=np.inf) > max_hop + ROUNDING_A:
        farther = _edges(crystal, ion, 3 * max_hop).values()
        nearest = f" (the nearest are {min(farther):.2f} Å apart), or see --max-hop" if farther else ""
        raise EmigbenchError(
            f"{crystal.name} has no two sites of {ion} within {max_hop:g} Å of each other; give a structure with every "
            f"site occupied{nearest}."
        )
    _check_room(crystal, ion)
    operations = _operations(crystal, ion)
    distinct: list[VacancyHop] = []
    left = set(lengths)
    for edge in sorted(lengths, key=lambda edge: (round(lengths[edge], 3), edge)):
        if edge not in left or lengths[edge] > max_hop + ROUNDING_A:
            continue
        images = set(_images(edge, operations))
        orbit = {image for image in map(_undirected, images) if image in left}
        left -= orbit | {edge}
        if not _passes_through_an_atom(crystal, edge):
            turns = _reversed(edge) in images
            distinct.append(VacancyHop(edge, tuple(sorted(orbit | {edge})), lengths[edge], turns))
    if not distinct:
        raise EmigbenchError(
            f"{crystal.name} has no hop of {ion} up to {max_hop:g} Å: the line between any two sites so near passes "
            f"through an atom."
        )
    return distinct


def vacancy_path(crystal: Crystal, hop: VacancyHop, path_id: str) -> MigrationPath:
    """The path of a hop: the target site is empty, every other site of the ion is occupied.

    The cell is repeated until its lattice planes are at least 7 Å apart in every direction, and 1 Å more than the hop
    is long: no hop leads to an image of the moving ion. That another image of the final site may then be nearer comes
    of this choice and not of the crystal, so it is not among the path's flags.

    Raises:
        EmigbenchError: if that makes the cell too large.
    """
    start, end, cells = hop.edge
    spacings = plane_spacings(crystal.lattice)
    apart = max(SMALLEST_CELL_A, hop.length + SHORTEST_HOP_A)
    repeats = np.ceil((apart - ROUNDING_A) / spacings).astype(int)
    check_size(crystal.name, len(crystal) * int(repeats.prod()))
    corners = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    ends = (crystal.frac_coords[start] / repeats, (crystal.frac_coords[end] + cells) / repeats)
    moving = start  # in the cell at the origin, the first of the copies
    vacant = int(np.ravel_multi_index(tuple(np.mod(cells, repeats)), tuple(repeats))) * len(crystal) + end
    coords = ((corners[:, None, :] + crystal.frac_coords) / repeats).reshape(-1, 3)
    host = [i for i in range(len(coords)) if i not in (moving, vacant)]
    path = new_path(
        path_id,
        crystal.species[start],
        crystal.lattice * repeats[:, None],
        tuple(crystal.species[i % len(crystal)] for i in host),
        coords[host],
        ends,
        material_id=crystal.name,
    )
    return replace(path, flags=tuple(flag for flag in path.flags if flag != "band_not_shortest"))


def empty_site(crystal: Crystal, ion: str) -> FloatArray | None:
    """A place in fractions of the cell that is like an occupied site of a metal ion, and that none is near; or None.

    Alike are sites that the symmetry of the crystal without the ion, as spglib finds it at 0.1 Å, takes to each other.
    Where all of them are occupied, or those that are not are nearer than 2 Å to one that is, as in an ordered garnet,
    nothing is missing. Anions are left alone, since their places hang on how the cations' polyhedra tilt, and so is a
    host of one element, such as the bare anions of fluorite, which is too symmetric to tell.
    """
    import spglib
    from pymatgen.core.periodic_table import Element

    species = np.array(crystal.species)
    is_ion = species == ion
    if not is_ion.any() or not Element(ion).is_metal or len(set(species[~is_ion])) < 2:
        return None
    host = replace(crystal, species=tuple(species[~is_ion].tolist()), frac_coords=crystal.frac_coords[~is_ion])
    found = by_spglib(spglib.get_symmetry, _spglib_cell(host), symprec=SYMPREC_A)
    if found is None:
        return None
    sites = crystal.frac_coords[is_ion]
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        images = sites @ rotation.T + translation
        near, _, _ = near_pairs(images, sites, crystal.lattice, CROWDED_A)
        alone = np.setdiff1d(np.arange(len(sites)), near)
        if len(alone):
            place: FloatArray = images[alone[0]] % 1.0
            return place
    return None


def _check_room(crystal: Crystal, ion: str) -> None:
    """Refuse a crystal that fills all sites of a split position, as in a CIF of a garnet made fully occupied."""
    from pymatgen.core.periodic_table import Element

    nearest = min(_distances(crystal, ion, CROWDED_A).values(), default=CROWDED_A)
    if nearest < CROWDED_A and Element(ion).is_metal:
        raise EmigbenchError(
            f"{crystal.name} has two {ion} only {nearest:.2f} Å apart, sites that cannot both be occupied; give an "
            f"ordered structure in which one of them is empty."
        )


def _edges(crystal: Crystal, ion: str, max_hop: float) -> dict[Edge, float]:
    """Pairs of sites of an ion that are a hop apart, and their distance in Å."""
    return {edge: length for edge, length in _distances(crystal, ion, max_hop).items() if length > SHORTEST_HOP_A}


def _distances(crystal: Crystal, ion: str, cutoff: float) -> dict[Edge, float]:
    """Pairs of sites of an ion and their distance in Å; of a hop and its reverse the one that sorts first."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    sites = np.flatnonzero(np.array(crystal.species) == ion)
    cell = np.ascontiguousarray(crystal.lattice)
    points = np.ascontiguousarray(crystal.frac_coords[sites] @ cell)
    found = find_points_in_spheres(points, points, cutoff, np.ones(3, dtype=np.int64), cell)
    return {
        _undirected((int(sites[i]), int(sites[j]), tuple(int(c) for c in cells))): float(length)  # type: ignore[arg-type]
        for i, j, cells, length in zip(*found, strict=True)
        if length > ROUNDING_A
    }


def _reversed(edge: Edge) -> Edge:
    i, j, (x, y, z) = edge
    return j, i, (-x, -y, -z)


def _undirected(edge: Edge) -> Edge:
    return min(edge, _reversed(edge))


_Operation = tuple[NDArray[np.int64], dict[int, tuple[int, NDArray[np.int64]]]]
"""A symmetry operation: its rotation, and for each site of the ion where it goes: a site, and the cell of that one."""


def _operations(crystal: Crystal, ion: str) -> list[_Operation]:
    """The symmetry operations of a crystal, as spglib finds them at 0.1 Å; none where it finds none."""
    import spglib

    found = by_spglib(spglib.get_symmetry, _spglib_cell(crystal), symprec=SYMPREC_A)
    if found is None:
        return []
    sites = np.flatnonzero(np.array(crystal.species) == ion)
    at = crystal.frac_coords[sites]
    operations = []
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        delta = (at @ rotation.T + translation)[:, None] - at
        cells = np.round(delta)
        target = np.linalg.norm((delta - cells) @ crystal.lattice, axis=2).argmin(axis=1)
        stands_in = cells[np.arange(len(sites)), target].astype(int)
        goes_to = zip(sites[target].tolist(), stands_in, strict=True)
        operations.append((rotation, dict(zip(sites.tolist(), goes_to, strict=True))))
    return operations


def _spglib_cell(crystal: Crystal) -> SpglibCell:
    return spglib_cell(crystal.lattice, crystal.species, crystal.frac_coords)


def _images(edge: Edge, operations: list[_Operation]) -> Iterator[Edge]:
    """What the symmetry operations make of a hop."""
    i, j, cells = edge
    for rotation, goes_to in operations:
        (start, from_cell), (end, to_cell) = goes_to[i], goes_to[j]
        x, y, z = (rotation @ np.array(cells) + to_cell - from_cell).tolist()
        yield start, end, (x, y, z)


def _passes_through_an_atom(crystal: Crystal, edge: Edge) -> bool:
    """Whether the line from end to end, but for its first and last 0.5 Å, comes within 0.5 Å of any atom."""
    i, j, cells = edge
    step = crystal.frac_coords[j] + cells - crystal.frac_coords[i]
    end = OVERLAP_A / float(np.linalg.norm(step @ crystal.lattice))
    start, middle = crystal.frac_coords[i] + end * step, (1 - 2 * end) * step
    return clearance(start, middle, crystal.frac_coords, crystal.lattice) < OVERLAP_A - ROUNDING_A
