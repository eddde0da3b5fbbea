"""Nine features of the hop itself: what tells two paths of one crystal apart.

The paper names the kinds (cation bond lengths, path distance, coordination number, attributes of the Voronoi
polyhedron), not the nine features, so these nine are our choice. Beside the initial site they use the middle
image of the band, where the ion has to squeeze through. Only numpy and scipy are needed.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from scipy.spatial import ConvexHull, Voronoi

from emigbench import MigrationPath
from emigbench.records import FloatArray
from emigbench_baselines.classical.electrostatics import atoms_around
from emigbench_baselines.classical.ions import charges, is_anion

MIDDLE_IMAGE = 2
WINDOW_ANIONS = 6
"""Anions that line the window in the middle of a hop: two triangles between neighbouring polyhedra."""
SHELL_RADIUS = 8.0
"""Å; atoms farther than this have no part in the surroundings of an ion."""
COINCIDENT = 1e-3
"""Å; atoms closer than this are taken to sit on the same place."""
MAX_ITERATIONS = 100

PATH_FEATURES = {
    "hop length": "Å",
    "initial shortest bond": "Å",
    "initial mean bond": "Å",
    "initial coordination number": "1",
    "initial Voronoi volume": "Å³",
    "middle shortest bond": "Å",
    "middle mean bond": "Å",
    "middle nearest cation": "Å",
    "middle Voronoi volume": "Å³",
}
"""Name and unit of each feature, in the order of `path_features`.

Bonds reach from the moving ion to anions (to any host atom, where the host has no anion), as their charges say: the
sulphur of a sulphate is a cation. At the initial site,
mean bond and coordination number are Hoppe's: a neighbour's weight falls smoothly with its distance
(Z. Kristallogr. 150, 23, 1979). In the middle, where a straight band may come close to one atom that would take
all the weight, the mean bond is that to the six nearest anions. The nearest cation is one of another element than
the moving ion. The Voronoi polyhedron is that of the moving ion among all atoms.
"""


def path_features(path: MigrationPath) -> list[float]:
    """The nine features of one path, NaN where one is undefined."""
    initial, middle = bonds(path, 0), bonds(path, MIDDLE_IMAGE)
    mean_bond, coordination_number = hoppe_shell(initial)
    return [
        path.hop_length,
        _shortest(initial),
        mean_bond,
        coordination_number,
        voronoi_volume(path, 0),
        _shortest(middle),
        float(middle[:WINDOW_ANIONS].mean()) if len(middle) else np.nan,
        _shortest(distances_to(path, MIDDLE_IMAGE, set(path.host_species) - anions(path) - {path.mobile_ion})),
        voronoi_volume(path, MIDDLE_IMAGE),
    ]


def bonds(path: MigrationPath, image: int) -> FloatArray:
    """Distances in Å from the moving ion to the anions around it, ascending."""
    return distances_to(path, image, anions(path) or set(path.host_species))


def anions(path: MigrationPath) -> set[str]:
    """Elements that are anions in this host."""
    charge_of = charges([path.mobile_ion, *path.host_species])
    return {element for element in path.host_species if is_anion(element, charge_of[element])}


def distances_to(path: MigrationPath, image: int, elements: Set[str]) -> FloatArray:
    """Distances in Å from the moving ion to the host atoms of some elements around it, ascending."""
    chosen = [species in elements for species in path.host_species]
    offsets = path.host_frac_coords[chosen] - path.band_frac_coords[image]
    around, _ = atoms_around(np.zeros(3), SHELL_RADIUS, path.lattice, offsets)
    return np.sort(np.linalg.norm(around, axis=1))


def hoppe_shell(distances: FloatArray) -> tuple[float, float]:
    """Mean bond, in the unit of the (n,) ascending distances, and effective coordination number.

    The mean is iterated from the shortest distance until its own weights reproduce it. Both are NaN where there
    is no neighbour or one sits on the ion.
    """
    mean = _shortest(distances)
    if not mean >= COINCIDENT:
        return np.nan, np.nan
    for _ in range(MAX_ITERATIONS):
        weights = np.exp(1 - (distances / mean) ** 6)
        previous, mean = mean, float(weights @ distances / weights.sum())
        if abs(mean - previous) < 1e-12:
            break
    return mean, float(weights.sum())


def _shortest(ascending: FloatArray) -> float:
    return float(ascending[0]) if len(ascending) else np.nan


def voronoi_volume(path: MigrationPath, image: int) -> float:
    """Volume in Å³ of the moving ion's Voronoi polyhedron, NaN where the ion sits on a host atom.

    Atoms are taken from farther and farther away until none beyond could still cut the polyhedron.
    """
    own_place = np.zeros((1, 3))
    frac_offsets = np.vstack([own_place, path.host_frac_coords - path.band_frac_coords[image]])
    radius = SHELL_RADIUS
    while True:
        neighbours, _ = atoms_around(np.zeros(3), radius, path.lattice, frac_offsets)
        distances = np.linalg.norm(neighbours, axis=1)
        if np.count_nonzero(distances < COINCIDENT) > 1:
            return np.nan
        vertices = _voronoi_vertices(neighbours[np.argsort(distances)])
        if vertices is not None and 2 * np.linalg.norm(vertices, axis=1).max() <= radius:
            return float(ConvexHull(vertices).volume)
        radius *= 1.5


def _voronoi_vertices(points: FloatArray) -> FloatArray | None:
    """Vertices of the Voronoi polyhedron of the first point, None while it is open."""
    if len(points) <= 4:
        return None
    diagram = Voronoi(points)
    region = diagram.regions[diagram.point_region[0]]
    return None if -1 in region else diagram.vertices[region]
