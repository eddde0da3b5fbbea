"""Scores -> the leaderboard's HTML: an index that needs no other file, and a page for each model.

Everything that a person wrote is escaped by Jinja and linked to the web alone. The pages carry a content security
policy that runs our own scripts and nothing else, and fetches nothing from any host. No dates, no random ids: the
same inputs give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from emigbench import scoring
from emigbench.datasets.labels import Labels
from emigbench.metrics import BY_NAME
from emigbench.report import cells, costs, index, model, names, per_path, plots, templating, text

if TYPE_CHECKING:
    from jinja2 import Environment

    from emigbench.report.leaderboard import Boards, Entry

INDEX = "index.html"
MODELS = "models"
ASSETS = "assets"
MARK = '<meta name="generator" content="emigbench leaderboard build">'
"""What tells a generated page from one of a person's own."""


def files(entries: Sequence[Entry], boards: Boards, labels: Labels) -> dict[str, str]:
    """All pages and what they need: name below the leaderboard's folder -> content.

    Args:
        entries: the submissions, each slug once.
        boards: split -> their scored rows, best first.
        labels: the dataset that they are scored on.
    """
    names_of = {entry.card.slug: text.clean(entry.card.name, 120) for entry in entries}
    found = {INDEX: index_page(entries, boards, labels)}
    for entry in entries:
        page = model.model_page(entry, boards, labels, names_of)
        found[f"{MODELS}/{entry.card.slug}.html"] = _render("model.html.jinja", page=page, dataset=_dataset(labels))
    paths = json.dumps(per_path.paths_data(labels, boards), separators=(",", ":"), allow_nan=False)
    found[f"{ASSETS}/paths.js"] = f"window.EMIGBENCH={paths};\n"
    for name in ("style.css", "model.js", "vega.min.js"):
        found[f"{ASSETS}/{name}"] = templating.asset(name)
    return found


def index_page(entries: Sequence[Entry], boards: Boards, labels: Labels) -> str:
    """The one page with all boards; style and script are inside it."""
    by_slug = {entry.card.slug: entry for entry in entries}
    views = [index.board(split, rows, by_slug, labels) for split, rows in boards.items()]
    script = templating.asset("index.js")
    return _render(
        "index.html.jinja",
        boards=views,
        kinds=sorted({kind for view in views for kind in view.kinds}),
        n_models=len({row.card.slug for rows in boards.values() for row in rows}),
        dataset=_dataset(labels),
        thresholds=[f"{threshold:g}" for threshold in scoring.THRESHOLDS_EV],
        resamples=scoring.RESAMPLES,
        data=index.script_data(boards),
        style=Markup(templating.asset("style.css")),
        script=Markup(script),
        script_hash=templating.script_hash(script),
    )


def _dataset(labels: Labels) -> dict[str, str | int]:
    return {**labels.identity, "n": len(labels)}


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = templating.environment()
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "at": plots.at,
        "duration": costs.duration,
        "count": costs.count,
        "number": cells.number,
        "runs": index.runs_of,
        "ranks": index.ranks_text,
        "rounded": cells.rounded,
        "shade": plots.shade,
    }
    environment.globals |= {
        "subset_labels": names.SUBSET_LABELS,
        "mark": Markup(MARK),
        "metrics": BY_NAME,
        "strip_end": plots.STRIP_END,
    }
    return environment
