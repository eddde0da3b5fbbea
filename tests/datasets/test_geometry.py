"""Periodic geometry against brute force over many cells and against pymatgen."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymatgen.core.lattice import Lattice

from emigbench.datasets import geometry

MANY_CELLS = np.array(list(product(range(-4, 5), repeat=3)))
CUBE = 10 * np.eye(3)
RHOMBUS = np.array([[4.0, 0.0, 0.0], [-2.0, 2 * np.sqrt(3), 0.0], [0.0, 0.0, 5.0]])  # 120 degrees


def vectors(low, high):
    return st.lists(st.floats(low, high), min_size=3, max_size=3).map(np.array)


@st.composite
def lattices(draw, lengths=(3.0, 12.0), angles=(55.0, 125.0)):
    """Cells as skewed as any in the dataset (60 to 120 degrees) and a little more."""
    abc = [draw(st.floats(*lengths)) for _ in range(3)]
    alpha, beta, gamma = (draw(st.floats(*angles)) for _ in range(3))
    assume(alpha + beta + gamma < 330)
    assume(all(x + y > z + 15 for x, y, z in [(alpha, beta, gamma), (beta, gamma, alpha), (gamma, alpha, beta)]))
    assume(max(abc) < 2.5 * min(abc))
    return Lattice.from_parameters(*abc, alpha, beta, gamma).matrix


@st.composite
def crystals(draw, n_max=5):
    n = draw(st.integers(1, n_max))
    coords = np.array([draw(vectors(0, 0.999)) for _ in range(n)])
    species = tuple(draw(st.sampled_from(["Co", "O"])) for _ in range(n))
    return species, coords, draw(lattices())


def all_lengths(delta, lattice):
    return np.sort(np.linalg.norm((np.asarray(delta) - np.round(delta) + MANY_CELLS) @ lattice, axis=-1), axis=-1)


def test_image_lengths_worked_by_hand():
    # half of a - b in the rhombus: a/2 - b/2 has sqrt 12 Å; a/2 + b/2, a whole cell away, has 2
    np.testing.assert_allclose(geometry.image_lengths(np.array([0.5, -0.5, 0]), RHOMBUS)[:2], 2)
    np.testing.assert_allclose(geometry.image_lengths(np.array([0.5, 0, 0]), CUBE)[:3], [5, 5, np.sqrt(125)])


@given(vectors(-3, 3), lattices())
@settings(max_examples=200)
def test_shortest_images_agree_with_brute_force_and_pymatgen(delta, lattice):
    lengths = geometry.image_lengths(delta, lattice)
    np.testing.assert_allclose(lengths[:2], all_lengths(delta, lattice)[:2], atol=1e-9)
    shortest, _ = Lattice(lattice).get_distance_and_image([0, 0, 0], delta)
    assert lengths[0] == pytest.approx(shortest, abs=1e-9)


@given(lattices())
def test_shortest_lattice_vector(lattice):
    brute = np.sort(np.linalg.norm(MANY_CELLS @ lattice, axis=1))
    assert geometry.shortest_lattice_vector(lattice) == pytest.approx(brute[1])


@given(vectors(-3, 3), lattices(), arrays(int, 3, elements=st.integers(-6, 6)))
def test_images_do_not_hang_on_the_vectors_that_describe_the_lattice(delta, lattice, sheared_by):
    x, y, z = sheared_by
    shear = np.array([[1, 0, 0], [x, 1, 0], [y, z, 1]])
    other = geometry.image_lengths(delta @ np.linalg.inv(shear), shear @ lattice)
    np.testing.assert_allclose(other[:2], geometry.image_lengths(delta, lattice)[:2], atol=1e-9)
    assert geometry.shortest_lattice_vector(shear @ lattice) == pytest.approx(geometry.shortest_lattice_vector(lattice))


@given(crystals(), st.data())
def test_nearest_image(crystal, data):
    _, coords, lattice = crystal
    reference = coords + np.array([data.draw(vectors(-2, 2)) for _ in coords])
    moved = geometry.nearest_image(coords, reference, lattice)
    np.testing.assert_allclose((moved - coords) - np.round(moved - coords), 0, atol=1e-9)
    for row, target in zip(moved, reference, strict=True):
        length = np.linalg.norm((row - target) @ lattice)
        assert length == pytest.approx(all_lengths(row - target, lattice)[0], abs=1e-5)


def test_nearest_image_leaves_what_is_near():
    coords = np.array([[0.01, 0.5, 0.99], [0.0, 0.5, 0.0]])
    np.testing.assert_array_equal(geometry.nearest_image(coords, coords + 0.004, RHOMBUS), coords)
    back = geometry.nearest_image(coords + np.array([[1, -2, 0], [0, 0, 3]]), coords, RHOMBUS)
    np.testing.assert_allclose(back, coords, atol=1e-12)


@pytest.mark.parametrize("last_bit", [-1e-12, 0.0, 1e-12])
@pytest.mark.parametrize("axis", [0, 1])
def test_nearest_image_leaves_what_is_as_near_as_its_images(axis, last_bit):
    """The middle of the rhombus's triangles is 2.31 Å from all three corners."""
    middle = np.array([[1 / 3, -1 / 3, 0.0]])
    middle[0, axis] += last_bit
    np.testing.assert_array_equal(geometry.nearest_image(middle, np.zeros((1, 3)), RHOMBUS), middle)


def test_nearest_image_is_not_always_the_rounded_one():
    moved = geometry.nearest_image(np.array([[0.45, -0.45, 0.0]]), np.zeros((1, 3)), RHOMBUS)
    assert np.linalg.norm(moved @ RHOMBUS) == pytest.approx(np.linalg.norm([0.45, 0.55, 0] @ RHOMBUS))


@given(st.integers(0, 10_000))
def test_distances_do_not_depend_on_the_cell_that_describes_a_crystal(seed):
    """In skewed cells of the same lattice, whose planes are near each other; against all images within 9 cells."""
    rng = np.random.default_rng(seed)
    lattice, coords = np.diag(rng.uniform(4, 7, 3)), rng.uniform(-1, 2, (4, 3))
    shear = np.array([[1, 0, 0], [rng.integers(-3, 4), 1, 0], [rng.integers(-2, 3), rng.integers(-2, 3), 1]])
    skewed, same = shear @ lattice, coords @ np.linalg.inv(shear)
    brute = (coords[:, None] - coords + MANY_CELLS[:, None, None]) @ lattice
    expected = np.linalg.norm(brute, axis=-1).min(axis=0)
    assert geometry.distances(coords, coords, lattice) == pytest.approx(expected, abs=1e-9)
    assert geometry.distances(same, same, skewed) == pytest.approx(expected, abs=1e-9)


@given(crystals(), vectors(-1, 1), st.integers(1, 60))
@settings(max_examples=50)
def test_surroundings_are_the_nearest_atoms(crystal, point, n):
    species, coords, lattice = crystal
    found = geometry.surroundings(point, species, coords, lattice, n)
    assert list(found) == sorted(set(species))
    delta = coords - point
    cells = np.array(list(product(range(-6, 7), repeat=3)))
    lengths = np.linalg.norm(((delta - np.round(delta))[:, None] + cells) @ lattice, axis=2)
    for element, values in found.items():
        mask = np.array(species) == element
        np.testing.assert_allclose(values, np.sort(lengths[mask], axis=None)[:n], atol=1e-9)


@given(crystals(), vectors(-1, 1), vectors(-2, 2), st.data())
@settings(max_examples=50)
def test_surroundings_do_not_depend_on_origin_wrapping_or_choice_of_cell(crystal, point, shift, data):
    species, coords, lattice = crystal
    before = geometry.surroundings(point, species, coords, lattice, 48)
    whole = np.array([data.draw(st.lists(st.integers(-2, 2), min_size=3, max_size=3)) for _ in coords])
    moved = geometry.surroundings(point + shift, species, coords + shift + whole, lattice, 48)
    other_cell = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])  # determinant 1: the same crystal
    inverse = np.linalg.inv(other_cell)
    recut = geometry.surroundings(point @ inverse, species, coords @ inverse, other_cell @ lattice, 48)
    for element in before:
        np.testing.assert_allclose(moved[element], before[element], atol=1e-8)
        np.testing.assert_allclose(recut[element], before[element], atol=1e-8)
