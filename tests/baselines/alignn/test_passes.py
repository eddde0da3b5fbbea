"""Compiled passes against the same ones line by line."""

import inspect
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench_baselines.alignn import batch, passes, training  # noqa: E402
from emigbench_baselines.alignn.batch import GraphBatch, prepare  # noqa: E402
from emigbench_baselines.alignn.graph import crystal_graph  # noqa: E402
from emigbench_baselines.alignn.neighbours import nearest  # noqa: E402
from emigbench_baselines.alignn.network import build  # noqa: E402
from emigbench_baselines.alignn.recipes import RECIPES  # noqa: E402
from emigbench_baselines.alignn.training import Sample, train  # noqa: E402

OWN = inspect.getmembers(passes, lambda x: inspect.isfunction(x) and x.__module__ == passes.__name__)
PASSES = {name for name, _ in OWN if name[0] != "_"} - {"run", "compiled"}
SIZES = (1, 3, 2, 6)
"""Graphs in the batches: rows in one chunk and in many."""


def graph(seed: int):
    random = np.random.default_rng(seed)
    numbers = random.choice([3, 8, 25], size=5)
    neighbours = nearest((4 + random.random()) * np.eye(3), numbers, random.random((5, 3)), k=12)
    return prepare(crystal_graph(neighbours, canonical=False))


def answers_and_gradients(half: bool) -> list[list[torch.Tensor]]:
    """Of MODEL-3 in training, and its answers in prediction before and after, batch after batch."""
    torch.manual_seed(0)
    network = build("model-3")
    results = []
    for size in SIZES:
        graphs = GraphBatch.of([graph(seed) for seed in range(size)])
        with torch.no_grad():
            before = network.eval()(graphs)
        network.train().zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            fitted = network(graphs)
        (fitted - torch.linspace(-1, 1, size)).square().sum().backward()
        gradients = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        with torch.no_grad():
            after = network.eval()(graphs)
        results.append([before, fitted.detach(), gradients, after])
    return results


def distance(found: list[list[torch.Tensor]], expected: list[list[torch.Tensor]]) -> float:
    """The largest relative difference of two tensors."""
    pairs = ((a, b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True))
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setitem(batch.CHUNK_ROWS, "cpu", 300)


def test_compiled_passes_give_what_they_give_line_by_line(monkeypatch):
    called = set()

    def compiled_and_counted(function, **options):
        compiled = compile_(function, **options)

        def call(*args):
            called.add(function.__name__)
            return compiled(*args)

        return call

    compile_ = torch.compile
    expected, roughly = answers_and_gradients(half=False), answers_and_gradients(half=True)
    monkeypatch.setattr(torch, "compile", compiled_and_counted)
    with passes.compiled() as works:
        if not works:
            pytest.skip("torch finds no C++ compiler that works")
        found, half = answers_and_gradients(half=False), answers_and_gradients(half=True)
    assert called >= PASSES
    assert distance(found, expected) < 1e-5
    assert distance(half, roughly) < 0.1
    again = answers_and_gradients(half=False)
    assert distance(again, expected) == 0, "passes stay compiled afterwards"


def test_passes_change_none_of_their_arguments(monkeypatch):
    def guarded(function, **options):
        def call(*args):
            tensors = [x for arg in args for x in (arg if isinstance(arg, tuple) else (arg,)) if x is not None]
            versions = [tensor._version for tensor in tensors]
            result = function(*args)
            assert [tensor._version for tensor in tensors] == versions, function.__name__
            called.add(function.__name__)
            return result

        return call

    called = set()
    monkeypatch.setattr(passes, "_compiler_works", lambda: True)
    monkeypatch.setattr(torch, "compile", guarded)
    with passes.compiled():
        answers_and_gradients(half=False)
    assert called >= PASSES


def test_without_a_compiler_passes_stay_as_they_are(monkeypatch):
    def fails(function, **options):
        def call(*args):
            raise RuntimeError("No working C++ compiler found")

        return call

    expected = answers_and_gradients(half=False)
    passes._compiler_works.cache_clear()
    monkeypatch.setattr(torch, "compile", fails)
    with passes.compiled() as works:
        assert not works
        assert distance(answers_and_gradients(half=False), expected) == 0
    passes._compiler_works.cache_clear()


@pytest.mark.parametrize(
    ("epochs", "device", "expected"), [(1, "cpu", False), (10**6, "cpu", True), (10**6, "cuda", False)]
)
def test_only_long_training_on_a_cpu_waits_for_a_compiler(epochs, device, expected):
    samples = [Sample((graph(seed),), np.zeros(1), np.ones(1)) for seed in range(2)]
    assert training._compiling_pays(samples, replace(RECIPES["model-3"], epochs=epochs), device) is expected


@pytest.mark.parametrize(("least", "expected"), [(0, ["in", "epoch", "out"]), (10**9, ["epoch"])])
def test_training_runs_inside(monkeypatch, least, expected):
    @contextmanager
    def recorded():
        steps.append("in")
        yield True
        steps.append("out")

    steps: list[str] = []
    monkeypatch.setattr(passes, "compiled", recorded)
    monkeypatch.setattr(training, "COMPILED_FROM_ROWS", least)
    samples = [Sample((graph(seed),), np.zeros(1), np.ones(1)) for seed in range(2)]
    recipe = replace(RECIPES["model-3"], epochs=1, batch_size=2, pretrained=False)
    train(build("model-3"), samples, [], recipe, seed=0, device="cpu", log=lambda epoch, total: steps.append("epoch"))
    assert steps == expected
