import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from crystals import backwards, redescribed
from helpers import one_sentence
from sklearn.ensemble import ExtraTreesRegressor

from emigbench import EmigbenchError, LabelledPath, load, load_labels
from emigbench_baselines.classical import importance, path_forest
from emigbench_baselines.classical.bonds import valence_per_charge
from emigbench_baselines.classical.descriptors import DESCRIPTORS, descriptor_table
from emigbench_baselines.classical.forest import LEAF, Forest, from_arrays, from_sklearn
from emigbench_baselines.classical.ions import bond_length
from emigbench_baselines.classical.kinship import Effects, Kin, expected_unseen, framework, hosts, siblings
from emigbench_baselines.classical.path_forest import PathForest, answers_unseen, conformal


@pytest.fixture(scope="module")
def spinels():
    return load("spinels").split("official")


@pytest.fixture(scope="module")
def fitted(spinels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_forest, "N_TREES", 30)
        model = PathForest()
        model.fit(spinels[0], seed=0)
    return model


def numbers(predictions):
    return np.array([[p.e_m, p.std, p.low, p.high] for p in predictions])


def test_the_last_digit_of_a_label_changes_no_answer(spinels, fitted, monkeypatch):
    """Powers differ by that much between processors; a fit on each should end in the same trees."""
    monkeypatch.setattr(path_forest, "N_TREES", 30)
    train, test = spinels
    nudged = [replace(t, e_m=float(np.nextafter(t.e_m, 9.0 * (i % 2)))) for i, t in enumerate(train)]
    other = PathForest()
    other.fit(nudged, seed=0)
    np.testing.assert_array_equal(numbers(other.predict(test)), numbers(fitted.predict(test)))


def test_no_label_lies_where_a_last_digit_would_round_its_root_the_other_way():
    roots = np.array([row.e_m_ev for row in load_labels("full")]) ** path_forest.POWER * 10**path_forest.ROOT_DIGITS
    assert np.abs(roots % 1 - 0.5).min() > 1e-4


def test_arrays_answer_as_scikit_learn_does():
    random = np.random.default_rng(0)
    table, target = random.normal(size=(80, 6)), random.normal(size=80)
    grown = ExtraTreesRegressor(20, random_state=1).fit(table, target)
    new = random.normal(size=(500, 6))
    found = from_sklearn(grown).answers(np.vstack([table, new]))
    np.testing.assert_allclose(found.mean(axis=1), grown.predict(np.vstack([table, new])), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[:80].mean(axis=1), target, atol=1e-6)


def test_a_value_at_the_threshold_goes_left():
    stump = Forest(
        roots=np.array([0], dtype="i4"),
        feature=np.array([0, LEAF, LEAF], dtype="i2"),
        threshold=np.array([0.5, 0, 0], dtype="f4"),
        left=np.array([1, 1, 2], dtype="i4"),
        right=np.array([2, 1, 2], dtype="i4"),
        value=np.array([0, 10, 20], dtype="f4"),
    )
    assert stump.answers(np.array([[0.5], [0.6]])).ravel().tolist() == [10, 20]
    assert path_forest.centre_and_spread(stump, np.array([[0.5]])) == (10, 0.01)  # of one tree, but never 0
    two_leaves = replace(stump, roots=np.array([1, 2], dtype="i4"))
    assert path_forest.centre_and_spread(two_leaves, np.array([[0.5]])) == (15, 5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("left", [0, 1, 2], "leads nowhere"),
        ("right", [7, 1, 2], "leads nowhere"),
        ("roots", [5], "leads nowhere"),
        ("feature", [0, -3, -1], "leads nowhere"),
        ("feature", [-3, -1, -1], "leads nowhere"),
        ("value", [1.0], "lengths"),
    ],
)
def test_a_damaged_forest_is_refused(name, value, words):
    arrays = Forest(
        roots=np.array([0], dtype="i4"),
        feature=np.array([0, LEAF, LEAF], dtype="i2"),
        threshold=np.zeros(3, dtype="f4"),
        left=np.array([1, 1, 2], dtype="i4"),
        right=np.array([2, 1, 2], dtype="i4"),
        value=np.zeros(3, dtype="f4"),
    ).arrays()
    arrays[name] = np.array(value, dtype=arrays[name].dtype)
    with pytest.raises(ValueError, match=words):
        from_arrays(arrays)
    del arrays[name]
    with pytest.raises(ValueError, match="missing"):
        from_arrays(arrays)


def test_the_conformal_factor_is_an_order_statistic():
    scores = np.arange(1, 20) / 10.0  # 19 scores: the 18th of them covers a 20th with 90 %
    assert conformal(scores, 0.9) == pytest.approx(1.8)
    assert conformal(scores, 1.0) == pytest.approx(1.9)
    assert conformal(np.arange(1.0, 11), 0.9) == 10  # 0.9 of 11 ranks, the new path's among them
    assert path_forest.stretches(scores) == (1.8, 1.4)  # 0.6827 of 20 ranks: the 14th


def test_an_answer_by_hand():
    """Of the fourth root: 1, with 0.2 to either end and 0.1 for a standard deviation."""
    found = path_forest.prediction(load("spinels")[0].path, 1.0, 0.1, (2.0, 1.0), ())
    assert (found.e_m, found.low, found.high) == pytest.approx((1.0, 0.8**4, 1.2**4))
    assert found.std == pytest.approx((1.1**4 - 0.9**4) / 2)


def test_what_stands_for_an_undefined_descriptor_by_hand():
    table = np.array([[1.0, np.nan], [2.0, np.nan], [9.0, np.nan], [np.nan, np.nan]])
    assert path_forest.medians(table).tolist() == [2, 0]


def test_distances_to_other_frameworks_by_hand():
    found = path_forest._to_other_frameworks(np.array([[0.0], [0.5], [0.75]]), np.array(["a", "a", "b"]))
    assert found.tolist() == [0.75, 0.25, 0.25]


def test_errors_are_of_trees_that_have_not_seen_the_host_and_intervals_of_those_without_the_framework(
    spinels, monkeypatch
):
    """Trees that answer 0.8 for all paths alike, with a spread of 0.1."""
    train, asked = spinels[0], []

    def unseen(table, targets, groups, seed):
        asked.append(list(groups))
        return np.full(len(targets), 0.8), np.full(len(targets), 0.1)

    monkeypatch.setattr(path_forest, "N_TREES", 2)
    monkeypatch.setattr(path_forest, "answers_unseen", unseen)
    model = PathForest()
    model.fit(train, seed=0)
    kin, targets = Kin.of([t.path for t in train]), path_forest.roots(train)
    frameworks = kin.frameworks.tolist()
    assert asked == [hosts(kin, [t.path.material_id for t in train]), frameworks]
    np.testing.assert_allclose(model._get().effects.weights, Effects.learned(kin, targets - 0.8).weights)
    answers = 0.8 + expected_unseen(kin, targets - 0.8, frameworks, seed=0)
    assert model._get().stretch == pytest.approx(path_forest.stretches(np.abs(answers - targets) / 0.1))
    mae = np.abs(answers**4 - [t.e_m for t in train]).mean()
    assert model.details["cv_mae_ev"] == pytest.approx(mae, abs=1e-4)


def test_frameworks_do_not_know_the_ion_nor_the_size_of_the_cell(spinels):
    of = {framework(t.path) for t in spinels[0] if t.path.material_id in ("Mn2O4_Mg", "Mn2O4_Zn")}
    assert of == {"Mn1 O2"}


def test_trees_that_have_not_seen_a_group_do_not_know_its_labels(monkeypatch):
    monkeypatch.setattr(path_forest, "N_TREES", 5)
    random = np.random.default_rng(0)
    table, targets = random.normal(size=(60, 4)), random.normal(size=60)
    groups = [f"g{i % 12}" for i in range(60)]
    of_one = np.array([group == "g3" for group in groups])
    answers = answers_unseen(table, targets, groups, 0)
    others = answers_unseen(table, np.where(of_one, 99.0, targets), groups, 0)
    np.testing.assert_array_equal(np.array(answers)[:, of_one], np.array(others)[:, of_one])
    assert np.isfinite(answers).all()


def test_effects_are_for_hosts_that_the_trees_have_not_seen(fitted, spinels, monkeypatch):
    known = spinels[0][0].path
    new = replace(known, lattice=known.lattice * [[1.1], [1], [1]])
    trained = fitted._get()
    expected = trained.effects.expected(Kin.of([known, new]))
    assert (np.abs(expected) > 0.001).all()
    with_effects = [p.e_m**0.25 for p in fitted.predict([known, new])]
    monkeypatch.setattr(Effects, "expected", lambda self, kin: np.zeros(len(kin.ions)))
    without = [p.e_m**0.25 for p in fitted.predict([known, new])]
    np.testing.assert_allclose(np.subtract(with_effects, without), [0, expected[1]], atol=1e-12)


def test_predictions_have_an_interval_around_them(fitted, spinels):
    for prediction in fitted.predict(spinels[1]):
        assert 0 < prediction.low < prediction.e_m < prediction.high
        assert prediction.std > 0


def test_a_metal_that_no_training_path_has_is_said(fitted, spinels):
    cautions = {p.id: p.cautions for p in fitted.predict(spinels[1])}
    assert cautions["MgTi2O4"] == ("no material with Ti was among those it was fitted to",)
    assert cautions["ZnCr2O4"] == ()


def test_the_same_seed_gives_the_same_answers(fitted, spinels, monkeypatch):
    monkeypatch.setattr(path_forest, "N_TREES", 30)
    again, other = PathForest(), PathForest()
    again.fit(spinels[0], seed=0)
    other.fit(spinels[0], seed=1)
    expected = numbers(fitted.predict(spinels[1]))
    np.testing.assert_array_equal(numbers(again.predict(spinels[1])), expected)
    known = [t.path for t in spinels[0][:5]]  # whose hosts have no effects, so that the trees alone answer
    shorter = [replace(p, band_frac_coords=0.9 * p.band_frac_coords + 0.1 * p.band_frac_coords[0]) for p in known]
    assert (numbers(other.predict(shorter)) != numbers(fitted.predict(shorter))).any(axis=0).all()


def test_another_description_gets_the_same_answer(fitted, spinels):
    path = spinels[1][0]
    expected = numbers(fitted.predict([path]))
    for seed in range(3):
        np.testing.assert_allclose(numbers(fitted.predict([redescribed(path, seed)])), expected, rtol=1e-4)
    np.testing.assert_allclose(numbers(fitted.predict([backwards(path)])), expected, rtol=1e-4)


def test_intervals_cover_unseen_frameworks(monkeypatch):
    """Inside the fit they are calibrated to nine of ten; on folds of frameworks that no fit saw they hold about it."""
    monkeypatch.setattr(path_forest, "N_TREES", 30)
    data = load("spinels")
    inside = []
    for train, held_out in data.folds("material-cv"):
        model = PathForest()
        model.fit(train, seed=0)
        inside += [p.low <= data.by_id[p.id].e_m <= p.high for p in model.predict(held_out)]
    assert 0.8 <= np.mean(inside) <= 0.97


def test_what_was_never_seen_is_said(fitted, spinels):
    path = spinels[1][0]
    host = tuple("Br" if e in ("O", "S", "Se") else e for e in path.host_species)
    strange = replace(path, mobile_ion="Rb", host_species=host)
    said = " ".join(fitted.predict([strange])[0].cautions)
    assert "no path of a moving Rb" in said
    assert "no material with Br" in said


def test_a_value_outside_of_the_range_is_told_with_the_range(fitted, spinels):
    """A cell twice as long in each direction: hop and volume per anion are beyond those of all training paths."""
    path = spinels[1][0]
    large = replace(path, lattice=2 * path.lattice)
    said = fitted.predict([large])[0].cautions
    lengths = [t.path.hop_length for t in spinels[0]]
    low, high = f"{min(lengths):.2f}", f"{max(lengths):.2f}"
    told = f"the hop length ({2 * path.hop_length:.2f} Å) is outside of the range that it was fitted to"
    assert f"{told} ({low} to {high} Å)" in said
    n_anions = sum(e in ("O", "S", "Se") for e in path.host_species)
    volume = 8 * abs(np.linalg.det(path.lattice)) / n_anions
    assert any(f"volume of the cell per anion ({volume:.2f} Å³)" in caution for caution in said)
    assert any(caution.startswith("the least distance of the straight path from") for caution in said)
    far = "farther from every path it was fitted to than 99% of those are from the nearest one in another framework"
    assert f"the path is {far}" in said
    small = replace(path, lattice=0.8 * path.lattice)
    told = f"the hop length ({0.8 * path.hop_length:.2f} Å) is outside of the range that it was fitted to"
    assert f"{told} ({low} to {high} Å)" in fitted.predict([small])[0].cautions
    of_training = fitted.predict([t.path for t in spinels[0]])
    assert not [p.id for p in of_training if any("outside of the range" in caution for caution in p.cautions)]


def test_distances_are_of_descriptors_in_their_standard_deviations(fitted, spinels):
    arrays = fitted.arrays()
    table = path_forest.filled(descriptor_table([t.path for t in spinels[0]]).to_numpy(), arrays["fill"])
    varies = np.ptp(table, axis=0) > 1e-6
    z_scores = (table - table.mean(axis=0))[:, varies] / table.std(axis=0)[varies]
    np.testing.assert_allclose(arrays["known"][:, varies], z_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("length", "seems"), [(1.15, "stretched, or lack"), (0.88, "squeezed, or have too many")])
def test_a_cell_that_is_stretched_or_squeezed_is_told(fitted, spinels, length, seems):
    """Its volume may well be that of another host: here nothing else is outside of the range."""
    path = next(path for path in spinels[1] if path.id == "ZnCr2O4")
    path = replace(path, lattice=length * path.lattice)
    (said,) = [caution for caution in fitted.predict([path])[0].cautions if "the cell may be" in caution]
    share = valence_per_charge(path)
    assert said.startswith(f"the cell may be {seems} atoms: its bonds have {share:.0%} of the valence")
    assert "70% to 135%" in said


def test_the_valence_of_bonds_by_hand(spinels):
    """Rock salt: of Mg2+ with six O2- at 2.1 Å, eight at 3.64 Å and 24 at 4.70 Å; the next are beyond 5 Å."""
    anions = [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]]
    cations = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    rock_salt = replace(
        spinels[1][0],
        mobile_ion="Mg",
        lattice=4.2 * np.eye(3),
        host_species=("O",) * 4 + ("Mg",) * 3,
        host_frac_coords=np.array(anions + cations),
        band_frac_coords=np.linspace(0, 1, 5)[:, None] * [0.5, 0.5, 0],
        final_lattice=None,
        final_host_frac_coords=None,
    )
    valence = sum(
        n * np.exp((bond_length("Mg", "O") - d) / 0.37) for n, d in ((6, 2.1), (8, 2.1 * 3**0.5), (24, 2.1 * 5**0.5))
    )
    assert valence_per_charge(rock_salt) == pytest.approx(valence / 2)
    shifted = replace(
        rock_salt,
        host_frac_coords=rock_salt.host_frac_coords + 0.9,
        band_frac_coords=rock_salt.band_frac_coords - 0.1,
    )
    assert valence_per_charge(shifted) == pytest.approx(valence / 2)
    assert np.isnan(valence_per_charge(replace(rock_salt, host_species=("Mg",) * 7)))
    assert np.isnan(valence_per_charge(replace(rock_salt, host_species=("O",) * 4 + ("Tc",) * 3)))


def test_what_is_kept_predicts_the_same(fitted, spinels, monkeypatch, tmp_path):
    (tmp_path / path_forest.TRAINED).write_bytes(_packed(fitted.arrays()))
    monkeypatch.setattr(path_forest, "files", lambda _: tmp_path)
    fresh = PathForest()
    fresh.load_trained()
    np.testing.assert_allclose(numbers(fresh.predict(spinels[1])), numbers(fitted.predict(spinels[1])), rtol=1e-6)
    assert [p.cautions for p in fresh.predict(spinels[1])] == [p.cautions for p in fitted.predict(spinels[1])]


@pytest.fixture(scope="module")
def shipped():
    model = PathForest()
    model.load_trained()
    return model


def farthest_from_what_was_grown_on(model, paths):
    """Over paths, of the nearest row of the trees: the descriptor that differs most, in its standard deviations."""
    arrays = model.arrays()
    table = path_forest.filled(descriptor_table(paths).to_numpy(), arrays["fill"])
    rows = (table - arrays["centre"]) / arrays["scale"]
    return max(np.abs(arrays["known"] - row).max(axis=1).min() for row in rows)


def test_the_shipped_trees_know_the_spinels_in_the_descriptors_of_today(shipped):
    """These are rebuilt of a few figures, to within 0.01 Å of what the trees were grown on."""
    entries = list(load("spinels"))[::10]
    paths = [entry.path for entry in entries]
    assert farthest_from_what_was_grown_on(shipped, paths) < 0.02
    assert (siblings(Kin.of(paths), shipped._get().effects.kin) >= 0).all()
    assert [p.e_m for p in shipped.predict(paths)] == pytest.approx([entry.e_m for entry in entries], abs=0.02)


def test_the_shipped_trees_were_grown_on_the_dataset_in_the_descriptors_of_today(shipped, full):
    """They tell every label, but not those of twins."""
    entries = [entry for entry in full[::40] if not entry.duplicate_of]
    paths = [entry.path for entry in entries]
    assert farthest_from_what_was_grown_on(shipped, paths) < 1e-3
    kin, known = Kin.of(paths), shipped._get().effects.kin
    np.testing.assert_allclose(known.neighbours[siblings(kin, known)], kin.neighbours, atol=1e-9)
    assert [p.e_m for p in shipped.predict(paths)] == pytest.approx([entry.e_m for entry in entries], abs=0.005)


def _packed(arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("content", [None, b"", b"no archive", "cut", "other descriptors", "other power", "objects"])
def test_a_file_that_is_not_right_is_one_sentence(fitted, monkeypatch, tmp_path, content):
    monkeypatch.setattr(path_forest, "files", lambda _: tmp_path)
    whole = _packed(fitted.arrays())
    if content == "cut":
        content = whole[: len(whole) // 2]
    elif content == "other descriptors":
        content = _packed(fitted.arrays() | {"columns": np.array(["a", "b"])})
    elif content == "other power":
        content = _packed(fitted.arrays() | {"power": np.array(0.5)})
    elif content == "objects":
        content = _packed(fitted.arrays() | {"known": np.array([object()])})
    if content is not None:
        (tmp_path / path_forest.TRAINED).write_bytes(content)
    with pytest.raises(EmigbenchError) as error:
        PathForest().load_trained()
    assert path_forest.TRAINED in one_sentence(error)


def test_it_has_to_be_fitted(spinels):
    with pytest.raises(EmigbenchError) as error:
        PathForest().predict(spinels[1])
    assert "fitted" in one_sentence(error)


def test_one_framework_is_too_few(spinels):
    one = [LabelledPath(t.path, t.e_m, t.split) for t in spinels[0] if framework(t.path) == "Mn1 O2"]
    with pytest.raises(EmigbenchError) as error:
        PathForest().fit(one, seed=0)
    assert "two" in one_sentence(error)


def test_no_paths_no_predictions(fitted):
    assert fitted.predict([]) == []


def test_descriptors_of_a_family_are_exchanged_between_paths_and_not_among_themselves(spinels, monkeypatch):
    """Both descriptors of the hop are the barrier, but for 0.2 eV; nothing else varies."""
    monkeypatch.setattr(path_forest, "N_TREES", 10)
    monkeypatch.setattr(importance, "REPEATS", 3)
    hop = np.random.default_rng(0).uniform(0, 1, len(spinels[0]))
    table = pd.DataFrame({name: hop if d.family == "hop" else 0.0 * hop for name, d in DESCRIPTORS.items()})
    monkeypatch.setattr(importance, "descriptor_table", lambda paths: table)
    made = [LabelledPath(t.path, 0.2 + e_m, t.split) for t, e_m in zip(spinels[0], hop, strict=True)]
    found = importance.family_importance(made)
    assert found.index[0] == "hop"
    assert found.loc["hop", "mae_increase"] == pytest.approx(1 / 3, abs=0.1)  # as far as two of them are apart
    assert (found["mae_increase"].drop("hop") == 0).all()


def test_shuffling_what_decides_costs_most(spinels, monkeypatch, tmp_path):
    """Barriers that are made from the hop alone: no other family can matter as much."""
    monkeypatch.setattr(path_forest, "N_TREES", 20)
    monkeypatch.setattr(importance, "REPEATS", 3)
    made = [LabelledPath(t.path, 0.2 + 40 * (t.path.hop_length - 3.4) ** 2, t.split) for t in spinels[0]]
    found = importance.family_importance(made)
    assert set(found.index) == {d.family for d in DESCRIPTORS.values()}
    assert found["n"].sum() == len(DESCRIPTORS)
    assert found.loc["hop", "mae_increase"] > found["mae_increase"].drop("hop").median()
    importance.draw(found, tmp_path / "importance.svg")
    first = (tmp_path / "importance.svg").read_bytes()
    importance.draw(found, tmp_path / "importance.svg")
    assert (tmp_path / "importance.svg").read_bytes() == first
