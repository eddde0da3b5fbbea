"""Screened structures -> two tables and one page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from emigbench.errors import on_one_line
from emigbench.hop_barriers import HopBarrier, Screened
from emigbench.report import templating
from emigbench.report.text import clean
from emigbench.screening import RESULTS, Plan
from emigbench.storage import csv_text

STRUCTURES, HOPS, PAGE = RESULTS
MOST_NAMED = 8
"""Hops that are named where a caution is about several."""
WITHOUT_FAILED = "the barriers of endless paths may be too high, or missing"


def files(found: Sequence[Screened], plan: Plan, threshold: float) -> dict[str, str]:
    """Name -> content of everything that `emigbench screen` writes, the same bytes for the same results.

    Args:
        found: the structures, best first.
        plan: what was asked.
        threshold: barrier in eV up to which a conductor is good; the page draws it.
    """
    return {STRUCTURES: structures_csv(found), HOPS: hops_csv(found), PAGE: page(found, plan, threshold)}


STRUCTURE_COLUMNS = tuple(
    "rank file formula n_atoms n_hops n_failed n_with_cautions percolation_1d_ev low_1d_ev high_1d_ev limiting_hop "
    "percolation_2d_ev percolation_3d_ev lowest_barrier_ev cautions error".split()
)
HOP_COLUMNS = tuple("id file from to length_a multiplicity e_m_ev low_ev high_ev status cautions".split())


def _structure(rank: int, each: Screened) -> tuple[Any, ...]:
    """The `STRUCTURE_COLUMNS` of a structure; the interval is that of the hop that limits the endless path in 1D."""
    return (
        None if each.error else rank,
        each.file,
        each.formula,
        each.n_atoms or None,
        len(each.hops),
        each.n_failed,
        len(each.doubted),
        each.percolation[0],
        *_interval(each),
        None if each.limiting is None else each.limiting.id,
        *each.percolation[1:],
        each.lowest,
        each.cautions,
        each.error,
    )


def _hop(each: Screened, hop: HopBarrier) -> tuple[Any, ...]:
    """The `HOP_COLUMNS` of a hop of a structure."""
    ends = (hop.start, hop.end)
    barrier = (hop.e_m, hop.low, hop.high)
    return (hop.id, each.file, *ends, hop.length, hop.multiplicity, *barrier, hop.status, hop.cautions)


def to_json(found: Iterable[Screened]) -> list[dict[str, Any]]:
    """The structures, best first, each with its hops, as plain values; all that the tables say."""
    shown = []
    for rank, each in enumerate(found, start=1):
        row = dict(zip(STRUCTURE_COLUMNS, _structure(rank, each), strict=True))
        barriers = {axis: row.pop(f"percolation_{axis}_ev") for axis in ("1d", "2d", "3d")}
        hops = [dict(zip(HOP_COLUMNS, _hop(each, hop), strict=True)) for hop in each.hops]
        for hop in hops:
            del hop["file"]
        shown.append({**row, "percolation_ev": barriers, "hops": hops})
    return shown


def structures_csv(found: Iterable[Screened]) -> str:
    """One row a structure, in the order given."""
    return _csv(STRUCTURE_COLUMNS, (_structure(rank, each) for rank, each in enumerate(found, start=1)))


def hops_csv(found: Iterable[Screened]) -> str:
    """One row a symmetry-distinct hop, in the order of the structures."""
    return _csv(HOP_COLUMNS, (_hop(each, hop) for each in found for hop in each.hops))


def page(found: Sequence[Screened], plan: Plan, threshold: float) -> str:
    """The page. File names and errors are escaped; it runs no script and fetches nothing."""
    from markupsafe import Markup

    environment = templating.environment()
    environment.filters |= {"ev": _ev, "clean": clean, "doubts": _doubts, "reason": _reason}
    good = [each for each in found if not each.error]
    barriers = [hop.e_m for each in good for hop in each.hops if hop.e_m is not None]
    style = templating.asset("style.css")
    return environment.get_template("screening.html.jinja").render(
        found=good,
        unusable=[each for each in found if each.error],
        plan=plan,
        threshold=threshold,
        without_failed=WITHOUT_FAILED,
        end=max([1.2 * threshold, *(min(barrier, 3.0) for barrier in barriers)]) or 1.0,
        style=Markup(style),
    )


def table(found: Sequence[Screened], most: int = 20) -> str:
    """The best structures as text for a terminal."""
    from tabulate import tabulate

    good = [each for each in found if not each.error]
    rows = [
        [
            rank,
            on_one_line(each.file),
            each.formula,
            _n_hops(each),
            len(each.doubted) or "",
            _ev(each.percolation[0]),
            " to ".join(_ev(end) for end in _interval(each) if end is not None) or "–",
            *map(_ev, (*each.percolation[1:], each.lowest)),
        ]
        for rank, each in enumerate(good[:most], start=1)
    ]
    headers = ["", "structure", "formula", "hops", "doubtful", "1D (eV)", "its 90% interval", "2D (eV)", "3D (eV)"]
    headers.append("lowest (eV)")
    rest = f"… and {len(good) - most} more.\n" if len(good) > most else ""
    failed = f"Where hops failed, {WITHOUT_FAILED}.\n" if any(each.n_failed for each in good) else ""
    said = "".join(f"{on_one_line(each.file)}: {caution}\n" for each in good[:most] for caution in each.cautions)
    shown = tabulate(rows, headers=headers, disable_numparse=True, stralign="right")
    return f"{shown}\n{rest}{failed}{said}" if rows else ""


def _n_hops(each: Screened) -> str:
    return f"{len(each.hops)}{f' ({each.n_failed} failed)' if each.n_failed else ''}"


def _interval(each: Screened) -> tuple[float | None, float | None]:
    """The 90% interval in eV of the hop that limits the endless path."""
    return (None, None) if each.limiting is None else (each.limiting.low, each.limiting.high)


def _doubts(each: Screened) -> list[tuple[str, str]]:
    """The cautions of the hops of a structure, each once, with the hops that it is about in words."""
    about: dict[str, list[str]] = {}
    for hop in each.hops:
        for caution in hop.cautions:
            about.setdefault(caution, []).append(f"#{hop.id.rpartition('#')[2]}")
    return [(_named(hops, len(each.hops)), caution) for caution, hops in about.items()]


def _named(hops: Sequence[str], of: int) -> str:
    """Hops by their numbers, as many as one reads."""
    if len(hops) == of > 1:
        return f"all {of} hops"
    others = len(hops) - MOST_NAMED
    rest = f" and {others} other{'s' if others > 1 else ''}" if others > 0 else ""
    return f"{', '.join(hops[:MOST_NAMED])}{rest}"


def _reason(each: Screened) -> str:
    """Why a file gave nothing, to be read behind its name."""
    return each.error.removeprefix(each.file).removeprefix(":").strip()


def _ev(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    return csv_text([header, *(map(_in_a_cell, row) for row in rows)])


def _in_a_cell(value: Any) -> Any:
    """A value as a table has it: coordinates and cautions as one text, nothing for None."""
    if isinstance(value, tuple):
        if all(isinstance(each, str) for each in value):
            return on_one_line("; ".join(caution.removesuffix(".") for caution in value))
        return " ".join(f"{round(x, 5) + 0.0:.5f}" for x in value)  # -0.0 + 0.0 is 0.0
    if isinstance(value, float):
        return f"{value:.4f}"
    return on_one_line(value) if isinstance(value, str) else value
