from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.constraints import FixedPlane
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from ase.optimize import BFGS
from neb_cases import Counted, Curved, a_path, emt, pair_repulsion, surface, vacancy_hop

from emigbench_baselines.neb.band import PathFailedError, run_neb, single_points
from emigbench_baselines.neb.endpoints import Endpoints, band, endpoints
from emigbench_baselines.neb.potentials import Potential
from emigbench_baselines.neb.settings import NebSettings

FIVE_MEV = 0.005
CLIMBING = NebSettings(n_images=7, climb=True, method="improvedtangent")
WRAPPED_IN_THE_SOURCE = ("MgTi2O4", "Ti2S4_Mg", "LiTi2P3O12", "VPO4F_Rb_3")


def relaxed(atoms, *constraints):
    """Relaxed by ASE alone."""
    atoms = atoms.copy()
    atoms.set_constraint(list(constraints))
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    return atoms


@pytest.mark.parametrize("metal", ["Cu", "Al", "Ni"])
def test_a_symmetric_vacancy_hop_has_the_energy_of_its_mirror_plane(metal):
    ends = endpoints(vacancy_hop(metal))
    halfway = ends.initial.copy()
    halfway.positions = (ends.initial.positions + ends.final.positions) / 2
    way = ends.final.positions[0] - ends.initial.positions[0]
    saddle = relaxed(halfway, FixedPlane([0], way))
    barrier = saddle.get_potential_energy() - relaxed(ends.initial).get_potential_energy()
    result = run_neb(ends, emt(), NebSettings())
    assert result.status == "ok"
    assert result.forward == pytest.approx(barrier, abs=FIVE_MEV)
    assert result.reverse == pytest.approx(barrier, abs=FIVE_MEV)


@pytest.mark.filterwarnings("ignore:It was not possible to figure out which atoms to displace")
def test_a_lopsided_vacancy_hop_has_the_saddle_that_the_dimer_method_finds():
    ends = endpoints(vacancy_hop("Cu", solutes=("Pt", "Au")))
    initial, final = relaxed(ends.initial), relaxed(ends.final)
    guess = ends.initial.copy()
    guess.positions = (initial.positions + final.positions) / 2
    guess.calc = EMT()
    way = np.zeros((len(guess), 3))
    way[0] = 0.05 * (final.positions - initial.positions)[0]
    control = DimerControl(initial_eigenmode_method="displacement", displacement_method="vector", logfile=None)
    dimer = MinModeAtoms(guess, control, random_seed=1)
    dimer.displace(displacement_vector=way)
    MinModeTranslate(dimer, logfile=None).run(fmax=2e-3, steps=1000)
    saddle = guess.get_potential_energy()
    result = run_neb(ends, emt(), CLIMBING)
    assert result.status == "ok"
    assert abs(result.forward - result.reverse) > 2 * FIVE_MEV
    assert result.forward == pytest.approx(saddle - initial.get_potential_energy(), abs=FIVE_MEV)
    assert result.reverse == pytest.approx(saddle - final.get_potential_energy(), abs=FIVE_MEV)


@pytest.mark.parametrize("valley", [Curved(), Curved(top=-0.4, bend=-0.3), Curved(bend=0.0, top=0.0)])
@pytest.mark.parametrize("optimiser", ["LBFGS", "BFGS", "FIRE"])
def test_a_climbing_image_finds_the_saddle_of_a_surface(valley, optimiser):
    settings = replace(CLIMBING, optimiser=optimiser, fmax=0.005)
    result = run_neb(endpoints(a_path()), surface(valley), settings)
    assert result.status == "ok"
    assert result.forward == pytest.approx(valley.barrier, abs=0.001)
    assert result.reverse == pytest.approx(valley.along(valley.top) - valley.along(1), abs=0.001)
    highest = result.images[int(np.argmax(result.energies))].positions[0, :2] - 6
    assert highest == pytest.approx([valley.top, valley.bend * (1 - valley.top**2)], abs=0.05)


def test_forward_and_reverse_barriers_differ_by_the_energies_of_the_ends():
    ends = endpoints(vacancy_hop("Cu", solutes=("Pt", "Au")))
    result = run_neb(ends, emt(), NebSettings())
    energies = [relaxed(end).get_potential_energy() for end in (ends.initial, ends.final)]
    assert result.forward - result.reverse == pytest.approx(energies[1] - energies[0], abs=1e-3)
    assert result.span == max(result.forward, result.reverse)


def test_unrelaxed_ends_stay_where_they_are():
    ends = endpoints(vacancy_hop("Cu"))
    result = run_neb(ends, emt(), NebSettings(relax_endpoints=False))
    assert result.steps["initial"] == result.steps["final"] == 0 < result.steps["band"]
    for kept, end in zip((result.images[0], result.images[-1]), (ends.initial, ends.final), strict=True):
        assert (kept.positions == end.positions).all()
        assert kept.get_potential_energy() == pytest.approx(emt().evaluate([end])[0][0])


def test_the_images_that_move_are_asked_for_together():
    counted = Counted(emt())
    run_neb(endpoints(vacancy_hop("Cu")), counted(), NebSettings(relax_endpoints=False, n_images=6))
    assert counted.batches[:2] == [1, 1]
    assert set(counted.batches[2:]) == {4}


def test_the_energies_of_a_band_as_it_stands_are_those_of_its_images():
    path = vacancy_hop("Cu")
    result = single_points(band(path), emt())
    expected = [emt().evaluate([image])[0][0] for image in band(path)]
    assert result.energies == pytest.approx(expected)
    assert (result.status, result.steps) == ("ok", {})
    assert result.forward == pytest.approx(max(expected) - expected[0])


def moved(path, seed):
    """The same path: every atom wrapped otherwise, all of them moved, the host in another order."""
    rng = np.random.default_rng(seed)
    shift, order = rng.uniform(-1, 1, 3), rng.permutation(len(path.host_species))
    final = path.final_host_frac_coords
    return replace(
        path,
        host_species=tuple(np.array(path.host_species)[order]),
        host_frac_coords=(path.host_frac_coords + shift + rng.integers(-2, 3, (len(order), 3)))[order],
        final_host_frac_coords=None if final is None else (final + shift + rng.integers(-2, 3, final.shape))[order],
        band_frac_coords=path.band_frac_coords + shift + rng.integers(-2, 3, 3),
    )


def test_wrapping_moving_and_ordering_change_nothing():
    path = vacancy_hop("Cu", solutes=("Pt", "Au"))
    plain, *others = (
        run_neb(endpoints(p), emt(), NebSettings()).forward for p in (path, *(moved(path, seed) for seed in range(3)))
    )
    assert others == pytest.approx([plain] * 3, abs=1e-4)


@pytest.mark.parametrize("path_id", WRAPPED_IN_THE_SOURCE)
def test_records_that_the_source_wraps_give_one_barrier_however_they_are_wrapped(full, path_id):
    path = next(entry.path for entry in full if entry.id == path_id)
    few = NebSettings(fmax=0.1, endpoint_steps=4, band_steps=3)
    results = [run_neb(endpoints(p), pair_repulsion(), few) for p in (path, moved(path, 0))]
    assert results[0].status == results[1].status
    assert results[0].forward == pytest.approx(results[1].forward, abs=2e-3)
    ends = endpoints(path)
    ways = np.linalg.norm(ends.final.positions - ends.initial.positions, axis=1)
    assert ways[0] == pytest.approx(path.hop_length)
    assert ways[1:].max() < 1.5


def test_steps_that_ran_out_are_not_passed_off_as_a_result():
    ends = endpoints(vacancy_hop("Cu"))
    result = run_neb(ends, emt(), NebSettings(endpoint_steps=1, band_steps=2))
    assert result.status == "not_converged"
    for part in ("the initial state", "the final state", "the band did not converge in 2 steps"):
        assert part in result.reason
    assert result.fmax > 0.05


def test_a_barrier_that_nobody_should_trust_is_not_passed_off_as_one():
    valley = Curved(height=60.0, bend=0.0, width=100.0)
    result = run_neb(endpoints(a_path()), surface(valley), NebSettings())
    assert result.forward > 20
    assert result.status == "not_converged"
    assert "more than 20" in result.reason


def test_a_fall_that_nobody_should_trust_is_not_passed_off_as_no_barrier():
    falls = Potential("falls", "", lambda cells: [(-6.0 * k, np.zeros((len(c), 3))) for k, c in enumerate(cells)])
    result = single_points(band(vacancy_hop("Cu")), falls)
    assert (result.forward, result.status) == (0, "not_converged")
    assert "differ by 24.0 eV, more than 20" in result.reason


def test_ends_that_relax_to_one_site_are_no_hop():
    result = run_neb(endpoints(a_path()), surface(lambda x, y: (x**2 + y**2, (2 * x, 2 * y))), NebSettings())
    assert result.status == "not_converged"
    assert "one site" in result.reason
    assert result.forward == pytest.approx(0, abs=0.01)


def reason(ends, potential) -> str:
    with pytest.raises(PathFailedError) as error:
        run_neb(ends, potential, NebSettings())
    return str(error.value)


def test_what_a_potential_can_say_nothing_about_fails_with_a_reason():
    ends = endpoints(a_path())
    assert "explodes" in reason(ends, surface(lambda x, y: (0.0, (2e3, 0.0))))
    assert "not a number" in reason(ends, surface(lambda x, y: (0.0, (np.nan, 0.0))))
    assert "not a number" in reason(ends, surface(lambda x, y: (np.inf, (0.0, 0.0))))
    knows_oxygen = Potential("picky", "1", emt().evaluate, elements=frozenset({8}))
    assert reason(ends, knows_oxygen) == "picky does not know the element Li"
    swapped = ends.final.copy()
    swapped.numbers = swapped.numbers[::-1]
    assert "different atoms" in reason(Endpoints(ends.initial, swapped), emt())
    assert "different atoms" in reason(Endpoints(ends.initial, ends.final[:1]), emt())
    wider = ends.final.copy()
    wider.cell[0, 0] += 0.1
    assert "different cells" in reason(Endpoints(ends.initial, wider), emt())
