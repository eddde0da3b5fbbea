"""What errors on other paths say about a path: paths of one ion, and paths in one framework, are missed alike.

The error of a model on a path is taken as the sum of an effect of the ion that moves, an effect of the framework that
it moves in, and noise. Their best linear unbiased prediction (Henderson, Biometrics 31, 423, 1975) from errors on
training paths, each answered without its material, is what a new path is expected to be missed by. Two frameworks are
akin if they have one formula and their atoms have neighbours at similar distances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from emigbench import MigrationPath
from emigbench.datasets.findings import reduced
from emigbench.records import FloatArray
from emigbench_baselines.classical.electrostatics import atoms_around
from emigbench_baselines.classical.folds import grouped_folds

OF_FRAMEWORK = 0.3
"""Variance of the effect of a framework over that of the noise."""
OF_ION = 0.1
"""Variance of the effect of an ion over that of the noise."""
N_NEIGHBOURS = 12
FARTHEST = 3.5
"""A neighbour farther than this, in cube roots of the volume per atom, is taken to be as far as this."""
ALIKE = 0.04
"""Root mean square difference of two frameworks' neighbour distances at which their kinship has fallen to 0.61."""
SAME_HOST = 0.005
"""Below this difference two paths of one ion are in one material: 92 % of the dataset's pairs of one material are below
it, and 3 % of those of one framework but two materials."""


@dataclass(frozen=True, eq=False)
class Kin:
    """What n paths are akin by.

    Attributes:
        ions: (n,) element that moves.
        frameworks: (n,) reduced formula of what does not move.
        neighbours: (n, N_NEIGHBOURS) as in `neighbour_distances`.
    """

    ions: NDArray[np.str_]
    frameworks: NDArray[np.str_]
    neighbours: FloatArray

    @classmethod
    def of(cls, paths: Sequence[MigrationPath]) -> Kin:
        """Of each path."""
        distances = np.array([neighbour_distances(path) for path in paths]).reshape(len(paths), N_NEIGHBOURS)
        ions, frameworks = [path.mobile_ion for path in paths], [framework(path) for path in paths]
        return cls(np.array(ions, dtype=np.str_), np.array(frameworks, dtype=np.str_), distances)

    def __getitem__(self, rows: NDArray[np.intp]) -> Kin:
        return Kin(self.ions[rows], self.frameworks[rows], self.neighbours[rows])


@dataclass(frozen=True, eq=False)
class Effects:
    """What ions and frameworks add to the errors of a model.

    Attributes:
        kin: the n paths that it was learned from.
        weights: (n,) what each says of a path that is wholly akin to it.
    """

    kin: Kin
    weights: FloatArray

    @classmethod
    def learned(cls, kin: Kin, errors: FloatArray) -> Effects:
        """From (n,) labels minus answers that did not know the material."""
        return cls(kin, np.linalg.solve(covariance(kin, kin) + np.eye(len(errors)), errors))

    def expected(self, kin: Kin) -> FloatArray:
        """(m,) what the answers for other paths are expected to be too low by."""
        expected: FloatArray = covariance(kin, self.kin) @ self.weights
        return expected


def expected_unseen(kin: Kin, errors: FloatArray, groups: Sequence[str], seed: int) -> FloatArray:
    """(n,) what each path is expected to be missed by, from paths of other groups alone."""
    expected = np.empty(len(errors))
    for inside, outside in grouped_folds(groups, seed=seed):
        expected[outside] = Effects.learned(kin[inside], errors[inside]).expected(kin[outside])
    return expected


def covariance(first: Kin, second: Kin) -> FloatArray:
    """(n, m) of the errors on two sets of paths, without the noise and over its variance."""
    same_ion, same_formula, squares = _compared(first, second)
    return OF_ION * same_ion + OF_FRAMEWORK * same_formula * np.exp(-squares / (2 * ALIKE**2))


def siblings(kin: Kin, known: Kin) -> NDArray[np.intp]:
    """(n,) row of a known path of the same ion in the same host, whatever the paths are called; -1 if there is none."""
    same, squares = _in_one_host(kin, known)
    if not same.any():
        return np.full(len(same), -1)
    return np.where(same.any(axis=1), np.where(same, squares, np.inf).argmin(axis=1), -1)


def hosts(kin: Kin, materials: Sequence[str]) -> list[str]:
    """(n,) name of the host of each path: one for all paths that a material's name or `siblings` join.

    The dataset has 12 hosts under more than one name, such as LiRuO2 and RuO2_Li.
    """
    names = np.asarray(materials)
    joined = (names[:, None] == names) | _in_one_host(kin, kin)[0]
    host = connected_components(joined)[1]  # counted from 0
    first = np.unique(host, return_index=True)[1]
    return names[first][host].tolist()


def _in_one_host(first: Kin, second: Kin) -> tuple[NDArray[np.bool_], FloatArray]:
    """(n, m) whether two paths are of one ion in one host, and mean squared difference of neighbour distances."""
    same_ion, same_formula, squares = _compared(first, second)
    return same_ion & same_formula & (squares < SAME_HOST**2), squares


def _compared(first: Kin, second: Kin) -> tuple[NDArray[np.bool_], NDArray[np.bool_], FloatArray]:
    """(n, m) whether the ion and the formula are the same, and mean squared difference of neighbour distances."""
    same_ion = first.ions[:, None] == second.ions[None]
    same_formula = first.frameworks[:, None] == second.frameworks[None]
    return same_ion, same_formula, cdist(first.neighbours, second.neighbours, "sqeuclidean") / N_NEIGHBOURS


def framework(path: MigrationPath) -> str:
    """Reduced formula of what does not move, as the arrays that ship have it: folds are drawn in the order of these."""
    counts = reduced(Counter(e for e in path.host_species if e != path.mobile_ion))
    return " ".join(f"{e}{n:g}" for e, n in counts.items())


@lru_cache(maxsize=1000)
def neighbour_distances(path: MigrationPath) -> FloatArray:
    """(N_NEIGHBOURS,) mean distance of the framework's atoms to their first, second, … neighbour in the framework.

    In cube roots of the volume per atom of the framework, so that it is about the same in a host that breathes, and
    the same in every cell of one crystal.
    """
    stays = np.array([element != path.mobile_ion for element in path.host_species], dtype=bool)
    if not stays.any():
        return np.full(N_NEIGHBOURS, FARTHEST)
    frac_coords = path.host_frac_coords[stays]
    unit = (abs(float(np.linalg.det(path.lattice))) / stays.sum()) ** (1 / 3)
    home = (frac_coords - np.round(frac_coords)) @ path.lattice
    reach = FARTHEST * unit + float(np.linalg.norm(home, axis=1).max())
    atoms, _ = atoms_around(np.zeros(3), reach, path.lattice, frac_coords)
    distances, _ = KDTree(atoms).query(home, k=N_NEIGHBOURS + 1)
    mean: FloatArray = np.minimum(distances[:, 1:] / unit, FARTHEST).mean(axis=0)
    return mean
