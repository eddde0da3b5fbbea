import numpy as np
import pytest
from ase.geometry import find_mic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from neb_cases import Curved, a_path, surface

from emigbench_baselines.neb.band import run_neb
from emigbench_baselines.neb.endpoints import DIFFERENT_CELLS, endpoints
from emigbench_baselines.neb.interpolation import idpp, linear
from emigbench_baselines.neb.settings import NebSettings

SKEWED = np.array([[7.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 2.0, 6.0]])
N_HOST = 4


def test_an_ion_goes_the_way_of_the_band_where_two_ways_are_equally_long():
    for sign in (1, -1):
        sites = np.full((5, 3), 0.5)
        sites[:, 0] += sign * np.linspace(0, 0.5, 5)
        ends = endpoints(a_path(band_frac_coords=sites))
        assert (ends.final.positions - ends.initial.positions)[0] == pytest.approx([sign * 6, 0, 0])


def test_a_final_host_follows_at_its_nearest_image_and_another_cell_is_noted():
    host = {"host_species": ("O", "O"), "host_frac_coords": [[0.02, 0.0, 0.0], [0.5, 0.5, 0.9]]}
    final = np.array([[0.98, 0.0, 1.0], [0.5, 0.5, 0.91]])
    same = endpoints(a_path(**host, final_lattice=12 * np.eye(3), final_host_frac_coords=final))
    assert (same.final.positions - same.initial.positions)[1:] == pytest.approx(
        12 * np.array([[-0.04, 0, 0], [0, 0, 0.01]])
    )
    assert same.notes == ()
    other = endpoints(a_path(**host, final_lattice=12.1 * np.eye(3), final_host_frac_coords=final))
    smaller = endpoints(a_path(**host, final_lattice=11.9 * np.eye(3), final_host_frac_coords=final))
    assert other.notes == smaller.notes == (DIFFERENT_CELLS,)
    assert (other.final.cell == other.initial.cell).all()
    assert (other.final.positions == same.final.positions).all()
    assert run_neb(other, surface(Curved()), NebSettings()).notes == (DIFFERENT_CELLS,)


@given(
    host=arrays(float, (N_HOST, 3), elements=st.floats(0, 0.999)),
    ways=arrays(float, (N_HOST, 3), elements=st.floats(-0.8, 0.8)),
    wraps=arrays(int, (N_HOST, 3), elements=st.integers(-3, 3)),
)
def test_no_atom_is_dragged_through_the_cell_however_it_is_wrapped(host, ways, wraps):
    path = a_path(
        lattice=SKEWED,
        host_species=("O",) * N_HOST,
        host_frac_coords=host,
        final_lattice=SKEWED,
        final_host_frac_coords=host + ways @ np.linalg.inv(SKEWED) + wraps,
    )
    ends = endpoints(path)
    for end in (ends.initial, ends.final):
        assert end.pbc.all()
        assert (end.cell == SKEWED).all()
    assert (ends.final.positions - ends.initial.positions)[1:] == pytest.approx(ways, abs=1e-9)
    for image in linear(ends.initial, ends.final, 5):
        moves = np.linalg.norm(image.positions - ends.initial.positions, axis=1)
        assert (moves <= np.linalg.norm(ends.final.positions - ends.initial.positions, axis=1) + 1e-9).all()


def test_a_straight_band_is_evenly_spaced_and_keeps_its_ends():
    ends = endpoints(a_path())
    images = linear(ends.initial, ends.final, 6)
    along = np.array([image.positions[0, 0] for image in images])
    assert np.diff(along) == pytest.approx(2 / 5)
    assert (images[0].positions == ends.initial.positions).all()
    assert (images[-1].positions == ends.final.positions).all()


def test_idpp_keeps_the_ion_off_an_atom_that_the_straight_line_meets():
    in_the_way = a_path(host_species=("O", "O"), host_frac_coords=[[0.5, 0.52, 0.5], [0.0, 0.0, 0.0]])
    ends = endpoints(in_the_way)

    def nearest(images):
        return min(find_mic(image.positions[1] - image.positions[0], image.cell)[1] for image in images)

    straight, kept_apart = linear(ends.initial, ends.final, 5), idpp(ends.initial, ends.final, 5)
    assert nearest(straight) < 0.3
    assert nearest(kept_apart) > 2 * nearest(straight)
    for image, end in ((kept_apart[0], ends.initial), (kept_apart[-1], ends.final)):
        assert (image.positions == end.positions).all()
