import copy
import json
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emigbench.records import N_IMAGES, LabelledPath, MigrationPath, Prediction

ARRAYS = ("lattice", "host_frac_coords", "band_frac_coords", "final_lattice", "final_host_frac_coords")
# a and b of length 4 enclose 120 degrees, c of length 5 leans on both: nothing in it is orthogonal
SKEWED = np.array([[4.0, 0.0, 0.0], [-2.0, 2 * np.sqrt(3), 0.0], [1.0, 1.0, 5.0]])


def path_of(**changes):
    values = {
        "id": "X_1",
        "material_id": "X",
        "structural_group": "OXIDES",
        "mobile_ion": "Li",
        "composition": "LiCoO2",
        "state": "discharged",
        "lattice": SKEWED,
        "host_species": ("Co", "O"),
        "host_frac_coords": [[0.5, 0.5, 0.0], [0.25, 0.25, 0.25]],
        "band_frac_coords": np.linspace([0.1, 0.2, 0.3], [0.6, -0.3, 0.3], N_IMAGES),
        "flags": ["hop_short"],
        "raw": {"composition": "LICoO2"},
    }
    return MigrationPath(**(values | changes))


def relaxed_apart():
    return path_of(final_lattice=1.02 * SKEWED, final_host_frac_coords=[[0.52, 0.5, 0.0], [0.25, 0.26, 0.25]])


@pytest.mark.parametrize("record", [path_of(), LabelledPath(path_of(), 0.3, "train"), Prediction("X_1", 0.3)])
def test_records_are_frozen(record):
    with pytest.raises(FrozenInstanceError):
        record.id = "Y_1"


def test_a_record_is_shown_on_one_line():
    assert repr(path_of()) == "<MigrationPath X_1: Li in LiCoO2, 3 atoms, hop of 3.46 Å>"
    assert repr(LabelledPath(path_of(), 0.3, "train")) == "<LabelledPath X_1: 0.3 eV, train>"


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_read_only_copies(name):
    values = np.array(getattr(relaxed_apart(), name))
    path = replace(relaxed_apart(), **{name: values})
    values += 1
    assert not np.array_equal(getattr(path, name), values)
    with pytest.raises(ValueError, match="read-only"):
        getattr(path, name)[0, 0] = 0
    assert getattr(path, name).dtype == np.float64


def test_mutable_arguments_are_copied():
    species, flags, raw = ["Co", "O"], ["hop_short"], {"composition": "LICoO2"}
    path = path_of(host_species=species, flags=flags, raw=raw)
    species.append("Li")
    flags.append("hop_long")
    raw["composition"] = ""
    assert path.host_species == ("Co", "O")
    assert path.flags == ("hop_short",)
    assert path.raw == {"composition": "LICoO2"}


@pytest.mark.parametrize(
    "write",
    [
        lambda raw: raw.__setitem__("composition", ""),
        lambda raw: raw.__delitem__("composition"),
        lambda raw: raw.__ior__({"composition": ""}),
        lambda raw: raw.update(composition=""),
        lambda raw: raw.setdefault("space_group", ""),
        lambda raw: raw.pop("composition"),
        lambda raw: raw.popitem(),
        lambda raw: raw.clear(),
    ],
)
def test_the_strings_of_the_source_are_read_only(write):
    path = path_of()
    with pytest.raises(TypeError, match="cannot be changed"):
        write(path.raw)
    assert path.raw == {"composition": "LICoO2"}


def test_a_record_as_a_dictionary_and_in_a_table():
    content = asdict(LabelledPath(path_of(), 0.3, "train"))
    assert json.loads(json.dumps(content["path"]["raw"])) == {"composition": "LICoO2"}
    assert list(pd.DataFrame([LabelledPath(path_of(), 0.3, "train")])["e_m"]) == [0.3]
    assert list(pd.DataFrame([path_of()])["id"]) == ["X_1"]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name, bad):
    values = np.array(getattr(relaxed_apart(), name))
    values[1, 2] = bad
    with pytest.raises(ValueError, match=f"X_1: {name} .* not finite"):
        replace(relaxed_apart(), **{name: values})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lattice", (3,)),
        ("lattice", (2, 3)),
        ("host_frac_coords", (3, 3)),
        ("host_frac_coords", (2, 2)),
        ("band_frac_coords", (4, 3)),
        ("band_frac_coords", (5,)),
        ("final_lattice", (9,)),
        ("final_host_frac_coords", (1, 3)),
    ],
)
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=f"X_1: {name} has shape"):
        replace(relaxed_apart(), **{name: np.zeros(shape)})


def test_species_must_fit_the_host():
    with pytest.raises(ValueError, match="X_1: host_frac_coords"):
        path_of(host_species=("Co", "O", "O"))


@pytest.mark.parametrize("left_out", ["final_lattice", "final_host_frac_coords"])
def test_half_a_final_state_is_refused(left_out):
    with pytest.raises(ValueError, match=r"X_1: .* together or not at all"):
        replace(relaxed_apart(), **{left_out: None})


def test_unknown_state_is_refused():
    with pytest.raises(ValueError, match="X_1: unknown state 'half'"):
        path_of(state="half")


def test_no_label_can_reach_a_model_through_a_path():
    names = {field.name for field in fields(MigrationPath)}
    assert not names & {"e_m", "e_m_ev", "label_flags", "duplicate_of", "target", "split", "barrier"}
    assert {field.name for field in fields(LabelledPath)} == {"path", "e_m", "split", "label_flags", "duplicate_of"}


def test_hop_length_worked_by_hand():
    # (1/2, -1/2, 0) is a/2 - b/2 = (3, -sqrt 3, 0): length sqrt 12. The angle of 120 degrees makes it the long way
    assert path_of().hop_length == pytest.approx(np.sqrt(12))
    # (1, 0, 1) is a + c = (5, 1, 5): unwrapped, so whole cells count
    straight = path_of(band_frac_coords=np.linspace([0, 0, 0], [1, 0, 1], N_IMAGES))
    assert straight.hop_length == pytest.approx(np.sqrt(51))


def test_structure_of_each_image():
    path = path_of()
    for image in range(N_IMAGES):
        structure = path.structure(image)
        assert [site.species_string for site in structure] == ["Li", "Co", "O"]
        np.testing.assert_allclose(structure[0].frac_coords, path.band_frac_coords[image])
        np.testing.assert_allclose(structure.frac_coords[1:], path.host_frac_coords)
        np.testing.assert_array_equal(structure.lattice.matrix, path.lattice)
    assert len(structure) == path.n_atoms
    # image 2 by hand: (0.35, -0.05, 0.3) in Cartesian coordinates
    x, y, z = 0.35 * 4 + 0.05 * 2 + 0.3, -0.05 * 2 * np.sqrt(3) + 0.3, 1.5
    np.testing.assert_allclose(path.structure(2)[0].coords, [x, y, z])


def test_only_the_final_image_takes_the_final_cell():
    path = relaxed_apart()
    for image in (4, -1):
        assert path.structure(image).lattice.a == pytest.approx(4.08)
        np.testing.assert_allclose(path.structure(image).frac_coords[1], [0.52, 0.5, 0.0])
        np.testing.assert_allclose(path.structure(image).frac_coords[0], [0.6, -0.3, 0.3])
    for image in (0, 3, -2, -5):
        assert path.structure(image).lattice.a == pytest.approx(4)
        np.testing.assert_allclose(path.structure(image).frac_coords[1], [0.5, 0.5, 0.0])


@pytest.mark.parametrize("image", [5, -6])
def test_there_is_no_sixth_image(image):
    with pytest.raises(IndexError):
        path_of().structure(image)


@pytest.mark.parametrize("travel", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("path", [path_of(), relaxed_apart()], ids=["band", "relaxed apart"])
def test_paths_travel_to_other_processes(travel, path):
    twin = travel(LabelledPath(path, 0.25, "test", ("label_conflict",)))
    assert (twin.id, twin.e_m, twin.split, twin.label_flags) == ("X_1", 0.25, "test", ("label_conflict",))
    for field in fields(MigrationPath):
        np.testing.assert_array_equal(getattr(twin.path, field.name), getattr(path, field.name))
    for name in ARRAYS:
        values = getattr(twin.path, name)
        assert values is None or not values.flags.writeable
    with pytest.raises(TypeError):
        twin.path.raw["composition"] = ""


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"e_m": float("nan")}, "nan"),
        ({"e_m": float("inf")}, "inf"),
        ({"e_m": None}, "None"),
        ({"e_m": None, "status": "not_converged"}, "None"),
        ({"e_m": 0.3, "status": "failed"}, "failed"),
        ({"e_m": 0.3, "status": "maybe"}, "unknown status 'maybe'"),
        ({"e_m": 0.3, "std": -0.1}, "std is -0.1"),
        ({"e_m": 0.3, "std": float("nan")}, "std is nan"),
        ({"e_m": 0.3, "seconds": -1.0}, "time is -1.0"),
        ({"e_m": None}, "e_m=None and status='failed'"),
        ({"e_m": np.zeros((2, 1))}, r"e_m is a ndarray of shape \(2, 1\), expected one number"),
        ({"e_m": "fast"}, "e_m is a str, expected one number"),
        ({"e_m": "0.5"}, "e_m is a str, expected one number"),
        ({"e_m": 0.3, "std": [0.1]}, "std is a list, expected one number"),
    ],
)
def test_predictions_that_make_no_sense_are_refused(values, reason):
    with pytest.raises(ValueError, match=f"X_1: .*{reason}"):
        Prediction("X_1", **values)


@given(st.floats(-1e6, 1e6), st.none() | st.floats(0, 1e6), st.sampled_from(["ok", "not_converged"]))
def test_any_finite_prediction_is_taken(e_m, std, status):
    assert Prediction("X_1", e_m, std, status).e_m == e_m
    assert Prediction("X_1", np.float32(0.5), np.array(0.25)) == Prediction("X_1", 0.5, 0.25)
    assert Prediction("X_1", np.array([[0.5]])) == Prediction("X_1", 0.5)  # a row of a model's output


def test_a_path_in_place_of_its_id_is_refused():
    with pytest.raises(ValueError, match="is of type MigrationPath, not a text"):
        Prediction(path_of(), 0.5)


def test_a_failure_carries_no_barrier():
    assert Prediction("X_1", None, status="failed").e_m is None


# --- Intervals and cautions


def test_a_prediction_may_have_an_interval_and_cautions():
    found = Prediction("x", 0.5, low=np.float32(0.25), high=1, cautions=["Far from all that it has seen."])
    assert (found.low, found.high) == (0.25, 1.0)
    assert found.cautions == ("Far from all that it has seen.",)
    assert (Prediction("x", 0.5).low, Prediction("x", 0.5).cautions) == (None, ())


@pytest.mark.parametrize(
    "interval",
    [
        {"low": 0.3},
        {"high": 0.7},
        {"low": 0.7, "high": 0.3},
        {"low": 0.3, "high": float("nan")},
        {"low": float("-inf"), "high": 0.7},
    ],
)
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(ValueError, match=r"^x: "):
        Prediction("x", 0.5, **interval)


def test_a_mean_may_lie_outside_of_its_own_quantiles():
    assert Prediction("x", 0.5, low=0.6, high=0.7).e_m == 0.5
    assert Prediction("x", 0.5, low=0.3, high=0.3).high == 0.3


def test_a_failed_prediction_has_no_interval():
    with pytest.raises(ValueError, match="interval"):
        Prediction("x", None, status="failed", low=0.1, high=0.9)
