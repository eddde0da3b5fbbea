"""POSCAR files. pymatgen reads them too, but importing what it needs takes a second, most of an answer's time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from math import isfinite

import numpy as np

from emigbench.errors import EmigbenchError, quoted
from emigbench.records import FloatArray


def parse(text: str, name: str, check_size: Callable[[str, int], None]) -> tuple[FloatArray, list[str], FloatArray]:
    """The cell, the elements and the fractional coordinates in the text of a POSCAR (VASP 5 or 6).

    The lines are: a comment, the scale (a negative one is the volume in Å³, three are those of x, y and z), three cell
    vectors, the symbols, how many atoms there are of each, perhaps "Selective dynamics", "Direct" or "Cartesian", and
    the coordinates. Symbols may carry a charge (`Fe2+`) or the name of a potential (`Li_sv/0a1b`), and they and the
    counts may go on for several lines.

    Args:
        text: content of the file.
        name: what errors call it.
        check_size: refuses numbers of atoms that are too large, before so many are read.

    Returns:
        (3, 3) Å, n symbols, (n, 3) fractional.

    Raises:
        EmigbenchError: if the elements are not named, a line is not what it should be, or by `check_size`.
    """
    lines = [line.replace("!", "#").partition("#")[0].split() for line in text.splitlines()]
    vectors = [[_number(x) for x in takewhile(_is_number, line)] for line in lines[2:5]]
    if [len(vector) for vector in vectors] != [3, 3, 3]:
        raise _unreadable(name, "lines 3 to 5 are not three cell vectors of three numbers, with points as in 0.5")
    lattice = np.array(vectors)
    scale = np.array([_number(x) for x in takewhile(_is_number, lines[1])])
    if len(scale) not in (1, 3) or (len(scale) == 3 and not (scale > 0).all()):
        raise _unreadable(name, "the scale in line 2 is neither one number nor three positive ones")
    factor = scale if scale[0] > 0 else (-scale / abs(np.linalg.det(lattice))) ** (1 / 3)
    rest = iter(list(enumerate(lines, start=1))[5:])
    number, line = next(rest, _END)
    symbols: list[str] = []
    while line and not line[0].isdecimal():
        symbols += (re.match("[A-Za-z]*", word)[0] or word for word in line)  # type: ignore[index]  # it always matches
        number, line = next(rest, _END)
    if not symbols:
        raise EmigbenchError(f"{name} does not name its elements; add their symbols above the counts.")
    counts: list[int] = []
    while line and line[0].isdecimal() and len(counts) < len(symbols):
        if words := [word for word in line if not word.isdecimal()]:
            raise _unreadable(name, f"line {number} has {quoted(words[0])} where a number of atoms is expected")
        counts += map(int, line)
        number, line = next(rest, _END)
    if len(counts) != len(symbols):
        raise _unreadable(
            name, f"it names {len(symbols)} elements and {len(counts)} numbers of atoms; give one of each"
        )
    check_size(name, sum(counts))
    if not line:
        number, line = next(rest, _END)
    if line and line[0][0] in "sS":
        number, line = next(rest, _END)
    if not line or _is_number(line[0]):
        where = f"; line {number} should, and has {quoted(' '.join(line))}" * bool(line)
        raise _unreadable(name, f"no line says Direct or Cartesian below the counts{where}")
    coords = np.array(list(_rows(rest, sum(counts), name))).reshape(-1, 3)
    if line[0][0] in "cCkK":
        coords = coords @ np.linalg.inv(lattice)  # both are to be multiplied by the scale
    species = [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    return lattice * factor, species, coords


_Line = tuple[int, list[str]]
"""A line's number and its words."""
_END: _Line = (0, [])


def _unreadable(name: str, why: str) -> EmigbenchError:
    return EmigbenchError(f"{name} cannot be read as a POSCAR: {why}.")


def _number(word: str) -> float:
    """A number as Python or Fortran writes it (1.0d0)."""
    return float(word.lower().replace("d", "e"))


def _is_number(word: str) -> bool:
    try:
        return isfinite(_number(word))
    except ValueError:
        return False


def _rows(lines: Iterator[_Line], n: int, name: str) -> Iterator[list[float]]:
    for found in range(n):
        number, line = next(lines, _END)
        if len(line) < 3:
            raise _unreadable(name, f"{n} atoms are announced, and there are the coordinates of {found}")
        if words := [word for word in line[:3] if not _is_number(word)]:
            raise _unreadable(
                name, f"line {number} has {quoted(words[0])} where a coordinate is expected, a number such as 0.5"
            )
        yield [_number(x) for x in line[:3]]
