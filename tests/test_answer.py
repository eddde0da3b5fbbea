import json
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import FULL
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from emigbench import Prediction, load
from emigbench.answer import answer, jump_diffusivity, nearest_known
from emigbench.hops.hop import Hop
from emigbench.hops.paths import new_path
from emigbench.report.answer import show

PATH = load("spinels")[0].path
CELL_A = 5.0
"""A cell in which no layer without atoms can be as thick as a vacuum."""


def hop_in(host, length, ion="Li"):
    """A hop of so many Å along z in a host of these elements, without findings about its geometry."""
    species = tuple(element for element, n in host.items() for _ in range(n))
    coords = [[0.5, 0.5, 0.1 * k] for k in range(len(species))]
    ends = np.array([[0, 0, 0], [0, 0, length / CELL_A]])
    path = new_path("asked", ion, CELL_A * np.eye(3), species, np.array(coords), (ends[0], ends[1]))
    return replace(path, flags=())


def about(e_m=0.5, threshold=0.65, temperature=300.0, **prediction):
    return answer(PATH, Prediction(PATH.id, e_m, **prediction), threshold, temperature)


def test_jump_diffusivity_by_hand():
    """a = 3 Å: a² ν = 9e-16 cm² 1e13/s = 9e-3 cm²/s; 0.3 eV at 300 K is 11.6045 k_B T."""
    assert jump_diffusivity(0.3, 3.0, 300) == pytest.approx(9e-3 * math.exp(-11.6045), rel=1e-4)
    assert jump_diffusivity(0.0, 3.0, 300) == jump_diffusivity(-5.0, 3.0, 1) == pytest.approx(9e-3)
    found, a = about(0.5, low=0.4, high=0.7, temperature=600), PATH.hop_length
    assert found.diffusivity == jump_diffusivity(0.5, a, 600)
    assert found.diffusivity_interval == (jump_diffusivity(0.7, a, 600), jump_diffusivity(0.4, a, 600))


def test_the_chance_is_that_of_a_normal_error():
    assert about(0.65, std=0.2).chance_good == pytest.approx(0.5)
    assert about(0.45, std=0.2).chance_good == pytest.approx(0.8413, abs=1e-4)
    assert about(0.5, low=0.3, high=0.65).chance_good == pytest.approx(0.95)
    assert about(0.8, low=0.65, high=2.0).chance_good == pytest.approx(0.05)  # the side of the threshold counts
    assert about(0.5, std=0.0).chance_good == 1.0
    assert about(0.7, std=0.0).chance_good == 0.0
    assert about(0.5).chance_good is None


def test_the_chance_is_that_of_the_interval_where_the_barrier_lies_outside_of_it():
    assert about(0.9, low=0.25, high=0.65).chance_good == pytest.approx(0.95)
    assert about(0.2, low=0.65, high=1.0).chance_good == pytest.approx(0.05)
    assert about(0.9, low=0.3, high=0.3).chance_good == 1.0


@given(e_m=st.floats(0, 3), below=st.floats(0, 1), above=st.floats(0, 1), threshold=st.floats(0, 3))
def test_good_conductors_are_good_by_a_chance_of_a_half_or_more(e_m, below, above, threshold):
    found = about(e_m, threshold, low=e_m - below, high=e_m + above)
    assert found.good == (e_m <= threshold)
    assert found.chance_good >= 0.5 if found.good else found.chance_good <= 0.5
    low, high = found.diffusivity_interval
    assert low <= found.diffusivity <= high


def test_the_known_path_itself_is_the_nearest():
    for entry in load("spinels")[::10]:
        nearest = nearest_known(entry.path)
        assert nearest[0].host_difference == pytest.approx(0, abs=1e-9)
        assert nearest[0].hop_difference < 1e-3
        assert all(k.facts.mobile_ion == entry.path.mobile_ion for k in nearest)
        scores = [k.host_difference + k.hop_difference for k in nearest]
        assert scores == sorted(scores)


def test_an_ion_without_known_paths_is_a_caution():
    path = replace(PATH, mobile_ion="H")
    found = answer(path, Prediction(path.id, 0.5))
    assert found.known == ()
    assert "The dataset has no path of H." in found.cautions


def test_an_ion_with_few_known_paths_is_a_caution_once():
    path = replace(PATH, mobile_ion="Sr")
    assert "Only 2 of the dataset's paths are of a moving Sr." in answer(path, Prediction(path.id, 0.5)).cautions
    told = answer(path, Prediction(path.id, 0.5, cautions=("no path of a moving Sr was fitted to",))).cautions
    assert sum("Sr" in caution for caution in told) == 1
    path = replace(PATH, mobile_ion="Li")
    assert "moving" not in " ".join(answer(path, Prediction(path.id, 0.5)).cautions)


def test_how_the_cell_is_cut_is_no_caution():
    as_cut = replace(PATH, flags=("band_leaves_cell", "band_direction_tied"))
    told = (answer(path, Prediction(path.id, 0.5)).cautions for path in (as_cut, replace(PATH, flags=())))
    assert next(told) == next(told)


def test_cautions_are_those_of_the_model_and_of_the_geometry():
    path = replace(PATH, flags=("hop_long",))
    found = answer(path, Prediction(path.id, 0.5, status="not_converged", cautions=("Too far.",)))
    assert found.cautions[0] == "Too far."
    assert "did not converge" in found.cautions[1]
    assert found.cautions[2] == "The hop is longer than 6 Å."


def test_a_host_of_other_elements_altogether_differs_by_one():
    bare = replace(PATH, host_species=(PATH.mobile_ion,) * len(PATH.host_species))
    assert {k.host_difference for k in nearest_known(bare)} == {1.0}
    known = nearest_known(hop_in({"Co": 1, "Xe": 2}, FULL.by_id["LiCoO2_1"].hop_length_a))
    assert min(k.host_difference for k in known if k.facts.framework == "CoO2") == pytest.approx(2 / 3)


@pytest.mark.parametrize(("element", "atom", "told", "kept"), [("Li", 3, 1.1, 0.9), ("O", 2, 0.6, 0.4)])
def test_a_second_atom_that_hops_is_a_caution(element, atom, told, kept):
    """Atom 2 or 3 of the host moves along y; another ion may go 1 Å, another atom half as far."""

    def said(length):
        path = hop_in({"Cr": 2, "O": 1, "Li": 1}, 2.8)
        final = path.host_frac_coords.copy()
        final[atom] += [0, length / CELL_A, 0]
        path = replace(path, final_lattice=path.lattice, final_host_frac_coords=final)
        return " ".join(answer(path, Prediction(path.id, 0.5)).cautions)

    assert f"The host's {element} at (0.500, 0.500, 0.{atom}00) moves by {told:.2f} Å as well" in said(told)
    assert "concerted" not in said(kept)


def test_a_vacuum_is_a_caution():
    """A spinel along one vector, left as it is and pulled apart by 7 Å: LiCoO2 beside a vacuum had no caution of it."""

    def said(apart_a):
        longer = 1 + apart_a / np.linalg.norm(PATH.lattice[2])
        squeezed = [1, 1, 1 / longer]
        slab = replace(
            PATH,
            lattice=PATH.lattice * [[1], [1], [longer]],
            host_frac_coords=PATH.host_frac_coords * squeezed,
            band_frac_coords=PATH.band_frac_coords * squeezed,
        )
        return " ".join(answer(slab, Prediction(slab.id, 0.5)).cautions)

    assert "has no atoms, as beside a surface" in said(7)
    assert "surface" not in said(0)


def test_a_path_that_the_dataset_knows_is_a_caution():
    known = answer(PATH, Prediction(PATH.id, 0.5)).cautions[-1]
    assert known.startswith(f"The dataset has {PATH.id}, a hop of {PATH.hop_length:.2f} Å")
    assert known.endswith("knows the answer.")
    assert "interval is too narrow" in answer(PATH, Prediction(PATH.id, 0.5, low=0.4, high=0.7)).cautions[-1]


def test_a_hop_of_a_material_is_known_by_its_experimental_lattice_too():
    """LiCoO2 at room temperature, a = 2.816 Å, of which the dataset has a hop of 2.64 Å."""
    path = hop_in({"Co": 1, "O": 2}, 2.816)
    (said,) = answer(path, Prediction(path.id, 0.5)).cautions
    assert said.startswith("The dataset has LiCoO2_1, a hop of 2.64 Å in a host of this formula")


def test_another_hop_of_a_host_that_the_dataset_knows_is_a_caution():
    """No hop of Li in CoO2 is nearer to 5 Å than 0.2 Å."""
    path = hop_in({"Co": 1, "O": 2}, 5.0)
    (said,) = answer(path, Prediction(path.id, 0.5)).cautions
    assert "is one of the dataset's by its formula, with other hops of Li" in said
    assert "do not judge it by this answer" in said
    assert answer(hop_in({"Co": 1, "O": 1, "Ni": 1}, 2.8), Prediction(path.id, 0.5)).cautions == ()


def test_a_host_without_an_element_of_the_most_similar_ones_is_a_caution():
    """NaCl: the dataset has Na3OCl, but with hops so much shorter that those of other hosts are nearer."""
    path = hop_in({"Cl": 1}, 3.98, ion="Na")
    (said,) = answer(path, Prediction(path.id, 0.5)).cautions
    assert "most similar paths of Na are in hosts that have no element in common with this one" in said
    path = replace(path, mobile_ion="H")  # of which it has no path at all, and says so
    assert "in common" not in " ".join(answer(path, Prediction(path.id, 0.5)).cautions)


def test_an_id_is_written_as_it_is():
    """Ids such as b-Li3PS4_10 begin with a small letter."""
    path = hop_in({"P": 1, "S": 4}, FULL.by_id["b-Li3PS4_10"].hop_length_a)
    (said,) = answer(path, Prediction(path.id, 0.5)).cautions
    assert " b-Li3PS4_" in said


def test_the_mark_of_a_doubted_label_is_explained_where_there_is_one():
    def told(host, length):
        path = hop_in(host, length)
        console = Console(width=200)
        with console.capture() as said:
            console.print(show(Hop(path, 0, 0, 0.0, "", ()), answer(path, Prediction(path.id, 0.5)), "m"))
        return said.get()

    assert "1.19 ?" in (doubted := told({"Al": 1, "P": 1, "O": 4, "F": 1}, 4.93))
    assert "?: doubted, see emigbench data show PATH" in doubted
    assert "?" not in told({"Fe": 1, "P": 1, "O": 4}, 3.0)


def test_json_is_stable():
    content = about(0.5, low=0.3, high=0.9).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert list(content) == ["prediction", "conductor", "diffusivity", "known_paths", "cautions"]
    assert content["prediction"]["interval_level"] == 0.9
    assert {k["id"] for k in content["known_paths"]} <= set(FULL.by_id)
    assert about().to_json()["diffusivity"]["low_cm2_per_s"] is None
