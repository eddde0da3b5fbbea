"""The vacancy hops of crystals whose hops can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import one_sentence
from hops.crystals import local, random_sites, reordered, rotated, skewed_lattice, supercell, translated
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from emigbench import EmigbenchError, load
from emigbench.datasets import spinels
from emigbench.hops.files import crystal, from_structure
from emigbench.hops.percolation import percolation_barriers
from emigbench.hops.vacancies import empty_site, primitive, vacancy_hops, vacancy_path

CSCL = crystal("CsCl", np.eye(3) * 4.0, ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ROCK_SALT = from_structure(
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]), "NaCl"
)


def lengths(hops):
    return [round(hop.length, 3) for hop in hops]


def test_simple_cubic_sites():
    """Six neighbours at a, so three hops a cell; twelve at a √2; the body diagonal passes through the anion."""
    hops = vacancy_hops(CSCL, "Cs", max_hop=7.0)
    assert lengths(hops) == [4.0, 5.657]
    assert [len(hop.equivalents) for hop in hops] == [3, 6]
    assert lengths(vacancy_hops(CSCL, "Cs", max_hop=5.6)) == [4.0]  # what is a little too long is left out


def test_no_hop_leads_through_an_image_of_its_own_ends():
    """Of simple cubic sites, 2a passes through the next site, which is an image of both ends."""
    assert lengths(vacancy_hops(CSCL, "Cs", max_hop=8.5)) == [4.0, 5.657]


@pytest.mark.parametrize("max_hop", [4.0, 4.01, 4.03])
def test_the_longest_hop_does_not_part_hops_that_symmetry_makes_equal(max_hop):
    """A cube that is strained by less than symmetry is found to: 4.00, 4.00 and 4.02 Å are one hop in three ways."""
    strained = replace(CSCL, lattice=np.diag([4.0, 4.0, 4.02]))
    (hop,) = vacancy_hops(strained, "Cs", max_hop)
    assert hop.length == pytest.approx(4.0)
    assert len(hop.equivalents) == 3


@pytest.mark.parametrize("max_hop", [8.0, 12.0])
def test_a_hop_longer_than_the_cell_goes_to_a_vacancy_and_not_to_its_own_image(max_hop):
    bare = crystal("Li", np.eye(3) * 7.2, ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.3]])
    for hop in vacancy_hops(bare, "Li", max_hop):
        path = vacancy_path(bare, hop, "p")
        assert path.hop_length == pytest.approx(hop.length)
        ends = path.band_frac_coords[[0, -1]]
        stays = path.host_frac_coords[np.array(path.host_species) == "Li"]
        assert len(stays) == round(np.linalg.det(path.lattice) / 7.2**3) - 2
        gaps = [*(stays[:, None] - ends).reshape(-1, 3), ends[1] - ends[0]]
        assert np.linalg.norm((gaps - np.round(gaps)) @ path.lattice, axis=1).min() == pytest.approx(7.2)


def test_rock_salt_sites():
    """Twelve neighbours at a/√2 of four sites, each hop shared by two; those at a have an anion half-way."""
    (hop,) = vacancy_hops(ROCK_SALT, "Na", max_hop=5.7)
    assert hop.length == pytest.approx(5.6 / np.sqrt(2))
    assert len(hop.equivalents) == 4 * 12 // 2
    assert hop.turns


def test_a_hop_between_unlike_sites_has_a_way_back_of_its_own():
    chain = crystal("x", np.diag([5, 5.2, 6]), ["Li", "Li", "F"], [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.1]])
    for hop in vacancy_hops(chain, "Li", max_hop=3.5):
        assert not hop.turns
        there, back = vacancy_path(chain, hop, "p"), vacancy_path(chain, hop.reversed(), "p")
        assert there.hop_length == pytest.approx(back.hop_length)
        assert local(there) != pytest.approx(local(back))
        i, j, cells = hop.edge
        assert hop.reversed().edge == (j, i, tuple(-c for c in cells))


def test_the_cell_that_describes_a_crystal_does_not_matter():
    small = from_structure(
        Structure(Lattice([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]), "x"
    )
    for cell in (small, supercell(small, (2, 1, 1)), supercell(ROCK_SALT, (1, 2, 1))):
        x = primitive(cell)
        assert len(x) == 2
        (hop,) = vacancy_hops(x, "Na", max_hop=5.0)
        assert len(hop.equivalents) == 6
        path = vacancy_path(x, hop, "p")
        assert path.hop_length == pytest.approx(5.6 / np.sqrt(2))
        assert local(path) == pytest.approx(local(vacancy_path(ROCK_SALT, vacancy_hops(ROCK_SALT, "Na", 5)[0], "p")))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_vacancy_of_a_hop_is_as_far_from_its_images_in_every_description(seed):
    """A perovskite and a random crystal in sheared cells: the repeated cell has the same vectors, up to their order."""
    rng = np.random.default_rng(seed)
    lattice = skewed_lattice(rng)
    perovskite = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    for x in (
        crystal("KNiF3", np.eye(3) * 4.0, ["K", "Ni", "F", "F", "F"], perovskite),
        crystal("x", lattice, ["Li"] * 3 + ["O"] * 4, random_sites(rng, lattice, 7)),
    ):
        shear = np.array([[1, 0, 0], [rng.integers(-2, 3), 1, 0], [rng.integers(-2, 3), rng.integers(-2, 3), 1]])
        other = replace(x, lattice=shear @ x.lattice, frac_coords=x.frac_coords @ np.linalg.inv(shear) % 1.0)
        ion = x.species[0]
        first, second = (vacancy_path(p, vacancy_hops(p, ion, 6)[0], "p") for p in (primitive(x), primitive(other)))
        assert first.hop_length == pytest.approx(second.hop_length)
        assert len(first.host_species) == len(second.host_species)
        lengths_of = [sorted(np.linalg.norm(path.lattice, axis=1)) for path in (first, second)]
        assert lengths_of[0] == pytest.approx(lengths_of[1])


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_without_symmetry_every_pair_is_a_hop(seed):
    """Against pymatgen's own neighbour search, in any description of the crystal."""
    rng = np.random.default_rng(seed)
    lattice = skewed_lattice(rng)
    x = crystal("x", lattice, ["Li"] * 3 + ["O"] * 4, random_sites(rng, lattice, 7))
    structure = Structure(x.lattice, x.species, x.frac_coords)
    lithium = structure.copy()
    lithium.remove_species(["O"])
    pairs = lithium.get_neighbor_list(5.0)[3]
    assert all(len(hop.equivalents) == 1 for hop in vacancy_hops(x, "Li", 5.0))
    found = lengths(vacancy_hops(x, "Li", 5.0))
    assert set(found) <= {round(float(d), 3) for d in pairs}
    assert len(found) <= len(pairs) // 2  # those through an atom are left out
    for other in (reordered(x, rng), translated(x, rng.random(3)), rotated(x, rng)):
        assert lengths(vacancy_hops(other, "Li", 5.0)) == pytest.approx(found, abs=2e-3)


@pytest.mark.parametrize("name", ["LiNi2O4", "MgCr2S4", "Co2O4_Zn"])
def test_the_hop_of_a_spinel_is_the_known_path(name):
    """The nearest tetrahedral sites of a filled spinel: the dataset's own band, one vacancy included."""
    known = {entry.id: entry.path for entry in load("spinels")}
    path = known[name]
    filled = Structure(
        path.lattice,
        [path.mobile_ion] * 2 + list(path.host_species),
        np.vstack([path.band_frac_coords[[0, -1]], path.host_frac_coords]),
    )
    first = vacancy_hops(from_structure(filled.get_primitive_structure(), "x"), path.mobile_ion, 5.5)[0]
    found = vacancy_path(from_structure(filled.get_primitive_structure(), "x"), first, "p")
    assert found.hop_length == pytest.approx(path.hop_length, abs=1e-3)
    assert local(found) == pytest.approx(local(path), abs=1e-3)


def test_a_small_cell_is_repeated_and_has_one_vacancy():
    (hop, _) = vacancy_hops(CSCL, "Cs", max_hop=5.7)
    path = vacancy_path(CSCL, hop, "p")
    assert np.linalg.norm(path.lattice, axis=1) == pytest.approx([8, 8, 8])
    assert path.n_atoms == 8 * 2 - 1
    assert path.host_species.count("Cs") == 6
    assert path.hop_length == pytest.approx(4.0)
    assert path.material_id == "CsCl"
    ends = path.band_frac_coords[[0, -1]] @ path.lattice
    cs = path.host_frac_coords[np.array(path.host_species) == "Cs"] @ path.lattice
    gaps = np.linalg.norm((cs[:, None] - ends + 4) % 8 - 4, axis=2)
    assert gaps.min() == pytest.approx(4.0)  # neither end is taken


@pytest.mark.parametrize(("beside", "hops"), [(0.45, 0), (0.55, 1)])
def test_a_line_within_half_an_angstrom_of_an_atom_is_no_hop(beside, hops):
    chain = crystal("x", np.diag([4.0, 9.0, 9.0]), ["Cs", "Cl"], [[0, 0, 0], [0.5, beside / 9, 0]])
    if hops:
        assert lengths(vacancy_hops(chain, "Cs", 5)) == [4.0]
    else:
        with pytest.raises(EmigbenchError, match="passes through an atom"):
            vacancy_hops(chain, "Cs", 5)


CHAIN = crystal("chain", np.diag([4.0, 9.0, 9.0]), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0, 0]])


SPLIT = crystal(
    "split", np.diag([8.0, 8.0, 8.0]), ["Li", "Li", "O", "O"], [[0, 0, 0], [0.2, 0, 0], [0.5, 0.5, 0], [0.7, 0.5, 0]]
)


def test_near_anions_are_a_molecule_and_no_split_site():
    assert vacancy_hops(SPLIT, "O", 5)[0].length == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("host", "ion", "reach", "says"),
    [
        (CSCL, "Li", 5, "has no Li"),
        (CSCL, "Cs", 2, "no two sites of Cs within 2 Å of each other; give a structure with every site occupied"),
        (CSCL, "Cs", 2, "(the nearest are 4.00 Å apart), or see --max-hop."),
        (CSCL, "Cs", 1, "give a structure with every site occupied."),
        (SPLIT, "Li", 5, "two Li only 1.60 Å apart, sites that cannot both be occupied"),
        (CHAIN, "Cs", 5, "no hop of Cs up to 5 Å: the line between any two sites so near passes through an atom"),
    ],
)
def test_crystals_without_hops(host, ion, reach, says):
    with pytest.raises(EmigbenchError) as error:
        vacancy_hops(host, ion, reach)
    assert says in one_sentence(error)


# --- Percolation


def test_percolation_by_hand():
    """One site a cell: hops along x at 0.3 eV, y at 0.5 eV and z at 0.4 eV."""
    hops = [(0.3, (0, 0, (1, 0, 0))), (0.5, (0, 0, (0, 1, 0))), (0.4, (0, 0, (0, 0, 1)))]
    assert percolation_barriers(hops) == (0.3, 0.4, 0.5)
    assert percolation_barriers(hops[:1]) == (0.3, None, None)
    assert percolation_barriers([]) == (None, None, None)


def test_the_worst_hop_of_the_easiest_way_counts():
    """A chain of two sites along x: 0.2 eV within the cell, 0.6 eV out of it, and a detour of 0.5 and 0.4 eV."""
    chain = [(0.2, (0, 1, (0, 0, 0))), (0.6, (1, 0, (1, 0, 0)))]
    assert percolation_barriers(chain) == (0.6, None, None)
    detour = [(0.5, (1, 2, (0, 0, 0))), (0.4, (2, 0, (1, 0, 0)))]
    assert percolation_barriers(chain + detour) == (0.5, None, None)


def test_a_closed_ring_is_no_endless_path():
    ring = [(0.1, (0, 1, (0, 0, 0))), (0.1, (1, 2, (0, 0, 0))), (0.1, (2, 0, (0, 0, 0)))]
    assert percolation_barriers(ring) == (None, None, None)


def test_parallel_chains_that_never_meet_are_one_dimensional():
    chains = [(0.1, (0, 0, (1, 0, 0))), (0.2, (1, 1, (0, 1, 0)))]
    assert percolation_barriers(chains) == (0.1, None, None)
    assert percolation_barriers([*chains, (0.7, (0, 1, (0, 0, 0)))]) == (0.1, 0.7, None)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_percolation_against_a_search_in_a_large_block(seed):
    """Independent oracle: hops up to a barrier percolate in one dimension if a site reaches a copy of itself."""
    rng = np.random.default_rng(seed)
    n_sites = 3
    edges = [
        (round(float(rng.random()), 2), (int(rng.integers(n_sites)), int(rng.integers(n_sites)), tuple(cell)))
        for cell in rng.integers(-1, 2, (4, 3)).tolist()
    ]
    edges = [(e, (i, j, c)) for e, (i, j, c) in edges if i != j or any(c)]

    def reaches(limit):
        """Ranks of the displacements from a site to its copies, by breadth-first search over five cells around."""
        best = 0
        for start in range(n_sites):
            seen, todo, found = {(start, (0, 0, 0))}, [(start, (0, 0, 0))], []
            while todo:
                site, at = todo.pop()
                for barrier, (i, j, c) in edges:
                    for a, b, sign in ((i, j, 1), (j, i, -1)):
                        to = (b, tuple(x + sign * y for x, y in zip(at, c, strict=True)))
                        if barrier <= limit and a == site and to not in seen and max(map(abs, to[1])) <= 5:
                            seen.add(to)
                            todo.append(to)
                            if b == start:
                                found.append(to[1])
            best = max(best, int(np.linalg.matrix_rank(np.array(found))) if found else 0)
        return best

    barriers = sorted({e for e, _ in edges})
    expected = tuple(next((e for e in barriers if reaches(e) >= d), None) for d in (1, 2, 3))
    assert percolation_barriers(edges) == expected


def test_the_spinel_network_is_three_dimensional():
    row = spinels.read_table()[0]
    path = {entry.id: entry.path for entry in load("spinels")}[row.id]
    x = from_structure(
        Structure(
            path.lattice,
            [path.mobile_ion] * 2 + list(path.host_species),
            np.vstack([path.band_frac_coords[[0, -1]], path.host_frac_coords]),
        ).get_primitive_structure(),
        "x",
    )
    first = vacancy_hops(x, path.mobile_ion, 4.5)[0]
    assert percolation_barriers((0.5, edge) for edge in first.equivalents) == (0.5, 0.5, 0.5)


def test_that_another_image_of_the_vacancy_is_nearer_comes_of_the_cell_that_was_chosen():
    """Two Li in a cell of 7.5 Å, 3 Å apart one way and 4.5 Å the other: in no larger cell, both lead to one vacancy."""
    chain = crystal("chain", np.eye(3) * 7.5, ["Li", "Li", "O"], [[0, 0, 0], [0.4, 0, 0], [0.7, 0.5, 0.5]])
    paths = [vacancy_path(chain, hop, "p") for hop in vacancy_hops(chain, "Li", 5.0)]
    assert [path.hop_length for path in paths] == pytest.approx([3.0, 4.5])
    assert [path.n_atoms for path in paths] == [2, 2]  # one vacancy
    assert not any("band_not_shortest" in path.flags for path in paths)


PEROVSKITE = crystal(
    "x", np.eye(3) * 4.0, ["Li", "Ti", "O", "O", "O"], [[0] * 3, [0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
)


def test_an_empty_site_is_one_that_the_rest_makes_equal_to_an_occupied_one():
    """Two cubes of a perovskite, from one of which Li is taken; in other descriptions too."""
    doubled = supercell(PEROVSKITE, (2, 1, 1))
    kept = np.array([k for k in range(10) if not (doubled.species[k] == "Li" and doubled.frac_coords[k, 0] > 0.25)])
    holed = replace(doubled, species=tuple(doubled.species[k] for k in kept), frac_coords=doubled.frac_coords[kept])
    assert empty_site(holed, "Li") == pytest.approx([0.5, 0, 0])
    assert empty_site(translated(holed, np.array([0.1, 0.2, 0.3])), "Li") == pytest.approx([0.6, 0.2, 0.3])
    assert empty_site(reordered(holed, np.random.default_rng(0)), "Li") is not None


def test_an_empty_site_is_found_however_near_its_anions_are():
    """Berlinite along a doubled vector, without one of its six Al, whose bonds to O are 1.73 Å long."""
    sites = {"Al": [0.4664, 0, 1 / 3], "P": [0.4669, 0, 5 / 6], "O": [0.4163, 0.2922, 0.3976]}
    other = {"O2-": [0.4156, 0.2576, 0.8837]}
    lattice = Lattice.hexagonal(4.9423, 10.9446)
    berlinite = Structure.from_spacegroup("P3_121", lattice, [*sites, *other], [*sites.values(), *other.values()])
    holed = berlinite * (2, 1, 1)
    taken = holed.pop(0)
    assert empty_site(from_structure(holed, "AlPO4"), "Al") == pytest.approx(taken.frac_coords, abs=1e-3)
    assert empty_site(from_structure(berlinite, "AlPO4"), "Al") is None


def test_where_every_site_is_occupied_none_is_empty():
    """Nor where the rest cannot tell: of fluorite, the bare anions have twice as many cubes as cations."""
    fluorite = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0] * 3, [0.25] * 3])
    filled = [
        primitive(from_structure(fluorite, "CaF2")),
        ROCK_SALT,
        CSCL,
        PEROVSKITE,
        supercell(PEROVSKITE, (2, 2, 1)),
    ]
    for each in filled:
        assert [empty_site(each, element) for element in sorted(set(each.species))] == [None] * len(set(each.species))


def test_sites_that_are_too_near_for_two_ions_are_not_empty():
    """Li beside the middle of a cube of a perovskite, 0.4 Å off: the other places around it belong to the same ion."""
    beside = replace(PEROVSKITE, frac_coords=np.vstack([[[0.1, 0, 0]], PEROVSKITE.frac_coords[1:]]))
    assert empty_site(beside, "Li") is None


def test_the_half_occupied_site_of_an_argyrodite_is_neither_filled_nor_empty():
    """Li6PS5Cl, much as Deiseroth et al. have it (Angew. Chem. 47, 755, 2008): a place and its mirror image, 1.90 Å
    apart, hold one Li; all of them filled are Li12PS5Cl."""
    sites = {"Li+": [0.3183, 0.0251, 0.6817], "P5+": [0, 0, 0.5], "S2-": [0.1195, -0.1195, 0.6195]}
    anions = {"S": [0.25, 0.25, 0.75], "Cl-": [0, 0, 0]}
    filled = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(9.859), [*sites, *anions], [*sites.values(), *anions.values()]
    )
    with pytest.raises(EmigbenchError, match=r"two Li only 1\.90 Å apart"):
        vacancy_hops(primitive(from_structure(filled, "Li12PS5Cl")), "Li", 4.0)
    near = filled.distance_matrix < 2
    first = [i for i in range(len(filled)) if np.flatnonzero(near[i])[0] == i]  # of both halves
    ordered = from_structure(Structure.from_sites([filled[i] for i in first]), "Li6PS5Cl")
    assert ordered.species.count("Li") == 24
    assert empty_site(ordered, "Li") is None
