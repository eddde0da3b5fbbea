import numpy as np
import pytest

from emigbench import BarrierModel, EmigbenchError, LabelledPath, MigrationPath
from emigbench_baselines.floors import GroupMedian, NearestHop, TrainMean, TrainMedian

FLOORS = (TrainMean, TrainMedian, GroupMedian, NearestHop)
CELL_EDGE = 10.0


def a_path(name: str, group: str = "SPINEL", ion: str = "Li", hop: float = 3.0) -> MigrationPath:
    """A hop of the given length, in Å, along one edge of a cubic cell."""
    band = np.zeros((5, 3))
    band[:, 0] = np.linspace(0, hop / CELL_EDGE, 5)
    return MigrationPath(
        id=name,
        material_id=name,
        structural_group=group,
        mobile_ion=ion,
        composition="LiO",
        state="unknown",
        lattice=CELL_EDGE * np.eye(3),
        host_species=("O",),
        host_frac_coords=[[0.5, 0.5, 0.5]],
        band_frac_coords=band,
    )


TRAIN = [
    LabelledPath(a_path("a", hop=2.0), 0.2, "train"),
    LabelledPath(a_path("b", hop=3.0), 0.3, "train"),
    LabelledPath(a_path("c", hop=3.5), 0.5, "train"),
    LabelledPath(a_path("d", hop=6.0), 4.0, "train"),
    LabelledPath(a_path("e", ion="Mg", hop=3.0), 0.9, "train"),
    LabelledPath(a_path("f", group="NASICON", hop=3.0), 0.7, "train"),
]


def predicted(floor: type, path: MigrationPath) -> float | None:
    model = floor()
    model.fit(TRAIN, seed=0)
    (prediction,) = model.predict([path])
    assert prediction.id == path.id
    assert prediction.status == "ok"
    return prediction.e_m


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_is_a_barrier_model(floor):
    assert isinstance(floor(), BarrierModel)
    assert floor.kind == "floor"


def test_train_mean():
    assert predicted(TrainMean, a_path("x")) == pytest.approx(6.6 / 6)


def test_train_median():
    assert predicted(TrainMedian, a_path("x")) == pytest.approx(0.6)


def test_group_median():
    assert predicted(GroupMedian, a_path("x", group="SPINEL")) == pytest.approx(0.5)
    assert predicted(GroupMedian, a_path("x", group="NASICON")) == pytest.approx(0.7)


def test_group_median_of_an_unknown_group_is_that_of_all():
    assert predicted(GroupMedian, a_path("x", group="GARNETS")) == pytest.approx(0.6)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_that_needs_a_group_says_that_none_was_given(floor):
    model = floor()
    model.fit(TRAIN, seed=0)
    given, missing = model.predict([a_path("x"), a_path("y", group="")])
    assert given.cautions == ()
    assert bool(missing.cautions) == (floor in (GroupMedian, NearestHop))
    assert missing.e_m == pytest.approx(1.1 if floor is TrainMean else 0.6)


def test_nearest_hop_takes_the_three_nearest_of_group_and_ion():
    assert predicted(NearestHop, a_path("x", hop=2.9)) == pytest.approx(0.3)
    assert predicted(NearestHop, a_path("x", hop=5.5)) == pytest.approx(0.5)


def test_nearest_hop_uses_fewer_where_there_are_fewer():
    assert predicted(NearestHop, a_path("x", ion="Mg", hop=8.0)) == pytest.approx(0.9)


def test_nearest_hop_falls_back_to_the_group_and_then_to_all():
    assert predicted(NearestHop, a_path("x", ion="Zn")) == pytest.approx(0.5)
    assert predicted(NearestHop, a_path("x", group="GARNETS")) == pytest.approx(0.6)


def test_equally_near_hops_do_not_depend_on_the_order_of_training_paths():
    train = [LabelledPath(a_path(name, hop=hop), e_m, "train") for name, hop, e_m in NEAR_TIES]
    answers = []
    for order in (train, train[::-1]):
        model = NearestHop()
        model.fit(order, seed=0)
        answers.append(model.predict([a_path("x", hop=3.0)])[0].e_m)
    assert answers == [0.2, 0.2]


NEAR_TIES = [("a", 3.0, 0.1), ("b", 3.0, 0.2), ("c", 3.0, 0.3), ("d", 3.0, 0.4)]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_needs_training_paths(floor):
    with pytest.raises(EmigbenchError, match="at least one training path"):
        floor().fit([], seed=0)
    with pytest.raises(EmigbenchError, match="fitted before"):
        floor().predict([a_path("x")])
