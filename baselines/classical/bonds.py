"""Whether bonds fit the charges of a crystal's ions, which they do not in a cell that is stretched or squeezed."""

from __future__ import annotations

from math import nan

import numpy as np

from emigbench import MigrationPath
from emigbench.datasets.geometry import near_pairs
from emigbench_baselines.classical.ions import bond_length, bond_valence, charges, is_anion

LONGEST_BOND_A = 5.0
"""Longer ones have hardly any valence; those of caesium and iodine have 4.4 Å."""


def valence_per_charge(path: MigrationPath) -> float:
    """Valence of all bonds between cations and anions in the initial state, over the charge of the cations.

    By Pauling's rule it is 1 (Brown & Altermatt 1985, as in `ions`). NaN where there are no such ions, or the bonds of
    an element are not known.
    """
    species = np.array([path.mobile_ion, *path.host_species])
    charge_of = charges(species.tolist())
    anion = np.array([is_anion(e, charge_of[e]) for e in species])
    charge = sum(charge_of[e] for e in species[~anion])
    if not anion.any() or charge <= 0:
        return nan
    coords = np.vstack([path.band_frac_coords[:1], path.host_frac_coords])
    first, second, lengths = near_pairs(coords[~anion], coords[anion], path.lattice, LONGEST_BOND_A)
    kinds, kind = np.unique([species[~anion][first], species[anion][second]], axis=1, return_inverse=True)
    unit = np.array([bond_length(cation, other) for cation, other in kinds.T])[kind.reshape(-1)]
    return float(bond_valence(unit, lengths).sum() / charge)
