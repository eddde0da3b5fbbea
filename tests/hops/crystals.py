"""Crystals that the tests of hops are made of: random ones, and other descriptions of the same one."""

from itertools import product

import numpy as np

from emigbench.datasets.geometry import surroundings
from emigbench.hops import images
from emigbench.hops.files import Crystal, crystal

APART_A = 2.0
CELLS = np.array(list(product((-1, 0, 1), repeat=3)))


def skewed_lattice(rng):
    """A cell of about 8 Å with no right angles, and vectors that are not the shortest ones."""
    return (np.diag(rng.uniform(7, 9, 3)) + rng.uniform(-1, 1, (3, 3))) @ rotation(rng)


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r)) * np.sign(np.linalg.det(q * np.sign(np.diag(r))))


def distances(point, coords, lattice):
    """Minimum-image distances in Å, by brute force over 27 cells (enough for cells that are not too skewed)."""
    delta = coords - point
    delta = delta - np.round(delta)
    return np.linalg.norm((delta[:, None] + CELLS) @ lattice, axis=2).min(axis=1)


def random_sites(rng, lattice, n):
    """n sites, no two nearer than 2 Å."""
    sites = np.zeros((0, 3))
    for _ in range(5000):
        new = rng.random(3)
        if len(sites) == 0 or distances(new, sites, lattice).min() > APART_A:
            sites = np.vstack([sites, new])
        if len(sites) == n:
            return sites
    raise AssertionError("the cell is too small for so many sites")


def random_hop(seed, relaxed=0.0):
    """Two crystals in which atom 0 (Li) moves to a free site, and host atoms by up to `relaxed` Å."""
    rng = np.random.default_rng(seed)
    lattice = skewed_lattice(rng)
    n = int(rng.integers(9, 15))
    sites = random_sites(rng, lattice, n + 1)
    species = ["Li", "Li", "P", *("O" if k % 2 else "S" for k in range(n - 3))]
    before, after = sites[:n], np.vstack([sites[-1], sites[1:n]])
    steps = rng.uniform(-1, 1, (n, 3)) * relaxed / np.sqrt(3)
    steps[0] = 0
    return crystal("a", lattice, species, before), crystal(
        "b", lattice, species, after + steps @ np.linalg.inv(lattice)
    )


def reordered(x: Crystal, rng) -> Crystal:
    order = rng.permutation(len(x))
    return crystal(x.name, x.lattice, [x.species[i] for i in order], x.frac_coords[order])


def wrapped(x: Crystal, rng) -> Crystal:
    """Every atom in some other cell (a crystal moves them back, so this goes past its constructor)."""
    return Crystal(x.name, x.lattice, x.species, x.frac_coords + rng.integers(-2, 3, (len(x), 3)))


def translated(x: Crystal, shift) -> Crystal:
    return crystal(x.name, x.lattice, x.species, x.frac_coords + shift)


def rotated(x: Crystal, rng) -> Crystal:
    return crystal(x.name, x.lattice @ rotation(rng), x.species, x.frac_coords)


def by_other_vectors(x: Crystal, vectors) -> Crystal:
    """The same atoms in space in a cell of other vectors of the lattice (rows, in terms of the old ones)."""
    return crystal(x.name, vectors @ x.lattice, x.species, x.frac_coords @ np.linalg.inv(vectors))


def supercell(x: Crystal, repeats) -> Crystal:
    """The crystal repeated."""
    return crystal(x.name, x.lattice * np.array(repeats)[:, None], *_repeated(x, repeats))


def supercell_hop(a: Crystal, b: Crystal, repeats) -> tuple[Crystal, Crystal]:
    """Both crystals repeated; of the copies of atom 0 only the first moves, to the nearest image of its end."""
    large, (species, coords) = supercell(a, repeats), _repeated(b, repeats)
    step = images.shortest((b.frac_coords[0] - a.frac_coords[0])[None], a.lattice)[0]
    coords[:: len(a)] = _repeated(a, repeats)[1][:: len(a)]
    coords[0] += step / repeats
    return large, crystal(b.name, large.lattice, species, coords)


def _repeated(x: Crystal, repeats):
    cells = np.array(list(product(*map(range, repeats))))
    coords = (cells[:, None] + x.frac_coords).reshape(-1, 3) / repeats
    return list(x.species) * len(cells), coords


def local(path, n=6):
    """What a model of local descriptors sees: distances from every image to the nearest atoms of the framework."""
    framework = [i for i, s in enumerate(path.host_species) if s != path.mobile_ion]
    species = tuple(path.host_species[i] for i in framework)
    found = [
        surroundings(point, species, path.host_frac_coords[framework], path.lattice, n)
        for point in path.band_frac_coords
    ]
    return np.array([np.concatenate([each[s] for s in sorted(each)]) for each in found])
