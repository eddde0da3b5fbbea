"""Nine features of the hop itself: what tells two paths of one crystal apart.

The paper names the kinds (cation bond lengths, path distance, coordination number, attributes of the Voronoi
polyhedron), not the nine features, so these nine are our choice. Beside the initial site they use the middle
image of the band, where the ion has to squeeze through. Only numpy and scipy are needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Voronoi

from emigbench import MigrationPath

FloatArray = NDArray[np.float64]

ANIONS = frozenset({"N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
MIDDLE_IMAGE = 2
SHELL_RADIUS = 8.0
"""Å; atoms farther than this do not belong to the first shell of an ion in a solid."""
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
    "middle coordination number": "1",
    "middle Voronoi volume": "Å³",
}
"""Name and unit of each path feature, in the order of `path_features`.

Bonds reach from the moving ion to anions (to all host atoms, where there is no anion nearby). Mean bond and
coordination number are Hoppe's: every neighbour counts with a weight that falls smoothly with its distance
(Z. Kristallogr. 150, 23, 1979). The Voronoi polyhedron is that of the moving ion among all atoms.
"""


class Shell(NamedTuple):
    """What surrounds an ion: shortest and mean bond in Å, effective coordination number."""

    shortest_bond: float
    mean_bond: float
    coordination_number: float


def path_features(path: MigrationPath) -> list[float]:
    """The nine features of one path, NaN where one is undefined."""
    values = [path.hop_length]
    for image in (0, MIDDLE_IMAGE):
        values += [*shell(path, image), voronoi_volume(path, image)]
    return values


def shell(path: MigrationPath, image: int) -> Shell:
    """The first coordination shell of the moving ion at one image of the band."""
    is_anion = np.isin(path.host_species, list(ANIONS))
    origin = path.band_frac_coords[image]
    distances = _distances(path.host_frac_coords[is_anion] - origin, path.lattice)
    if not len(distances):
        distances = _distances(path.host_frac_coords - origin, path.lattice)
    return _hoppe_shell(distances)


def _distances(frac_offsets: FloatArray, lattice: FloatArray) -> FloatArray:
    return np.linalg.norm(_within(frac_offsets, lattice, SHELL_RADIUS), axis=1)


def _hoppe_shell(distances: FloatArray) -> Shell:
    """Hoppe's effective coordination: iterate the mean bond until its own weights reproduce it."""
    if not len(distances):
        return Shell(np.nan, np.nan, np.nan)
    shortest = float(distances.min())
    if shortest < COINCIDENT:
        return Shell(shortest, np.nan, np.nan)
    mean = shortest
    for _ in range(MAX_ITERATIONS):
        weights = np.exp(1 - (distances / mean) ** 6)
        previous, mean = mean, float(weights @ distances / weights.sum())
        if abs(mean - previous) < 1e-12:
            break
    return Shell(shortest, mean, float(weights.sum()))


def voronoi_volume(path: MigrationPath, image: int) -> float:
    """Volume in Å³ of the moving ion's Voronoi polyhedron, NaN where the ion sits on a host atom."""
    own_place = np.zeros((1, 3))
    frac_offsets = np.vstack([own_place, path.host_frac_coords - path.band_frac_coords[image]])
    radius = SHELL_RADIUS
    while True:
        neighbours = _within(frac_offsets, path.lattice, radius)
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


def _within(frac_offsets: FloatArray, lattice: FloatArray, radius: float) -> FloatArray:
    """Cartesian vectors, in Å, from the origin to every periodic image of the atoms within a radius."""
    plane_spacings = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    reach = np.ceil(radius / plane_spacings + 0.5).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach)), axis=-1).reshape(-1, 3)
    nearest = frac_offsets - np.round(frac_offsets)
    vectors = ((nearest[:, None, :] + shifts[None, :, :]) @ lattice).reshape(-1, 3)
    return vectors[np.linalg.norm(vectors, axis=1) <= radius]
