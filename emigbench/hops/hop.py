"""Two structures -> the path of the one ion that hops between them, and what was understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emigbench.datasets import labels
from emigbench.datasets.geometry import near_pairs
from emigbench.errors import EmigbenchError
from emigbench.hops import images
from emigbench.hops.files import Crystal, Source, frames, of_neb
from emigbench.hops.matching import ION_MOVES_A, Match, match_by_vectors, strain, stretch
from emigbench.hops.paths import new_path
from emigbench.records import FloatArray, MigrationPath

SAME_A = 1e-3
"""Cells and atoms that differ by less are the same."""
TIE_A = 0.01
"""Images of a hop whose lengths differ by less are equally near."""
REACH_A = 3.0
SHIFT_A = 0.05
"""A shift of the origin, or of a relaxation, that is worth a word."""
HOSTS_DIFFER_A = 0.2
"""Hosts of two states that differ by more are worth a word."""
SAME_STRAIN = 1e-3
MOST_CONCERTED, FARTHEST_CONCERTED_A = 4, 4.5
"""Of a concerted hop: ions at the most, and how far each may move (or as far as the whole hop). Where more atoms or
longer ways would be needed, it is the list of atoms that has changed."""
OTHER_VECTORS = "The final structure has the same lattice by other vectors; it is read by those of the initial one."


@dataclass(frozen=True, eq=False)
class Hop:
    """A path, and how it was found in two structures.

    Attributes:
        path: the path.
        site: index of the moving ion in the initial structure.
        final_site: its index in the final structure.
        host_moved: how far the host atom moves that moves most, in Å.
        host_moved_atom: the element and number, counted from 1, of that atom.
        notes: what the two structures had to be read through, in plain sentences.
    """

    path: MigrationPath
    site: int
    final_site: int
    host_moved: float
    host_moved_atom: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What was understood, as plain values; sites are counted from 1, coordinates are fractional."""
        path = self.path
        numbers = (self.site + 1, self.final_site + 1)
        ends = [
            {"number": number, "frac_coords": path.band_frac_coords[image].tolist()}
            for number, image in zip(numbers, (0, -1), strict=True)
        ]
        return {
            "id": path.id,
            "formula": path.composition,
            "n_atoms": path.n_atoms,
            "space_group": path.space_group,
            "structural_group": path.structural_group,
            "mobile_ion": path.mobile_ion,
            "initial_site": ends[0],
            "final_site": ends[1],
            "hop_length_a": path.hop_length,
            "host_moved_a": self.host_moved,
            "flags": list(path.flags),
            "notes": list(self.notes),
        }


def read_path(
    initial: Source,
    final: Source | None = None,
    *,
    ion: str | None = None,
    site: int | None = None,
    group: str = "",
    id: str = "",
) -> MigrationPath:
    """The path of the one ion that hops between two structures, files or in memory; see `read_hop`."""
    return read_hop(initial, final, ion=ion, site=site, group=group, id=id).path


def read_hop(
    initial: Source,
    final: Source | None = None,
    *,
    ion: str | None = None,
    site: int | None = None,
    group: str = "",
    id: str = "",
) -> Hop:
    """Read a hop from two structure files (POSCAR, CIF, pymatgen JSON, and with ASE extended XYZ and others).

    Of a file with several frames the last is taken, as of a relaxation. A pymatgen Structure or ASE Atoms may stand
    for a file.

    Args:
        initial: the initial state.
        final: the final state; if not given, `initial` is a file of several frames, and its first and last are the
            two states.
        ion: element of the moving ion, where it is not clear.
        site: number of the moving ion in the initial structure, counted from 1, where it is not clear.
        group: one of the 27 structural groups of the dataset, in any case, for models that use it.
        id: the path's id; if not given, one is made of the names of the files.

    Raises:
        EmigbenchError: if a file cannot be read, not exactly one ion hops, or there is no such group.
    """
    group = _known_group(group)
    if site is not None and not isinstance(site, int | np.integer):
        raise EmigbenchError(f"A site is given by its whole number, counted from 1, not {site!r}.")
    if final is not None:
        _check_single(initial, final)
    first = frames(initial, "the initial structure")
    if final is None and len(first) < 2:
        raise EmigbenchError(f"{first[0].name} is one structure; name a second one with the final state.")
    a, b = (first[0], first[-1]) if final is None else (first[-1], frames(final, "the final structure")[-1])
    hop = hop_between(
        a,
        b,
        path_id=id or _name(*(source for source in (initial, final) if isinstance(source, str | Path))),
        ion=ion,
        site=None if site is None else int(site) - 1,
        group=group,
    )
    if final is None and (len(first) > 2 or (isinstance(initial, str | Path) and Path(initial).is_dir())):
        note = "Only the first and the last image are read; the band between them is taken as straight."
        hop = replace(hop, notes=(*hop.notes, note))
    return hop


def _check_single(*sources: Source) -> None:
    """Make sure that none of two states is a whole NEB, of which nobody could say which image is meant."""
    for source in sources:
        if isinstance(source, str | Path) and (numbered := of_neb(Path(source))):
            raise EmigbenchError(
                f"{source} holds all images of a NEB; name it alone, or the folder of one image, such as {numbered[0]}."
            )


def hop_between(
    a: Crystal, b: Crystal, *, path_id: str, ion: str | None = None, site: int | None = None, group: str = ""
) -> Hop:
    """The hop from crystal `a` to crystal `b`: a straight band along the shortest periodic image.

    Where several images are equally near, the band stays as far from the host as it can. How atoms are matched
    and the moving ion (`ion`, or index `site` of `a`) is found: `emigbench.hops.matching.match`.

    Raises:
        EmigbenchError: if not exactly one ion hops.
    """
    if len(a) < 2:
        raise EmigbenchError(f"{a.name} has one atom; a hop needs a host.")
    given = b
    b, found = match_by_vectors(a, given, ion, site)
    host = [i for i in range(len(a)) if i != found.moving]
    start = a.frac_coords[found.moving]
    step, n_ties = _clearest_image(a, found)
    strains = stretch(a.lattice, b.lattice)
    host_moved = found.lengths[host]
    relaxed = max(np.abs(a.lattice @ strains).max(), host_moved.max()) >= SAME_A
    path = new_path(
        path_id,
        a.species[found.moving],
        a.lattice,
        tuple(a.species[i] for i in host),
        a.frac_coords[host],
        (start, start + step),
        group=group,
        final=(a.lattice + a.lattice @ strains, a.frac_coords[host] + found.moved[host]) if relaxed else None,
    )
    most = int(host_moved.argmax())
    notes = [OTHER_VECTORS] if b is not given else []
    return Hop(
        path,
        site=found.moving,
        final_site=int(found.partner[found.moving]),
        host_moved=float(host_moved[most]),
        host_moved_atom=f"{a.species[host[most]]} {host[most] + 1}",
        notes=(*notes, *_notes(a, b, found, path, n_ties)),
    )


def clearance(start: FloatArray, step: FloatArray, atoms: FloatArray, lattice: FloatArray) -> float:
    """Distance in Å, no more than 3, from a line to the nearest of (n, 3) atoms; all but the lattice is fractional."""
    n_points = 1 + max(20, int(np.linalg.norm(step @ lattice) / 0.1))
    line = start + np.linspace(0, 1, n_points)[:, None] * step
    _, _, lengths = near_pairs(line, atoms, lattice, REACH_A)
    return float(lengths.min(initial=REACH_A))


def _clearest_image(a: Crystal, found: Match) -> tuple[FloatArray, int]:
    """The shortest image of the hop, of several the one farthest from the host, and how many there are."""
    steps = images.shortest_ones(found.moved[found.moving], a.lattice, TIE_A)
    if len(steps) == 1:
        return steps[0], 1
    start, host = a.frac_coords[found.moving], np.delete(a.frac_coords, found.moving, axis=0)

    def order(step: FloatArray) -> tuple[float, list[float]]:
        return round(clearance(start, step, host, a.lattice), 2), np.round(step, 3).tolist()

    return max(steps, key=order), len(steps)


def _notes(a: Crystal, b: Crystal, found: Match, path: MigrationPath, n_ties: int) -> Iterator[str]:
    """What a user might not expect of the two structures."""
    if (found.partner != np.arange(len(a))).any():
        yield from _order_notes(a, b, found, path)
    shift = float(np.linalg.norm(images.shortest(found.shift[None], a.lattice) @ a.lattice))
    if shift > SHIFT_A:
        yield f"The final structure has another origin; a shift of {shift:.2f} Å common to all atoms was removed."
    if found.other_origins:
        yield "Other origins fit as well and give longer hops; to be sure, give both structures at one origin."
    ends = path.band_frac_coords[-1]
    if (np.floor(ends + 1e-9) != 0).any():
        yield "The ion leaves the cell: its final site is that of a neighbouring cell."
    if n_ties > 1:
        yield f"{n_ties} images of the final site are equally near; the line farthest from the host is taken."
    if np.delete(found.lengths, found.moving).max() > HOSTS_DIFFER_A:
        yield (
            "Models that read one host take that of the initial structure; the two structures swapped may get another "
            "answer."
        )
    if (most := strain(a, b)) > SAME_STRAIN:
        yield f"The cells differ by up to {most:.1%} in a direction; each state keeps its own."


def _order_notes(a: Crystal, b: Crystal, found: Match, path: MigrationPath) -> Iterator[str]:
    """What to know where the partners are not those of the files' own order."""
    moved = _moved_in_own_order(a, b, found)
    farthest = max(path.hop_length, FARTHEST_CONCERTED_A)
    if a.species != b.species or len(moved) > MOST_CONCERTED or max(moved.values(), default=0.0) > farthest:
        yield "The atoms stand in another order in the final structure."
    elif len(moved) > 1:
        ions = ", ".join(f"{a.species[i]} {i + 1} by {length:.2f} Å" for i, length in moved.items())
        yield (
            f"In the files' own order {len(moved)} ions move ({ions}): a concerted hop, or the ion stands elsewhere in "
            f"the list; like atoms cannot be told apart, so it is read as one hop of {path.hop_length:.2f} Å."
        )


def _moved_in_own_order(a: Crystal, b: Crystal, found: Match) -> dict[int, float]:
    """Atoms that move as far as a hop, and how far in Å, if atoms with the same number were partners."""
    moved = images.shortest(b.frac_coords - found.shift - a.frac_coords, a.lattice)
    lengths = np.linalg.norm(moved @ a.lattice, axis=1)
    return {int(i): float(lengths[i]) for i in np.flatnonzero(lengths >= ION_MOVES_A)}


def _known_group(group: str) -> str:
    """The structural group as the dataset writes it, "" where none is given.

    Raises:
        EmigbenchError: if the dataset has no such group.
    """
    if not group:
        return ""
    known = sorted({facts.structural_group for facts in labels.read("full")})
    if group.upper() not in known:
        raise EmigbenchError(f"There is no structural group {group!r}; there are {', '.join(known)}.")
    return group.upper()


def _name(*sources: str | Path) -> str:
    """An id from the names of the files, with their folders where the names are equal."""
    files = [Path(source).absolute() for source in sources]  # "." has no name of its own
    names = [file.stem for file in files] or ["hop"]
    if len({file.name for file in files}) < len(files):
        names = [f"{file.parent.name}-{file.stem}".strip("-.") for file in files]
    return re.sub(r"[^\w.+-]+", "-", "--".join(names))
