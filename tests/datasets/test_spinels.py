"""The embedded spinels: crystallography by independent tools, and agreement with the source."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import spglib
from scipy.optimize import linear_sum_assignment

from emigbench.datasets.spinels import (
    TABLE,
    TOLERANCE,
    Geometry,
    NotSpinelError,
    fit,
    geometry,
    read_table,
    table_from,
    write_table,
)
from emigbench.records import LabelledPath, MigrationPath

ROWS = read_table()
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)

NOT_CUBIC = "the cell is not cubic along x, y, z"
LEFT_OUT = {  # of the 102 records in the two spinel classes
    "Co2O4_Ca": "0.145 Å from Fd-3m",
    "Cr2O4_Li": "0.036 Å from Fd-3m",
    "Cr2O4_Zn": "0.084 Å from Fd-3m",
    "Cr2S4_Ca": "0.369 Å from Fd-3m",
    "Cr2S4_Zn": "0.165 Å from Fd-3m",
    "LiMn2O4": "0.038 Å from Fd-3m",
    "MgSc2Se4": "0.072 Å from Fd-3m",
    "Mn2S4_Ca": "0.273 Å from Fd-3m",
    "Mn2S4_Zn": "0.069 Å from Fd-3m",
    "Ni2O4_Zn": "0.023 Å from Fd-3m",
    "Ti2S4_Ca": "0.281 Å from Fd-3m",
    "Ti2S4_Zn": "0.112 Å from Fd-3m",
    "Mg0.148Ti2S4": "the hop does not join neighbouring 8a sites",
    "Co2O4_Li": NOT_CUBIC,
    "LiCo2O4": NOT_CUBIC,
    "MgFe2O4": NOT_CUBIC,
    "MgMn2O4_I41amd": NOT_CUBIC,
    "MgNi2S4": NOT_CUBIC,
    "Mn2O4_Al": NOT_CUBIC,
    "Mn2O4_Mg": NOT_CUBIC,
}


def minimum_image(a, b, lattice):
    """Distances (len(a), len(b)) in Å; a cubic cell needs no more than rounding."""
    offsets = np.asarray(a)[:, None] - np.asarray(b)[None]
    return np.linalg.norm((offsets - np.round(offsets)) @ lattice, axis=2)


def sites_of(element, cell):
    return cell.host_frac_coords[[s == element for s in cell.host_species]]


def filled_cell(row):
    """For spglib: the spinel with both ends of the hop filled, or the framework alone where 8a is empty."""
    cell = geometry(row)
    coords, species = cell.host_frac_coords, list(cell.host_species)
    if row.filling == "filled":
        coords = np.vstack([coords, cell.band_frac_coords[[0, -1]]])
        species += [row.mobile_ion] * 2
    numbers = [sorted(set(species)).index(s) + 1 for s in species]
    return cell.lattice, coords, numbers


def test_counts():
    assert Counter(row.filling for row in ROWS) == {"filled": 68, "empty": 14}
    assert len({row.id for row in ROWS}) == len(ROWS) == 82
    assert [row.id for row in ROWS] == sorted(row.id for row in ROWS)


@each_row
def test_space_group(row):
    data = spglib.get_symmetry_dataset(filled_cell(row), symprec=1e-4)
    assert data.number == 227
    assert data.hall_number in (525, 526)
    wyckoff = Counter(data.wyckoffs)
    assert sorted(wyckoff.values()) == ([8, 16, 32] if row.filling == "filled" else [16, 32])
    assert {wyckoff["d"] or wyckoff["c"], wyckoff["e"]} == {16, 32}


@each_row
def test_ends_of_the_hop_are_8a_sites(row):
    lattice, host, numbers = filled_cell(row)
    symmetry = spglib.get_symmetry((lattice, host, numbers), symprec=1e-4)
    cell = geometry(row)
    initial, final = cell.band_frac_coords[[0, -1]]
    orbit = symmetry["rotations"] @ initial + symmetry["translations"]
    unique = {tuple(np.round(site % 1 * 8).astype(int) % 8) for site in orbit}
    assert len(unique) == 8
    assert tuple(np.round(final % 1 * 8).astype(int) % 8) in unique
    to_b = minimum_image([initial, final], sites_of(row.b_species, cell), lattice)
    np.testing.assert_allclose(to_b.min(axis=1), np.sqrt(11) / 8 * row.a_a)  # from 8b it is sqrt(3) / 8 a
    assert np.linalg.norm((final - initial) @ lattice) == pytest.approx(np.sqrt(3) / 4 * row.a_a)


@each_row
def test_chemistry(row):
    counts = Counter(geometry(row).host_species)
    expected = {row.b_species: 16, row.x_species: 32}
    assert counts == (expected | {row.mobile_ion: 6} if row.filling == "filled" else expected)


@each_row
def test_distances_are_those_of_a_spinel(row):
    cell = geometry(row)
    a_x = minimum_image(cell.band_frac_coords[[0, -1]], sites_of(row.x_species, cell), cell.lattice)
    b_x = minimum_image(sites_of(row.b_species, cell), sites_of(row.x_species, cell), cell.lattice)
    np.testing.assert_allclose(np.sort(a_x)[:, :4], np.sqrt(3) * (row.u - 0.25) * row.a_a)
    np.testing.assert_allclose(np.sort(b_x)[:, :6], np.broadcast_to(np.sort(b_x)[0, :1], (16, 6)))
    assert 1.7 < a_x.min() < 3.1
    assert 1.8 < b_x.min() < 3.1
    everything = np.vstack([cell.host_frac_coords, cell.band_frac_coords[[0, -1]]])
    pairs = minimum_image(everything, everything, cell.lattice) + 9 * np.eye(len(everything))
    assert pairs.min() == pytest.approx(min(a_x.min(), b_x.min()))


@each_row
def test_coordinates(row):
    cell = geometry(row)
    assert cell.host_frac_coords.min() >= 0
    assert cell.host_frac_coords.max() < 1
    np.testing.assert_array_equal(cell.lattice, row.a_a * np.eye(3))
    np.testing.assert_array_equal(cell.band_frac_coords, np.linspace(row.initial, row.final, 5))


@each_row
def test_fit_finds_the_figures_again(row):
    shifted = geometry(row)._replace(host_frac_coords=geometry(row).host_frac_coords - 1)
    again = fit(shifted, mobile_ion=row.mobile_ion, id=row.id)
    assert again == replace(row, max_deviation_a=0.0)


def test_fit_says_what_is_no_spinel():
    row = next(row for row in ROWS if row.filling == "filled")
    cell = geometry(row)
    host, band = cell.host_frac_coords, cell.band_frac_coords
    moved = host.copy()
    moved[0, 0] += 2 * TOLERANCE / row.a_a
    cases = {
        "0.020 Å from Fd-3m": cell._replace(host_frac_coords=moved),
        NOT_CUBIC: cell._replace(lattice=cell.lattice + np.diag([0, 0, 0.1])),
        "neighbouring": cell._replace(band_frac_coords=band + np.linspace(0, 0.25, 5)[:, None]),
        "16 B and 32 X": Geometry(cell.lattice, cell.host_species[1:], host[1:], band),
    }
    for reason, case in cases.items():
        with pytest.raises(NotSpinelError, match=reason):
            fit(case, mobile_ion=row.mobile_ion)
    twice = host.copy()
    twice[-1] = twice[-2]
    with pytest.raises(NotSpinelError, match="missing"):
        fit(cell._replace(host_frac_coords=twice), mobile_ion=row.mobile_ion)


def test_rows_that_contradict_themselves_are_refused():
    row = ROWS[0]
    for change in ({"host_order": "XBA"}, {"final": row.initial}):
        with pytest.raises(ValueError, match=row.id):
            replace(row, **change)
    with pytest.raises(ValueError, match="host_order"):
        replace(row, filling="empty" if row.filling == "filled" else "filled")


def test_table_survives_writing(tmp_path):
    write_table(ROWS, tmp_path / "spinels.csv")
    assert (tmp_path / "spinels.csv").read_bytes() == TABLE.read_bytes()


def test_import_is_light():
    heavy = "{'pymatgen', 'pandas', 'scipy', 'spglib'}"
    code = f"import sys, emigbench.datasets.spinels; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


@pytest.fixture(scope="module")
def source(source_dir):
    """All 619 paths as they are in the source's files, by id, with their classes."""
    paths = {}
    for split in ("train", "test"):
        for record in json.loads((source_dir / f"RAW-Em-5-images-{split.upper()}.json").read_text()):
            atoms = record["atoms"]
            species = [element.strip() for element in atoms["elements"]]
            path = MigrationPath(
                id=record["sys_name"],
                material_id="",
                structural_group=record["class"],
                mobile_ion=species[0],
                composition="",
                state="unknown",
                lattice=np.array(atoms["lattice_mat"], dtype=float),
                host_species=tuple(species[5:]),
                host_frac_coords=np.array(atoms["coords"], dtype=float)[5:],
                band_frac_coords=np.array(atoms["coords"], dtype=float)[:5],
            )
            paths[path.id] = LabelledPath(path, e_m=record["target"], split=split)
    return paths


def source_geometry(path):
    return Geometry(path.lattice, path.host_species, path.host_frac_coords, path.band_frac_coords)


def deviation_from_source(row, path):
    """Largest distance in Å of an atom or a band image, matched by species, from its place in the source."""
    cell = geometry(row)
    distances = [np.linalg.norm((cell.band_frac_coords - path.band_frac_coords) @ path.lattice, axis=1)]
    for element in set(cell.host_species):
        here, there = sites_of(element, cell), sites_of(element, source_geometry(path))
        cost = minimum_image(here, there, path.lattice)
        distances.append(cost[linear_sum_assignment(cost)])
    return np.concatenate(distances).max()


def test_structures_equal_the_source(source):
    deviations = []
    for row in ROWS:
        path, cell = source[row.id].path, geometry(row)
        assert path.mobile_ion == row.mobile_ion
        assert path.host_species == cell.host_species
        np.testing.assert_allclose(cell.lattice, path.lattice, atol=0.001)
        deviations.append(deviation_from_source(row, path))
        assert deviations[-1] <= row.max_deviation_a + 1e-5
    assert max(deviations) < 0.0011
    assert sum(deviation < 0.001 for deviation in deviations) == 81
    assert sum(deviation < 0.0001 for deviation in deviations) == 68


def test_table_is_the_one_derived_from_the_source(source):
    assert table_from(entry.path for entry in source.values()) == ROWS


def test_the_others_are_left_out_for_a_reason(source):
    kept = {row.id for row in ROWS}
    spinels = {k: v.path for k, v in source.items() if v.path.structural_group.startswith("SPINEL")}
    assert len(spinels) == 102
    assert kept <= set(spinels)
    reasons = {}
    for id in set(spinels) - kept:
        with pytest.raises(NotSpinelError) as error:
            fit(source_geometry(spinels[id]), mobile_ion=spinels[id].mobile_ion)
        reasons[id] = str(error.value)
    assert reasons == LEFT_OUT
