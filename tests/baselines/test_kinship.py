"""Effects of ion and framework: by hand, against scikit-learn's Gaussian process, and on crystals described anew."""

from dataclasses import replace

import numpy as np
import pytest
from crystals import backwards, crystals, doubled, redescribed
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

from emigbench import load
from emigbench_baselines.classical.kinship import (
    ALIKE,
    FARTHEST,
    N_NEIGHBOURS,
    OF_FRAMEWORK,
    OF_ION,
    Effects,
    Kin,
    covariance,
    expected_unseen,
    framework,
    hosts,
    neighbour_distances,
    siblings,
)

SPINELS = [entry.path for entry in load("spinels")]


def kin(*rows):
    """Of (ion, framework, distance to every neighbour)."""
    ions, frameworks, distances = zip(*rows, strict=True)
    return Kin(np.array(ions), np.array(frameworks), np.repeat(np.array(distances, dtype=float)[:, None], 12, axis=1))


def test_covariances_by_hand():
    paths = kin(("Li", "Mn1 O2", 1.0), ("Li", "Mn1 O2", 1.0 + ALIKE), ("Mg", "Mn1 O2", 1.0), ("Li", "Co1 O2", 1.0))
    found = covariance(paths, paths)
    near = OF_FRAMEWORK * np.exp(-0.5)
    expected = [OF_ION + OF_FRAMEWORK, OF_ION + near, OF_FRAMEWORK, OF_ION]
    np.testing.assert_allclose(found[0], expected)
    np.testing.assert_allclose(found, found.T)
    assert found[2, 3] == 0


def test_siblings_are_paths_of_one_ion_in_one_host():
    known = kin(("Li", "Mn1 O2", 1.0), ("Li", "Mn1 O2", 1.02), ("Mg", "Fe1 O4 P1", 1.0))
    new = kin(("Li", "Mn1 O2", 1.023), ("Li", "Mn1 O2", 1.01), ("Mg", "Mn1 O2", 1.0), ("Mg", "Fe1 O4 P1", 1.0))
    assert siblings(new, known).tolist() == [1, -1, -1, 2]
    nearer = kin(("Li", "Mn1 O2", 1.021), ("Li", "Mn1 O2", 1.022), ("Li", "Mn1 O2", 1.02))
    assert siblings(new, nearer).tolist() == [1, -1, -1, -1]
    assert siblings(Kin.of([]), known).tolist() == []


def test_paths_of_one_name_or_one_structure_are_of_one_host():
    """a and b share a structure, b and c a name; d is another ion in that structure, e stands alone."""
    kin = Kin(
        np.array(["Li", "Li", "Li", "Na", "Li"]),
        np.array(["MnO2"] * 4 + ["CoO2"]),
        np.array([[1.0], [1.0], [1.2], [1.0], [1.0]]) * np.ones(N_NEIGHBOURS),
    )
    found = hosts(kin, ["LiMnO2", "MnO2_Li", "MnO2_Li", "NaMnO2", "LiCoO2"])
    assert found == ["LiMnO2"] * 3 + ["NaMnO2", "LiCoO2"]


def test_a_path_is_a_sibling_of_itself_described_otherwise():
    akin = Kin.of(SPINELS)
    rows = siblings(Kin.of([redescribed(path, i) for i, path in enumerate(SPINELS)]), akin)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(akin.ions[rows], akin.ions)
    np.testing.assert_allclose(akin.neighbours[rows], akin.neighbours, atol=1e-6)


def test_one_error_is_shared_out_by_hand():
    """A single error e is taken to be e c / (c + 1) for a path that is akin to it by c."""
    effects = Effects.learned(kin(("Li", "Mn1 O2", 1.0)), np.array([0.7]))
    new = kin(("Li", "Mn1 O2", 1.0), ("Mg", "Mn1 O2", 1.0), ("Li", "Fe1 O4 P1", 1.2), ("Na", "Fe1 O4 P1", 1.2))
    own = OF_ION + OF_FRAMEWORK
    expected = 0.7 / (1 + own) * np.array([own, OF_FRAMEWORK, OF_ION, 0])
    np.testing.assert_allclose(effects.expected(new), expected)


class Fixed(Kernel):
    """The covariance of rows that are numbers of paths."""

    def __init__(self, of=None):
        self.of = of

    def __call__(self, first, second=None, eval_gradient=False):
        second = first if second is None else second
        rows, columns = first[:, 0].astype(int), second[:, 0].astype(int)
        return covariance(self.of[rows], self.of[columns])

    def diag(self, rows):
        return np.full(len(rows), OF_ION + OF_FRAMEWORK)

    def is_stationary(self):
        return False


def test_it_is_a_gaussian_process():
    akin, random = Kin.of(SPINELS), np.random.default_rng(0)
    errors, train, new = random.normal(size=len(SPINELS)), np.arange(60), np.arange(60, len(SPINELS))
    oracle = GaussianProcessRegressor(Fixed(akin), alpha=1.0, optimizer=None).fit(train[:, None], errors[:60])
    found = Effects.learned(akin[train], errors[:60]).expected(akin[new])
    np.testing.assert_allclose(found, oracle.predict(new[:, None]), atol=1e-10)


def test_what_is_common_to_an_ion_is_found_again_and_noise_is_not():
    random = np.random.default_rng(1)
    akin = Kin.of(SPINELS)
    of_ion = {"Mg": 0.2, "Zn": -0.2}
    truth = np.array([of_ion.get(ion, 0.0) for ion in akin.ions])
    groups = akin.frameworks.tolist()
    found = expected_unseen(akin, truth + random.normal(scale=0.05, size=len(truth)), groups, seed=0)
    assert np.abs(found - truth).mean() < 0.4 * np.abs(truth).mean()
    of_noise = expected_unseen(akin, random.normal(size=len(truth)), groups, seed=0)
    assert np.abs(of_noise).mean() < 0.4


def test_nothing_is_learned_from_the_own_group():
    akin = Kin.of(SPINELS)
    errors = np.zeros(len(SPINELS))
    rows = akin.frameworks == akin.frameworks[0]
    errors[rows] = 1.0
    assert expected_unseen(akin, errors, akin.frameworks.tolist(), seed=0)[rows] == pytest.approx(0.0)


def cubic(frac_coords, length=4.0, species=None):
    coords = np.array(frac_coords, dtype=float)
    return replace(
        SPINELS[0],
        lattice=length * np.eye(3),
        mobile_ion="Li",
        host_species=tuple(species or ["O"] * len(coords)),
        host_frac_coords=coords,
    )


def test_distances_in_a_simple_cubic_and_a_face_centred_cell():
    simple = neighbour_distances(cubic([[0, 0, 0]]))
    np.testing.assert_allclose(simple, [1] * 6 + [np.sqrt(2)] * 6)
    face_centred = neighbour_distances(cubic([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]))
    np.testing.assert_allclose(face_centred, [4 ** (1 / 3) / np.sqrt(2)] * N_NEIGHBOURS)
    breathing = cubic([[0, 0, 0]], length=4.4)
    np.testing.assert_allclose(neighbour_distances(breathing), simple)


def test_other_mobile_ions_and_empty_frameworks():
    with_ion = cubic([[0, 0, 0], [0.5, 0.5, 0.5]], species=["O", "Li"])
    np.testing.assert_allclose(neighbour_distances(with_ion), neighbour_distances(cubic([[0, 0, 0]])))
    bare = cubic([[0.5, 0.5, 0.5]], species=["Li"])
    assert framework(bare) == ""
    np.testing.assert_array_equal(neighbour_distances(bare), np.full(N_NEIGHBOURS, FARTHEST))


@settings(max_examples=25, deadline=None)
@given(path=crystals(), seed=st.integers(0, 2**32 - 1))
def test_another_description_has_the_same_kin(path, seed):
    for other in (redescribed(path, seed), backwards(path)):
        assert framework(other) == framework(path)
        np.testing.assert_allclose(neighbour_distances(other), neighbour_distances(path), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(path=crystals(), axis=st.integers(0, 2))
def test_a_longer_cell_has_the_same_kin(path, axis):
    longer = doubled(path, axis)
    assert framework(longer) == framework(path)
    np.testing.assert_allclose(neighbour_distances(longer), neighbour_distances(path), atol=1e-6)


def test_no_paths():
    effects = Effects.learned(Kin.of(SPINELS[:3]), np.ones(3))
    assert effects.expected(Kin.of([])).shape == (0,)
    assert covariance(Kin.of([]), Kin.of([])).shape == (0, 0)
