import numpy as np
import pytest
from helpers import one_sentence
from hops.crystals import random_hop, reordered, rotated, rotation, translated
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emigbench import EmigbenchError
from emigbench.hops import matching
from emigbench.hops.files import crystal
from emigbench.hops.matching import match, stretch

SEEDS = st.integers(0, 10_000)
CUBE = np.eye(3) * 8.0


def cell(species, coords, lattice=CUBE, name="b"):
    return crystal(name, lattice, species, coords)


SITES = np.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]])
A = cell(["Li", "Li", "O", "O", "P"], SITES, name="a")


def moved(index, step_a, x=A, also=()):
    coords = x.frac_coords.copy()
    for i, step in ((index, step_a), *also):
        coords[i] += np.array(step) / 8.0
    return cell(x.species, coords)


def refused(*arguments, **options):
    with pytest.raises(EmigbenchError) as error:
        match(*arguments, **options)
    return one_sentence(error)


@settings(max_examples=40)
@given(seed=SEEDS, relaxed=st.sampled_from([0.0, 0.2, 0.5]))
def test_finds_the_ion_and_every_partner_in_random_crystals(seed, relaxed):
    a, b = random_hop(seed, relaxed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(b))
    shuffled = crystal("b", b.lattice, [b.species[i] for i in order], b.frac_coords[order])
    found = match(a, shuffled)
    assert found.moving == 0
    assert (order[found.partner] == np.arange(len(a))).all()
    assert found.lengths[1:].max() <= 2 * relaxed + 1e-9  # its own move and the median of all


@settings(max_examples=40)
@example(seed=1103, relaxed=0.3)
@given(seed=SEEDS, relaxed=st.sampled_from([0.0, 0.3]))
def test_the_origin_and_the_orientation_of_a_cell_do_not_matter(seed, relaxed):
    a, b = random_hop(seed, relaxed)
    rng = np.random.default_rng(seed)
    other = rotated(translated(reordered(b, rng), rng.random(3)), rng)
    plain, found = match(a, b), match(a, other)
    assert found.moving == plain.moving
    assert found.lengths == pytest.approx(plain.lengths, abs=1e-6)
    assert not found.other_origins


def test_a_shift_common_to_all_atoms_is_no_move():
    b = moved(0, (0, 0, 3.0), also=[(i, (0.1, -0.2, 0.1)) for i in range(5)])
    found = match(A, b)
    assert found.lengths == pytest.approx([3, 0, 0, 0, 0], abs=1e-9)
    assert found.shift @ CUBE == pytest.approx([0.1, -0.2, 0.1])


def test_as_few_ions_as_possible_move():
    # sites at 0, 3 and 6 Å on a line; those at 0 and 3 are taken, then those at 3 and 6: one ion jumps over
    species = ["Li", "Li", "O", "O", "P"]
    a = cell(species, [[0, 0, 0], [0.375, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]])
    b = cell(species, [[0.375, 0, 0], [0.75, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]])
    found = match(a, b)
    assert found.moving == 0
    assert found.partner.tolist() == [1, 0, 2, 3, 4]
    assert found.lengths[0] == pytest.approx(2.0)  # the shorter way round is through the cell's face


def test_a_hop_shorter_than_host_atoms_may_move_is_found():
    found = match(A, moved(0, (1.5, 0, 0), also=[(2, (0, 0.6, 0))]))
    assert found.moving == 0
    assert found.lengths[0] == pytest.approx(1.5)


def test_what_is_not_clear_is_asked_for():
    b = moved(0, (1.5, 0, 0), also=[(3, (0, 1.2, 0))])
    assert "2 ions move" in (message := refused(A, b))
    assert "name the one that hops with --ion or --site" in message
    assert match(A, b, ion="Li").moving == 0
    assert match(A, b, ion="O").moving == 3
    assert match(A, b, site=3).moving == 3
    close = moved(0, (1.2, 0, 0), also=[(3, (0, 0.95, 0))])
    assert "--ion" in refused(A, close)
    assert match(A, close, ion="Li").moving == 0


def test_a_hint_at_another_than_the_ion_that_hops_is_refused():
    far = moved(0, (0, 3, 3))
    assert "Li 1 hops from a to b, not O;" in refused(A, far, ion="O")
    assert "Li 1 hops from a to b, not Li 2;" in refused(A, far, site=1)
    assert "Li 1 hops from a to b, not O 4;" in refused(A, far, site=3)


def test_of_one_kind_two_that_move_far_are_two_whatever_the_hint():
    b = moved(0, (0, 3, 3), also=[(1, (0, 3, -3))])
    for hint in ({}, {"ion": "Li"}, {"site": 0}):
        message = refused(A, b, **hint)
        assert "2 ions move" in message
        assert "Li 1, Li 2" in message
        assert "--site" not in message


def test_identical_endpoints_are_refused():
    assert "same structure" in refused(A, A)
    rng = np.random.default_rng(0)
    assert "same structure" in refused(A, reordered(A, rng))
    assert "moves by 0.40 Å" in refused(A, moved(0, (0.4, 0, 0)))


def test_other_compositions_are_refused():
    message = refused(A, cell(["Li", "Na", "O", "O", "P"], SITES))
    assert "composition: 2 and 1 atoms of Li" in message


def test_other_cells_are_refused():
    assert "different cells" in refused(A, cell(A.species, SITES, CUBE * [1, 1, 1.2]))
    sheared = CUBE + np.array([[0, 0, 0], [0, 0, 0], [2.0, 0, 0]])
    assert "76.0" in refused(A, cell(A.species, SITES, sheared))
    slightly = match(A, cell(A.species, moved(0, (0, 0, 3.0)).frac_coords, CUBE * [1, 1, 1.05]))
    assert slightly.moving == 0


def test_cells_that_do_not_fit_each_other_are_refused():
    rng = np.random.default_rng(3)
    a, _ = random_hop(1)
    scrambled = crystal("b", a.lattice, a.species, random_hop(2)[0].frac_coords[: len(a)])
    assert len(scrambled) == len(a)
    assert "do not fit" in refused(a, reordered(scrambled, rng))
    assert "origin" not in refused(a, reordered(scrambled, rng))


def test_a_cell_too_large_for_other_origins_is_refused_for_that(monkeypatch):
    a, b = random_hop(1)
    in_order = translated(b, (0.31, 0.17, 0.44))
    elsewhere = reordered(in_order, np.random.default_rng(1))
    assert match(a, elsewhere).moving == 0
    monkeypatch.setattr(matching, "MOST_TRIES", 10)
    assert match(a, in_order).moving == 0
    assert "at the same origin (others are not tried" in refused(a, elsewhere)


def test_a_named_site_is_told_who_hops_in_its_place():
    """Li 2 is named; Li 1 hops by 4.2 Å, and with Li 2 left out it has a partner nowhere either."""
    assert "Li 1 hops from a to b, not Li 2;" in refused(A, moved(0, (0, 3, 3)), site=1)
    both = moved(0, (0, 3, 3), also=[(3, (2.5, 0, 0))])
    assert "2 ions move from a to b (Li 1, O 4)" in refused(A, both, site=1)


def test_hints_that_do_not_fit_are_refused():
    b = moved(0, (0, 0, 3.0))
    assert "no atom of Na" in refused(A, b, ion="Na")
    assert "no site 6" in refused(A, b, site=5)
    assert "is O, not Li" in refused(A, b, ion="Li", site=2)
    assert "which is no hop" in refused(A, moved(0, (0, 0, 1.2)), site=1)


def test_an_origin_is_found_where_the_ion_that_hops_is_the_only_one_of_its_kind():
    """The rarest atom, which origins are tried by, moves: the next rarest tells where the host is."""
    a = cell(["Li", "P", "O", "O", "O", "S", "S"], [*SITES, [0.5, 0.5, 0], [0.5, 0.1, 0.5]], name="a")
    b = translated(moved(0, (2.0, 2.0, 2.0), a), [0.31, 0.17, 0.44])
    found = match(a, reordered(b, np.random.default_rng(0)))
    assert found.moving == 0
    assert found.lengths == pytest.approx([12**0.5, 0, 0, 0, 0, 0, 0], abs=1e-9)


HOST = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])
IONS = HOST + 0.25
"""Sites of the ions of a crystal with internal translations: at another origin, a vacancy hop is like another one."""


def with_vacancy(sites, noise_a=0.0):
    """The 8 O and 7 of the 8 Li, at these sites in this order; sites are 4.5 Å apart."""
    noise = np.random.default_rng(0).normal(scale=noise_a / 9, size=(15, 3))
    return cell(["O"] * 8 + ["Li"] * 7, np.vstack([HOST, IONS[list(sites)]]) + noise, np.eye(3) * 9.0)


VACANCY_AT_0 = with_vacancy([1, 2, 3, 4, 5, 6, 7])


def test_several_origins_that_fit_are_told():
    b = with_vacancy([0, 2, 3, 4, 5, 6, 7])
    assert not match(VACANCY_AT_0, b).other_origins
    assert match(VACANCY_AT_0, b).lengths.max() == pytest.approx(4.5)
    found = match(VACANCY_AT_0, reordered(translated(b, [0.17, 0.31, 0.22]), np.random.default_rng(0)))
    assert found.lengths.max() == pytest.approx(4.5)
    assert found.other_origins


@pytest.mark.parametrize("vacancy", [1, 3, 6])
def test_noise_does_not_choose_among_origins(vacancy):
    """Hops along an edge, a face and the body fit to 0.005 Å in the mean over the host, one across a face best."""
    b = with_vacancy([i for i in range(8) if i != vacancy], noise_a=0.05)
    found = match(VACANCY_AT_0, reordered(translated(b, [0.17, 0.31, 0.22]), np.random.default_rng(0)))
    assert found.lengths.max() == pytest.approx(4.5, abs=0.2)
    assert found.other_origins


def test_an_origin_beside_an_internal_translation_is_no_drift():
    """0.3 Å beside an origin at which the hop is another one, which was answered without a word."""
    b = translated(with_vacancy([0, 1, 2, 3, 4, 5, 6]), [0.5 + 0.3 / 9, 0.5, 0])
    assert match(VACANCY_AT_0, reordered(b, np.random.default_rng(0))).other_origins


def test_the_files_own_order_tells_the_origin_of_a_hop_by_half_a_cell():
    """Seen from the ion that hops, which is the first, half of a relaxed host went up by half a cell and half down."""
    sites, species = np.vstack([IONS[1:], HOST]), ["Li"] * 7 + ["O"] * 8
    a = cell(species, sites, np.eye(3) * 9.0)
    relaxed = sites + [0.17, 0.31, 0.22] + 0.001 * np.outer((-1.0) ** np.arange(15), [0, 0, 1])
    relaxed[0] = IONS[0] + [0.17, 0.31, 0.22]
    found = match(a, cell(species, relaxed, a.lattice))
    assert (found.moving, found.other_origins) == (0, False)
    assert (found.partner == np.arange(15)).all()
    assert found.lengths[0] == pytest.approx(4.5)


@pytest.mark.parametrize("shift", [(0, 0, 0), (0.03, 0.04, 0.05), (0.07, 0, 0), (0.17, 0.31, 0.22)])
def test_the_files_own_order_tells_the_origin(shift):
    """Of the same host: a hop across the face is meant, and at another origin one along the edge would fit as well."""
    b = with_vacancy([1, 2, 0, 4, 5, 6, 7])
    found = match(VACANCY_AT_0, translated(b, shift))
    assert (found.moving, found.other_origins) == (10, False)
    assert found.lengths[10] == pytest.approx(4.5 * 2**0.5)
    assert np.delete(found.lengths, 10).max() < 1e-9
    unordered = match(VACANCY_AT_0, reordered(translated(b, shift), np.random.default_rng(0)))
    assert unordered.lengths.max() == pytest.approx(4.5 if np.linalg.norm(shift) * 9 > 0.5 else 4.5 * 2**0.5, abs=1e-6)


def test_other_ions_may_relax_far_if_one_clearly_hops():
    relaxed = moved(0, (0, 0, 3.0), also=[(2, (1.2, 0, 0))])
    assert match(A, relaxed).moving == 0
    assert "not clear which ion hops" in refused(A, moved(0, (0, 0, 2.5), also=[(2, (1.9, 0, 0))]))
    assert match(A, moved(0, (0, 0, 2.5), also=[(2, (1.9, 0, 0))]), ion="Li").moving == 0
    too_far = moved(0, (0, 0, 2.5), also=[(2, (2.2, 0, 0))])
    for hint in ({}, {"ion": "Li"}, {"site": 0}):
        assert refused(A, too_far, **hint).endswith("in which every other atom moves by less than 2 Å.")


@given(seed=SEEDS)
def test_stretch_is_the_same_in_every_orientation(seed):
    rng = np.random.default_rng(seed)
    strain = rng.uniform(-0.05, 0.05, (3, 3))
    strain = (strain + strain.T) / 2
    lattice = np.eye(3) * 7 + rng.uniform(-1, 1, (3, 3))
    assert stretch(lattice, lattice @ (np.eye(3) + strain) @ rotation(rng)) == pytest.approx(strain, abs=1e-9)
