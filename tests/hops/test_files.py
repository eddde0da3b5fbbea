"""Structure files of several formats, and what is wrong with others."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
from helpers import one_sentence, result_or_sentence
from hops.crystals import distances, random_sites, skewed_lattice
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.vasp.inputs import Poscar

from emigbench import EmigbenchError
from emigbench.datasets.geometry import near_pairs
from emigbench.hops import files
from emigbench.hops.files import crystal, from_structure, read

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
POSCAR = """a cell
1.0
5 0 0
0 5 0
0 0 5
Li O
1 1
Direct
0 0 0
0.5 0.5 0.5
"""

LAYERED = """data_LiCoO2
_cell_length_a 2.816
_cell_length_b 2.816
_cell_length_c 14.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'R -3 m'
_symmetry_Int_Tables_number 166
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0.5 1
Co1 Co 0 0 0 1
O1 O 0 0 0.760 1
"""


def refused(file):
    with pytest.raises(EmigbenchError) as error:
        read(file)
    message = one_sentence(error)
    assert str(file) in message
    return message


def written(tmp_path, text, name="x.vasp"):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("name", ["x.vasp", "POSCAR", "CONTCAR.relaxed", "x.cif", "x.json"])
def test_formats_that_pymatgen_reads(tmp_path, name):
    NACL.to(tmp_path / name, fmt="poscar" if name[0] in "PC" else "")
    (found,) = read(tmp_path / name)
    assert found.name == str(tmp_path / name)
    assert np.linalg.norm(found.lattice, axis=1) == pytest.approx([5.6] * 3)
    assert sorted(found.species) == sorted(site.specie.symbol for site in NACL)
    back = Structure(found.lattice, found.species, found.frac_coords)
    assert np.sort(back.distance_matrix, axis=None) == pytest.approx(np.sort(NACL.distance_matrix, axis=None), abs=1e-4)


@pytest.mark.parametrize(("name", "form"), [("x.extxyz", "extxyz"), ("x.xyz", "extxyz"), ("x.gen", "gen")])
def test_formats_that_ase_reads(tmp_path, name, form):
    pytest.importorskip("ase")
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    write(tmp_path / name, AseAtomsAdaptor.get_atoms(NACL, msonable=False), format=form)
    (found,) = read(tmp_path / name)
    assert found.species == tuple(site.specie.symbol for site in NACL)
    assert found.frac_coords == pytest.approx(NACL.frac_coords, abs=1e-6)


@pytest.mark.parametrize("name", ["POSCAR_i.extxyz", "i_xdatcar.vasp", "from_outcar.vasp"])
def test_the_suffix_counts_more_than_the_rest_of_the_name(tmp_path, name):
    pytest.importorskip("ase")
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    write(
        tmp_path / name,
        AseAtomsAdaptor.get_atoms(NACL, msonable=False),
        format="extxyz" if name.endswith("xyz") else "vasp",
    )
    (found,) = read(tmp_path / name)
    assert sorted(found.species) == ["Cl"] * 4 + ["Na"] * 4


def test_the_structure_of_an_entry(tmp_path):
    entry = {"@class": "ComputedStructureEntry", "energy": -1.0, "structure": NACL.as_dict()}
    assert len(read(written(tmp_path, json.dumps(entry), "x.json"))[0]) == 8


def test_charges_of_a_cif_are_no_part_of_the_element(tmp_path):
    NACL.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1}).to(tmp_path / "x.cif")
    assert set(read(tmp_path / "x.cif")[0].species) == {"Na", "Cl"}


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ("0 0 0.760 1", "0 0 0.760 ."),
        ("0 0 0.760 1", "0 0 0.760 ?"),
        ("0 0 0.760 1", "0 0 0.760 0.9999"),
        ("0 0 0.5 1", "0.333 0.667 0.167 1"),
    ],
)
def test_default_occupancies_and_three_decimals_lose_no_atom_of_a_cif_and_double_none(tmp_path, row, other):
    (found,) = read(written(tmp_path, LAYERED.replace(row, other), "x.cif"))
    (expected,) = read(written(tmp_path, LAYERED, "y.cif"))
    assert sorted(found.species) == sorted(expected.species) == ["Co"] * 3 + ["Li"] * 3 + ["O"] * 6
    for i in range(12):
        assert distances(found.frac_coords[i], np.delete(found.frac_coords, i, 0), found.lattice).min() > 1.9


def test_without_ase_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ase.io", None)
    assert "emigbench[ase]" in refused(written(tmp_path, "2\n\n", "x.extxyz"))


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "x.vasp", "is empty"),
        (" \n\n", "x.cif", "is empty"),
        ("no structure at all", "x.vasp", "lines 3 to 5 are not three cell vectors"),
        ("ENCUT = 520\nISMEAR = 0\nLWAVE = .FALSE.\nNSW = 0\nIBRION = 2\n", "INCAR", "not three cell vectors"),
        (POSCAR.replace("5 0 0\n", "5 0\n"), "x.vasp", "not three cell vectors"),
        (POSCAR[: POSCAR.index("Direct")], "x.vasp", "no line says Direct or Cartesian"),
        ("data_x\n_cell_length_a 5\n", "x.cif", "no data block lists atoms"),
        ("hello world", "x.cif", "no data block lists atoms"),
        ("{}", "x.json", "holds no pymatgen structure"),
        ("[1]", "x.json", "holds no pymatgen structure"),
        (LAYERED.replace("0.760 1", "0.760 1.02"), "x.cif", "cannot be read as a CIF (Occupancy 1.02 exceeded"),
        (LAYERED.replace("0.760 1", "0.760 0.98"), "x.cif", "has partly occupied sites"),
        (b"\x1f\x8b\x08", "x.vasp.gz", "cannot be unpacked"),
        (b"PK", "x.vasp.zip", "is compressed; unpack it"),
        (POSCAR, "x.txt", "is of a format that is not read here"),
        (b"\xff\xfe\x00", "x.vasp", "is not UTF-8 text; save it as UTF-8"),
        (POSCAR.replace("Li O", "X O"), "x.vasp", "unknown element, 'X'; use element symbols"),
        (POSCAR.replace("Li O", "LI O"), "x.vasp", "unknown element, 'LI'; write it as Li"),
        (POSCAR.replace("Li O", "D O"), "x.vasp", "unknown element, 'D'"),
        (json.dumps(NACL.as_dict()).replace('"Na"', '"D"'), "x.json", "unknown element, 'D'"),
        (NACL.to(fmt="cif").replace("Na", "D"), "x.cif", "unknown element, 'D'"),
        (POSCAR.replace("Li O\n", ""), "x.vasp", "does not name its elements"),
        (POSCAR.replace("0.5 0.5 0.5", "0.02 0 0"), "x.vasp", "Li 1 and O 2 are 0.10 Å apart"),
        (POSCAR.replace("0.5 0.5 0.5", "nan 0 0"), "x.vasp", "line 10 has 'nan'"),
        (POSCAR.replace("0 0 5\n", "0 5 0\n", 1), "x.vasp", "no periodic cell"),
        (POSCAR.replace("1 1\n", "20000 1\n"), "x.vasp", "20,001 atoms"),
        (POSCAR.replace("1 1\n", "99999999999999 1\n"), "x.vasp", "atoms, more than"),
        (POSCAR.replace("1 1\n", "5 1\n"), "x.vasp", "6 atoms are announced, and there are the coordinates of 2"),
        (POSCAR.replace("0.5 0.5 0.5", "0,5 0.5 0.5"), "x.vasp", "line 10 has '0,5' where a coordinate is expected"),
        (POSCAR.replace("1 1\n", "1 1 in all\n"), "x.vasp", "line 7 has 'in' where a number of atoms is expected"),
        (POSCAR.replace("1 1\n", "1\n"), "x.vasp", "names 2 elements and 1 numbers of atoms"),
        (POSCAR.replace("Direct\n", ""), "x.vasp", "line 8 should, and has '0 0 0'"),
        (POSCAR.replace("5 0 0\n", "5,0 0 0\n"), "x.vasp", "not three cell vectors of three numbers, with points"),
        (
            json.dumps(NACL.as_dict() | {"sites": [NACL.as_dict()["sites"][0] | {"abc": [0] * 6}]}),
            "x.json",
            "cannot be",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, name, says):
    assert says in refused(written(tmp_path, text, name))


def test_a_cif_whose_setting_was_not_understood(tmp_path):
    """A spinel with its origin at the centre of inversion, which pymatgen takes for one with its origin at Li."""
    text = """data_x
_cell_length_a 8.24
_cell_length_b 8.24
_cell_length_c 8.24
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F d -3 m :2'
_space_group_IT_number 227
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Li1 .125 .125 .125
Mn1 .5 .5 .5
O1 .2632 .2632 .2632
"""
    assert "the setting of its space group may not have been understood" in refused(written(tmp_path, text, "x.cif"))
    listed = text.replace("loop_", "loop_\n_space_group_symop_operation_xyz\n'x, y, z'\nloop_")
    listed = listed.replace("Mn1 .5 .5 .5", "Mn1 .125 .125 .13")
    assert "of its space group" not in refused(written(tmp_path, listed, "y.cif"))


BY_NUMBER = LAYERED.replace("_symmetry_space_group_name_H-M 'R -3 m'\n", "")
OTHER_SYMBOL = LAYERED.replace("R -3 m'\n_symmetry_Int_Tables_number 166", "R -3 m H'")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BY_NUMBER, "has no symbol of a space group that is known; it lists no symmetry operations"),
        (OTHER_SYMBOL, "has no symbol of a space group that is known; it lists no symmetry operations"),
        (LAYERED + "_chemical_formula_sum 'Li2 Co O2'\n", "has other atoms than its formula; it lists no symmetry"),
    ],
)
def test_the_setting_of_a_cif_without_operations_is_not_guessed(tmp_path, text, says):
    """Olivine in Pbnm given as number 62 was read with 24 O for 4 Li; where the symbol is unknown, one cell in all."""
    assert says in refused(written(tmp_path, text, "x.cif"))
    listed = text.replace("loop_", "loop_\n_space_group_symop_operation_xyz\n'x, y, z'\nloop_")
    assert len(read(written(tmp_path, listed, "y.cif"))[0]) == 3  # as hand-written, all atoms of P1
    as_p1 = text.replace("number 166", "number 1").replace("R -3 m H", "P 1").replace("R -3 m", "P 1")
    assert len(read(written(tmp_path, as_p1, "z.cif"))[0]) == 3


@pytest.mark.parametrize(("symbol", "n_o"), [("C 2/m", 8), ("P 21/n", 4), ("P21/c", 4), ("I 2/m", 8), ("C m", 4)])
def test_short_symbols_of_monoclinic_groups_are_known(tmp_path, symbol, n_o):
    text = LAYERED[: LAYERED.index("Li1")].replace("R -3 m", symbol).replace("gamma 120", "gamma 90") + (
        "Li1 Li 0.0 0.0 0.0 1\nO1 O 0.2 0.3 0.1 1\n"
    )
    text = text.replace("_length_b 2.816", "_length_b 9").replace("_length_a 2.816", "_length_a 8").replace("166", "?")
    (found,) = read(written(tmp_path, text, "x.cif"))
    assert found.species.count("O") == n_o


@pytest.mark.parametrize("symbol", ["1", "Li+"])
def test_a_type_in_place_of_an_element_is_named(tmp_path, symbol):
    pytest.importorskip("ase")
    text = f'2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\n{symbol} 0 0 0\nO 0 0 2\n'
    assert f"unknown element, '{symbol}'; use element symbols." in refused(written(tmp_path, text, "x.xyz"))


def test_of_a_trajectory_only_the_frames_that_are_used_are_checked(tmp_path):
    """Images of a band as interpolated may run through atoms; an error in one that is used tells which it is."""
    pytest.importorskip("ase")
    frame = '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T"\nLi 0 0 0\nO 0 0 {}\n'
    found = read(written(tmp_path, "".join(frame.format(z) for z in (2, 0.1, 3)), "x.extxyz"))
    assert [x.species for x in found] == [("Li", "O")] * 3
    assert [x.frac_coords[1, 2] for x in (found[0], found[-1])] == pytest.approx([0.4, 0.6])
    message = refused(written(tmp_path, "".join(frame.format(z) for z in (2, 3, 0.1)), "y.extxyz"))
    assert "y.extxyz (frame 3 of 3) has overlapping atoms" in message


def test_a_cif_with_too_many_sites_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_CIF_SITES", 7)
    NACL.to(tmp_path / "x.cif", symprec=None)
    assert "lists 8 sites" in refused(tmp_path / "x.cif")


@settings(max_examples=40)
@given(data=st.data())
def test_poscars_against_pymatgen(tmp_path_factory, data):
    """Any way to write a POSCAR, read by pymatgen and here."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    symbols = ["Li", "O", "Mn", "P"][: len(counts)]
    lattice, n = np.diag([9.0, 10, 11]) + rng.uniform(-1, 1, (3, 3)), sum(counts)
    cartesian, selective = data.draw(st.booleans()), data.draw(st.booleans())
    coords = random_sites(rng, lattice, n)
    scales = ["1.0", " 0.97 "] + ["-1000.0"] * (not cartesian)  # pymatgen takes the volume for a factor there
    lines = ["a comment", data.draw(st.sampled_from(scales))]
    lines += [" ".join(map(repr, row)) for row in lattice.tolist()]
    potentials = data.draw(st.booleans())
    lines += ["  ".join(s + "_sv/0a1b2c" * potentials for s in symbols), "   ".join(map(str, counts))]
    lines += ["Selective dynamics"] * selective + ["Cartesian" if cartesian else "direct"]
    rows = (coords @ lattice if cartesian else coords).tolist()
    lines += [" ".join(map(repr, row)) + " T T F" * selective for row in rows]
    lines += data.draw(st.sampled_from([[], [""], ["", *["0 0 0"] * n]]))
    (found,) = read(written(tmp_path_factory.mktemp("p"), "\n".join(lines)))
    expected = Poscar.from_str("\n".join(lines)).structure
    assert found.lattice == pytest.approx(expected.lattice.matrix)
    assert found.species == tuple(site.specie.symbol for site in expected)
    assert found.frac_coords == pytest.approx(expected.frac_coords % 1, abs=1e-9)


def test_a_negative_scale_is_the_volume(tmp_path):
    """A cube of 5 Å with a volume of 1000 Å³ has an edge of 10 Å, and what was at 2.5 Å is at 5 Å."""
    text = POSCAR.replace("1.0", "-1000").replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2.5 2.5 2.5")
    (found,) = read(written(tmp_path, text))
    assert found.lattice == pytest.approx(np.eye(3) * 10)
    assert found.frac_coords[1] == pytest.approx([0.5] * 3)


def test_three_scales_are_those_of_x_y_and_z(tmp_path):
    """VASP 6 takes them; pymatgen does not. A cell of 5 Å becomes one of 10, 15 and 20 Å."""
    direct = POSCAR.replace("1.0", "2.0 3.0 4.0")
    cartesian = direct.replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2.5 2.5 2.5")
    for text in (direct, cartesian):
        (found,) = read(written(tmp_path, text))
        assert found.lattice == pytest.approx(np.diag([10.0, 15, 20]))
        assert found.frac_coords[1] == pytest.approx([0.5] * 3)
    (skewed,) = read(written(tmp_path, direct.replace("5 0 0", "5 1 0")))
    assert skewed.lattice[0] == pytest.approx([10, 3, 0])
    for scale in ("2.0 3.0", "-2.0 3.0 4.0", "two"):
        assert "scale in line 2" in refused(written(tmp_path, POSCAR.replace("1.0", scale)))
    assert read(written(tmp_path, POSCAR.replace("1.0", "1.0 Å")))[0].lattice == pytest.approx(np.eye(3) * 5)


@pytest.mark.parametrize("name", ["XDATCAR", "run.XDATCAR", "XDATCAR_1", "trajectory.vasp"])
def test_all_frames_of_a_trajectory_of_vasp(tmp_path, name):
    pytest.importorskip("ase")
    frames = [f"Direct configuration= {k}\n 0 0 0\n 0.5 0.5 0.{k}\n" for k in (5, 6)]
    head = POSCAR[: POSCAR.index("Direct")]
    found = read(written(tmp_path, head + "".join(frames), name))
    assert [x.frac_coords[1, 2] for x in found] == pytest.approx([0.5, 0.6])


def test_symbols_with_a_charge(tmp_path):
    assert read(written(tmp_path, POSCAR.replace("Li O", "Li+ O2-")))[0].species == ("Li", "O")
    assert "unknown element, '+'" in refused(written(tmp_path, POSCAR.replace("Li O", "Li +")))


def test_symbols_that_go_on_for_several_lines(tmp_path):
    text = POSCAR.replace("Li O\n1 1\n", "Li\nO\n1\n1\n")
    assert read(written(tmp_path, text))[0].species == ("Li", "O")
    assert read(written(tmp_path, POSCAR.replace("Li O\n", "Li O ! two elements\n")))[0].species == ("Li", "O")


def test_folders_and_missing_files(tmp_path):
    assert "is a folder without CONTCAR or POSCAR" in refused(tmp_path)
    assert "no file" in refused(tmp_path / "nothing.cif")


def test_of_a_folder_the_last_state_that_is_there_is_read(tmp_path):
    """CONTCAR, unless the run has not come so far: then it is empty, or there is none."""
    written(tmp_path, POSCAR, "POSCAR")
    (begun,) = read(tmp_path)
    written(tmp_path, "", "CONTCAR")
    assert read(tmp_path)[0].frac_coords == pytest.approx(begun.frac_coords)
    (tmp_path / "CONTCAR").unlink()
    (tmp_path / "CONTCAR.gz").write_bytes(gzip.compress(POSCAR.replace("0.5 0.5 0.5", "0.5 0.5 0.6").encode()))
    assert read(tmp_path)[0].frac_coords[1] == pytest.approx([0.5, 0.5, 0.6])


def test_of_a_neb_the_first_and_the_last_image_are_read(tmp_path):
    for image, z in (("00", 0.4), ("01", 0.5), ("02", 0.6), ("10", 0.7)):
        (tmp_path / image).mkdir()
        if image != "01":
            written(tmp_path / image, POSCAR.replace("0.5 0.5 0.5", f"0.5 0.5 {z}"), "POSCAR")
    assert [x.frac_coords[1, 2] for x in read(tmp_path)] == pytest.approx([0.4, 0.7])
    (tmp_path / "10" / "POSCAR").unlink()
    assert "10 is a folder without CONTCAR or POSCAR" in refused(tmp_path)


def test_images_of_a_neb_are_counted_and_not_spelt(tmp_path):
    for image in range(11):
        (tmp_path / str(image)).mkdir()
        written(tmp_path / str(image), POSCAR.replace("0.5 0.5 0.5", f"0.5 0.5 {0.4 + image / 100}"), "POSCAR")
    assert [x.frac_coords[1, 2] for x in read(tmp_path)] == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".GZ", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_packed_files_are_unpacked_as_far_as_they_may(tmp_path, monkeypatch, suffix, pack):
    (plain,) = read(written(tmp_path, POSCAR))
    for name, text in (("POSCAR", POSCAR), ("a.vasp", POSCAR), ("a.cif", NACL.to(fmt="cif"))):
        (tmp_path / f"{name}{suffix}").write_bytes(pack(text.encode()))
        (found,) = read(tmp_path / f"{name}{suffix}")
        assert name == "a.cif" or found.frac_coords == pytest.approx(plain.frac_coords)
    monkeypatch.setattr(files, "LARGEST_FILE", 500)
    (tmp_path / f"bomb.vasp{suffix}").write_bytes(pack(b" " * 100_000))
    assert "too large when it is unpacked" in refused(tmp_path / f"bomb.vasp{suffix}")


def test_packed_trajectories_are_read_with_ase(tmp_path):
    pytest.importorskip("ase")
    frame = '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T"\nLi 0 0 0\nO 2.5 2.5 {z}\n'
    (tmp_path / "a.extxyz.gz").write_bytes(gzip.compress((frame.format(z=2) + frame.format(z=3)).encode()))
    assert [x.frac_coords[1, 2] for x in read(tmp_path / "a.extxyz.gz")] == pytest.approx([0.4, 0.6])


def test_how_fortran_writes_numbers_and_empty_lines(tmp_path):
    text = POSCAR.replace("1.0\n", "1.0d0\n").replace("5 0 0\n", "5.0D0 0 0 # a\n").replace("1 1\n", "1 1\n\n")
    (plain,), (found,) = read(written(tmp_path, POSCAR)), read(written(tmp_path, text, "y.vasp"))
    assert found.lattice == pytest.approx(plain.lattice)
    assert found.frac_coords == pytest.approx(plain.frac_coords)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8-sig"])
def test_a_comment_may_be_in_another_encoding(tmp_path, encoding):
    """As authors' names in the CIFs of older papers are."""
    cif = "data_x\n_publ_author_name 'Müller, Å.'\n" + NACL.to(fmt="cif").partition("\ndata_")[2].partition("\n")[2]
    for name, text in (("x.cif", cif), ("x.vasp", f"Länge in Å\n{POSCAR.partition(chr(10))[2]}")):
        (found,) = read(written(tmp_path, text.encode(encoding), name))
        assert len(found) in (2, 8)
    assert "is not UTF-8 text; save it as UTF-8" in refused(written(tmp_path, POSCAR.encode("utf-16"), "y.vasp"))


def test_huge_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_FILE", 10)
    assert "too large" in refused(written(tmp_path, POSCAR))


@pytest.mark.parametrize(("second", "share"), [("Mn4+", 0.5), ("Mn4+", 0.4), ("Al3+", 0.5)])
def test_two_valences_of_one_element_fill_a_site(tmp_path, second, share):
    """As the ICSD writes mixed valence, such as that of LiMn2O4."""
    mixed = Structure(5 * np.eye(3), ["Li+", {"Mn3+": 0.5, second: share}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for name in ("x.cif", "x.json"):
        mixed.to(tmp_path / name)
        if (second, share) == ("Mn4+", 0.5):
            (found,) = read(tmp_path / name)
            assert found.species == ("Li", "Mn")
        else:
            assert "partly occupied" in refused(tmp_path / name)


def test_partly_occupied_sites(tmp_path):
    mixed = Structure(Lattice.cubic(4), [{"Li": 0.5, "Na": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for name in ("x.cif", "x.json"):
        mixed.to(tmp_path / name)
        assert "partly occupied" in refused(tmp_path / name)


@pytest.mark.parametrize("text", ["2\n\nLi 0 0 0\nO 2 0 0\n", '1\nLattice="5 0 0 0 5 0 0 0 0" pbc="T T F"\nLi 0 0 0\n'])
def test_a_molecule_has_no_cell(tmp_path, text):
    pytest.importorskip("ase")
    assert "no periodic cell" in refused(written(tmp_path, text, "x.xyz"))


def test_atoms_that_ase_was_not_told_to_repeat(tmp_path):
    """ASE repeats a cell only where it is told to: Atoms(…, cell=…) has a cell, and no pbc."""
    ase = pytest.importorskip("ase")
    bare = ase.Atoms("LiO", cell=[5, 5, 5], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    bare.write(tmp_path / "x.extxyz")
    assert "not periodic along all its cell vectors" in refused(tmp_path / "x.extxyz")


def test_formats_that_could_do_harm_are_not_read(tmp_path):
    pytest.importorskip("ase")
    for name in ("x.traj", "x.db", "x.py", "x.gpw", "x.unheard-of"):
        assert "POSCAR, CIF or extended XYZ" in refused(written(tmp_path, "import os", name))


def test_a_json_file_builds_no_class(tmp_path):
    content = NACL.as_dict()
    content["sites"][0]["properties"] = {"x": {"@module": "os", "@class": "system"}}
    content["lattice"]["@module"] = "subprocess"
    assert len(read(written(tmp_path, json.dumps(content), "x.json"))[0]) == 8


@settings(max_examples=60)
@given(text=st.binary(max_size=300), name=st.sampled_from(["x.vasp", "x.cif", "x.json", "x.extxyz"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, text, name):
    file = written(tmp_path_factory.mktemp("any"), text, name)
    result_or_sentence(file, read, file)


@given(data=st.data())
def test_any_change_to_a_poscar_is_read_or_refused(tmp_path_factory, data):
    start = data.draw(st.integers(0, len(POSCAR)))
    end = data.draw(st.integers(start, len(POSCAR)))
    text = POSCAR[:start] + data.draw(st.text(max_size=8)) + POSCAR[end:]
    file = written(tmp_path_factory.mktemp("any"), text.encode("utf-8", "replace"))
    result_or_sentence(file, read, file)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_near_pairs_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    lattice, a, b = skewed_lattice(rng), rng.random((4, 3)), rng.random((6, 3)) * 3 - 1
    found = {(int(i), int(j)): d for i, j, d in zip(*near_pairs(a, b, lattice, 2.0), strict=True)}
    expected = {(i, j): d for i in range(4) for j, d in enumerate(distances(a[i], b, lattice)) if d < 2.0}
    assert found == pytest.approx(expected)


def test_atoms_are_moved_into_the_cell():
    found = crystal("x", np.eye(3) * 5, ["Li", "O"], [[-1e-17, 1.2, -0.2], [0.5, 0.5, 0.5]])
    assert found.frac_coords[0] == pytest.approx([0, 0.2, 0.8])
    assert (found.frac_coords < 1).all()


def test_bonds_of_hydrogen_are_no_overlap_and_nearer_atoms_are():
    """H2 has the shortest bond of all, 0.74 Å."""
    at_bottom, above = [0, 0, 0], [0, 0, 0.74 / 5]
    assert len(crystal("x", np.eye(3) * 5, ["H", "H"], [at_bottom, above])) == 2
    with pytest.raises(files.OverlapError, match=r"H 1 and H 2 are 0\.45 Å apart"):
        crystal("x", np.eye(3) * 5, ["H", "H"], [at_bottom, [0, 0, 1 - 0.45 / 5]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_crystal(bad):
    for cell, coords in ((np.diag([5, 5, bad]), [[0, 0, 0]]), (np.eye(3) * 5, [[0, 0, bad]])):
        with pytest.raises(EmigbenchError, match="not finite"):
            crystal("x", cell, ["Li"], coords)


def test_an_empty_crystal_is_none():
    with pytest.raises(EmigbenchError, match="no atoms"):
        crystal("x", np.eye(3), [], np.zeros((0, 3)))
    assert len(from_structure(NACL, "x")) == 8
