"""The dataset card: what a reader of the Hub sees, with the header that the Hub itself reads.

Every number in it is counted from the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from emigbench import splits
from emigbench.datasets import catalogue, plots, rows, sources, spinels
from emigbench.datasets.findings import FLAGS, LABEL_FLAGS
from emigbench.datasets.labels import Labels

NAME = "Ionic migration barriers"
LICENCE = "mit"
TAGS = (
    "chemistry",
    "materials-science",
    "batteries",
    "solid-electrolytes",
    "ionic-conductivity",
    "migration-barrier",
    "nudged-elastic-band",
    "dft",
    "crystal-structures",
    "arxiv:2508.06459",
    "doi:10.1038/s41524-026-01972-8",
)
AUTHORS = ("Reshma Devi", "Avaneesh Balasubramanian", "Keith T. Butler", "Gopalakrishnan Sai Gautam")
CITATION = """\
@article{devi2026leveraging,
  title   = {Leveraging transfer learning for accurate estimation of ionic migration barriers in solids},
  author  = {Devi, Reshma and Butler, Keith T. and Sai Gautam, Gopalakrishnan},
  journal = {npj Computational Materials},
  year    = {2026},
  doi     = {10.1038/s41524-026-01972-8}
}
@article{devi2025literature,
  title   = {A literature-derived dataset of migration barriers for quantifying ionic transport in battery materials},
  author  = {Devi, Reshma and Balasubramanian, Avaneesh and Butler, Keith T. and Sai Gautam, Gopalakrishnan},
  journal = {arXiv preprint arXiv:2508.06459},
  year    = {2025}
}
"""


def text(
    labels: Labels, repo: str, files: Mapping[str, Mapping[str, str]], sizes: Mapping[str, Mapping[str, int]]
) -> str:
    """The card as Markdown.

    Args:
        labels: of the dataset.
        repo: name of the repository.
        files: config -> split -> path of its file.
        sizes: config -> split -> number of rows.
    """
    from jinja2 import Environment, StrictUndefined

    template = (resources.files("emigbench.datasets") / "card.md.jinja").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(
        header=yaml.safe_dump(header(files, len(labels)), sort_keys=False, allow_unicode=True),
        repo=repo,
        version=labels.version,
        revision=catalogue.info(labels.name).revision,
        sha256=labels.sha256,
        columns=[{"name": c.name, "type": _type(c), "meaning": c.meaning} for c in rows.COLUMNS],
        commit=sources.COMMIT,
        citation=CITATION,
        end=plots.END,
        sizes=sizes,
        **_counts(labels),
    )


def header(files: Mapping[str, Mapping[str, str]], n_rows: int) -> dict[str, Any]:
    """What the Hub reads: licence, tags, size, configs with their files."""
    return {
        "pretty_name": NAME,
        "license": LICENCE,
        "tags": list(TAGS),
        "task_categories": ["tabular-regression", "graph-ml"],
        "size_categories": ["n<1K" if n_rows < 1000 else "1K<n<10K"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if place == 0 else {}),
                "data_files": [{"split": split, "path": path} for split, path in of_split.items()],
            }
            for place, (config, of_split) in enumerate(files.items())
        ],
    }


def _counts(labels: Labels) -> dict[str, Any]:
    flags = Counter(flag for facts in labels for flag in facts.flags)
    label_flags = Counter(flag for facts in labels for flag in facts.label_flags)
    groups = Counter(facts.structural_group for facts in labels)
    functionals = Counter(facts.xc for facts in labels).most_common()
    shown = [(split, splits.folds(labels, split.name)) for split in splits.SPLITS.values()]
    return {
        "n": len(labels),
        "n_test": sum(facts.split == "test" for facts in labels),
        "n_ions": len({facts.mobile_ion for facts in labels}),
        "n_groups": len(groups),
        "n_small_groups": sum(n < 10 for n in groups.values()),
        "n_materials": len({facts.material_id for facts in labels}),
        "n_conflicts": label_flags["label_conflict"],
        "n_suspicious": label_flags["label_suspicious"],
        "functionals": ", ".join(f"{name} {n}" for name, n in functionals),
        "shared": {kind: len(ids) for kind, ids in splits.leakage(labels, "official").items()},
        "splits": [
            {"name": split.name, "n_folds": len(folds), "description": split.description} for split, folds in shown
        ],
        "unused": any(fold.unused for _, folds in shown for fold in folds),
        "deviation": max(figures.max_deviation_a for figures in spinels.read_table()),
        "flags": _explained(FLAGS, flags),
        "label_flags": _explained(LABEL_FLAGS, label_flags),
    }


def _explained(meanings: Mapping[str, str], counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "n": counts[name], "meaning": meaning} for name, meaning in meanings.items()]


def _type(column: rows.Column) -> str:
    lengths = " × ".join("n" if length is None else str(length) for length in column.shape)
    return f"{column.kind}, {lengths}" if lengths else column.kind
