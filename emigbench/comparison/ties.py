"""What rows of a board that cannot be told apart leave open: the ranks that each may hold, and tie letters."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from emigbench.metrics import BoolArray


def possible_ranks(told_apart: Sequence[Sequence[bool]] | BoolArray) -> list[tuple[int, int]]:
    """The best and the worst rank that each row may hold: below all that are told to be better, above all worse ones.

    Where the pairs of a row are told apart with one chance of an error in twenty for all of them, its ranks hold with
    95% (the marginal confidence sets of Mogstad, Romano, Shaikh, Wilhelm, Rev. Econ. Stud. 91, 476, 2024).

    Args:
        told_apart: (n, n) rows in the order of the board, each with what it is told apart from.
    """
    n = len(told_apart)
    table = np.array(told_apart, dtype=np.bool_).reshape(n, n)
    return [(1 + int(table[i, :i].sum()), n - int(table[i, i + 1 :].sum())) for i in range(n)]


def tie_groups(told_apart: Sequence[Sequence[bool]] | BoolArray) -> list[tuple[int, ...]]:
    """Groups of rows, best first, such that two rows share a group if and only if they are not told apart.

    Built by a greedy cover (the compact letter display of Piepho, J. Comput. Graph. Stat. 13, 456, 2004, made
    another way, whose effort stays polynomial): each pair that is not told apart and is in no group yet starts
    one; rows join it, best first, where they are told apart from none of its members, so that groups are
    maximal. A group whose pairs are all in others is dropped. A row that is told apart from all others is a
    group of its own.

    Args:
        told_apart: (n, n) symmetric table of the rows in the order of the board.

    Returns:
        Row numbers of each group, ascending, groups ordered by their members.
    """
    n = len(told_apart)
    table = np.array(told_apart, dtype=np.bool_).reshape(n, n)
    tied = [sum(1 << j for j in range(n) if j != i and not table[i, j]) for i in range(n)]
    covered = [0] * n
    groups: list[int] = []
    for i in range(n):
        while todo := tied[i] & ~covered[i] & ~((1 << i) - 1):
            group, candidates = 1 << i, tied[i]
            first = (todo & -todo).bit_length() - 1
            for j in (first, *range(n)):
                if candidates >> j & 1:
                    group, candidates = group | 1 << j, candidates & tied[j]
            groups.append(group)
            for j in _members(group):
                covered[j] |= group
        if not tied[i]:
            groups.append(1 << i)
    return sorted(_members(group) for group in _needed(groups))


def tie_letters(told_apart: Sequence[Sequence[bool]] | BoolArray) -> list[str]:
    """The letters of each row: two rows share one if and only if they are not told apart; see `tie_groups`.

    The first group is a, the 27th is A, the 53rd is a2.
    """
    groups = tie_groups(told_apart)
    names = [_letter(k) for k in range(len(groups))]
    return [
        "".join(name for name, group in zip(names, groups, strict=True) if i in group) for i in range(len(told_apart))
    ]


def _members(group: int) -> tuple[int, ...]:
    return tuple(k for k in range(group.bit_length()) if group >> k & 1)


def _needed(groups: Sequence[int]) -> list[int]:
    """The groups without those, looked at from the last, all of whose pairs are in others that stay."""
    times: dict[tuple[int, int], int] = {}
    pairs = {g: [(i, j) for i in _members(g) for j in _members(g) if i < j] for g in groups}
    for g in groups:
        for pair in pairs[g]:
            times[pair] = times.get(pair, 0) + 1
    kept = []
    for g in reversed(groups):
        if pairs[g] and all(times[pair] > 1 for pair in pairs[g]):
            for pair in pairs[g]:
                times[pair] -= 1
        else:
            kept.append(g)
    return kept


def _letter(k: int) -> str:
    turn, place = divmod(k, len(string.ascii_letters))
    return string.ascii_letters[place] + (str(turn + 1) if turn else "")
