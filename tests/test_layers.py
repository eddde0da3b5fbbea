"""Which module may know which: data flows one way, from source files to the page."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KNOWN_TO_BASELINES = {
    "emigbench",
    "emigbench.cli.console",
    "emigbench.datasets.findings",
    "emigbench.datasets.geometry",
    "emigbench.datasets.hashing",
    "emigbench.errors",
    "emigbench.metrics.pairs",
    "emigbench.metrics.weighted",
    "emigbench.model",
    "emigbench.predictions",
    "emigbench.progress",
    "emigbench.provenance",
    "emigbench.records",
    "emigbench.splits",
    "emigbench.storage",
    "emigbench.submission",
}
"""What baselines use: the public API and such tools as another package's model could use, too."""


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(file): file for file in (ROOT / "emigbench").rglob("*.py")}


def imported(file: Path, *, at_once: bool = False) -> Iterator[str]:
    """Names of modules that a file imports, those inside functions too unless only what it needs `at_once` counts."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else str(node.module) for name in names)


def test_no_module_needs_itself():
    knows = {name: {m for m in imported(file, at_once=True) if m in FILES} for name, file in FILES.items()}
    assert knows["emigbench.scoring"] >= {"emigbench.statistics", "emigbench.splits"}
    list(TopologicalSorter(knows).static_order())


@pytest.mark.parametrize(
    ("layer", "below"),
    [
        ("emigbench.cli", {"emigbench.report"}),
        ("emigbench.report", {"emigbench.comparison", "emigbench.contribution", "emigbench.screening"}),
        ("emigbench.comparison", {"emigbench.scoring", "emigbench.evaluation"}),
        ("emigbench.evaluation", {"emigbench.scoring", "emigbench.metrics", "emigbench.statistics"}),
        ("emigbench.scoring", {"emigbench.datasets", "emigbench.splits", "emigbench.predictions", "emigbench.metrics"}),
        ("emigbench.metrics", {"emigbench.records", "emigbench.datasets"}),
        ("emigbench.hops", {"emigbench.records", "emigbench.datasets"}),
    ],
)
def test_nothing_below_a_layer_knows_it(layer, below):
    for name, file in FILES.items():
        if any(name == lower or name.startswith(f"{lower}.") for lower in below):
            assert not [m for m in imported(file) if m == layer or m.startswith(f"{layer}.")], name


def test_the_benchmark_knows_no_baseline():
    for file in FILES.values():
        assert not [m for m in imported(file) if m.startswith("emigbench_baselines")], file


def test_baselines_know_the_public_interface_and_its_tools():
    used = {name for file in (ROOT / "baselines").rglob("*.py") for name in imported(file)}
    assert {name for name in used if name == "emigbench" or name.startswith("emigbench.")} == KNOWN_TO_BASELINES
