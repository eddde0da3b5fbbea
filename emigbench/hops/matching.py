"""Which atom of one cell is which atom of another, and which of them hopped.

The two cells may list their atoms in another order, hold them in other periodic images, have another origin, and
describe one lattice by other vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emigbench.datasets.geometry import near_pairs
from emigbench.errors import EmigbenchError
from emigbench.hops import images
from emigbench.hops.files import Crystal
from emigbench.records import FloatArray

HOST_MOVES_A = 2.0
"""A host atom moves less than this while the host relaxes."""
ION_MOVES_A = 1.0
"""The moving ion moves at least this far."""
CLEARLY_FARTHER = 1.5
"""The moving ion moves this many times as far as any other atom."""
MOST_STRAIN = 0.1
"""How much longer or shorter the second cell may be in any direction, as a fraction."""
MOST_DRIFT_A = 0.2
"""Two states drift apart by less than this while they relax; what lies farther apart was given another origin."""
SAME_FIT_A = 0.03
"""Origins whose mean host displacements differ by less fit equally well."""
MOST_ROUNDS = 20
"""Times that atoms are matched and their common shift taken away; it rarely needs more than three."""
RESTARTS = 8
"""Atoms whose displacement the common shift is started from again, to find the least of its fixed points."""
HINT = "name the one that hops with --ion or --site (ion=, site= in Python)"
MOST_TRIES = 1_000_000
"""Origins that are tried, times the atoms that have to be matched at each: ten seconds."""


@dataclass(frozen=True, eq=False)
class Match:
    """Two cells of the same atoms, in which one ion has hopped.

    Attributes:
        moving: index of the moving ion in the first cell.
        partner: (n,) index in the second cell of each atom of the first.
        moved: (n, 3) fractional displacement of each atom, over its nearest image and without the shift of the
            origin. That of the moving ion is along one of its shortest images.
        lengths: (n,) length of each displacement in the first cell, in Å.
        shift: (3,) fractional difference of the origins, second minus first.
        other_origins: whether other origins explain the second cell as well, by hops at least as long.
    """

    moving: int
    partner: NDArray[np.int64]
    moved: FloatArray
    lengths: FloatArray
    shift: FloatArray
    other_origins: bool = False


def match(a: Crystal, b: Crystal, ion: str | None = None, site: int | None = None) -> Match:
    """Find the one ion that moves from cell `a` to cell `b`.

    Atoms of one element are matched so that as few of them as possible move by `HOST_MOVES_A` or more, and the
    others as little as possible. The moving ion is the atom that moves by `ION_MOVES_A` or more and
    `CLEARLY_FARTHER` times as far as any other. With `ion`, it is sought among the atoms of this element alone,
    with `site`, it is this atom. What all atoms have in common (the median displacement) is a shift of the
    origin; which atoms are partners may depend on it, so of several such shifts the one of the least displacements
    is taken. If the cells do not fit at the origin that they are given at, the one at which all atoms but one are
    partners in the files' own order is taken, if there is one, and else others are tried; where several fit equally
    well (in hosts with internal translations), the one of the shortest hop is taken.

    Args:
        a: the initial cell.
        b: the final cell: the same atoms and the same cell vectors, apart from relaxation and rotation.
        ion: element of the moving ion.
        site: index of the moving ion in `a`.

    Raises:
        EmigbenchError: if the cells differ in composition or shape, or not exactly one ion hops.
    """
    _check_alike(a, b, ion, site)
    found = _settled(a, b, _assign(a, b, np.zeros(3), site), site)
    movers = _movers(a, found, ion, site)
    drift = float(np.linalg.norm(images.shortest(found.shift[None], a.lattice) @ a.lattice))
    misfit = len(movers) > max(1, len(a) // 20) or drift > MOST_DRIFT_A
    if misfit and (better := _in_own_order(a, b, ion, site) or _at_other_origins(a, b, ion, site)):
        return better
    return _with_moving_ion(a, b, found, ion, site)


def match_by_vectors(a: Crystal, b: Crystal, ion: str | None = None, site: int | None = None) -> tuple[Crystal, Match]:
    """The second cell by vectors that it shares with the first, and what `match` finds then.

    A cell may be the same lattice by other vectors, its atoms where they were in space. It may also be turned as a
    whole, and look just like that if the lattice has the symmetry of the turn. Of two readings that give a hop, the one
    in which atoms move less in all is taken, and the cell as it is given if they are alike.

    Raises:
        EmigbenchError: as `match` does, about the cell as it is given unless that is another lattice.
    """
    found, refusals = [], []
    for reading in _readings(a, b):
        try:
            found.append((reading, match(a, reading, ion, site)))
        except EmigbenchError as error:
            refusals.append(error)
    if not found:
        raise refusals[0]
    return min(found, key=lambda each: round(float(each[1].lengths.sum()), 6))


def _readings(a: Crystal, b: Crystal) -> list[Crystal]:
    """The second cell as it is, and by the vectors of the first if it is the same lattice; without what cannot be."""
    whole = np.round(b.lattice @ np.linalg.inv(a.lattice))
    if (whole == np.eye(3)).all() or abs(round(np.linalg.det(whole))) != 1:
        return [b]
    lattice: FloatArray = np.linalg.inv(whole) @ b.lattice
    by_those = replace(b, lattice=lattice, frac_coords=(b.frac_coords @ whole) % 1.0)
    return [each for each in (b, by_those) if strain(a, each) <= MOST_STRAIN] or [b]


def stretch(a: FloatArray, b: FloatArray) -> FloatArray:
    """The (3, 3) symmetric strain, in Å per Å, that takes the lattice `a` to `b`, whatever the rotation between them.

    `a @ (1 + strain)` is the lattice `b` in the orientation of `a`.
    """
    deformation = np.linalg.solve(a, b)
    values, vectors = np.linalg.eigh(deformation @ deformation.T)
    root: FloatArray = (vectors * np.sqrt(values)) @ vectors.T
    return root - np.eye(3)


def strain(a: Crystal, b: Crystal) -> float:
    """How much longer or shorter the cell `b` is in any direction, at most, as a fraction."""
    return float(np.abs(np.linalg.eigvalsh(stretch(a.lattice, b.lattice))).max())


# --- What the cells have in common


def _check_alike(a: Crystal, b: Crystal, ion: str | None, site: int | None) -> None:
    has, needs = Counter(a.species), Counter(b.species)
    if has != needs:
        element = next(e for e in sorted({*has, *needs}) if has[e] != needs[e])
        raise EmigbenchError(
            f"{a.name} and {b.name} differ in composition: {has[element]} and {needs[element]} atoms of {element}; "
            f"the same atoms must be in both."
        )
    if strain(a, b) > MOST_STRAIN:
        raise EmigbenchError(
            f"{a.name} and {b.name} have different cells: {_cell_in_words(a)}, and {_cell_in_words(b)}; describe both "
            f"in the same cell."
        )
    if ion is not None and ion not in has:
        raise EmigbenchError(f"{a.name} has no atom of {ion}; it has {', '.join(sorted(has))}.")
    if site is not None and not 0 <= site < len(a):
        raise EmigbenchError(f"{a.name} has no site {site + 1}; it has {len(a)}, counted from 1.")
    if ion is not None and site is not None and a.species[site] != ion:
        raise EmigbenchError(f"Site {site + 1} of {a.name} is {a.species[site]}, not {ion}.")


def _cell_in_words(x: Crystal) -> str:
    lengths = np.linalg.norm(x.lattice, axis=1)
    directions = x.lattice / lengths[:, None]
    cosines = np.clip((directions @ directions.T)[[1, 2, 0], [2, 0, 1]], -1, 1)
    angles = np.degrees(np.arccos(cosines))
    return f"{' × '.join(f'{v:.2f}' for v in lengths)} Å at {', '.join(f'{v:.1f}' for v in angles)}°"


# --- Assignment


@dataclass(frozen=True, eq=False)
class _Assignment:
    """Partners of the atoms of the first cell, -1 for those without one nearby; displacements as in `Match`."""

    partner: NDArray[np.int64]
    moved: FloatArray
    lengths: FloatArray
    shift: FloatArray

    @property
    def cost(self) -> float:
        """What the matching keeps least, in Å: the displacements, and `HOST_MOVES_A` for an atom without a partner."""
        alone = self.partner < 0
        return float(self.lengths[~alone].sum() + HOST_MOVES_A * alone.sum())


def _settled(a: Crystal, b: Crystal, found: _Assignment, site: int | None) -> _Assignment:
    """The best match near this one: the common shift started again from what single atoms move by."""
    best = found
    spread = np.argsort(found.lengths, kind="stable")[:: max(1, len(a) // RESTARTS)]
    for i in spread[found.lengths[spread] > 1e-9]:  # from those that did not move it would only come back
        again = _assign(a, b, found.shift + found.moved[i], site)
        if again.cost < best.cost - 1e-9:
            best = again
    return best if best is found else _settled(a, b, best, site)


def _assign(a: Crystal, b: Crystal, shift: FloatArray, site: int | None) -> _Assignment:
    """Match the atoms at an origin, then again without the shift that the matched atoms have in common."""
    found = _assign_at(a, b, shift, site)
    for _ in range(MOST_ROUNDS):
        kept = found.partner >= 0
        common = np.median(found.moved[kept], axis=0) if kept.sum() >= max(3, len(a) // 2) else np.zeros(3)
        if np.abs(common @ a.lattice).max() < 1e-9:  # settled, or no telling what is the host
            break
        found = _assign_at(a, b, found.shift + common, site)
    return found


def _assign_at(a: Crystal, b: Crystal, shift: FloatArray, site: int | None) -> _Assignment:
    """Match atoms nearer than `HOST_MOVES_A`; leaving an atom without a partner costs as much as that distance."""
    from scipy.sparse import csr_matrix, hstack, identity
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n = len(a)
    moved_back = b.frac_coords - shift
    first, second, lengths = near_pairs(a.frac_coords, moved_back, a.lattice, HOST_MOVES_A)
    species_a, species_b = np.array(a.species), np.array(b.species)
    kept = (species_a[first] == species_b[second]) & (first != (-1 if site is None else site))
    order = np.argsort(-lengths[kept], kind="stable")  # of several images of a pair the nearest comes last and stays
    nearest = {(i, j): d for i, j, d in zip(first[kept][order], second[kept][order], lengths[kept][order], strict=True)}
    pairs = np.array(list(nearest), dtype=int).reshape(-1, 2)
    costs = np.array(list(nearest.values())) + 1e-9  # a zero would be no entry
    near = csr_matrix((costs, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    alone = (HOST_MOVES_A + 1e-9) * identity(n, format="csr")
    _, column = min_weight_full_bipartite_matching(hstack([near, alone], format="csr"))
    partner = np.where(column < n, column, -1)

    moved = np.zeros((n, 3))
    has = partner >= 0
    moved[has] = images.shortest(moved_back[partner[has]] - a.frac_coords[has], a.lattice)
    return _Assignment(partner, moved, np.linalg.norm(moved @ a.lattice, axis=1), shift)


# --- The moving ion


def _movers(a: Crystal, found: _Assignment, ion: str | None, site: int | None) -> list[int]:
    """Atoms that hop: those without a partner, and those that move far though they have one."""
    alone = found.partner < 0
    if site is not None:
        return [site, *(i for i in np.flatnonzero(alone).tolist() if i != site)]
    sought = np.array([ion is None or element == ion for element in a.species])
    movers: list[int] = np.flatnonzero(alone | (sought & (found.lengths >= ION_MOVES_A))).tolist()
    return movers


def _with_moving_ion(a: Crystal, b: Crystal, found: _Assignment, ion: str | None, site: int | None) -> Match:
    """The match with the moving ion's own partner and displacement."""
    movers = _movers(a, found, ion, site)
    if not movers:
        raise EmigbenchError(_nothing_moves(a, b, found, ion))
    if len(movers) > 1 and site is not None:
        movers = _movers(a, _assign_at(a, b, found.shift, None), None, None)  # whoever moves, named or not
    elif len(movers) > 1:
        alone = [i for i in movers if found.partner[i] < 0]
        movers = alone if len(alone) == 1 else movers  # the others relax, if it is clear that this one hops
    if len(movers) == 1 and (site not in (None, movers[0]) or ion not in (None, a.species[movers[0]])):
        named = ion if site is None else _atom(a, site)
        raise EmigbenchError(
            f"{_atom(a, movers[0])} hops from {a.name} to {b.name}, not {named}; name the ion that hops."
        )
    if len(movers) > 1:
        a_hint_may_help = site is None and bool((found.partner >= 0).all())
        raise EmigbenchError(_several_move(a, b, movers, a_hint_may_help))
    moving, partner, moved = movers[0], found.partner.copy(), found.moved.copy()
    if partner[moving] < 0:
        (partner[moving],) = set(range(len(b))) - set(partner.tolist())
    hop = b.frac_coords[partner[moving]] - found.shift - a.frac_coords[moving]
    moved[moving] = images.shortest(hop[None], a.lattice)[0]
    match = Match(moving, partner, moved, np.linalg.norm(moved @ a.lattice, axis=1), found.shift)
    _check_clear(a, b, match, ion, site)
    return match


def _check_clear(a: Crystal, b: Crystal, match: Match, ion: str | None, site: int | None) -> None:
    """Make sure that the moving ion hops, and that no other atom might be meant."""
    moving = match.moving
    length = match.lengths[moving]
    if length < ION_MOVES_A:
        raise EmigbenchError(
            f"{_atom(a, moving)} of {a.name} moves by {length:.2f} Å to {b.name}, which is no hop; a hop has at least "
            f"{ION_MOVES_A:g} Å."
        )
    if site is not None:
        return
    others = [i for i in range(len(a)) if i != moving and (ion is None or a.species[i] == ion)]
    second = max(others, key=lambda i: match.lengths[i], default=None)
    if second is not None and length < CLEARLY_FARTHER * match.lengths[second]:
        raise EmigbenchError(
            f"It is not clear which ion hops from {a.name} to {b.name}: {_atom(a, moving)} moves by {length:.2f} Å and "
            f"{_atom(a, second)} by {match.lengths[second]:.2f} Å; {HINT}."
        )


def _atom(a: Crystal, index: int) -> str:
    return f"{a.species[index]} {index + 1}"


def _nothing_moves(a: Crystal, b: Crystal, found: _Assignment, ion: str | None) -> str:
    farthest = int(found.lengths.argmax())
    if found.lengths[farthest] < 0.05:
        return (
            f"{a.name} and {b.name} are the same structure, so no ion hops; the second must hold the final state "
            f"(where the ion hops to an image of its own site, in a repeated cell)."
        )
    return (
        f"No {'ion' if ion is None else ion} hops from {a.name} to {b.name}: the atom that moves most, "
        f"{_atom(a, farthest)}, moves by {found.lengths[farthest]:.2f} Å, and a hop has at least {ION_MOVES_A:g} Å."
    )


def _several_move(a: Crystal, b: Crystal, movers: list[int], a_hint_may_help: bool) -> str:
    named = ", ".join(_atom(a, i) for i in movers[:4]) + (", …" if len(movers) > 4 else "")
    if len(movers) > max(4, len(a) // 4):
        origin = " and at the same origin (others are not tried in a cell as large as this)" * _is_too_large(a, b)
        return (
            f"The atoms of {a.name} and {b.name} do not fit each other: {len(movers)} of {len(a)} have no partner "
            f"nearby ({named}); describe both in the same cell, with the vectors in the same order{origin}."
        )
    advice = (
        f"or where all but one relax, {HINT}"
        if a_hint_may_help
        else f"in which every other atom moves by less than {HOST_MOVES_A:g} Å"
    )
    return (
        f"{len(movers)} ions move from {a.name} to {b.name} ({named}), and a path has one; describe one hop at a time, "
        f"{advice}."
    )


# --- Another origin


def _in_own_order(a: Crystal, b: Crystal, ion: str | None, site: int | None) -> Match | None:
    """The match at the origin at which all atoms but one are partners in the files' own order, None without one."""
    if a.species != b.species:
        return None
    moved = images.shortest(b.frac_coords - a.frac_coords, a.lattice)
    for reference in (0, len(a) // 2):
        common = moved[reference] + np.median(images.shortest(moved - moved[reference], a.lattice), axis=0)
        found = _assign(a, b, common, site)
        movers = _movers(a, found, ion, site)
        if len(movers) == 1 and (np.delete(found.partner - np.arange(len(a)), movers) == 0).all():
            try:
                return _with_moving_ion(a, b, _settled(a, b, found, site), ion, site)
            except EmigbenchError:  # it is not clear which ion hops
                return None
    return None


def _at_other_origins(a: Crystal, b: Crystal, ion: str | None, site: int | None) -> Match | None:
    """The best match with one moving ion over the origins that put an atom onto one of its kind, None without one."""
    found = []
    for shift in _shifts(a, b):
        assigned = _assign(a, b, shift, site)
        if len(_movers(a, assigned, ion, site)) == 1:
            try:
                found.append(_with_moving_ion(a, b, assigned, ion, site))
            except EmigbenchError:  # one origin of many that does not fit
                continue
    if not found:
        return None
    least = min(_mean_host_displacement(m) for m in found)
    fits = [m for m in found if _mean_host_displacement(m) < least + SAME_FIT_A]
    shortest = min(fits, key=lambda m: float(m.lengths[m.moving]))
    best = _with_moving_ion(a, b, _settled(a, b, _assign(a, b, shortest.shift, site), site), ion, site)
    apart = images.shortest(np.array([m.shift - best.shift for m in fits]), a.lattice) @ a.lattice
    return replace(best, other_origins=bool((np.linalg.norm(apart, axis=1) > ION_MOVES_A / 2).any()))


def _mean_host_displacement(found: Match) -> float:
    return float(np.delete(found.lengths, found.moving).mean()) if len(found.lengths) > 1 else 0.0


def _shifts(a: Crystal, b: Crystal) -> Iterator[FloatArray]:
    """Differences of origin that put an atom onto its like, and half the atoms near theirs; none in large cells."""
    if _is_too_large(a, b):
        return
    some = np.arange(0, len(a), -(-len(a) // 50))
    for i, j in _anchors(a, b):
        shift = b.frac_coords[j] - a.frac_coords[i]
        if _share_nearby(a, b, shift, some) >= 0.5:
            yield shift


def _anchors(a: Crystal, b: Crystal) -> list[tuple[int, int]]:
    """Two atoms of the rarest elements of `a` (at most one hops), each with every one of its kind of `b`."""
    count = Counter(a.species)
    rarest = sorted(range(len(a)), key=lambda i: (count[a.species[i]], a.species[i]))[:2]
    return [(i, j) for i in rarest for j in range(len(b)) if b.species[j] == a.species[i]]


def _is_too_large(a: Crystal, b: Crystal) -> bool:
    """Whether trying other origins would take too long."""
    return len(_anchors(a, b)) * len(a) > MOST_TRIES


def _share_nearby(a: Crystal, b: Crystal, shift: FloatArray, some: NDArray[np.int64]) -> float:
    """Share of some atoms of `a` with one of their kind of `b` within `ION_MOVES_A`, the origin of `b` moved back."""
    first, second, _ = near_pairs(a.frac_coords[some], b.frac_coords - shift, a.lattice, ION_MOVES_A)
    alike = np.array(a.species)[some][first] == np.array(b.species)[second]
    return len(set(first[alike].tolist())) / len(some)
