import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from crystals import backwards, crystal, crystals, doubled, redescribed
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Structure
from scipy.special import erfc

from emigbench import MigrationPath, load
from emigbench.datasets.hashing import geometry_hash
from emigbench_baselines.classical import channel as channels
from emigbench_baselines.classical import descriptors, ions
from emigbench_baselines.classical.descriptors import DESCRIPTORS, STATISTICS, describe, descriptor_table
from emigbench_baselines.classical.electrostatics import COULOMB, atoms_around, site_potential
from emigbench_baselines.classical.environment import PROFILES, profiles, surroundings
from emigbench_baselines.classical.ions import bond_length, charges, facts

COLUMN = {name: i for i, name in enumerate(DESCRIPTORS)}
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}


def line_of_oxygens(*oxygens, target=(0.3, 0, 0), edge=10.0) -> MigrationPath:
    """A Li hop of 3 Å along x in a cubic cell, with O atoms at these places in Å."""
    return MigrationPath(
        id="oxygens",
        material_id="oxygens",
        structural_group="OXIDES",
        mobile_ion="Li",
        composition="LiO",
        state="unknown",
        lattice=edge * np.eye(3),
        host_species=("O",) * len(oxygens),
        host_frac_coords=np.array(oxygens, dtype=float) / edge,
        band_frac_coords=np.linspace(0, 1, 5)[:, None] * np.array(target),
    )


def value(path, name):
    return describe(path)[COLUMN[name]]


@settings(max_examples=25, deadline=None)
@given(crystals(), st.integers(0, 2**31))
def test_another_description_of_the_crystal_changes_nothing(path, seed):
    np.testing.assert_allclose(describe(redescribed(path, seed)), describe(path), **TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(crystals())
@example(crystal(359371, ("Mg", "S", "Sc")))  # two equally wide places at one end, of which one has the better way on
def test_the_way_back_has_the_same_descriptors(path):
    np.testing.assert_allclose(describe(backwards(path)), describe(path), **TOLERANCE)


@settings(max_examples=15, deadline=None)
@given(crystals(), st.sampled_from([0, 1, 2]))
def test_a_longer_cell_changes_nothing(path, axis):
    np.testing.assert_allclose(describe(doubled(path, axis)), describe(path), **TOLERANCE)


def test_every_descriptor_has_a_unit_and_a_meaning_and_the_table_has_them_all():
    data = load("spinels")
    table = descriptor_table([d.path for d in data[:3]])
    assert list(table.columns) == list(DESCRIPTORS)
    assert list(table.index) == [d.id for d in data[:3]]
    for descriptor in DESCRIPTORS.values():
        assert descriptor.unit
        assert descriptor.family
        assert descriptor.meaning


def test_two_processes_give_the_same_table(monkeypatch):
    paths = [d.path for d in load("spinels")[:12]]
    one = descriptor_table(paths)
    monkeypatch.setattr(descriptors, "_REMEMBERED", {})
    monkeypatch.setattr(descriptors, "MIN_PARALLEL", 1)
    two = descriptor_table(paths, workers=2)
    np.testing.assert_array_equal(one.to_numpy(), two.to_numpy())


def test_a_geometry_is_described_once_whatever_record_holds_it(monkeypatch):
    path = load("spinels")[0].path
    monkeypatch.setattr(descriptors, "_REMEMBERED", {})
    once = descriptor_table([path])
    monkeypatch.setattr(descriptors, "describe", lambda path: pytest.fail(f"{path.id} is described again"))
    again = descriptor_table([replace(path, id="copy"), path])  # as a worker process unpickles it
    np.testing.assert_array_equal(again.to_numpy(), np.vstack([once.to_numpy()] * 2))


def test_what_is_remembered_is_told_apart_by_state():
    path = load("spinels")[0].path
    states = [replace(path, state=state) for state in ("charged", "discharged", "electrolyte")]
    flags = descriptor_table(states)[["is charged", "is discharged", "is electrolyte"]]
    np.testing.assert_array_equal(flags.to_numpy(), np.eye(3))


def test_the_oldest_geometries_are_forgotten(monkeypatch):
    paths = [d.path for d in load("spinels")[:3]]
    monkeypatch.setattr(descriptors, "_REMEMBERED", {})
    monkeypatch.setattr(descriptors, "MOST_REMEMBERED", 2)
    whole = descriptor_table(paths)
    assert list(whole.index) == [path.id for path in paths]
    assert list(descriptors._REMEMBERED) == [(geometry_hash(path), path.state) for path in paths[1:]]


def test_what_another_thread_forgets_meanwhile_is_described_again(monkeypatch):
    """Threads of a cluster's worker share what is remembered; here the other one acts whenever it may."""

    class Shared(dict):
        def __contains__(self, key):
            there = super().__contains__(key)
            self.clear()
            return there

        def __iter__(self):
            keys = list(self.keys())
            self.clear()
            return iter(keys)

    paths = [d.path for d in load("spinels")[:2]]
    expected = descriptor_table(paths)
    monkeypatch.setattr(descriptors, "_REMEMBERED", Shared())
    monkeypatch.setattr(descriptors, "MOST_REMEMBERED", 1)
    descriptors._REMEMBERED.update(zip([(geometry_hash(p), p.state) for p in paths], expected.to_numpy(), strict=True))
    np.testing.assert_array_equal(descriptor_table(paths).to_numpy(), expected.to_numpy())


def test_no_path_gives_an_empty_table():
    assert descriptor_table([]).shape == (0, len(DESCRIPTORS))


def test_an_id_may_be_the_name_of_a_file_that_is_no_utf_8(data):
    """As of a file that was named in Latin-1; pandas 3 keeps text as UTF-8, unless it is told otherwise."""
    path = replace(data[0].path, id="Stra\udcdfe.cif#1")
    with pd.option_context("future.infer_string", True):
        assert list(descriptor_table([path]).index) == [path.id]


def test_statistics_worked_by_hand():
    profile = np.array([1.0, 0, 2, 0, 5, 0, 4, 0, 2])
    found = {name: of(profile) for name, (of, _) in STATISTICS.items()}
    assert found == {
        "ends": 1.5,
        "end difference": 1,
        "middle": 5,
        "middle rise": 3.5,
        "quarter rise": (2 + 4 - 1 - 2) / 2,
        "range": 5,
        "highest": 5,
        "lowest": 0,
    }


def test_distances_and_clearances_of_a_square_window():
    window = [(1.5, 2, 0), (1.5, -2, 0), (1.5, 0, 2), (1.5, 0, -2)]
    path = line_of_oxygens(*window)
    assert value(path, "anion 1 middle") == pytest.approx(2)
    assert value(path, "anion 4 middle") == pytest.approx(2)
    assert value(path, "anion 1 ends") == pytest.approx(2.5)
    assert value(path, "anion 1 middle rise") == pytest.approx(-0.5)
    assert value(path, "clearance lowest") == pytest.approx(2 - 1.26)  # Shannon's O2- of pymatgen
    assert value(path, "bond valence vector middle") == pytest.approx(0, abs=1e-6)
    valence = np.exp((bond_length("Li", "O") - 2) / 0.37)
    assert value(path, "bond valence sum middle") == pytest.approx(4 * valence, rel=1e-3)
    best = bond_length("Li", "O") + 0.37 * np.log(6)
    near, far = (((np.exp((best - d) / 0.37) - 1) ** 2 - 1) * COULOMB * 2 * 0.37**2 / (2 * best) for d in (2, 2.5))
    assert value(path, "bond energy middle") == pytest.approx(4 * (near - far), rel=1e-2)  # below both ends, so < 0
    assert value(path, "bond energy ends") == pytest.approx(0, abs=1e-6)
    assert value(path, "hop length") == pytest.approx(3)


def test_profiles_are_what_they_are_said_to_be():
    """With pymatgen's neighbours, and each formula written down once more; charges are Mg 2, S -2, Sc 3, P 5."""
    path = crystal(7, ("Mg", "S", "Sc"))
    host = Structure(path.lattice, path.host_species, path.host_frac_coords)
    start, end = path.band_frac_coords[[0, -1]] @ path.lattice
    charge = {"Mg": 2, "Sc": 3, "P": 5}
    rows = []
    for point in np.linspace(start, end, 9):
        near = sorted(host.get_sites_in_sphere(point, 7.0), key=lambda site: site.nn_distance)
        far = {
            e: np.array([site.nn_distance for site in near if site.specie.symbol == e]) for e in ("Mg", *charge, "S")
        }
        anions, cations = far["S"], np.sort(np.concatenate([far["Sc"], far["P"]]))
        mobile = np.append(far["Mg"][far["Mg"] < 4.5], [4.5, 4.5])
        clearances = {e: far[e].min(initial=9) - (1.7 if e == "S" else facts(e).cation_radius) for e in far}
        valences = np.exp((bond_length("Mg", "S") - anions) / 0.37)
        vectors = [(site.coords - point) / site.nn_distance for site in near if site.specie.symbol == "S"]
        best = bond_length("Mg", "S") + 0.37 * np.log(3)  # of a bond that carries a sixth of 2
        stretch = np.exp((best - anions) / 0.37)
        repulsion = sum(
            (COULOMB * 2 * charge[e] / far[e] * erfc(far[e] / 0.74 / (facts(e).cation_radius + 0.86))).sum()
            for e in ("Sc", "P")
        )
        rows.append(
            {
                **{f"anion {n}": anions[:n].mean() for n in (1, 3, 4, 6)},
                **{f"cation {n}": cations[:n].mean() for n in (1, 2)},
                **{f"mobile {n}": mobile[:n].mean() for n in (1, 2)},
                "clearance": min(clearances.values()),
                "anion clearance": clearances["S"],
                "cation clearance": min(clearances["Sc"], clearances["P"]),
                "bond valence sum": valences.sum(),
                "bond valence mismatch": abs(valences.sum() - 2),
                "bond valence vector": np.linalg.norm(valences @ vectors),
                "coordination": np.exp(1 - (anions / anions[:3].mean()) ** 6).sum(),
                "cation repulsion": repulsion,
                "bond energy": (COULOMB * 4 * 0.37**2 / (2 * best) * ((stretch - 1) ** 2 - 1)).sum() + repulsion,
                "polarisation": (10.2 * (anions**-4.0 - 7.0**-4)).sum(),
                **{f"anions at {r}": np.exp(-(((anions - r) / 0.4) ** 2)).sum() for r in (2.0, 2.75, 3.5, 4.5)},
                **{f"cations at {r}": np.exp(-(((cations - r) / 0.4) ** 2)).sum() for r in (2.0, 2.75, 3.5, 4.5)},
            }
        )
    expected = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    expected["bond energy"] -= min(expected["bond energy"][[0, -1]])
    stays = np.array(path.host_species) != "Mg"
    of_each = np.array([{**charge, "S": -2}[e] for e in path.host_species])
    images = path.band_frac_coords @ path.lattice
    expected["potential"] = 2 * site_potential(images, path.lattice, path.host_frac_coords[stays], of_each[stays])
    found = profiles(path, surroundings(path))
    assert set(found) == set(expected) == set(PROFILES)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-3, err_msg=name)


def test_chemistry_by_hand():
    """Li2Fe2PO4 in 1000 Å³: 8 - 5 - 2 = 1 e is shared by two Fe, which keep 7.5 of 8 electrons each."""
    path = replace(
        line_of_oxygens(*[(1.5, 2.0 + k, 0) for k in range(8)]),
        host_species=("Fe", "Fe", "P", "O", "O", "O", "O", "Li"),
    )
    mass = 2 * 6.941 + 2 * 55.845 + 30.973762 + 4 * 15.9994
    spheres = 2 * facts("Li").cation_radius ** 3 + 2 * facts("Fe").cation_radius ** 3 + facts("P").cation_radius ** 3
    expected = {
        "ion electronegativity": 0.98,
        "ion row": 2,
        "ion charge": 1,
        "anion electronegativity": 3.44,
        "anion charge": -2,
        "anion mass": 15.9994,
        "ionic potential": 1 / facts("Li").cation_radius,
        "cation mean electronegativity": (2 * 1.83 + 2.19) / 3,
        "cation highest electronegativity": 2.19,
        "cation lowest electronegativity": 1.83,
        "cation mean ionisation energy": (2 * 7.90247 + 10.48669) / 3,
        "cation mean charge": 2,
        "transition metal charge": 0.5,
        "d electrons": 7.5,
        "transition metals per anion": 0.5,
        "transition metal group": 8,
        "transition metal row": 4,
        "P per anion": 0.25,
        "mobile ions per anion": 0.5,
        "mobile ions per cation": 2 / 3,
        "cations per anion": 0.75,
        "volume per anion": 250,
        "volume per atom": 1000 / 9,
        "density": mass / 1000,
        "packing": 4 / 3 * np.pi * (spheres + 4 * 1.26**3) / 1000,
        "relative hop length": 3 / 250 ** (1 / 3),
    }
    assert {name: value(path, name) for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("host", "found"), [("FeSOOOO", 1), ("FeSS", 0), ("FePOOOO", 0)])
def test_sulphur_makes_a_sulphate_where_it_is_a_cation(host, found):
    elements = tuple(re.findall("[A-Z][a-z]?", host))
    path = replace(line_of_oxygens(*[(1.5, 2.0 + k, 0) for k in range(len(elements))]), host_species=elements)
    assert value(path, "sulphate") == found


def test_digits_that_hang_on_the_order_of_sums_are_not_kept():
    """Seven in all, and six after the point."""
    found = descriptors._rounded(np.array([123.45678499, 0.01234567, -2e-7, np.nan]))
    np.testing.assert_array_equal(found, [123.4568, 0.012346, 0, np.nan])


def test_the_channel_of_an_open_path_is_the_straight_one():
    path = line_of_oxygens((1.5, 2, 0), (1.5, -2, 0), (1.5, 0, 2), (1.5, 0, -2))
    assert value(path, "channel radius worst") == pytest.approx(-(2 - 1.26), abs=0.05)
    assert value(path, "channel bend") == pytest.approx(0, abs=0.3)


def test_the_channel_goes_round_an_atom_in_the_way():
    path = line_of_oxygens((1.5, 0, 0))
    straight, round_about = value(path, "clearance lowest"), -value(path, "channel radius worst")
    assert straight == pytest.approx(-1.26)
    assert round_about > 1.0  # a corner of the tube is 2.5 Å from the atom
    assert value(path, "channel bend") > 1.5


@settings(max_examples=15, deadline=None)
@given(crystals())
def test_no_way_round_is_worse_than_the_straight_one(path):
    values = describe(path)
    straight = values[COLUMN["anion clearance lowest"]], values[COLUMN["cation clearance lowest"]]
    assert -values[COLUMN["channel radius worst"]] >= min(straight) - channels.SPACING * np.sqrt(3)


def hop_in(cell: Structure, ion: str, start, end, repeats: int) -> MigrationPath:
    """A hop between two places of an ideal crystal (fractional in its cell), both emptied of the ion."""
    block = cell * (repeats, repeats, repeats)
    ends = np.array([start, end]) / repeats
    gone = [np.linalg.norm((d := block.frac_coords - end) - np.round(d), axis=1) < 1e-6 for end in ends]
    host = [site for site, *taken in zip(block, *gone, strict=True) if not any(taken)]
    return MigrationPath(
        id="ideal",
        material_id="ideal",
        structural_group="OXIDES",
        mobile_ion=ion,
        composition="ideal",
        state="unknown",
        lattice=block.lattice.matrix,
        host_species=tuple(site.specie.symbol for site in host),
        host_frac_coords=[site.frac_coords for site in host],
        band_frac_coords=ends[0] + np.linspace(0, 1, 5)[:, None] * (ends[1] - ends[0]),
    )


BCC = Structure(5.0 * np.eye(3), ["Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure(
    4.0 * np.eye(3), ["Ca", "Ti", "O", "O", "O"], [[0.5] * 3, [0] * 3, [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
)
ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Li", "O"], [[0, 0, 0], [0.5, 0, 0]])


@pytest.mark.parametrize(
    "path",
    [
        hop_in(BCC, "Li", [0.25, 0.5, 0], [0.5, 0.75, 0], 3),  # three anions equally near, in two directions
        hop_in(BCC, "Li", [0.5, 0.25, 0], [0.5, 0.75, 0], 3),  # 2.5 Å: ten steps of the grid
        hop_in(PEROVSKITE, "Ca", [0.5] * 3, [1.5, 0.5, 0.5], 3),  # 4 Å: sixteen
        hop_in(ROCK_SALT, "Li", [0, 0, 0], [0.5, 0.5, 0], 3),
    ],
)
def test_an_ideal_crystal_is_the_same_however_it_lies(path):
    """Where atoms are equally near or at a radius, or lengths are whole steps, rounding must not decide."""
    expected = describe(path)
    for seed in range(5):
        np.testing.assert_allclose(describe(redescribed(path, seed)), expected, **TOLERANCE)


def test_a_place_is_as_polarised_from_wherever_the_ion_comes():
    """The ends and the middle of this hop are sites of one kind, and the end is that of a hop of half its length."""
    long, short = (hop_in(ROCK_SALT, "Li", [0, 0, 0], [x, 0, 0], 3) for x in (2, 1))
    assert value(long, "polarisation middle rise") == pytest.approx(0, abs=1e-6)
    assert value(long, "polarisation ends") == pytest.approx(value(short, "polarisation ends"), rel=1e-6)


def test_a_phosphide_ion_has_a_size():
    assert facts("P").anion_radius == 2.12
    assert facts("O").anion_radius == pytest.approx(1.26)
    assert facts("Li").anion_radius == 0
    assert facts("O").cation_radius == pytest.approx(0.6 * 0.6)  # there is no such ion: 0.6 of Slater's atomic radius


def test_bond_parameters_are_those_of_pymatgen():
    from pymatgen.analysis.bond_valence import BV_PARAMS

    expected = {element.symbol: (entry["r"], entry["c"]) for element, entry in BV_PARAMS.items()}
    assert expected == ions.BOND_PARAMETERS
    assert np.isnan(bond_length("Pm", "O"))


def test_threshold_worked_by_hand():
    walls = np.array([[0, 9, 0], [1, 5, 2], [0, 3, 0]], dtype=float)[:, :, None]
    assert channels._threshold(walls, (0, 0, 0), (0, 2, 0)) == 3
    assert channels._threshold(walls, (0, 0, 0), (2, 0, 0)) == 1
    assert channels._threshold(walls, (0, 0, 0), (0, 0, 0)) == 0


def test_the_best_way_by_hand():
    """Ends of 1 and 2 at the border of where they are sought, a wall of 6 between, and 5 in the middle."""
    along = np.linspace(-1.75, 1.75, 15)
    values = np.full((15, 7, 7), 9.0)
    values[:, 3, 3] = [1, 4, 4, 4, 4, 4, 4, 5, 4, 6, 2, 4, 4, 4, 4]
    found = channels._best_way(values, along)
    assert found == {"worst": 6, "rise": 5, "mean rise": 4.5, "end difference": 1, "middle rise": 3.5}


def test_the_best_places_of_an_end_are_near_it_and_equal_but_for_rounding():
    """At 1 Å along the line, with a step of 0.25 Å each way: three of them are near, and four are not."""
    along = np.linspace(-1.75, 1.75, 15)
    values = np.full((15, 9, 9), 9.0)
    values[8, 7, 1] = 1.0
    values[14, 4, 4] = 1.0 + 5e-10
    values[11, 1, 7] = 1.0 + 1e-8
    values[7, 4, 4] = values[11, 8, 4] = values[11, 4, 8] = values[11, 0, 4] = values[11, 4, 0] = 0.0
    assert list(zip(*channels._best_places(values, along, 1.0), strict=True)) == [(8, 7, 1), (14, 4, 4)]


def test_the_grid_is_about_the_line_and_as_fine_as_it_is_said_to_be():
    around = surroundings(line_of_oxygens((1.5, 2, 0)))
    points, (x, t) = channels._tube(around, np.array([0.0, 1.0, 0.0]))
    assert points.shape == (len(x), len(t), len(t), 3)
    assert (x[0], x[-1], t[0], t[-1]) == pytest.approx((-2.25, 2.25, -1.8, 1.8))  # 0.75 Å behind each end of 3 Å
    assert np.diff(x) == pytest.approx(0.25)
    assert np.diff(t) == pytest.approx(0.25, abs=0.01)
    assert points[len(x) // 2, len(t) // 2, len(t) // 2] == pytest.approx([1.5, 0, 0])
    assert points[0, -1, 0] == pytest.approx([-0.75, 1.8, -1.8])


def test_the_grid_turns_to_the_nearest_atom_of_the_host_beside_the_line():
    """Nearer are an O that is almost on the line and a Li; at 2 Å there is one that is as far but for rounding."""
    path = line_of_oxygens((1.5, 0.25, 0), (1.5, 1, 0), (1.5, 0, 2), (1.5, -2.00005, 0), (1.5, -1.2, -1.7), edge=20)
    path = replace(path, host_species=("O", "Li", "O", "O", "O"), band_frac_coords=path.band_frac_coords / 2)
    assert channels._directions(surroundings(path)) == pytest.approx(np.array([[0, 0, 1], [0, -1, 0]]), abs=1e-9)


def test_the_grid_has_the_quantities_of_the_host_without_other_mobile_ions(monkeypatch):
    """In the middle of the path, a point of the grid, which has two O, an Fe and, nearest of all, a Li."""
    path = line_of_oxygens((1.5, 2, 0), (1.5, -2.3, 0), (1.5, 0, 2.5), (1.5, 0, -1), edge=20)
    path = replace(path, host_species=("O", "O", "Fe", "Li"), band_frac_coords=path.band_frac_coords / 2)
    path, grids = replace(path, host_frac_coords=path.host_frac_coords - [[0.0375, 0, 0]]), []

    def seen(values, along):
        grids.append(values[tuple(n // 2 for n in values.shape)])
        return dict.fromkeys(channels.CHANNEL_STATISTICS, 0.0)

    monkeypatch.setattr(channels, "_best_way", seen)
    around = surroundings(path)
    channels.channel(around)
    d, middle = around.distances, around.distances[4]
    mismatch = abs(around.valence(d)[4].sum() - 1)
    energy = around.morse(d)[4].sum() + around.repulsion(d)[4].sum()
    assert around.repulsion(d)[4].sum() > 0.01
    radius = -min(middle[0] - 1.26, middle[2] - facts("Fe").cation_radius)
    assert grids[:3] == pytest.approx([radius, mismatch, energy])


def test_directions_of_one_square_grid_are_taken_together():
    def at(*degrees):
        turns = np.deg2rad(degrees)
        return np.column_stack([np.cos(turns), np.sin(turns), np.zeros(len(turns))])

    octahedral, counts = channels._distinct(at(0, 90, 180, 270))
    assert (octahedral.tolist(), counts.tolist()) == (at(0).tolist(), [4])
    hexagonal, counts = channels._distinct(at(0, 60, 120, 180, 90, 300))
    assert (hexagonal.tolist(), counts.tolist()) == (at(0, 60, 120).tolist(), [3, 1, 2])
    nearly, counts = channels._distinct(at(0, 90.001))
    assert (len(nearly), counts.tolist()) == (2, [1, 1])


def test_the_mean_over_grids_is_that_over_all_directions(monkeypatch):
    """The middle of this hop has three atoms equally near, two of them at a right angle."""
    path = line_of_oxygens((1.5, 2, 0), (1.5, 0, 2), (1.5, -2 * 0.6, -2 * 0.8), (5, 5, 5))
    assert len(channels._directions(surroundings(path))) == 3
    assert len(channels._distinct(channels._directions(surroundings(path)))[0]) == 2
    once = channels.channel(surroundings(path))
    monkeypatch.setattr(channels, "_distinct", lambda directions: (directions, np.ones(len(directions))))
    every = channels.channel(surroundings(path))
    assert once == pytest.approx(every, rel=1e-9)


def test_potential_of_simple_cubic_charges():
    """At the cube's centre (2.035362 - 2.837297) e/a: Madelung's caesium chloride less Wigner's lattice."""
    a = 4.2
    centre, face = np.full((1, 3), a / 2), np.array([[a / 2, a / 2, 0]])
    found = site_potential(np.vstack([centre, face]), a * np.eye(3), np.zeros((1, 3)), np.ones(1))
    assert found[0] == pytest.approx(-0.801935 * COULOMB / a, rel=1e-5)
    assert found[1] < 0


def test_potential_in_a_cell_too_small_for_any_reciprocal_vector():
    """The primitive cell of a salt with a lattice parameter of 4 Å has none that is short enough to count."""
    primitive, cube = 2.0 * (np.ones((3, 3)) - np.eye(3)), 4.0 * np.eye(3)
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    centre = np.full((1, 3), 2.0)
    found = site_potential(centre, primitive, sites[:1], np.ones(1))
    assert found == pytest.approx(site_potential(centre, cube, sites, np.ones(4)), abs=1e-4)


def test_potential_in_a_cell_with_very_many_reciprocal_vectors():
    """Rock salt with an edge of 8 Å is the same in a cell of 64 times the volume, whose vectors are taken in parts."""
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    sites, signs = np.vstack([corners, corners + 0.5]), np.repeat([1.0, -1.0], 4)
    cells = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    repeated = (cells[:, None] + sites).reshape(-1, 3) / 4
    points = np.array([[2.0, 2.0, 2.0], [2.0, 1.0, 0.5]])
    found = site_potential(points, 32 * np.eye(3), repeated, np.tile(signs, len(cells)))
    assert found == pytest.approx(site_potential(points, 8 * np.eye(3), sites, signs), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(crystals())
def test_potential_against_pymatgen(path):
    """A probe of charge q adds q V, and a part that does not know where in the host it stands."""
    charge = charges([path.mobile_ion, *path.host_species])
    points = path.band_frac_coords[[0, 2, 4]]
    host = np.array([charge[s] for s in path.host_species])
    probe = 1.0

    def energy(place):
        coords = np.vstack([place, path.host_frac_coords])
        cell = Structure(path.lattice, [path.mobile_ion, *path.host_species], coords)
        cell.add_oxidation_state_by_site([probe, *host])
        return EwaldSummation(cell, acc_factor=12).total_energy

    expected = np.array([energy(place) for place in points])
    found = site_potential(points @ path.lattice, path.lattice, path.host_frac_coords, host)
    np.testing.assert_allclose(found - found[0], (expected - expected[0]) / probe, atol=2e-3)


def test_atoms_around_against_pymatgen():
    path = load("spinels")[0].path
    host = Structure(path.lattice, path.host_species, path.host_frac_coords)
    centre = path.band_frac_coords[2] @ path.lattice
    atoms, which = atoms_around(centre, 9.3, path.lattice, path.host_frac_coords)
    expected = host.get_sites_in_sphere(centre, 9.3)
    assert len(atoms) == len(expected)
    assert sorted(which) == sorted(site.index for site in expected)
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(atoms - centre, axis=1)), np.sort([site.nn_distance for site in expected]), atol=1e-8
    )


def test_charges():
    assert charges(["Li", "Fe", "P", "O", "O", "O", "O"]) == {"Li": 1, "Fe": 2, "P": 5, "O": -2}
    assert charges(["S", "O", "O", "O", "O", "Fe"])["S"] == 6
    assert charges(["Mg", "P", "P", "Ru", "Ru"]) == {"Mg": 2, "P": -3, "Ru": 2}
    assert charges(["Na", "Fe", "C", "N"])["C"] == 2
    assert charges({"Na": 2, "C": 1, "O": 3}) == {"Na": 1, "C": 4, "O": -2}
    assert charges({"K": 2, "S": 2, "O": 7})["S"] == 6  # a disulphate
    assert charges({"Fe": 1, "S": 1, "O": 2})["S"] == -2
    assert charges({"Li": 1, "Fe": 1, "As": 1}) == {"Li": 1, "Fe": 2, "As": -3}
    assert charges({"Li": 1, "Fe": 1, "As": 1, "O": 4}) == {"Li": 1, "Fe": 2, "As": 5, "O": -2}


def test_radii_of_anions_and_cations_are_those_of_ions():
    around = surroundings(load("spinels")[0].path)
    assert around.radius[around.anion].min() > around.radius[around.cation].max()
    assert np.isnan(around.bond[~around.anion]).all()
    assert not (around.anion & around.cation).any()


def test_a_host_without_anions_or_cations_leaves_gaps_not_errors():
    path = replace(line_of_oxygens((1.5, 2, 0)), host_species=("Fe",))
    values = describe(path)
    assert np.isnan(values[COLUMN["anion radius"]])
    assert np.isfinite(values[COLUMN["clearance lowest"]])


@pytest.mark.filterwarnings("error")
def test_an_anion_that_moves_has_no_bonds_with_anions():
    oxide_fluoride = replace(line_of_oxygens((1.5, 2, 0), (1.5, -3, 0)), mobile_ion="F")
    values = describe(oxide_fluoride)
    for name in ("bond valence sum middle", "bond energy highest", "channel bond energy worst", "channel bend"):
        assert np.isnan(values[COLUMN[name]]), name
    assert np.isfinite(values[[COLUMN["clearance lowest"], COLUMN["channel radius worst"]]]).all()
