"""What surrounds the moving ion along its straight path.

Every quantity is a sum or an order statistic over the host atoms around a point, so it knows neither the order of
the atoms nor the axes. Where a straight band runs into an atom, quantities are cut off at values that no real site
reaches: a model is to learn "blocked", not by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from emigbench import MigrationPath
from emigbench.records import FloatArray
from emigbench_baselines.classical.electrostatics import COULOMB, atoms_around, site_potential
from emigbench_baselines.classical.ions import (
    BOND_VALENCE_SOFTNESS,
    POLARISABILITY,
    bond_length,
    bond_valence,
    charges,
    facts,
    is_anion,
)

N_POINTS = 9
"""Points along the path, the five images among them."""
RADIUS = 7.0
"""Å around every point of the path."""
MOBILE_RADIUS = 4.5
"""Å; other mobile ions farther than this do not count. On the way of 61 of the 619 paths an image of the initial or the
final site is within it. No ion counts there; in a longer cell, which has one at the first of these, it would."""
SHELLS = (2.0, 2.75, 3.5, 4.5)
"""Å; centres of the radial symmetry functions (Behler, J. Chem. Phys. 134, 074106, 2011, G2)."""
SHELL_WIDTH = 0.4
"""Å."""
SCREENING = 0.74
"""Of the sum of radii (Adams & Rao, Phys. Status Solidi A 208, 1746, 2011)."""
USUAL_COORDINATION = 6.0
"""Of the moving ion, in the bond length at the minimum of the Morse curve."""

PROFILES = {
    "anion 1": ("distances", "Å", "to the nearest anion"),
    "anion 3": ("distances", "Å", "mean to the three nearest anions: a triangular window"),
    "anion 4": ("distances", "Å", "mean to the four nearest anions"),
    "anion 6": ("distances", "Å", "mean to the six nearest anions"),
    "cation 1": ("distances", "Å", "to the nearest cation of the host"),
    "cation 2": ("distances", "Å", "mean to the two nearest cations of the host"),
    "mobile 1": ("distances", "Å", "to the nearest other mobile ion, at most MOBILE_RADIUS"),
    "mobile 2": ("distances", "Å", "mean to the two nearest other mobile ions"),
    "clearance": ("bottleneck", "Å", "to the nearest surface of a host ion: the free radius"),
    "anion clearance": ("bottleneck", "Å", "to the nearest surface of an anion"),
    "cation clearance": ("bottleneck", "Å", "to the nearest surface of a cation"),
    "bond valence sum": ("bond valence", "v.u.", "of the moving ion, bonds to anions"),
    "bond valence mismatch": ("bond valence", "v.u.", "between that sum and the charge"),
    "bond valence vector": ("bond valence", "v.u.", "length of the sum of bond vectors: how lopsided the site is"),
    "coordination": ("coordination", "1", "effective number of anions, Hoppe's weights on the three nearest"),
    "cation repulsion": ("electrostatics", "eV", "screened Coulomb energy with the host's cations (Adams & Rao 2011)"),
    "bond energy": ("bond valence", "eV", "Morse energy with anions and that repulsion, above the lower end"),
    "polarisation": ("polarisability", "1/Å", "sum of polarisability (1/d⁴ - 1/RADIUS⁴) over anions"),
    **{f"anions at {r}": ("symmetry functions", "1", f"Gaussian count of anions {r} Å away") for r in SHELLS},
    **{f"cations at {r}": ("symmetry functions", "1", f"Gaussian count of cations {r} Å away") for r in SHELLS},
    "potential": ("electrostatics", "eV", "charge times Madelung potential of the host without mobile ions"),
}
"""Name of each quantity along the path: its family, unit, and meaning."""


@dataclass(frozen=True)
class Surroundings:
    """The atoms around a path, each with what descriptors need.

    Attributes:
        ion: element that moves.
        ion_charge: in e.
        line: (N_POINTS, 3) Å, from the initial to the final site.
        atoms: (m, 3) Å, every periodic image within RADIUS of the path, and some beyond.
        radius: (m,) Å, ionic.
        charge: (m,) e.
        anion: (m,) whether the atom is an anion.
        cation: (m,) whether it is a cation that does not move.
        mobile: (m,) whether it is another mobile ion.
        bond: (m,) Å, R0 of a bond with the moving ion; NaN but for anions around a cation.
        polarisability: (m,) Å³; NaN but for anions.
    """

    ion: str
    ion_charge: float
    line: FloatArray
    atoms: FloatArray
    radius: FloatArray
    charge: FloatArray
    anion: NDArray[np.bool_]
    cation: NDArray[np.bool_]
    mobile: NDArray[np.bool_]
    bond: FloatArray
    polarisability: FloatArray

    @cached_property
    def distances(self) -> FloatArray:
        """(N_POINTS, m) Å."""
        return np.linalg.norm(self.line[:, None] - self.atoms[None], axis=2)

    def repulsion(self, distances: FloatArray) -> FloatArray:
        """(…, m) eV, screened Coulomb energy of the moving ion with cations at these distances."""
        screening = SCREENING * (self.radius + facts(self.ion).cation_radius)
        bare = COULOMB * self.ion_charge * self.charge / np.maximum(distances, 0.5)
        return np.where(self.cation, bare * erfc(distances / screening), 0.0)

    def morse(self, distances: FloatArray) -> FloatArray:
        """(…, m) eV, Morse energy of the moving ion with anions at these distances.

        In the manner of Adams & Rao (2011): the minimum is at the length of a bond that carries its share of the
        charge, the steepness is that of bond valence, the depth is half of b² times a force constant for which they
        take 14.4 eV/Å times both charges over Rmin. NaN where the moving ion is no cation: it has no bonds with anions.
        """
        if self.ion_charge <= 0:
            return np.where(self.anion, np.nan, np.zeros_like(distances))
        minimum = self.bond - BOND_VALENCE_SOFTNESS * np.log(self.ion_charge / USUAL_COORDINATION)
        depth = COULOMB * self.ion_charge * np.abs(self.charge) * BOND_VALENCE_SOFTNESS**2 / (2 * minimum)
        stretch = np.exp(np.minimum((minimum - distances) / BOND_VALENCE_SOFTNESS, 6.0))
        return np.where(self.anion, depth * ((stretch - 1) ** 2 - 1), 0.0)

    def valence(self, distances: FloatArray) -> FloatArray:
        """(…, m) v.u., valence of the bonds to anions at these distances."""
        return np.where(self.anion, bond_valence(self.bond, distances), 0.0)


def surroundings(path: MigrationPath) -> Surroundings:
    """The atoms around a path."""
    charge_of = charges([path.mobile_ion, *path.host_species])
    ends = path.band_frac_coords[[0, -1]] @ path.lattice
    line = ends[0] + np.linspace(0, 1, N_POINTS)[:, None] * (ends[1] - ends[0])
    reach = RADIUS + path.hop_length / 2
    atoms, which = atoms_around(line[N_POINTS // 2], reach, path.lattice, path.host_frac_coords)

    def each(of: Mapping[str, float]) -> FloatArray:
        return np.array([of[s] for s in path.host_species])[which]

    elements = set(path.host_species)
    anions = {e for e in elements if is_anion(e, charge_of[e])}
    anion = each({e: e in anions for e in elements}).astype(bool)
    mobile = each({e: e == path.mobile_ion for e in elements}).astype(bool)
    bonded = anions if charge_of[path.mobile_ion] > 0 else set()
    radii = {e: facts(e).anion_radius if e in anions else facts(e).cation_radius for e in elements}
    return Surroundings(
        ion=path.mobile_ion,
        ion_charge=charge_of[path.mobile_ion],
        line=line,
        atoms=atoms,
        radius=each(radii),
        charge=each(charge_of),
        anion=anion,
        cation=~anion & ~mobile,
        mobile=mobile,
        bond=each({e: bond_length(path.mobile_ion, e) if e in bonded else np.nan for e in elements}),
        polarisability=each({e: POLARISABILITY.get(e, np.nan) if e in anions else np.nan for e in elements}),
    )


def profiles(path: MigrationPath, around: Surroundings) -> dict[str, FloatArray]:
    """Each of `PROFILES` at every point of the path, (N_POINTS,); the potential at the five images, (5,)."""
    d, z = around.distances, around.ion_charge
    anions, cations = _nearest(d, around.anion, 6, RADIUS), _nearest(d, around.cation, 2, RADIUS)
    mobiles = _nearest(d, around.mobile, 2, MOBILE_RADIUS)
    clearance = d - around.radius
    valence = around.valence(d)
    towards = (around.atoms[None] - around.line[:, None]) / np.maximum(d, 0.3)[..., None]
    lopsided = (np.minimum(valence, 3.0)[..., None] * towards).sum(axis=1)
    window = np.maximum(anions[:, :3].mean(axis=1, keepdims=True), 0.5)
    repulsion = around.repulsion(d).sum(axis=1)
    energy = around.morse(d).sum(axis=1) + repulsion
    inverse = np.maximum(np.maximum(d, 1.2) ** -4 - RADIUS**-4, 0.0)
    polarisation = np.where(around.anion, around.polarisability * inverse, 0.0).sum(axis=1)
    host = np.array([s != path.mobile_ion for s in path.host_species])
    charge_of = charges([path.mobile_ion, *path.host_species])
    host_charges = np.array([charge_of[s] for s in path.host_species])[host]
    images = around.line[:: (N_POINTS - 1) // 4]
    return {
        "anion 1": anions[:, 0],
        "anion 3": anions[:, :3].mean(axis=1),
        "anion 4": anions[:, :4].mean(axis=1),
        "anion 6": anions.mean(axis=1),
        "cation 1": cations[:, 0],
        "cation 2": cations.mean(axis=1),
        "mobile 1": mobiles[:, 0],
        "mobile 2": mobiles.mean(axis=1),
        "clearance": clearance.min(axis=1, initial=RADIUS),
        "anion clearance": clearance.min(axis=1, where=around.anion, initial=RADIUS),
        "cation clearance": clearance.min(axis=1, where=around.cation, initial=5.0),
        "bond valence sum": np.minimum(valence.sum(axis=1), 10.0),
        "bond valence mismatch": np.minimum(np.abs(valence.sum(axis=1) - z), 8.0),
        "bond valence vector": np.minimum(np.linalg.norm(lopsided, axis=1), 5.0),
        "coordination": np.minimum(np.where(around.anion, np.exp(1 - (d / window) ** 6), 0.0).sum(axis=1), 14.0),
        "cation repulsion": np.minimum(repulsion, 60.0),
        "bond energy": np.minimum(energy - min(energy[0], energy[-1]), 40.0),
        "polarisation": np.minimum(polarisation, 20.0),
        **{f"anions at {r}": _count(d, around.anion, r) for r in SHELLS},
        **{f"cations at {r}": _count(d, around.cation, r) for r in SHELLS},
        "potential": z * site_potential(images, path.lattice, path.host_frac_coords[host], host_charges),
    }


def _nearest(distances: FloatArray, chosen: NDArray[np.bool_], n: int, most: float) -> FloatArray:
    """(N_POINTS, n) Å, distances to the nearest chosen atoms, ascending; `most` where they are farther or missing."""
    of_chosen = np.sort(distances[:, chosen], axis=1)[:, :n]
    missing = ((0, 0), (0, n - of_chosen.shape[1]))
    return np.minimum(np.pad(of_chosen, missing, constant_values=most), most)


def _count(distances: FloatArray, chosen: NDArray[np.bool_], centre: float) -> FloatArray:
    return np.exp(-(((distances[:, chosen] - centre) / SHELL_WIDTH) ** 2)).sum(axis=1)
