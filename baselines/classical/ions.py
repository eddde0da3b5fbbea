"""Facts of elements as ions: charges, radii, bond valence, polarisability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import nan, sqrt

import numpy as np

from emigbench.records import FloatArray

ANIONS = frozenset({"N", "P", "As", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
"""Elements that can be the anion of a host; `charges` says where they are."""

NOMINAL_CHARGES = {
    **dict.fromkeys(("Li", "Na", "K", "Rb"), 1),
    **dict.fromkeys(("Mg", "Ca", "Sr", "Zn"), 2),
    **dict.fromkeys(("Al", "B", "Ga", "In", "Sc", "Y", "La", "Pr", "Nd", "Pm", "Sm", "Tb"), 3),
    **dict.fromkeys(("Dy", "Ho", "Er", "Tm", "Lu"), 3),
    **dict.fromkeys(("C", "Si", "Ge", "Sn", "Zr"), 4),
    **dict.fromkeys(("P", "As"), 5),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    **dict.fromkeys(("O", "S", "Se", "Te"), -2),
    "N": -3,
}
"""Charge in e of the elements that have one usual charge in this field; the others share what is left."""

POLARISABILITY = {"F": 1.04, "Cl": 3.66, "Br": 4.77, "I": 7.10, "O": 3.88, "S": 10.2, "Se": 10.5, "Te": 14.0}
"""Of free anions, in Å³ (Pauling, Proc. R. Soc. A 114, 181, 1927)."""

ANION_RADII = {"P": 2.12, "As": 2.22}
"""Of the phosphide and the arsenide ion, in Å, which Shannon's table lacks (Pauling, The Nature of the Chemical Bond,
1960)."""

# fmt: off
BOND_PARAMETERS = {
    "H": (0.38, 0.89), "Li": (1, 0.97), "Be": (0.81, 1.47), "B": (0.79, 1.6), "C": (0.78, 2), "N": (0.72, 2.61),
    "O": (0.63, 3.15), "F": (0.58, 3.98), "Na": (1.36, 1.01), "Mg": (1.21, 1.23), "Al": (1.13, 1.47),
    "Si": (1.12, 1.58), "P": (1.09, 1.96), "S": (1.03, 2.35), "Cl": (0.99, 2.74), "K": (1.73, 0.91), "Ca": (1.5, 1.04),
    "Sc": (1.34, 1.2), "Ti": (1.27, 1.32), "V": (1.21, 1.45), "Cr": (1.16, 1.56), "Mn": (1.17, 1.6),
    "Fe": (1.16, 1.64), "Co": (1.09, 1.7), "Ni": (1.04, 1.75), "Cu": (0.87, 1.75), "Zn": (1.07, 1.66),
    "Ga": (1.14, 1.82), "Ge": (1.21, 1.51), "As": (1.21, 2.23), "Se": (1.18, 2.51), "Br": (1.13, 2.58),
    "Rb": (1.84, 0.89), "Sr": (1.66, 0.99), "Y": (1.52, 1.11), "Zr": (1.43, 1.22), "Nb": (1.4, 1.23),
    "Mo": (1.37, 1.3), "Ru": (1.21, 1.42), "Rh": (1.18, 1.54), "Pd": (1.11, 1.35), "Ag": (1.12, 1.42),
    "Cd": (1.28, 1.46), "In": (1.34, 1.49), "Sn": (1.37, 1.72), "Sb": (1.41, 1.72), "Te": (1.4, 2.72),
    "I": (1.33, 2.38), "Cs": (2.05, 0.86), "Ba": (1.88, 0.97), "La": (1.71, 1.08), "Ce": (1.68, 1.08),
    "Pr": (1.66, 1.07), "Nd": (1.64, 1.07), "Sm": (1.61, 1.07), "Eu": (1.62, 1.01), "Gd": (1.58, 1.11),
    "Tb": (1.56, 1.1), "Dy": (1.54, 1.1), "Ho": (1.53, 1.1), "Er": (1.51, 1.11), "Tm": (1.5, 1.11), "Yb": (1.49, 1.06),
    "Lu": (1.47, 1.14), "Hf": (1.42, 1.23), "Ta": (1.39, 1.33), "W": (1.38, 1.4), "Re": (1.37, 1.46),
    "Ir": (1.37, 1.55), "Hg": (1.32, 1.44), "Tl": (1.62, 1.44), "Pb": (1.53, 1.55), "Bi": (1.54, 1.67),
    "Th": (1.7, 1.11), "U": (1.59, 1.22),
}
# fmt: on
"""r in Å and c of each element, from which the length of a bond of valence 1 follows (O'Keeffe & Brese, J. Am. Chem.
Soc. 113, 3226, 1991). pymatgen has the same numbers, in a module that takes longer to import than a path to predict."""

BOND_VALENCE_SOFTNESS = 0.37
"""The b of a bond's valence exp((R0 - d) / b), in Å (Brown & Altermatt, Acta Cryst. B 41, 244, 1985)."""


@dataclass(frozen=True)
class ElementFacts:
    """What pymatgen and the tables above know of an element; NaN where they know nothing.

    Attributes:
        electronegativity: Pauling's.
        cation_radius: mean of Shannon's radii over its positive charges, in Å; 0.6 atomic radii where there is none.
        anion_radius: Shannon's radius as an anion, or that of `ANION_RADII`, in Å; 0 where it is none.
        mass: in u.
        row: of the periodic table.
        group: of the periodic table.
        ionisation_energy: the first, in eV.
        is_transition_metal: of the d block.
        bond_r: its r of `BOND_PARAMETERS`, in Å.
        bond_c: its c of the same table.
    """

    electronegativity: float
    cation_radius: float
    anion_radius: float
    mass: float
    row: int
    group: int
    ionisation_energy: float
    is_transition_metal: bool
    bond_r: float
    bond_c: float


@cache
def facts(symbol: str) -> ElementFacts:
    """The facts of one element."""
    from pymatgen.core.periodic_table import Element

    element = Element(symbol)
    bond_r, bond_c = BOND_PARAMETERS.get(symbol, (nan, nan))
    atomic_radius = float(element.atomic_radius or nan)
    return ElementFacts(
        electronegativity=float(element.X),
        cation_radius=float(element.average_cationic_radius) or 0.6 * atomic_radius,
        anion_radius=float(element.average_anionic_radius) or ANION_RADII.get(symbol, 0.0),
        mass=float(element.atomic_mass),
        row=int(element.row),
        group=int(element.group),
        ionisation_energy=float(element.ionization_energies[0] or nan) if element.ionization_energies else nan,
        is_transition_metal=bool(element.is_transition_metal),
        bond_r=bond_r,
        bond_c=bond_c,
    )


def charges(elements: Iterable[str]) -> dict[str, float]:
    """Charge in e of every element of a neutral cell.

    Sulphur is +6 in sulphates, carbon +2 in cyanides, phosphorus and arsenic -3 where there is no other anion.
    Elements without a usual charge (transition metals) share the charge that makes the cell neutral.

    Args:
        elements: the element of each atom, or a count of atoms by element.
    """
    counts: Mapping[str, int] = Counter(elements) if not isinstance(elements, Mapping) else elements
    found: dict[str, float] = {e: float(NOMINAL_CHARGES[e]) for e in counts if e in NOMINAL_CHARGES}
    if "S" in counts and counts.get("O", 0) >= 3 * counts["S"]:
        found["S"] = 6.0
    if "C" in counts and "O" not in counts:
        found["C"] = 2.0
    if not any(charge < 0 for charge in found.values()):
        found |= {e: -3.0 for e in ("P", "As") if e in counts}
    others = [e for e in counts if e not in found]
    left = -sum(charge * counts[e] for e, charge in found.items())
    share = left / sum(counts[e] for e in others) if others else 0.0
    return found | dict.fromkeys(others, share)


def is_anion(symbol: str, charge: float) -> bool:
    """Whether an element with this charge is an anion of the host."""
    return symbol in ANIONS and charge < 0


def bond_length(cation: str, anion: str) -> float:
    """R0 in Å, the length of a bond of valence 1 (O'Keeffe & Brese 1991, equation 2); NaN where unknown."""
    a, b = facts(cation), facts(anion)
    difference = a.bond_r * b.bond_r * (sqrt(a.bond_c) - sqrt(b.bond_c)) ** 2
    return a.bond_r + b.bond_r - difference / (a.bond_c * a.bond_r + b.bond_c * b.bond_r)


def bond_valence(unit_length: FloatArray, length: FloatArray) -> FloatArray:
    """Valence of bonds by their lengths and those of bonds of valence 1, all in Å (Brown & Altermatt 1985)."""
    valence: FloatArray = np.exp((unit_length - length) / BOND_VALENCE_SOFTNESS)
    return valence
