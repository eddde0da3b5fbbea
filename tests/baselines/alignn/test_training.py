import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402

from emigbench import EmigbenchError  # noqa: E402
from emigbench_baselines.alignn import device, training  # noqa: E402
from emigbench_baselines.alignn.batch import GraphBatch, prepare  # noqa: E402
from emigbench_baselines.alignn.graph import crystal_graph  # noqa: E402
from emigbench_baselines.alignn.neighbours import nearest  # noqa: E402
from emigbench_baselines.alignn.network import build  # noqa: E402
from emigbench_baselines.alignn.recipes import RECIPES, original  # noqa: E402
from emigbench_baselines.alignn.training import Sample, epoch_batches, predict, train  # noqa: E402

RECIPE = dataclasses.replace(RECIPES["model-3"], epochs=4, batch_size=3, pretrained=False, patience=None)


def sample(seed: int, target: float) -> Sample:
    """A random cell of four atoms with a target."""
    random = np.random.default_rng(seed)
    numbers = random.choice([3, 8, 25], size=4)
    neighbours = nearest((3 + random.random()) * np.eye(3), numbers, random.random((4, 3)), k=12)
    graph = crystal_graph(neighbours, canonical=True)
    return Sample((prepare(graph),), np.array([target]), np.ones(1))


SAMPLES = [sample(i, target) for i, target in enumerate(np.linspace(-1, 1, 7))]
FIT, VALIDATION = SAMPLES[:5], SAMPLES[5:]


def fitted(
    tmp_path=None,
    recipe=RECIPE,
    validation=VALIDATION,
    seed=1,
    log=lambda epoch, total: None,
    weights=None,
    samples=FIT,
):
    torch.manual_seed(seed)
    network = build(recipe.network)
    checkpoint = tmp_path / "run.pt" if tmp_path else None
    epochs = train(
        network, samples, validation, recipe, seed=seed, device="cpu", checkpoint=checkpoint, log=log, weights=weights
    )
    return network, epochs


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_same_seed_gives_the_same_weights():
    assert same(fitted()[0], fitted()[0])
    assert not same(fitted(seed=1)[0], fitted(seed=2)[0])


def test_a_run_that_was_stopped_ends_in_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    whole, epochs = fitted()

    def stop(epoch, total):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, log=stop)
    trained = []
    resumed, resumed_epochs = fitted(tmp_path, log=lambda epoch, total: trained.append(epoch.number))
    assert trained == [3, 4]
    assert same(whole, resumed)
    without_time = [[dataclasses.replace(e, seconds=0.0) for e in run] for run in (epochs, resumed_epochs)]
    assert without_time[0] == without_time[1]


def test_dropout_is_the_same_whether_a_run_was_stopped_or_not(tmp_path, monkeypatch):
    """MODEL-4 drops weights of its attention at random."""
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    two_cells = [dataclasses.replace(one, graphs=one.graphs * 2) for one in FIT[:3]]
    run = {"recipe": dataclasses.replace(RECIPE, network="model-4", epochs=2), "samples": two_cells, "validation": []}
    whole, _ = fitted(**run)

    def stop(epoch, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, log=stop, **run)
    torch.manual_seed(99)
    resumed, _ = fitted(tmp_path, **run)
    assert same(whole, resumed)


def labelled(*labels) -> list[Sample]:
    """Samples with (targets, mask)."""
    return [
        dataclasses.replace(one, target=np.array(target, dtype=float), mask=np.array(mask, dtype=float))
        for one, (target, mask) in zip(FIT, labels, strict=False)
    ]


@pytest.mark.parametrize("over_all", [True, False])
def test_gradients_do_not_depend_on_the_passes(monkeypatch, over_all):
    """With batch statistics left alone, one pass and three of one sample each are one batch."""
    random = np.random.default_rng(0)
    samples = labelled(*((random.normal(size=7), mask) for mask in ([1, 1, 1, 0, 0, 0, 0], [1] + [0] * 6, [1] * 7)))
    recipe = dataclasses.replace(RECIPE, network="mpt", mixed_precision=False, average_over_all=over_all)
    losses, gradients = [], []
    for rows, n_passes in ((10**9, 1), (1, 3)):
        monkeypatch.setattr(device, "CPU_ROWS", rows)
        torch.manual_seed(0)
        network, answers = build("mpt"), []
        network.frozen = tuple(network.children())
        network.register_forward_hook(lambda _, given, answer, answers=answers: answers.append(answer))
        still = torch.optim.SGD(network.parameters(), lr=0.0)
        schedule = torch.optim.lr_scheduler.ConstantLR(still)
        losses.append(training._train_epoch(network, samples, [np.arange(3)], recipe, still, schedule, "cpu"))
        assert len(answers) == n_passes
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert max(float(gradient.abs().max()) for gradient in gradients[0].values()) > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("mixed", [True, False])
def test_passes_of_training_are_as_large_as_its_precision_allows(monkeypatch, mixed):
    def rows_a_pass(device, *, half=False):
        asked.append(half)
        return 10**9

    asked: list[bool] = []
    monkeypatch.setattr(training, "rows_a_pass", rows_a_pass)
    monkeypatch.setattr(training, "has_bfloat16", lambda device: True)
    fitted(recipe=dataclasses.replace(RECIPE, epochs=1, mixed_precision=mixed))
    assert asked == [mixed, False]  # of the epoch, and of its validation


class Constant(torch.nn.Module):
    """Answers 0.5 to everything."""

    def __init__(self):
        super().__init__()
        self.answer = torch.nn.Parameter(torch.full((2,), 0.5))

    def forward(self, batch):
        return self.answer.expand(len(batch.n_atoms), -1)


@pytest.mark.parametrize("rows", [1, 10**9])
@pytest.mark.parametrize(
    ("loss", "over_all", "expected"), [("l1", True, 2.5 / 6), ("l1", False, 2.5 / 4), ("mse", True, 2.75 / 6)]
)
def test_the_loss_of_an_epoch_by_hand(monkeypatch, rows, loss, over_all, expected):
    """Equation 2. Known errors are 0.5; 0.5 and 1.5; 0: four of six targets, which are 2.5 off, 2.75 in squares."""
    monkeypatch.setattr(device, "CPU_ROWS", rows)
    samples = labelled(([1, 9], [1, 0]), ([0, -1], [1, 1]), ([9, 0.5], [0, 1]))
    recipe = dataclasses.replace(RECIPE, epochs=1, loss=loss, average_over_all=over_all)
    (epoch,) = train(Constant(), samples, [], recipe, seed=0, device="cpu")
    assert epoch.train_loss == pytest.approx(expected)


def test_the_loss_of_an_epoch_is_the_mean_of_its_batches():
    """Batches of one: errors of 0.5; of 0.5 and 1.5; of 0."""
    samples = labelled(([1, 9], [1, 0]), ([0, -1], [1, 1]), ([9, 0.5], [0, 1]))
    recipe = dataclasses.replace(RECIPE, epochs=1, batch_size=1, smallest_batch=1, max_learning_rate=1e-9)
    (epoch,) = train(Constant(), samples, [], recipe, seed=0, device="cpu")
    assert epoch.train_loss == pytest.approx((0.5 + 1 + 0) / 3)


def test_the_validation_error_is_that_of_known_targets():
    """0.5; 0.5 and 1.5."""
    validation = labelled(([1, 9], [1, 0]), ([0, -1], [1, 1]))
    assert training.mean_absolute_error(Constant(), validation, "cpu") == pytest.approx(2.5 / 3)


def test_the_learning_rate_rises_for_three_tenths_of_all_steps_and_falls_for_the_rest():
    """From a 25th of the largest, which the recipe names, to a ten thousandth of that."""
    rates = []

    def note(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])

    recipe = dataclasses.replace(RECIPE, epochs=10, batch_size=2, max_learning_rate=0.02)
    hook = register_optimizer_step_pre_hook(note)
    try:
        train(Constant(), labelled(*[([0, 0], [1, 1])] * 4), [], recipe, seed=0, device="cpu")
    finally:
        hook.remove()
    assert len(rates) == 20
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((0.02 / 25, 0.02, 0.02 / 25e4))
    assert rates.index(max(rates)) == 0.3 * 20 - 1


def test_every_epoch_trains_in_training_mode_and_validates_in_eval_mode():
    network, modes = Constant(), []
    network.register_forward_hook(lambda module, given, answer: modes.append(module.training))
    samples = labelled(*[([0, 0], [1, 1])] * 3)
    train(network, samples, samples, dataclasses.replace(RECIPE, epochs=2), seed=0, device="cpu")
    assert modes == [True, False] * 2


def test_a_run_is_kept_once_a_minute_and_told_of_after_each_epoch(tmp_path, monkeypatch):
    """Epochs of 25 s: the third and the sixth end more than a minute after the last time."""
    clock, told = [1000.0], []

    class Slow(Constant):
        def forward(self, batch):
            clock[0] += 25
            return super().forward(batch)

    def note(epoch, total):
        told.append((epoch.number, total, epoch.seconds, (tmp_path / "run.pt").is_file()))
        (tmp_path / "run.pt").unlink(missing_ok=True)

    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    recipe = dataclasses.replace(RECIPE, epochs=7)
    train(
        Slow(),
        labelled(*[([0, 0], [1, 1])] * 3),
        [],
        recipe,
        seed=0,
        device="cpu",
        checkpoint=tmp_path / "run.pt",
        log=note,
    )
    assert told == [(number, 7, 25.0, number in (3, 6)) for number in range(1, 8)]


class Dropping(Constant):
    """Answers 0 or 1 at random."""

    def forward(self, batch):
        return torch.nn.functional.dropout(super().forward(batch), 0.5, self.training)


def test_dropout_is_another_for_another_seed():
    samples = labelled(*[([0, 0], [1, 1])] * 5)
    recipe = dataclasses.replace(RECIPE, epochs=3, batch_size=5, shuffle=False, max_learning_rate=1e-9)
    losses = []
    for seed in (0, 0, 1):
        epochs = train(Dropping(), samples, [], recipe, seed=seed, device="cpu")
        losses.append([epoch.train_loss for epoch in epochs])
    assert losses[0] == losses[1] != losses[2]


def away_from_the_best(tmp_path, log=lambda epoch, total: None):
    """Steps that only lead away from what is best on the validation: its first epoch."""
    recipe = dataclasses.replace(RECIPE, epochs=9, patience=3, max_learning_rate=0.1)
    network = Constant()
    epochs = train(
        network,
        labelled(*[([9, 9], [1, 1])] * 3),
        labelled(([0.5, 0.5], [1, 1])),
        recipe,
        seed=0,
        device="cpu",
        checkpoint=tmp_path / "run.pt",
        log=log,
    )
    return network, [epoch.validation_mae for epoch in epochs]


def test_a_run_that_was_stopped_behind_its_best_epoch_still_ends_with_that(tmp_path, monkeypatch):
    def stop(epoch, total):
        if epoch.number == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    whole, errors = away_from_the_best(tmp_path / "whole")
    assert errors == sorted(errors)
    assert len(errors) == 1 + 3
    with pytest.raises(KeyboardInterrupt):
        away_from_the_best(tmp_path, stop)
    trained = []
    resumed, resumed_errors = away_from_the_best(tmp_path, lambda epoch, total: trained.append(epoch.number))
    assert trained == [4]
    assert resumed_errors == errors
    assert same(resumed, whole)
    assert float((resumed.answer - 0.5).abs().mean().detach()) == pytest.approx(errors[0], abs=1e-6)


def test_of_epochs_that_are_equally_good_the_first_is_the_best():
    recipe = dataclasses.replace(RECIPE, epochs=9, patience=2, max_learning_rate=1e-30)
    samples = labelled(*[([0, 0], [1, 1])] * 3)
    assert len(train(Constant(), samples, samples, recipe, seed=0, device="cpu")) == 1 + 2


def test_half_precision_changes_training_little_and_predictions_not_at_all():
    """Without the instructions both runs are in float32; then there is nothing to compare."""
    half, full = (dataclasses.replace(RECIPE, epochs=1, batch_size=5, mixed_precision=mixed) for mixed in (True, False))
    (a, first), (b, second) = fitted(recipe=half), fitted(recipe=full)
    assert first[0].train_loss == pytest.approx(second[0].train_loss, rel=0.01)
    if device.has_bfloat16("cpu"):
        assert not same(a, b)
    with torch.no_grad():
        plain = a.eval()(GraphBatch.of([s.graphs[0] for s in SAMPLES])).numpy().reshape(-1, 1)
    np.testing.assert_allclose(predict(a, SAMPLES, "cpu"), plain, atol=1e-6)


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    recipe = dataclasses.replace(RECIPE, epochs=1)
    whole, _ = fitted(recipe=recipe)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    (tmp_path / "file").write_text("in the way of the folder")
    unsaved, _ = fitted(tmp_path / "file", recipe=recipe)
    assert same(whole, unsaved)
    assert re.search(r"Training goes on without a new checkpoint\. Cannot write .*run\.pt: ", caplog.text)


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(EmigbenchError, match=r"run\.pt cannot be used .*; remove it to start anew\.$"):
        fitted(tmp_path)


@pytest.mark.parametrize("target", [math.nan, math.inf])
def test_a_validation_error_that_is_no_number_stops_the_run(target):
    with pytest.raises(EmigbenchError, match=r"validation error (nan|inf): lower the learning rate"):
        fitted(validation=[sample(9, target)])


def test_it_learns():
    """Five samples are learnt by heart."""
    recipe = dataclasses.replace(RECIPE, epochs=60, batch_size=5)
    network, epochs = fitted(recipe=recipe, validation=[])
    assert epochs[-1].train_loss < 0.3 * epochs[0].train_loss
    assert math.isnan(epochs[0].validation_mae)
    errors = predict(network, FIT, "cpu")[:, 0] - [s.target[0] for s in FIT]
    assert np.abs(errors).mean() < 0.3


def test_the_best_epoch_is_kept_and_the_run_stops_early():
    recipe = dataclasses.replace(RECIPE, epochs=40, patience=3)
    network, epochs = fitted(recipe=recipe)
    errors = [epoch.validation_mae for epoch in epochs]
    best = int(np.argmin(errors))
    assert len(epochs) == best + 1 + 3 < 40
    found = training.mean_absolute_error(network, VALIDATION, "cpu")
    assert found == pytest.approx(errors[best], rel=1e-6)


def test_the_last_epoch_is_kept_where_the_recipe_says_so():
    recipe = dataclasses.replace(RECIPE, epochs=12, keep="last")
    network, epochs = fitted(recipe=recipe)
    errors = [epoch.validation_mae for epoch in epochs]
    assert np.argmin(errors) < 11
    assert training.mean_absolute_error(network, VALIDATION, "cpu") == pytest.approx(errors[-1], rel=1e-6)


def test_predictions_do_not_depend_on_the_company(monkeypatch):
    network, _ = fitted()
    together = predict(network, SAMPLES, "cpu")
    monkeypatch.setattr(device, "CPU_ROWS", 1)
    alone = predict(network, SAMPLES, "cpu")
    reordered = predict(network, SAMPLES[::-1], "cpu")[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, reordered, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([5, 4, 3, 3, 2, 1], 18, [[5, 4, 3, 3, 2, 1]]),
        ([5, 4, 3, 3, 2, 1], 10, [[5, 3, 1], [4, 3, 2]]),
        ([4, 4, 4, 1], 12, [[4, 4], [4, 1]]),  # in order the last would be alone
        ([1, 9, 1, 1, 1], 10, [[9, 1], [1, 1, 1]]),  # of like size the 9 would be alone
        ([1, 12, 1], 10, [[12], [1, 1]]),  # too large
        ([6, 6, 6], 10, [[6], [6], [6]]),  # there is no other way
        ([6, 6, 6], 1, [[6], [6], [6]]),
        ([], 10, []),
    ],
)
def test_batches_are_cut_into_passes_of_like_size_and_no_graph_is_alone_without_need(sizes, limit, expected):
    samples = [Sample((SimpleNamespace(n_rows=size),), np.zeros(1), np.ones(1)) for size in sizes]
    parts = training._parts(range(len(sizes)), samples, limit)
    assert [[sizes[row] for row in part] for part in parts] == expected
    assert sorted(row for part in parts for row in part) == list(range(len(sizes)))


def test_a_row_that_was_drawn_twice_counts_twice():
    samples = [Sample((SimpleNamespace(n_rows=size),), np.zeros(1), np.ones(1)) for size in (4, 3)]
    assert training._parts([0, 1, 0, 1], samples, 8) == [[0, 1], [0, 1]]


def test_batches_hold_every_row_once_and_change_from_epoch_to_epoch():
    first, second = (epoch_batches(7, RECIPE, 0, epoch) for epoch in (1, 2))
    assert [len(b) for b in first] == [3, 3]  # a last batch of one has no batch statistics
    assert len({*range(7)} & {*np.concatenate(first).tolist()}) == 6
    assert not all((a == b).all() for a, b in zip(first, second, strict=True))
    again = epoch_batches(7, RECIPE, 0, 1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    other_seed = epoch_batches(7, RECIPE, 1, 1)
    assert not all((a == b).all() for a, b in zip(first, other_seed, strict=True))


@pytest.mark.parametrize(("n", "sizes"), [(8, [3, 3, 2]), (7, [3, 3]), (6, [3, 3]), (4, [3]), (1, [1])])
def test_a_last_batch_is_left_out_only_if_it_is_too_small_and_not_the_only_one(n, sizes):
    assert RECIPE.smallest_batch == 2
    assert [len(batch) for batch in epoch_batches(n, RECIPE, 0, 1)] == sizes


def test_the_original_recipe_goes_through_the_file_in_order():
    batches = epoch_batches(7, original(RECIPE), 0, 3)
    assert np.concatenate(batches).tolist() == list(range(7))
    scratch = original(RECIPES["scratch-cc"])
    assert [len(b) for b in epoch_batches(40, scratch, 0, 1)] == [16, 16]  # drop_last
    kept = {name: original(recipe).keep for name, recipe in RECIPES.items()}
    assert {name for name, keep in kept.items() if keep == "best"} == {"model-3", "model-4", "model-3-scratch"}


def test_weights_say_how_often_a_row_is_drawn():
    weights = np.array([0, 0, 0.5, 0, 0.5])
    drawn = np.concatenate([np.concatenate(epoch_batches(5, RECIPE, 0, e, weights)) for e in range(1, 30)])
    assert set(drawn.tolist()) == {2, 4}


@pytest.mark.parametrize("by_name", [True, False])
def test_weight_decay_spares_biases_and_norms(by_name):
    """By name, as the original does it, the norms inside the embeddings are decayed."""
    network = build("model-4")
    groups = training._parameter_groups(network, dataclasses.replace(RECIPE, decay_by_name=by_name))
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed, free = ([names[id(parameter)] for parameter in group["params"]] for group in groups)
    assert sorted(decayed + free) == sorted(names.values())
    norms = (".bn_", "attention.norm.", "attention1.norm.", *([] if by_name else [".layer.1."]))
    expected = {name for name in names.values() if name.endswith("bias") or any(norm in name for norm in norms)}
    assert set(free) == expected
