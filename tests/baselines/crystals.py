"""Random crystals with a hop, and the same crystal described otherwise."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from emigbench import MigrationPath

SPACING = 3.3
"""Å between the places of atoms, before they are moved a little."""


def crystals() -> st.SearchStrategy[MigrationPath]:
    """Random ones of `crystal`."""
    elements = st.sampled_from([("Li", "O", "Ti"), ("Mg", "S", "Sc"), ("Na", "F", "Fe")])
    return st.builds(crystal, st.integers(0, 2**32 - 1), elements)


def crystal(seed: int, elements: tuple[str, str, str]) -> MigrationPath:
    """27 places of a skewed lattice, one of them empty: the ion at the first place hops there."""
    random = np.random.default_rng(seed)
    ion, anion, cation = elements
    lattice = 3 * SPACING * (np.eye(3) + random.uniform(-0.06, 0.06, (3, 3)))
    places = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = places + random.uniform(-0.02, 0.02, places.shape)
    species = [ion if u < 0.15 else cation if u < 0.4 else anion for u in random.random(25)]
    return MigrationPath(
        id=f"random-{seed}",
        material_id="random",
        structural_group="OXIDES",
        mobile_ion=ion,
        composition="random",
        state="unknown",
        lattice=lattice,
        host_species=tuple(["P", anion, *species[2:]]),
        host_frac_coords=places[2:],
        band_frac_coords=places[0] + np.linspace(0, 1, 5)[:, None] * (places[1] - places[0]),
    )


def redescribed(path: MigrationPath, seed: int) -> MigrationPath:
    """The same hop: turned, with another origin, other periodic images and another order of the atoms and vectors."""
    random = np.random.default_rng(seed)
    shift, order = random.uniform(0, 1, 3), random.permutation(len(path.host_species))
    images = random.integers(-2, 3, (len(order), 3))
    vectors = random.permutation(3)  # left-handed every other time
    return replace(
        path,
        lattice=path.lattice[vectors] @ Rotation.random(random_state=seed).as_matrix(),
        host_species=tuple(path.host_species[i] for i in order),
        host_frac_coords=(path.host_frac_coords[order] + shift + images)[:, vectors],
        band_frac_coords=(path.band_frac_coords + shift - random.integers(-2, 3, 3))[:, vectors],
    )


def backwards(path: MigrationPath) -> MigrationPath:
    """The same hop from its final to its initial site."""
    return replace(path, band_frac_coords=path.band_frac_coords[::-1])


def doubled(path: MigrationPath, axis: int) -> MigrationPath:
    """The same hop in a cell twice as long, where the copy of the ion stays where it is."""
    half = np.ones(3)
    half[axis] = 0.5
    second = 0.5 * np.eye(3)[axis]
    host = np.vstack([path.host_frac_coords, path.band_frac_coords[:1]]) * half
    species = (*path.host_species, path.mobile_ion)
    stays = host + second
    return replace(
        path,
        lattice=path.lattice / half[:, None],
        host_species=(*path.host_species, *species),
        host_frac_coords=np.vstack([host[:-1], stays]),
        band_frac_coords=path.band_frac_coords * half,
    )
