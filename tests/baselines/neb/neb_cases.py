"""Paths and cheap potentials that the tests of NEBs share."""

from dataclasses import dataclass, field, replace

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from emigbench import MigrationPath
from emigbench_baselines.neb.potentials import Potential, from_calculator

BOX = 12.0


def a_path(**changes) -> MigrationPath:
    """Two atoms in a box: an ion from x = -1 to x = 1 Å about the centre of the box, and one that sits in a corner."""
    band = np.full((5, 3), 0.5)
    band[:, 0] += np.linspace(-1, 1, 5) / BOX
    facts = {
        "id": "a path",
        "material_id": "a material",
        "structural_group": "SPINEL",
        "mobile_ion": "Li",
        "composition": "LiO",
        "state": "unknown",
        "lattice": BOX * np.eye(3),
        "host_species": ("O",),
        "host_frac_coords": [[0.0, 0.0, 0.0]],
        "band_frac_coords": band,
    }
    return MigrationPath(**facts | changes)


def vacancy_hop(metal: str, hopping: int = 0, solutes: tuple[str, ...] = ()) -> MigrationPath:
    """A hop into a vacancy of a 32-site fcc cell, by one of the vacancy's neighbours; solutes sit next to that one."""
    cell = bulk(metal, cubic=True) * (2, 2, 2)
    sites = cell.get_scaled_positions()
    vacancy = cell.get_distances(0, range(len(cell)), mic=True)
    neighbours = np.flatnonzero(np.isclose(vacancy, np.sort(vacancy)[1]))
    ion = int(neighbours[hopping])
    way = sites[0] - sites[ion]
    way -= np.round(way)
    band = sites[ion] + np.linspace(0, 1, 5)[:, None] * way
    host = [site for site in range(len(cell)) if site not in (0, ion)]
    beside = cell.get_distances(ion, host, mic=True)
    beside[vacancy[host] < 1.1 * vacancy[neighbours[0]]] = np.inf
    species = [metal] * len(host)
    for solute, place in zip(solutes, np.argsort(beside, kind="stable"), strict=False):
        species[place] = solute
    return a_path(
        id=f"{metal}-{hopping}",
        mobile_ion=metal,
        lattice=np.array(cell.cell),
        host_species=tuple(species),
        host_frac_coords=sites[host],
        band_frac_coords=band,
    )


def emt() -> Potential:
    """ASE's effective medium theory."""
    return from_calculator("emt", EMT(), "1")


def pair_repulsion() -> Potential:
    """Any elements: atoms repel as soft spheres of their covalent radii."""

    def answer(atoms):
        first, second, d, vector = neighbor_list("ijdD", atoms, cutoff=5.0)
        reach = covalent_radii[atoms.numbers]
        energy = np.exp((reach[first] + reach[second] - d) / 0.4)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, -(energy / 0.4 / d)[:, None] * vector)
        return float(energy.sum()) / 2, forces

    return Potential("repulsion", "1", lambda cells: [answer(atoms) for atoms in cells])


def surface(energy_and_slope) -> Potential:
    """The first atom on a two-dimensional surface (x, y) -> energy, (dx, dy) about the centre of the box."""

    def answer(atoms):
        forces = np.zeros((len(atoms), 3))
        energy, slope = energy_and_slope(*(atoms.positions[0, :2] - BOX / 2))
        forces[0, :2] = -np.asarray(slope)
        return float(energy), forces

    return Potential("surface", "1", lambda cells: [answer(atoms) for atoms in cells])


@dataclass
class Curved:
    """A curved valley with minima at x = -1 and 1, y = 0 and a saddle at x = `top`, y = `bend` (1 - top²).

    Along the valley the energy is the polynomial whose slope is height (x² - 1)(x - top).
    """

    height: float = 2.0
    top: float = 0.3
    bend: float = 0.6
    width: float = 20.0

    def along(self, x: float) -> float:
        return self.height * (x**4 / 4 - self.top * x**3 / 3 - x**2 / 2 + self.top * x)

    def __call__(self, x: float, y: float):
        off = y - self.bend * (1 - x**2)
        slope = self.height * (x**2 - 1) * (x - self.top)
        return self.along(x) + self.width / 2 * off**2, (slope + self.width * off * 2 * self.bend * x, self.width * off)

    @property
    def barrier(self) -> float:
        return self.along(self.top) - self.along(-1)


@dataclass
class Counted:
    """A potential that counts the cells it is asked about, and may stop or fail on the way."""

    potential: Potential
    cells: int = 0
    stop_after: float = np.inf
    batches: list[int] = field(default_factory=list)

    def __call__(self) -> Potential:
        return replace(self.potential, evaluate=self._evaluate)

    def _evaluate(self, cells):
        if self.cells >= self.stop_after:
            raise KeyboardInterrupt
        self.cells += len(cells)
        self.batches.append(len(cells))
        return self.potential.evaluate(cells)
