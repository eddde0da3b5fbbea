"""Symmetry-identical bands: invariances of the fingerprint, and pymatgen as an independent judge."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from scipy.spatial.transform import Rotation

from emigbench.datasets.duplicates import TOLERANCE_A, fingerprint, identical_bands
from emigbench.datasets.spinels import geometry, read_table
from emigbench.records import MigrationPath


def path_of(lattice, species, host, band, path_id="X_1", ion="Li"):
    return MigrationPath(path_id, "X", "OXIDES", ion, "", "discharged", lattice, tuple(species), host, band)


def changed(path, **changes):
    return replace(path, id="twin", **changes)


def spinel(number=0):
    row = read_table()[number]
    return path_of(*geometry(row), path_id=row.id, ion=row.mobile_ion)


def unit(decimals=4):
    return st.floats(0, 1, exclude_max=True).map(lambda x: round(x, decimals))


@st.composite
def crystals(draw):
    """A few atoms of two elements in a skewed cell, and a band through it."""
    abc = [draw(st.floats(5, 9)) for _ in range(3)]
    angles = [draw(st.floats(70, 115)) for _ in range(3)]
    assume(sum(angles) < 330)
    n = draw(st.integers(1, 6))
    host = np.array([[draw(unit()) for _ in range(3)] for _ in range(n)])
    start = np.array([draw(unit()) for _ in range(3)])
    step = np.array([draw(st.floats(-0.5, 0.5)) for _ in range(3)])
    species = [draw(st.sampled_from(["Co", "O"])) for _ in range(n)]
    return path_of(Lattice.from_parameters(*abc, *angles).matrix, species, host, np.linspace(start, start + step, 5))


def assert_twins(path, twin):
    assert identical_bands([path, twin]) == [[path.id, twin.id]]


@given(crystals(), st.data())
@settings(max_examples=40)
def test_translation_wrapping_and_order_of_sites_change_nothing(path, data):
    vector = np.array(data.draw(st.lists(st.floats(-2, 2), min_size=3, max_size=3)))
    host = path.host_frac_coords + vector
    order = data.draw(st.permutations(range(len(host))))
    twin = changed(
        path,
        host_frac_coords=(host - np.floor(host))[order],
        host_species=[path.host_species[i] for i in order],
        band_frac_coords=path.band_frac_coords + vector + data.draw(st.integers(-2, 2)),
    )
    np.testing.assert_allclose(fingerprint(twin), fingerprint(path), atol=1e-7)
    assert_twins(path, twin)


@given(crystals(), st.integers(0, 1000), st.booleans())
@settings(max_examples=30)
def test_rotation_and_reflection_change_nothing(path, seed, mirrored):
    turn = Rotation.random(random_state=seed).as_matrix() * (-1 if mirrored else 1)
    twin = changed(path, lattice=path.lattice @ turn)
    np.testing.assert_allclose(fingerprint(twin), fingerprint(path), atol=1e-7)
    assert_twins(path, twin)


@given(crystals(), st.permutations(range(3)), st.lists(st.integers(-1, 1), min_size=3, max_size=3))
@settings(max_examples=30)
def test_the_choice_of_cell_vectors_changes_nothing(path, order, shear):
    """The same crystal in cells of other shape: vectors swapped, and multiples of one added to another."""
    other = np.eye(3)[order]
    other[0] += shear[0] * other[1] + shear[1] * other[2]
    other[1] += shear[2] * other[2]
    inverse = np.linalg.inv(other)
    twin = changed(
        path,
        lattice=other @ path.lattice,
        host_frac_coords=path.host_frac_coords @ inverse,
        band_frac_coords=path.band_frac_coords @ inverse,
    )
    np.testing.assert_allclose(fingerprint(twin), fingerprint(path), atol=1e-7)
    assert_twins(path, twin)


@given(crystals())
@settings(max_examples=30)
def test_a_reversed_band_is_the_same_band(path):
    twin = changed(path, band_frac_coords=path.band_frac_coords[::-1])
    np.testing.assert_allclose(fingerprint(twin), fingerprint(path)[::-1], atol=1e-7)
    assert_twins(path, twin)


@pytest.mark.parametrize("moved", ["band", "host", "final site", "lattice"])
@pytest.mark.parametrize("number", [0, 20, 60])
def test_a_slightly_displaced_band_is_no_duplicate(number, moved):
    path, shift = spinel(number), 5 * TOLERANCE_A / 8
    band, host = path.band_frac_coords, np.array(path.host_frac_coords)
    host[:16] += shift
    twin = {
        "band": changed(path, band_frac_coords=band + np.array([shift, 0, 0])),
        "host": changed(path, host_frac_coords=host),
        "final site": changed(path, band_frac_coords=np.linspace(band[0], band[-1] + shift, 5)),
        "lattice": changed(path, lattice=1.001 * path.lattice),
    }[moved]
    assert identical_bands([path, twin]) == []


def test_other_atoms_in_the_same_places_are_no_duplicate():
    path = spinel()
    swapped = tuple("Se" if species == "O" else species for species in path.host_species)
    assert identical_bands([path, changed(path, host_species=swapped)]) == []
    assert identical_bands([path, changed(path, mobile_ion="Na" if path.mobile_ion != "Na" else "Li")]) == []


def test_the_last_bit_of_volume_or_length_decides_nothing():
    """A hop of 3.25 Å in 125.05 Å³: rounding to one decimal would send these two apart."""
    lattice = np.diag([5, 5, 125.05 / 25])
    band = np.linspace([0, 0, 0], [0.65, 0, 0], 5)
    path = path_of(lattice, ["O"], [[0.4, 0.3, 0.2]], band)
    for scale in (1 - 1e-9, 1 + 1e-9):
        assert_twins(path, changed(path, lattice=lattice * scale))


def test_cells_of_other_volume_are_no_duplicates_even_if_the_nearest_atoms_are_the_same():
    """A layer of atoms 4 Å apart: the next layer, 60 or 63 Å away, is beyond the nearest 48 of both cells."""
    band = np.linspace([0, 0, 0.5], [0.5, 0, 0.5], 5)
    near, far = (path_of(np.diag([4.0, 4.0, c]), ["O"], [[0.5, 0.5, 0.5]], band) for c in (60, 63))
    np.testing.assert_allclose(fingerprint(near), fingerprint(far))
    assert_twins(near, changed(near))
    assert identical_bands([near, changed(far)]) == []


def test_symmetry_makes_twins_of_hops_along_equivalent_directions():
    """From the corner of a cube of side 8 Å with an O in the middle of each half edge: x, y, z, forward or back."""
    lattice, host = 8 * np.eye(3), np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]])
    ends = {"x": [0.3, 0, 0], "y": [0, 0.3, 0], "minus z": [0, 0, -0.3], "xy": [0.3, 0.3, 0], "yz": [0, 0.3, -0.3]}
    paths = [path_of(lattice, "OOOS", host, np.linspace([0, 0, 0], end, 5), name) for name, end in ends.items()]
    assert identical_bands(paths) == [["x", "y", "minus z"], ["xy", "yz"]]


def test_nothing_in_nothing_out():
    assert identical_bands([]) == []
    assert identical_bands([spinel()]) == []


# --- The source files


@pytest.fixture(scope="module")
def paths(full):
    return {entry.id: entry.path for entry in full}


def whole_band(path):
    """One cell with all five images of the ion in it: what the audit compared."""
    ions = ["H"] + ["He"] * 3 + ["H"]  # ends and images apart, so that a band and its reverse agree
    coords = np.vstack([path.band_frac_coords, path.host_frac_coords])
    return Structure(path.lattice, [*ions, *path.host_species], coords)


MATCHER = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.01, primitive_cell=False, scale=False)

SETS = """
    b-Li3PS4_1 b-Li3PS4_3 b-Li3PS4_4 b-Li3PS4_6 | b-Li3PS4_2 b-Li3PS4_5 b-Li3PS4_8 b-Li3PS4_10
    b-Li3PS4_7 b-Li3PS4_9 | g-Li3PS4_1 g-Li3PS4_5 | g-Li3PS4_2 g-Li3PS4_4 | g-Li3PO4_7 g-Li3PO4_8
    b-Li3PO4_7 b-Li3PO4_8 | b-NaVP2O7_1 b-NaVP2O7_2 | LiAlPO4F_1 LiAlPO4F_4 | LiAlPO4F_2 LiAlPO4F_3
    Li2MnSiO4_2 Li2MnSiO4_3
"""


@pytest.fixture(scope="module")
def sets(full):
    found = {}
    for entry in full:
        if entry.duplicate_of:
            found.setdefault(entry.duplicate_of, []).append(entry.id)
    return found


def test_the_sets_of_the_audit(sets):
    expected = {frozenset(part.split()) for part in SETS.replace("\n", "|").split("|") if part.strip()}
    assert {frozenset(members) for members in sets.values()} == expected
    assert len(sets) == 11
    assert sum(map(len, sets.values())) == 26
    assert all(members[0] == first for first, members in sets.items())


def test_pymatgen_confirms_every_set(paths, sets):
    for first, members in sets.items():
        for other in members[1:]:
            assert MATCHER.fit(whole_band(paths[first]), whole_band(paths[other])), (first, other)


def test_pymatgen_finds_no_further_one(paths, sets):
    """All other pairs of the same atoms, with volumes and hops alike within a percent."""
    others, first_of = 0, {path_id: first for first, members in sets.items() for path_id in members}
    for a, b in combinations(paths.values(), 2):
        if (a.mobile_ion, sorted(a.host_species)) != (b.mobile_ion, sorted(b.host_species)):
            continue
        volumes = [abs(np.linalg.det(path.lattice)) for path in (a, b)]
        same_set = a.id in first_of and first_of[a.id] == first_of.get(b.id)
        if same_set or abs(volumes[0] / volumes[1] - 1) > 0.01 or abs(a.hop_length / b.hop_length - 1) > 0.01:
            continue
        assert not MATCHER.fit(whole_band(a), whole_band(b)), (a.id, b.id)
        others += 1
    assert others >= 10
