from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matminer", reason="matminer is not installed: pip install 'emigbench[classical]'")

from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression

from emigbench import BarrierModel, EmigbenchError, LabelledPath, MigrationPath
from emigbench_baselines.classical import features, models
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.feature_list import FEATURES
from emigbench_baselines.classical.features import feature_table
from emigbench_baselines.classical.models import (
    BaggedBoosting,
    CorrelationSelector,
    DescriptorBoosting,
    GradientBoosting,
    RandomForest,
    boosted_trees,
    forest,
    grouped_folds,
    pipeline,
)


def few_trees(seed):
    return RandomForestRegressor(n_estimators=10, random_state=seed)


def few_boosted_trees(seed):
    return GradientBoostingRegressor(n_estimators=10, subsample=0.7, random_state=seed)


def quick(recipe):
    """The same with few trees and two points of the grid."""
    return replace(recipe, grid={"max_depth": (2, 3)}, regressor=few_boosted_trees)


class SmallForest(RandomForest):
    recipe = replace(
        RandomForest.recipe, grid={"max_features": (0.3,), "min_samples_leaf": (1, 2)}, regressor=few_trees
    )


class SmallBoosting(GradientBoosting):
    recipe = quick(GradientBoosting.recipe)


class SmallBagged(BaggedBoosting):
    recipe = quick(BaggedBoosting.recipe)


class SmallDescriptors(DescriptorBoosting):
    recipe = quick(DescriptorBoosting.recipe)


SMALL = (SmallForest, SmallBoosting, SmallBagged, SmallDescriptors)


def take_cores(monkeypatch, number):
    for module in (features, models):
        monkeypatch.setattr(module, "available_cores", lambda: number)


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    take_cores(monkeypatch, 1)


def simple_cubic(name: str, material: str, ion: str, edge: float, hop: float) -> MigrationPath:
    """An ion at the corner of a simple cubic cell of O and Ti, moving along one edge by a part of it."""
    band = np.zeros((5, 3))
    band[:, 0] = np.linspace(0, hop, 5)
    return MigrationPath(
        id=name,
        material_id=material,
        structural_group="OXIDES",
        mobile_ion=ion,
        composition=f"{ion}TiO",
        state="unknown",
        lattice=edge * np.eye(3),
        host_species=("O", "Ti"),
        host_frac_coords=[[0.5, 0.5, 0.5], [0.5, 0.5, 0.0]],
        band_frac_coords=band,
    )


def labelled_paths() -> list[LabelledPath]:
    """24 paths of 12 materials whose barrier grows with the hop."""
    paths = []
    for i in range(24):
        material = i // 2
        ion = ("Li", "Na", "Mg")[material % 3]
        hop = 0.3 + 0.02 * i
        path = simple_cubic(f"p{i}", f"m{material}", ion, 4 + 0.1 * material, hop)
        paths.append(LabelledPath(path, 0.2 * path.hop_length + 0.01 * (i % 3), "train"))
    return paths


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMIGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def train(cached):
    return labelled_paths()[:18]


@pytest.fixture
def test_side(cached):
    return [t.path for t in labelled_paths()[18:]]


def test_selector_drops_constant_and_uncorrelated_features():
    rng = np.random.default_rng(0)
    y = np.linspace(0, 1, 200)
    unrelated = np.tile([1.0, -1.0], 100)
    x = np.column_stack([np.full(200, 3.3), unrelated, y + 0.1 * rng.normal(size=200)])
    assert CorrelationSelector().fit(x, y).kept_.tolist() == [2]


def test_selector_keeps_of_a_correlated_pair_what_says_more_about_the_target():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    better = y + 0.1 * rng.normal(size=300)
    worse = better + 0.1 * rng.normal(size=300)
    other = y + rng.normal(size=300)
    selector = CorrelationSelector().fit(np.column_stack([worse, better, other]), y)
    assert selector.kept_.tolist() == [1, 2]
    assert CorrelationSelector(max_mutual=1.0).fit(np.column_stack([worse, better]), y).kept_.tolist() == [
        0,
        1,
    ]


def test_selector_without_any_feature_left_says_so():
    rising = np.arange(10.0)
    for x, y in ((np.ones((10, 2)), rising), (rising[:, None], np.ones(10))):
        with pytest.raises(EmigbenchError, match="No feature correlates"):
            CorrelationSelector().fit(x, y)


def test_pipeline_takes_missing_features_as_the_training_median():
    x = np.array([*range(20), 500.0])[:, None]  # median 10, mean 33
    model = pipeline(LinearRegression()).fit(x, (1 + x[:, 0]) ** 2)
    assert model.predict([[np.nan], [10.0]]) == pytest.approx([121, 121])


def test_pipeline_never_predicts_a_negative_root():
    x = np.arange(21.0)[:, None]
    model = pipeline(LinearRegression()).fit(x, x[:, 0] ** 2)
    assert model.predict([[-50.0]]) == pytest.approx(0)


def test_folds_never_share_a_group_and_hold_every_row_once():
    groups = [f"m{i % 7}" for i in range(40)]
    folds = grouped_folds(groups, seed=3)
    assert len(folds) == 5
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(40))
    for fit, test in folds:
        assert not {groups[i] for i in fit} & {groups[i] for i in test}


def test_few_groups_give_few_folds_and_one_is_refused():
    assert len(grouped_folds(["a", "b", "b"], seed=0)) == 2
    with pytest.raises(EmigbenchError, match="two materials"):
        grouped_folds(["a", "a"], seed=0)


def test_bagged_boosting_answers_the_square_of_the_mean_root_of_ten_and_chooses_as_one_does(train, test_side):
    one, ten = SmallBoosting(), SmallBagged()
    for model in (one, ten):
        model.fit(train, seed=3)
    assert (ten.best_params, ten.cv_mae) == (one.best_params, one.cv_mae)
    *before, regress = [step for _, step in ten._model.steps]
    assert [len(set(seen)) for seen in regress.regressor_.estimators_samples_] == [len(train)] * 10
    rows = feature_table(test_side).to_numpy()
    for step in before:
        rows = step.transform(rows)
    roots = [tree.predict(rows) for tree in regress.regressor_.estimators_]
    assert len(roots) == len({tuple(r) for r in roots}) == 10
    found = [p.e_m for p in ten.predict(test_side)]
    np.testing.assert_allclose(found, np.maximum(np.mean(roots, axis=0), 0) ** 2)


@pytest.mark.parametrize("model", [RandomForest, GradientBoosting, BaggedBoosting])
def test_models_follow_the_protocol(model):
    assert isinstance(model(), BarrierModel)
    assert model.kind == "classical"


@pytest.mark.parametrize("model", SMALL)
def test_same_seed_gives_the_same_model_on_any_number_of_cores(model, train, test_side, monkeypatch):
    answers = []
    for cores in (1, 1, 2):
        take_cores(monkeypatch, cores)
        fitted = model()
        fitted.fit(train, seed=7)
        answers.append(fitted.predict(test_side))
    assert answers[0] == answers[1] == answers[2]
    assert [p.id for p in answers[0]] == [p.id for p in test_side]


def test_another_seed_gives_another_model(train, test_side):
    answers = []
    for seed in (0, 1):
        fitted = SmallForest()
        fitted.fit(train, seed=seed)
        answers.append(fitted.predict(test_side))
    assert answers[0] != answers[1]


@pytest.mark.parametrize("make", [forest, boosted_trees])
def test_trees_are_of_their_seed(make):
    x = np.random.default_rng(0).normal(size=(30, 3))
    first, again, other = (make(seed).fit(x, x[:, 0]).predict(x).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_what_was_chosen_can_be_read_after_the_fit(train):
    fitted = SmallForest()
    fitted.fit(train, seed=0)
    assert "path: hop length" in fitted.selected_features
    assert set(fitted.best_params) == {"max_features", "min_samples_leaf"}
    assert 0 < fitted.cv_mae < 1


def test_features_are_selected_on_the_training_rows_of_each_fold_alone_and_folds_share_no_host(train, monkeypatch):
    seen = []
    original = CorrelationSelector.fit

    def spy(self, X, y):  # noqa: N803
        seen.append(sorted(y))
        return original(self, X, y)

    monkeypatch.setattr(CorrelationSelector, "fit", spy)
    SmallForest().fit(train, seed=0)
    barriers = np.array([t.e_m for t in train])
    hosts = [t.path.mobile_ion for t in train]  # of one ion all cells are one crystal, under names of their own
    folds = grouped_folds(hosts, seed=0)
    assert len(folds) == 3
    allowed = [sorted(barriers[rows]) for rows, _ in folds]
    n_points = 2
    assert sorted(seen[:-1]) == sorted(allowed * n_points)
    assert seen[-1] == sorted(barriers)


def test_descriptor_boosting_reads_both_tables(train):
    paths = [t.path for t in train]
    table = DescriptorBoosting.recipe.table(paths)
    assert list(table.columns) == [*FEATURES, *DESCRIPTORS]
    assert list(table.index) == [path.id for path in paths]
    np.testing.assert_array_equal(table[list(DESCRIPTORS)], descriptor_table(paths))


def test_a_prediction_depends_on_its_own_path_alone(train, test_side):
    fitted = SmallForest()
    fitted.fit(train, seed=0)
    together = fitted.predict(test_side)
    one_by_one = [fitted.predict([path])[0] for path in test_side]
    assert together == one_by_one
    assert fitted.predict([]) == []


def test_a_feature_that_is_missing_everywhere_or_here_and_there_is_no_obstacle(train, test_side, monkeypatch):
    def with_gaps(paths):
        table = feature_table(paths)
        table["interaction: ewald_site_energy"] = np.nan
        table.iloc[::2, table.columns.get_loc("path: hop length")] = np.nan
        return table

    monkeypatch.setattr(SmallForest, "recipe", replace(SmallForest.recipe, table=with_gaps))
    fitted = SmallForest()
    fitted.fit(train, seed=0)
    assert all(p.status == "ok" for p in fitted.predict(test_side))
    assert "interaction: ewald_site_energy" not in fitted.selected_features


def test_an_unfitted_model_says_so(test_side):
    with pytest.raises(EmigbenchError, match="fitted before"):
        RandomForest().predict(test_side)
