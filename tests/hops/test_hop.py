"""One path, however its two structures are written."""

import numpy as np
import pytest
from helpers import one_sentence
from hops.crystals import by_other_vectors, local, random_hop, reordered, rotated, supercell_hop, translated, wrapped
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pymatgen.core.structure import Structure

from emigbench import EmigbenchError, Prediction, load, predict, read_path
from emigbench.datasets import labels
from emigbench.hops.files import crystal, from_structure
from emigbench.hops.hop import clearance, hop_between, read_hop
from emigbench.hops.paths import new_path

OTHER_VECTORS = [
    np.array(rows)
    for rows in (
        [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[1, 0, 0], [0, 1, 0], [1, 0, 1]],
    )
]
"""Rows are the new cell vectors in terms of the old ones."""
SEEDS = st.integers(0, 10_000)
SPINELS = load("spinels")


class Local:
    """A barrier from the surroundings of the band alone."""

    def fit(self, train, *, seed):
        raise AssertionError("it ships with weights")

    def load_trained(self):
        self.weight = 1.5

    def predict(self, paths):
        return [Prediction(path.id, self.weight / local(path).min()) for path in paths]


def path_of(a, b, **options):
    return hop_between(a, b, path_id="p", **options).path


def barrier(path):
    model = Local()
    model.load_trained()
    return predict(model, [path])[0].e_m


def same(one, other, abs_=1e-6):
    """Whether two paths look the same from the band: in length, surroundings, and what a model says."""
    assert other.mobile_ion == one.mobile_ion
    assert other.hop_length == pytest.approx(one.hop_length, abs=abs_)
    assert local(other) == pytest.approx(local(one), abs=abs_)
    assert barrier(other) == pytest.approx(barrier(one), abs=abs_)


@settings(max_examples=30)
@given(seed=SEEDS, relaxed=st.sampled_from([0.0, 0.3]))
@example(seed=3790, relaxed=0.3)  # the common shift of the relaxed hosts has two fixed points
def test_one_path_however_it_is_written(seed, relaxed):
    a, b = random_hop(seed, relaxed)
    rng = np.random.default_rng(seed)
    plain = path_of(a, b)
    same(plain, path_of(wrapped(a, rng), wrapped(b, rng)))
    same(plain, path_of(reordered(a, rng), reordered(b, rng)))
    same(plain, path_of(translated(a, rng.random(3)), translated(b, rng.random(3))))
    same(plain, path_of(rotated(a, rng), rotated(b, rng)))


@settings(max_examples=30)
@given(seed=SEEDS, relaxed=st.sampled_from([0.0, 0.3]), number=st.integers(0, len(OTHER_VECTORS) - 1))
def test_the_final_cell_may_be_given_by_other_vectors(seed, relaxed, number):
    a, b = random_hop(seed, relaxed)
    hop = hop_between(a, by_other_vectors(b, OTHER_VECTORS[number]), path_id="x")
    same(path_of(a, b), hop.path)
    assert sum("by other vectors" in note for note in hop.notes) == 1


def test_what_is_wrong_beside_other_vectors_is_said():
    """Not that the cells differ, which the vectors of one lattice do not."""
    sites = np.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.8, 0.7, 0.3]])
    a = crystal("a", np.eye(3) * 8, ["Li", "Li", "O", "O", "P", "P"], sites)
    b = crystal("b", a.lattice, a.species, np.vstack([[[0.2, 0.7, 0.5], [0.7, 0.2, 0.8]], sites[2:]]))
    with pytest.raises(EmigbenchError, match="2 ions move from a to b"):
        path_of(a, by_other_vectors(b, OTHER_VECTORS[4]))


@pytest.mark.parametrize("vectors", OTHER_VECTORS)
def test_other_vectors_of_a_symmetric_lattice_are_no_other_hop(vectors):
    """A cube turned onto itself: the atoms stay where they were in space, and one of them hops."""
    cube = np.eye(3) * 8.0
    sites = np.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.8, 0.7, 0.3]])
    a = crystal("a", cube, ["Li", "Li", "O", "O", "P", "P"], sites)
    b = crystal("b", cube, a.species, np.vstack([[[0.1, 0, 0.4]], sites[1:]]))
    plain = hop_between(a, b, path_id="x")
    found = hop_between(a, by_other_vectors(b, vectors), path_id="x")
    assert (found.site, found.final_site, found.host_moved) == pytest.approx((0, 0, 0.0))
    np.testing.assert_allclose(found.path.band_frac_coords, plain.path.band_frac_coords, atol=1e-9)


@settings(max_examples=30)
@given(seed=SEEDS, repeats=st.sampled_from([(2, 1, 1), (1, 2, 1), (1, 1, 3)]))
def test_a_supercell_in_which_one_ion_hops_gives_the_same_path(seed, repeats):
    a, b = random_hop(seed)
    rng = np.random.default_rng(seed)
    assume("band_direction_tied" not in path_of(a, b).flags)
    large_a, large_b = supercell_hop(a, b, repeats)
    same(path_of(a, b), path_of(large_a, large_b))
    same(path_of(a, b), path_of(reordered(large_a, rng), wrapped(reordered(large_b, rng), rng)))


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_reverse_hop_is_the_same_band_backwards(seed):
    a, b = random_hop(seed)
    forward, back = path_of(a, b), path_of(b, a)
    assert local(back) == pytest.approx(local(forward)[::-1], abs=1e-6)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_final_state_keeps_its_own_host_and_cell(seed):
    a, b = random_hop(seed, relaxed=0.3)
    strained = crystal("b", b.lattice * 1.01, b.species, b.frac_coords)
    for final, strain in ((b, 1.0), (strained, 1.01), (rotated(strained, np.random.default_rng(seed)), 1.01)):
        path = path_of(a, final)
        assert path.final_lattice == pytest.approx(a.lattice * strain)  # turned as the initial cell is
        end, given_end = path.structure(-1), Structure(final.lattice, final.species, final.frac_coords)
        assert np.sort(end.distance_matrix, axis=None) == pytest.approx(
            np.sort(given_end.distance_matrix, axis=None), abs=2e-3
        )  # the final site lies on the band in the initial cell


def test_equal_cells_and_hosts_are_not_kept_twice():
    a, b = random_hop(1)
    path = path_of(a, b)
    assert path.final_lattice is None
    assert path.final_host_frac_coords is None


@pytest.mark.parametrize("entry", SPINELS[::9], ids=lambda entry: entry.id)
def test_the_ends_of_a_known_path_give_the_path(entry):
    known = entry.path
    rng = np.random.default_rng(0)
    a, b = (from_structure(known.structure(image), "x") for image in (0, -1))
    found = path_of(reordered(a, rng), reordered(b, rng))
    assert found.mobile_ion == known.mobile_ion
    assert found.hop_length == pytest.approx(known.hop_length, abs=1e-6)
    assert found.n_atoms == known.n_atoms
    assert sorted(found.host_species) == sorted(known.host_species)
    filled = known.mobile_ion in known.host_species
    assert (found.space_group, found.crystal_system) == (("Fd-3m", "Cubic") if filled else ("R-3m", "Trigonal"))
    assert local(found) == pytest.approx(local(known), abs=1e-6)


@pytest.mark.parametrize("path_id", ["TiS2_Mg", "TiS2_Ca", "CaCo2S3O12", "Na-FeC5N5"])
def test_space_groups_are_those_of_the_table_of_labels(full, path_id):
    """Without the tolerance on angles, spglib finds another one for these."""
    path = next(labelled.path for labelled in full if labelled.id == path_id)
    ends = (path.band_frac_coords[0], path.band_frac_coords[-1])
    found = new_path(path_id, path.mobile_ion, path.lattice, path.host_species, path.host_frac_coords, ends)
    assert found.space_group == labels.read().by_id[path_id].space_group_filled


@pytest.mark.parametrize("end", [0.5, 0.4995])
def test_of_equally_near_images_the_open_way_is_taken(end):
    """The other way is shorter by nothing, or by 0.006 Å."""
    lattice = np.diag([6.0, 8.0, 8.0])
    species = ["Li", "O", "P"]
    a = crystal("a", lattice, species, [[0, 0, 0], [0.25, 0.1, 0], [0.5, 0.5, 0.5]])
    b = crystal("b", lattice, species, [[end, 0, 0], [0.25, 0.1, 0], [0.5, 0.5, 0.5]])
    hop = hop_between(a, b, path_id="p")
    assert hop.path.band_frac_coords[-1] == pytest.approx([end - 1, 0, 0])  # away from the O beside x = 1/4
    assert any("equally near" in note for note in hop.notes)
    assert any("leaves the cell" in note for note in hop.notes)


def test_a_concerted_hop_in_the_files_own_order_is_told():
    """Two Li that move on by 2.5 Å, one into the place of the other, or one that moves by 5 Å: nobody can tell."""
    species, host = ["Li", "Li", "O", "P"], [[0, 0.5, 0], [0.5, 0.5, 0.5]]
    a = crystal("a", np.eye(3) * 10, species, [[0, 0, 0], [0.25, 0, 0], *host])
    b = crystal("b", np.eye(3) * 10, species, [[0.25, 0, 0], [0.5, 0, 0], *host])
    hop = hop_between(a, b, path_id="p")
    assert hop.notes[0].startswith("In the files' own order 2 ions move (Li 1 by 2.50 Å, Li 2 by 2.50 Å): a concerted")
    assert hop.notes[0].endswith("read as one hop of 5.00 Å.")
    apart = crystal("a", a.lattice, species, [[0, 0, 0], [0.5, 0, 0], *host])
    exchanged = crystal("b", a.lattice, species, [[0.5, 0, 0], [0.2, 0, 0], *host])
    hop = hop_between(apart, exchanged, path_id="p")
    assert hop.notes == ("The atoms stand in another order in the final structure.",)


def test_clearance_by_hand():
    lattice = np.eye(3) * 10.0
    atoms = np.array([[0.25, 0.12, 0], [0.5, 0.5, 0.9]])
    along_x = np.array([0.5, 0, 0])
    assert clearance(np.zeros(3), along_x, atoms, lattice) == pytest.approx(1.2)
    assert clearance(np.array([0, 0, 0.5]), along_x, atoms, lattice) == 3.0  # nothing within reach


def test_fields_that_a_structure_tells():
    a, b = random_hop(5, relaxed=0.2)
    hop = hop_between(a, b, path_id="p", group="OXIDES")
    path = hop.path
    assert (path.id, path.structural_group, path.state, path.xc) == ("p", "OXIDES", "unknown", "unknown")
    assert (path.space_group, path.crystal_system) == ("P1", "Triclinic")
    assert path.host_frac_coords.min() >= 0
    assert path.host_frac_coords.max() < 1
    content = hop.to_json()
    assert content["initial_site"]["number"] == content["final_site"]["number"] == 1
    assert content["host_moved_a"] == pytest.approx(hop.host_moved)
    species, number = hop.host_moved_atom.split()
    assert a.species[int(number) - 1] == species


def test_the_final_site_is_counted_in_the_final_structure():
    a, b = random_hop(5)
    hop = hop_between(a, crystal("b", b.lattice, b.species[::-1], b.frac_coords[::-1]), path_id="p")
    assert (hop.site, hop.final_site) == (0, len(a) - 1)
    initial, final = (hop.to_json()[end] for end in ("initial_site", "final_site"))
    assert (initial["number"], final["number"]) == (1, len(a))
    assert initial["frac_coords"] == pytest.approx(a.frac_coords[0])
    from_site = np.array(final["frac_coords"]) - b.frac_coords[0]
    assert from_site == pytest.approx(np.round(from_site))  # in whole cells


# --- Files


@pytest.fixture
def ends(tmp_path):
    """The two states of a spinel path as pymatgen structures."""
    path = SPINELS[0].path
    return path.structure(0), path.structure(-1)


def test_two_lines_from_files_to_a_barrier(ends, tmp_path):
    for structure, name in zip(ends, ("initial.vasp", "final.cif"), strict=True):
        structure.to(tmp_path / name)
    path = read_path(tmp_path / "initial.vasp", tmp_path / "final.cif")
    assert path.id == "initial--final"
    assert path.hop_length == pytest.approx(SPINELS[0].path.hop_length, abs=1e-4)
    assert predict("nearest-hop", [path], dataset="spinels")[0].e_m > 0


def test_equal_names_are_told_apart_by_their_folders(ends, tmp_path):
    for structure, name in zip(ends, ("ini", "fin"), strict=True):
        (tmp_path / name).mkdir()
        structure.to(tmp_path / name / "POSCAR", fmt="poscar")
    assert read_path(tmp_path / "ini" / "POSCAR", tmp_path / "fin" / "POSCAR").id == "ini-POSCAR--fin-POSCAR"


def test_the_folder_that_one_stands_in_has_a_name(ends, tmp_path, monkeypatch):
    for structure, image in zip(ends, ("00", "01"), strict=True):
        (tmp_path / "neb" / image).mkdir(parents=True)
        structure.to(tmp_path / "neb" / image / "POSCAR", fmt="poscar")
    monkeypatch.chdir(tmp_path / "neb")
    assert read_path(".").id == "neb"
    with pytest.raises(EmigbenchError, match=r"holds all images of a NEB; name it alone, or .*, such as \S*00\.$"):
        read_path("00", tmp_path / "neb")
    monkeypatch.chdir("00")
    assert read_path(".", "../01").id == "00--01"


def test_first_and_last_frame_of_one_file(ends, tmp_path):
    pytest.importorskip("ase")
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    first, last = (AseAtomsAdaptor.get_atoms(structure, msonable=False) for structure in ends)
    write(tmp_path / "band.extxyz", [first, first, last])
    path = read_path(tmp_path / "band.extxyz")
    assert path.id == "band"
    assert path.hop_length == pytest.approx(SPINELS[0].path.hop_length, abs=1e-4)
    assert read_hop(tmp_path / "band.extxyz").notes[-1].startswith("Only the first and the last image are read")


def test_structures_in_memory_are_as_good_as_files(ends, tmp_path):
    pytest.importorskip("ase")
    from pymatgen.io.ase import AseAtomsAdaptor

    for structure, name in zip(ends, ("a.vasp", "b.vasp"), strict=True):
        structure.to(tmp_path / name)
    expected = read_path(tmp_path / "a.vasp", tmp_path / "b.vasp", id="hop")
    atoms = [AseAtomsAdaptor.get_atoms(structure, msonable=False) for structure in ends]
    for both in (ends, atoms, (ends[0], atoms[1]), (tmp_path / "a.vasp", ends[1])):
        path = read_path(*both, id="hop")
        assert path.hop_length == pytest.approx(expected.hop_length, abs=1e-6)
        assert (path.composition, path.mobile_ion) == (expected.composition, expected.mobile_ion)
    assert read_path(*ends).id == "hop"


@pytest.mark.parametrize(
    ("pick", "options", "says"),
    [
        (lambda a, b: (a,), {}, "the initial structure is one structure; name a second one"),
        (
            lambda a, b: (a, 3),
            {},
            "An object of type int is no structure; give a file, a pymatgen Structure or ASE Atoms",
        ),
        (lambda a, b: (a, b), {"site": 1.0}, "whole number, counted from 1, not 1.0"),
    ],
)
def test_what_is_no_structure_and_no_site_is_told(ends, pick, options, says):
    with pytest.raises(EmigbenchError) as error:
        read_path(*pick(*ends), **options)
    assert says in one_sentence(error)


def test_one_structure_is_no_path(ends, tmp_path):
    ends[0].to(tmp_path / "one.vasp")
    with pytest.raises(EmigbenchError, match="name a second one"):
        read_hop(tmp_path / "one.vasp")


@pytest.mark.parametrize(("relaxed", "told"), [(0.1, False), (0.5, True)])
def test_hosts_that_differ_are_told(relaxed, told):
    species, lattice = ["Li", "O", "O", "P"], np.eye(3) * 8
    a = crystal("a", lattice, species, [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5]])
    b = crystal("b", lattice, species, [[0, 0, 0.4], [0.5 + relaxed / 8, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5]])
    assert any("models that read one host" in note.lower() for note in hop_between(a, b, path_id="p").notes) == told


def test_a_hop_needs_a_host():
    one, other = (crystal("x", np.eye(3) * 6, ["Li"], [[at, 0, 0]]) for at in (0, 0.4))
    with pytest.raises(EmigbenchError, match="needs a host"):
        path_of(one, other)


def test_the_group_is_one_of_the_dataset_in_any_case_and_the_id_may_be_given(ends, tmp_path):
    for structure, name in zip(ends, ("a.vasp", "b.vasp"), strict=True):
        structure.to(tmp_path / name)
    files = tmp_path / "a.vasp", tmp_path / "b.vasp"
    path = read_path(*files, group="olivine", id="mine")
    assert (path.structural_group, path.id) == ("OLIVINE", "mine")
    with pytest.raises(EmigbenchError) as error:
        read_path(*files, group="stone")
    assert "no structural group 'stone'; there are" in one_sentence(error)


def test_sites_are_counted_from_one(ends, tmp_path):
    for structure, name in zip(ends, ("a.vasp", "b.vasp"), strict=True):
        structure.to(tmp_path / name)
    files = tmp_path / "a.vasp", tmp_path / "b.vasp"
    number = read_hop(*files).site + 1
    assert read_hop(*files, site=number).path.hop_length == read_hop(*files).path.hop_length
    with pytest.raises(EmigbenchError) as error:
        read_hop(*files, site=0)
    assert "counted from 1" in one_sentence(error)
