"""An answer for a path, as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emigbench.answer import ATTEMPT_FREQUENCY_HZ, Answer
from emigbench.errors import on_one_line
from emigbench.hops.hop import Hop
from emigbench.records import FloatArray

LEAST = 1e-300
"""Smaller numbers are soon no numbers for a computer."""

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def show(hop: Hop, answer: Answer, model: str) -> RenderableType:
    """What was understood of two structures, and what a model answers."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_grid(_understood(hop)), Text(), _grid(_answered(answer, model))]
    if answer.known:
        parts += [Text(), _known(answer)]
    if answer.cautions:
        parts += [Text(), Text("Cautions", style="bold yellow")]
        parts += [Text(f"- {on_one_line(caution)}") for caution in answer.cautions]
    return Group(*parts)


def _understood(hop: Hop) -> list[tuple[str, str]]:
    path = hop.path
    start, end = path.band_frac_coords[0], path.band_frac_coords[-1]
    rows = [
        ("Structure", f"{path.composition}, {path.n_atoms} atoms{f', {path.space_group}' * bool(path.space_group)}"),
        ("Moving ion", f"{path.mobile_ion} {hop.site + 1}, which is {path.mobile_ion} {hop.final_site + 1} at the end"),
        ("Hop", f"{path.hop_length:.2f} Å from {_place(start)} to {_place(end)}"),
    ]
    if hop.host_moved >= 0.005:
        rows.append(("Host", f"relaxes by up to {hop.host_moved:.2f} Å ({hop.host_moved_atom})"))
    return rows + [("Note" if i == 0 else "", note) for i, note in enumerate(hop.notes)]


def _answered(answer: Answer, model: str) -> list[tuple[str, str]]:
    p = answer.prediction
    barrier = f"{answer.e_m:.2f} eV"
    if p.low is not None:
        barrier += f", 90% interval {p.low:.2f} to {p.high:.2f} eV"
    elif p.std is not None:
        barrier += f" ± {p.std:.2f} eV (standard deviation)"
    verdict = f"{'good' if answer.good else 'bad'} at {answer.threshold:g} eV"
    if answer.chance_good is not None:
        verdict += f"; the chance of a good one is {_percent(answer.chance_good)}"
    diffusivity = f"{_power(answer.diffusivity)} cm²/s at {answer.temperature:g} K"
    if answer.diffusivity_interval is not None:
        low, high = answer.diffusivity_interval
        diffusivity += f", {_power(low)} to {_power(high)}"
    assumed = (
        f"D = f g a² ν exp(-E_m / k_B T) with f = 1, g = 1, ν = {_power(ATTEMPT_FREQUENCY_HZ)} Hz and a the hop length"
    )
    return [
        ("Barrier E_m", f"{barrier} ({on_one_line(model)})"),
        ("Conductor", verdict),
        ("Diffusivity", diffusivity),
        ("", assumed),
    ]


def _known(answer: Answer) -> Table:
    from rich.table import Table
    from rich.text import Text

    legend = "; ?: doubted, see emigbench data show PATH" * any(k.facts.label_flags for k in answer.known)
    table = Table(
        title=f"The most similar paths with a known barrier (same ion, like host and hop{legend})",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("Path")
    table.add_column("Composition")
    for name in ("E_m (eV)", "Hop (Å)", "Host differs"):
        table.add_column(name, justify="right")
    for k in answer.known:
        doubtful = " ?" * bool(k.facts.label_flags)
        cells = (k.facts.id, k.facts.composition, f"{k.facts.e_m_ev:.2f}{doubtful}", f"{k.facts.hop_length_a:.2f}")
        table.add_row(*(Text(cell) for cell in cells), f"{k.host_difference:.0%}")
    return table


def _grid(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(on_one_line(value)))
    return table


def _place(coords: FloatArray) -> str:
    return "(" + ", ".join(f"{0.0 if abs(x) < 5e-4 else x:.3f}" for x in coords) + ")"


def _percent(chance: float) -> str:
    return "under 1%" if chance < 0.01 else "over 99%" if chance > 0.99 else f"{chance:.0%}"


def _power(value: float) -> str:
    """A number in powers of ten: 3.2e-9 as 3.2 × 10⁻⁹."""
    if value < LEAST:
        return f"under {_power(LEAST)}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{power}" if digits == "1.0" else f"{digits} × 10{power}"
