"""The hybrid models on the embedded spinels, with bands that the test makes up."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import one_sentence

from emigbench import BarrierModel, EmigbenchError, load, load_labels
from emigbench.datasets.hashing import geometry_hash
from emigbench_baselines.classical import path_forest
from emigbench_baselines.classical.descriptors import descriptor_table
from emigbench_baselines.classical.kinship import Kin
from emigbench_baselines.hybrid import models
from emigbench_baselines.hybrid.models import EmigBest, NebCorrected, doubts, fitted_line, neb_share
from emigbench_baselines.neb import energies
from emigbench_baselines.neb.energies import BandEnergies, Bands, EnergyTable, from_json, shipped, to_json

SPINELS = list(load("spinels"))
TRAIN, HELD_OUT = SPINELS[:60], SPINELS[60:66]


def band(entry):
    """A band that says half of the label and 0.2 eV more, the final state higher by 0.1 eV."""
    top = 0.5 * entry.e_m + 0.2
    return BandEnergies(entry.id, "ok", (-80.0, -80.0 + top / 2, -80.0 + top, -80.0 + top / 2, -79.9))


def table(entries, **changes):
    return EnergyTable("toy", "weights", {}, {geometry_hash(e.path): changes.get(e.id, band(e)) for e in entries})


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    for module in (path_forest, models):
        monkeypatch.setattr(module, "N_TREES", 60)


@pytest.fixture
def toy_bands(monkeypatch):
    """What is known: every spinel but what a test takes away."""

    def use(entries, make=None, **changes):
        monkeypatch.setattr(models, "mattersim_bands", lambda: Bands(table(entries, **changes), make))

    return use


def error_of(model, held_out=HELD_OUT):
    predictions = model.predict([e.path for e in held_out])
    assert [p.id for p in predictions] == [e.id for e in held_out]
    return np.mean([abs(p.e_m - e.e_m) for p, e in zip(predictions, held_out, strict=True)])


def test_barriers_that_ship_are_the_highest_image_above_the_first(monkeypatch):
    first, second, third, fourth = SPINELS[:4]
    unfinished = BandEnergies(second.id, "not_converged", (-80.0, -79.5, -79.0, -79.7, -80.25))
    toy = table(SPINELS[:3], **{second.id: unfinished, third.id: BandEnergies(third.id, "failed", ())})
    monkeypatch.setattr(energies, "shipped", lambda _: toy)
    found = energies.ShippedBarriers().predict([entry.path for entry in (first, second, third, fourth)])
    assert [p.id for p in found] == [e.id for e in SPINELS[:4]]
    assert [p.status for p in found] == ["ok", "not_converged", "failed", "failed"]
    assert [p.e_m for p in found] == [pytest.approx(0.5 * first.e_m + 0.2), pytest.approx(1.0), None, None]


@pytest.mark.parametrize("model", [NebCorrected, EmigBest])
def test_a_wrong_potential_that_ranks_right_is_put_right(toy_bands, model):
    toy_bands(SPINELS)
    fitted = model()
    assert isinstance(fitted, BarrierModel)
    fitted.fit(TRAIN, seed=0)
    raw = np.mean([abs(band(e).forward - e.e_m) for e in HELD_OUT])
    blind = np.mean([abs(np.median([t.e_m for t in TRAIN]) - e.e_m) for e in HELD_OUT])
    assert error_of(fitted) < 0.6 * min(raw, blind)
    if model is EmigBest:
        assert error_of(fitted) < 0.3 * raw
        slopes = fitted.details["slopes"]
        assert max(slopes, key=lambda name: abs(slopes[name])) in ("forward", "backward", "span")
    counted = "n_plain_hops_with_band" if model is EmigBest else "n_paths_with_band"
    assert fitted.details[counted] == len(TRAIN)


@pytest.mark.parametrize("model", [NebCorrected, EmigBest])
def test_a_higher_band_means_a_higher_barrier(toy_bands, model):
    entry = HELD_OUT[0]
    answers = []
    for top in (0.25, 0.5, 0.75):
        toy_bands(SPINELS, **{entry.id: BandEnergies(entry.id, "ok", (-80.0, -80.0, -80.0 + top, -80.0, -79.9))})
        fitted = model()
        fitted.fit(TRAIN, seed=0)
        answers.append(fitted.predict([entry.path])[0].e_m)
    assert answers == sorted(answers)
    assert answers[2] > answers[0] + 0.1


def test_a_few_wild_labels_do_not_turn_the_line():
    columns = np.random.default_rng(0).normal(size=(60, 3))
    targets = columns @ [1.0, -0.5, 0.2] + 3
    wild = np.where(np.arange(60) < 3, 10 * targets, targets)
    calm, shaken = (fitted_line(columns, labels).predict(columns) for labels in (targets, wild))
    assert np.abs(shaken - calm).mean() < 0.03


def test_a_few_wild_labels_or_bands_do_not_spoil_the_rest(toy_bands):
    toy_bands(SPINELS)
    calm, shaken = NebCorrected(), NebCorrected()
    calm.fit(TRAIN, seed=0)
    shaken.fit([*(replace(e, e_m=3 * e.e_m) for e in TRAIN[:3]), *TRAIN[3:]], seed=0)
    assert error_of(shaken) < error_of(calm) + 0.05
    wild = {e.id: BandEnergies(e.id, "ok", (0.0, 2.0, 5.0, 2.0, 0.0)) for e in TRAIN[:3]}
    toy_bands(SPINELS, **wild)
    misled = NebCorrected()
    misled.fit(TRAIN, seed=0)
    assert error_of(misled) < error_of(calm) + 0.05


def test_training_paths_without_a_band_teach_the_forest_alone(toy_bands):
    toy_bands([*TRAIN[:30], *HELD_OUT])
    fitted = EmigBest()
    fitted.fit(TRAIN, seed=0)
    assert fitted.details["n_plain_hops"] == 60
    assert fitted.details["n_plain_hops_with_band"] == 30
    assert error_of(fitted) < 0.2


def simple(length, others, host=((0.5, 0.5, 0.25),)):
    """A Li that hops along x in a cubic cell of 10 Å with O atoms beside its way, and other Li at fractions."""
    species = ("O",) * len(host) + ("Li",) * len(others)
    return replace(
        HELD_OUT[0].path,
        lattice=10 * np.eye(3),
        mobile_ion="Li",
        host_species=species,
        host_frac_coords=np.array([*host, *others], dtype=float),
        band_frac_coords=np.array([[0.5 - length / 20 + length * s / 40, 0.5, 0.5] for s in range(5)]),
    )


BLOCKING = ((0.5, 0.5, 0.58),)
"""An O atom 0.8 Å beside the way."""


@pytest.mark.parametrize(
    ("path", "expected", "share"),
    [
        (simple(3.0, [(0.35, 0.8, 0.5), (0.65, 0.8, 0.5)]), [], 1),
        (simple(3.0, []), [], 1),
        (
            simple(4.2, [(0.29, 0.8, 0.5), (0.71, 0.8, 0.5)]),
            ["the next Li is 3.0 Å from the ends of this hop of 4.2 Å"],
            0,
        ),
        (simple(6.4, []), ["a hop of 6.4 Å is long for one jump"], 0.5),
        (simple(3.0, [], BLOCKING), ["the straight way between the ends comes within 0.8 Å of an atom"], 0.5),
        (
            simple(6.4, [], BLOCKING),
            ["the straight way between the ends comes within 0.8 Å of an atom", "a hop of 6.4 Å is long for one jump"],
            0.5,
        ),
        (
            simple(4.2, [(0.29, 0.8, 0.5), (0.71, 0.8, 0.5)], BLOCKING),
            [
                "the straight way between the ends comes within 0.8 Å of an atom",
                "the next Li is 3.0 Å from the ends of this hop of 4.2 Å",
            ],
            0,
        ),
    ],
)
def test_what_speaks_against_a_neb(path, expected, share):
    row = descriptor_table([path]).to_numpy()[0]
    assert list(doubts(path, row)) == expected
    assert neb_share(doubts(path, row)) == share


def test_no_band_is_run_for_a_hop_past_a_site_and_one_in_doubt_counts_half(toy_bands, monkeypatch):
    far, doubtful, plain = HELD_OUT[:3]
    shares = {far.id: {"it is far": 0.0}, doubtful.id: {"it is long": 0.5}}

    def answers(said):
        toy_bands(TRAIN, Stub)
        fitted = EmigBest()
        fitted.fit(TRAIN, seed=0)
        monkeypatch.setattr(models, "doubts", lambda path, row: said.get(path.id, {}))
        predictions = fitted.predict([e.path for e in HELD_OUT[:3]])
        return [p.e_m**0.25 for p in predictions], [p.cautions for p in predictions], fitted._bands._model.asked

    mixed, cautions, asked = answers(shares)
    assert cautions == [("it is far, so only descriptors were used",), ("it is long, so the NEB counts half",), ()]
    assert asked == [doubtful.id, plain.id]
    of_line, _, _ = answers({})
    of_forest, _, _ = answers({doubtful.id: {"it is far": 0.0}})
    assert mixed[1] == pytest.approx((of_line[1] + of_forest[1]) / 2)
    assert abs(of_line[1] - of_forest[1]) > 0.001
    assert mixed[2] == of_line[2]


def test_the_less_the_trees_agree_the_more_the_neb_counts(toy_bands):
    """Trees that are farther off where they differ more; a band that is off by the same everywhere."""
    toy_bands(SPINELS)
    fitted = EmigBest()
    fitted._usual = (0.1, 0.05)
    random = np.random.default_rng(0)
    truth, spreads = random.uniform(0.6, 1.0, 400), random.uniform(0.05, 0.2, 400)
    centres = truth + random.normal(size=400) * 3 * (spreads - 0.05)
    noisy = truth + random.normal(size=400) * 0.1

    def columns(centre, spread, root):
        return fitted._columns(centre, spread, BandEnergies("x", "ok", (0.0, root**4, 0.0)))

    line = fitted_line(np.array([columns(*row) for row in zip(centres, spreads, noisy, strict=True)]), truth)
    weight = [
        np.diff([line.predict(columns(0.8, spread, root)[None])[0] for root in (0.75, 0.85)])[0] / 0.1
        for spread in (0.06, 0.12, 0.18)
    ]
    assert weight == sorted(weight)
    assert weight[0] < 0.4 < weight[2] < 1.1


def test_what_the_line_is_fitted_to_by_hand(toy_bands):
    """Of a path the trees' own answer and spread; nothing where no NEB is asked or none that converged is known."""
    lost = TRAIN[3]
    toy_bands(TRAIN[:4], **{lost.id: BandEnergies(lost.id, "not_converged", (0.0, 9.0, 9.0, 9.0, 0.0))})
    fitted = EmigBest()
    fitted._usual = (0.1, 0.05)
    shares, centres, spreads = np.array([[1, 0, 0.5, 1, 1], [0.8, 0.9, 0.7, 0.8, 0.8], [0.1, 0.2, 0.2, 0.1, 0.1]])
    found = fitted._known_columns(TRAIN[:5], shares, centres, spreads)
    assert np.isnan(found[[1, 3, 4]]).all()
    for i, more_than_usual in ((0, 0), (2, 2)):
        top = 0.5 * TRAIN[i].e_m + 0.2  # of the band above the first image, the lowest; the last is 0.1 eV higher
        roots = [top**0.25, (top - 0.1) ** 0.25, top**0.25]
        assert found[i] == pytest.approx([centres[i], *roots, more_than_usual * (roots[2] - centres[i])])


def test_hops_in_doubt_teach_no_line_and_have_intervals_of_their_own(toy_bands, monkeypatch):
    """Of sixty training paths, twenty in doubt, whose labels are far off; the band of another one did not converge."""
    odd, lost, asked = {t.id for t in TRAIN[::3]}, TRAIN[1].id, HELD_OUT[0].id
    toy_bands(SPINELS, **{lost: BandEnergies(lost, "not_converged", (0.0, 9.0, 9.0, 9.0, 0.0))})
    monkeypatch.setattr(models, "doubts", lambda path, row: {"it is long": 0.5} if path.id in {*odd, asked} else {})
    fitted = EmigBest()
    fitted.fit([replace(t, e_m=t.e_m * (3 if t.id in odd else 1)) for t in TRAIN], seed=0)
    assert (fitted.details["n_plain_hops"], fitted.details["n_plain_hops_with_band"]) == (40, 39)
    assert fitted._stretch[False][0] > 1.5 * fitted._stretch[True][0]
    fitted._stretch = {True: (1.0, 0.5), False: (0.0, 0.0)}
    doubtful, plain = fitted.predict([e.path for e in HELD_OUT[:2]])
    assert doubtful.low == doubtful.high
    assert plain.low < plain.high


def test_intervals_are_of_answers_with_what_other_hosts_say(toy_bands, monkeypatch):
    """Where paths of other hosts told all that the answers are missed by, nothing would be left."""
    toy_bands(SPINELS)
    monkeypatch.setattr(path_forest, "N_TREES", 3)
    monkeypatch.setattr(models, "expected_unseen", lambda kin, errors, groups, seed: errors)
    fitted = EmigBest()
    fitted.fit(TRAIN, seed=0)
    assert fitted.details["cv_mae_ev"] == 0 < fitted.details["cv_mae_of_forest_there_ev"]
    assert np.abs([*fitted._stretch[True], *fitted._stretch[False]]).max() < 1e-12


def test_lines_that_have_not_seen_a_group_by_hand():
    """Of two groups, labels of one are higher by 5, so each is answered with the line of the other. Most paths are in
    doubt, with other labels, and no line knows of these; they have half of it, and those without a band have none.
    """
    columns = np.random.default_rng(0).normal(size=(60, 5))
    truth, is_b = columns @ [0.1, 0.2, 0.3, 0.1, 0.05] + 1, np.arange(60) % 2 == 1
    shares, without = np.where(np.arange(60) < 34, 0.5, 1.0), np.arange(60) >= 54
    columns[without] = np.nan
    labels = truth + 5 * is_b + 50 * (shares == 0.5)
    groups = np.where(is_b, "b", "a").tolist()
    found = models.joined_unseen(np.full(60, 2.0), columns, shares, labels, groups, seed=0)
    of_line = truth + 5 * ~is_b
    expected = np.where(without, 2.0, (1 - shares) * 2 + shares * of_line)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_energies_of_a_band_by_hand():
    """Its highest image is 1 eV above the first, 81 above the lowest and 16 above the last."""
    found = models._energies(BandEnergies("x", "ok", (0.0, 1.0, -80.0, 0.0, -15.0)))
    np.testing.assert_allclose(found, [1, 81**0.25])


def test_trees_know_the_labels_of_a_training_material(toy_bands):
    """Where these are higher and no NEB is asked, an answer rises by more than what is learned from errors on them."""
    path = TRAIN[0].path
    toy_bands(SPINELS, **{path.id: BandEnergies(path.id, "failed", ())})
    answers, missed = [], []
    for shift in (0.0, 0.3):
        fitted = EmigBest()
        fitted.fit([replace(t, e_m=t.e_m + shift * (t.path is path)) for t in TRAIN], seed=0)
        missed.append(fitted._effects.expected(Kin.of([path]))[0])
        answers.append(fitted.predict([path])[0].e_m ** 0.25)
    assert answers[1] - answers[0] > missed[1] - missed[0] + 0.03


@pytest.mark.parametrize(("status", "words"), [("failed", "NEB failed"), ("not_converged", "NEB did not converge")])
def test_where_the_band_did_not_end_well_the_forest_answers_and_says_so(toy_bands, status, words):
    lost = HELD_OUT[0]
    energies = () if status == "failed" else (0.0, 9.0, 9.0, 9.0, 0.0)
    toy_bands(SPINELS, **{lost.id: BandEnergies(lost.id, status, energies)})
    best, corrected = EmigBest(), NebCorrected()
    for model in (best, corrected):
        model.fit(TRAIN, seed=0)
    first, second = best.predict([e.path for e in HELD_OUT[:2]])
    assert words in first.cautions[0]
    assert 0 < first.e_m < 1.5
    assert second.cautions == ()
    expected = "failed" if status == "failed" else "ok"
    assert [p.status for p in corrected.predict([e.path for e in HELD_OUT[:2]])] == [expected, "ok"]


def test_intervals_hold_the_prediction_and_most_labels(toy_bands):
    toy_bands(SPINELS)
    fitted = EmigBest()
    fitted.fit(TRAIN, seed=0)
    predictions = fitted.predict([e.path for e in SPINELS[60:]])
    assert all(0 <= p.low < p.e_m < p.high and p.std > 0 for p in predictions)
    inside = [p.low <= e.e_m <= p.high for p, e in zip(predictions, SPINELS[60:], strict=True)]
    assert np.mean(inside) > 0.7


@pytest.mark.parametrize("model", [EmigBest, NebCorrected])
def test_the_same_seed_gives_the_same_model_and_an_answer_does_not_depend_on_the_company(toy_bands, model):
    toy_bands(SPINELS)
    answers = []
    for train in (TRAIN, [replace(e) for e in TRAIN]):
        fitted = model()
        fitted.fit(train, seed=3)
        answers.append([p.e_m for p in fitted.predict([e.path for e in HELD_OUT])])
    assert answers[0] == answers[1]
    alone = [fitted.predict([e.path])[0].e_m for e in HELD_OUT]
    assert alone == pytest.approx(answers[1], rel=1e-6)


class Stub:
    """Runs a band by saying it."""

    class potential:  # noqa: N801
        name, fingerprint = "toy", "weights"

    def __init__(self):
        self.asked = []

    def result(self, path):
        self.asked.append(path.id)
        entry = next(e for e in SPINELS if e.id == path.id)

        class Result:
            status, energies = "ok", list(band(entry).energies_ev)

        return Result


def test_what_no_table_has_is_computed_by_a_model_that_is_made_once(toy_bands):
    made = []

    def make():
        made.append(Stub())
        return made[-1]

    toy_bands(TRAIN, make)
    fitted = NebCorrected()
    fitted.fit(TRAIN, seed=0)
    assert made == []
    error_of(fitted)
    assert len(made) == 1
    assert made[0].asked == [e.id for e in HELD_OUT]


class BreaksOff(Stub):
    """A potential whose calculator raises."""

    def result(self, path):
        raise RuntimeError("out of memory")


class HasNoPlace(Stub):
    """What is wrong with the folder of finished bands is wrong with every path."""

    def result(self, path):
        raise EmigbenchError("The folder of bands cannot be written to.")


def test_a_path_on_which_the_potential_breaks_off_is_answered_without_it(toy_bands):
    toy_bands(TRAIN, BreaksOff)
    best, corrected = EmigBest(), NebCorrected()
    for model in (best, corrected):
        model.fit(TRAIN, seed=0)
    (answer,) = best.predict([HELD_OUT[0].path])
    assert answer.e_m is not None
    assert "The NEB failed, so only descriptors were used" in [text[:1].upper() + text[1:] for text in answer.cautions]
    assert corrected.predict([HELD_OUT[0].path])[0].status == "failed"


def refused(call, *arguments, **options):
    with pytest.raises(EmigbenchError) as error:
        call(*arguments, **options)
    return one_sentence(error)


def test_bad_input_is_one_sentence(toy_bands, monkeypatch):
    toy_bands(TRAIN, Stub)
    assert "has to be fitted" in refused(NebCorrected().predict, [HELD_OUT[0].path])
    assert "has to be fitted" in refused(EmigBest().predict, [HELD_OUT[0].path])
    monkeypatch.setattr(models, "descriptor_table", lambda *_, **__: pytest.fail("it is known before"))
    for model in (NebCorrected, EmigBest):
        assert "Only 6 of 20 training paths" in refused(model().fit, [*TRAIN[:6], *SPINELS[60:74]], seed=0)
    other = replace(table(TRAIN), fingerprint="others")
    assert "not those that the table" in refused(Bands(other, Stub).of, HELD_OUT[0].path)
    assert "cannot be written" in refused(Bands(table(TRAIN), HasNoPlace).of, HELD_OUT[0].path)
    assert "missing or damaged" in refused(shipped, "unheard-of")


def test_without_the_potential_a_new_path_is_refused_and_a_known_one_is_not(toy_bands, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("emigbench_baselines.neb.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ase", None)
    toy_bands(SPINELS[:62], models._mattersim)
    fitted = NebCorrected()
    fitted.fit(TRAIN, seed=0)
    assert fitted.predict([SPINELS[60].path])[0].e_m > 0
    for call in (lambda: fitted.predict([SPINELS[70].path]), NebCorrected().check_ready, EmigBest().check_ready):
        assert "ase is not installed; pip install 'emigbench[mattersim]'" in refused(call)


def test_an_ion_of_unknown_radius_is_predicted(toy_bands, monkeypatch):
    facts = models._facts
    monkeypatch.setattr(models, "_facts", lambda paths: facts(paths) * [1, 1, 1, np.nan])
    toy_bands(SPINELS)
    fitted = NebCorrected()
    fitted.fit(TRAIN, seed=0)
    assert error_of(fitted) < 0.3


def test_tables_are_read_as_written():
    written = table(TRAIN[:3], **{TRAIN[0].id: BandEnergies(TRAIN[0].id, "failed", ())})
    text = to_json(written)
    assert from_json(text) == written
    assert to_json(from_json(text)) == text
    assert len(json.loads(text)["bands"]) == 3
    ids = [row["id"] for row in json.loads(text)["bands"]]
    assert ids == sorted(ids)


def test_barriers_of_a_band_by_hand():
    energies = BandEnergies("x", "ok", (-1.0, -0.5, 0.25, -2.0, -1.5))
    assert energies.forward == pytest.approx(1.25)
    assert energies.backward == pytest.approx(1.75)
    assert energies.span == pytest.approx(2.25)


def test_the_shipped_bands_are_of_the_dataset_and_make_sense():
    bands = shipped("mattersim-coarse").bands
    ids = [b.id for b in bands.values()]
    assert len(ids) == len(set(ids)) >= 300
    assert set(ids) <= set(load_labels("full").by_id)
    assert all(len(b.energies_ev) == 5 for b in bands.values() if b.status != "failed")
    assert np.median([b.span for b in bands.values()]) == pytest.approx(0.5, abs=0.3)


def test_the_shipped_bands_are_found_by_the_geometry_of_their_paths(full):
    of_geometry = {geometry_hash(entry.path): entry.id for entry in full}
    bands = shipped("mattersim-coarse").bands
    assert {key: band.id for key, band in bands.items()}.items() <= of_geometry.items()
