"""What the network is told about an element: the 92 CGCNN features (Xie and Grossman 2018) by atomic number.

Nine properties, each put into one of a few classes: group and period of the periodic table, Pauling electronegativity,
covalent radius, valence electrons, first ionisation energy (log), electron affinity, block and atomic volume (log).
A feature vector holds a one for the class of each property, and nothing for a property that the table does not know
(noble gases have no electronegativity). `PROPERTIES` holds the classes themselves, a character an element; a test
compares the vectors with those of jarvis-tools.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emigbench import EmigbenchError

SYMBOLS = tuple(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm".split()
)
"""Symbols of the elements 1 to 100, all that have features."""
LAST = len(SYMBOLS)
"""Atomic number of the last of them."""


class Property(NamedTuple):
    """One property of the elements, in classes.

    Attributes:
        name: what it is.
        n_classes: how many classes there are.
        classes: a character for each element from hydrogen on, 0 to 9 and then a to i; a dot where unknown.
    """

    name: str
    n_classes: int
    classes: str


# fmt: off
PROPERTIES = (
    Property("group (0 for f elements)", 19,
             "1i12defghi12defghi123456789abcdefghi123456789abcdefghi"
             "12000000000000003456789abcdefghi12000000000000"),
    Property("period, from 0", 7,
             "001111111122222222333333333333333333444444444444444444"
             "5555555555555555555555555555555566666666666666"),
    Property("electronegativity", 10,
             "4.1345789.1233457.01223333343334457.012234445443344466"
             "011111.1.1.2222.122334445333344.01122322......"),
    Property("covalent radius", 10,
             "004322211155443333765444443334444434876555444444555444"
             "9766666666666666655444444455555587766666666666"),
    Property("valence electrons", 12,
             "0101234567012345670123456789ab234567012345678bab234567"
             "011111111111111123456789ab23456701111111111111"),
    Property("first ionisation energy", 10,
             "691445667813235567022333333334234456022233333434234455"
             "0122122222222222133334444523344501122222222222"),
    Property("electron affinity", 10,
             "5.5046269.5.56579.544455.4566.56579.54455556656.466794"
             "545557..5.65..64444546677.55578.545..........."),
    Property("block (s, p, d, f)", 4,
             "000011111100111111002222222222111111002222222222111111"
             "0033333333333333222222222211111100333333333333"),
    Property("atomic volume", 10,
             "463000444454234456864321111112333457975432222223445568"
             "975555.56555554643322222244555...855435.55...."),
)
# fmt: on

N_FEATURES = sum(p.n_classes for p in PROPERTIES)


@cache
def features() -> NDArray[np.float32]:
    """(101, 92) feature vectors by atomic number; row 0 is empty, the array is read-only."""
    table = np.zeros((LAST + 1, N_FEATURES), dtype=np.float32)
    first = 0
    for _, n_classes, classes in PROPERTIES:
        for z, character in enumerate(classes, start=1):
            if character != ".":
                table[z, first + int(character, 36)] = 1
        first += n_classes
    table.setflags(write=False)
    return table


def atomic_number(symbol: str, name: str = "structure") -> int:
    """The atomic number of an element that has features.

    Args:
        symbol: the element's symbol.
        name: what to call the structure in the error.

    Raises:
        EmigbenchError: if the element is not one of the first hundred.
    """
    try:
        return SYMBOLS.index(symbol) + 1
    except ValueError:
        raise EmigbenchError(
            f"{name}: element {symbol!r} has no CGCNN features; the graph models know {SYMBOLS[0]} to {SYMBOLS[-1]}."
        ) from None
