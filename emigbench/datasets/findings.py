"""What a reader should know about a path: every finding is a flag with a meaning, computed from the record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from math import gcd

import numpy as np

from emigbench.datasets import geometry
from emigbench.records import MigrationPath

FLAGS = {
    "host_wrapped": "host atoms stood outside the cell in the source and were moved in by whole cells",
    "overlapping_atoms_merged": "host atoms lay within 0.5 Å of each other or of an endpoint and were merged",
    "final_wrapped": "an atom of the final state stood a whole cell away in the source and was moved back",
    "final_relaxed_separately": "the final state has its own cell or host: not a fixed-cell NEB endpoint",
    "final_from_band": "the source gives no final state, the band's last image in the initial host stands for it",
    "band_leaves_cell": "the unwrapped band leaves the cell",
    "band_not_shortest": "another periodic image of the final site is nearer to the initial site by over 0.01 Å",
    "band_direction_tied": "another periodic image of the final site is as near as the one taken, within 0.01 Å",
    "band_on_host": "an intermediate image lies within 0.5 Å of a host atom",
    "band_near_host": "an intermediate image lies within 1.0 Å of a host atom",
    "band_near_mobile_ion": "an intermediate image lies within 1.8 Å of another mobile ion",
    "hop_short": "the hop is shorter than 2.4 Å",
    "hop_long": "the hop is longer than 6 Å",
    "hop_spans_cell": "the hop is as long as the shortest lattice vector: the ion meets its own image",
    "small_cell": "the shortest lattice vector is below 7 Å: the ion is near its own images",
    "name_differs_from_cell": "the named framework and the atoms of the cell have different stoichiometry",
    "no_vacancy": "the initial cell holds all the mobile ions that the name gives",
    "two_vacancies": "the initial cell lacks two or more of the mobile ions that the name gives",
    "charged_on_discharged_lattice": "a charged record with exactly the lattice of a discharged one",
    "group_disputed": "the chemistry speaks for another structural group, see corrections.yaml",
}
LABEL_FLAGS = {
    "label_conflict": "a symmetry-identical band has another barrier, by more than 0.02 eV",
    "label_suspicious": "the barrier itself is doubtful, see corrections.yaml",
    "label_below_50_mev": "below 0.05 eV",
    "label_above_4_ev": "above 4 eV",
}

_TIE = 0.01


def geometry_flags(path: MigrationPath) -> Iterator[str]:
    """Findings about the band and its surroundings."""
    band, host, lattice = path.band_frac_coords, path.host_frac_coords, path.lattice
    if band.min() < -1e-6 or band.max() > 1 + 1e-6:
        yield "band_leaves_cell"

    images = geometry.image_lengths(band[-1] - band[0], lattice)
    if path.hop_length > images[0] + _TIE:
        yield "band_not_shortest"
    elif images[1] < path.hop_length + _TIE:
        yield "band_direction_tied"

    to_host = geometry.distances(band[1:-1], host, lattice)
    if to_host.min() < 0.5:
        yield "band_on_host"
    if to_host.min() < 1.0:
        yield "band_near_host"
    mobile = np.array(path.host_species) == path.mobile_ion
    if mobile.any() and to_host[:, mobile].min() < 1.8:
        yield "band_near_mobile_ion"

    cell = geometry.shortest_lattice_vector(lattice)
    if path.hop_length < 2.4:
        yield "hop_short"
    if path.hop_length > 6:
        yield "hop_long"
    if path.hop_length >= cell:
        yield "hop_spans_cell"
    if cell < 7:
        yield "small_cell"


def composition_flags(path: MigrationPath) -> Iterator[str]:
    """Findings from the formula in the id against the atoms in the cell."""
    named = named_formula(path.id)
    if named is None:
        return
    cell = Counter(path.host_species) + Counter([path.mobile_ion])
    framework = {element: n for element, n in cell.items() if element != path.mobile_ion}
    named_framework = {element: n for element, n in named.items() if element != path.mobile_ion}
    if reduced(framework) != reduced(named_framework):
        yield "name_differs_from_cell"
        return
    scale = sum(framework.values()) / sum(named_framework.values())
    if path.mobile_ion in named:
        vacancies = round(named[path.mobile_ion] * scale) - cell[path.mobile_ion]
        if vacancies <= 0:
            yield "no_vacancy"
        elif vacancies >= 2:
            yield "two_vacancies"


def named_formula(path_id: str) -> dict[str, float] | None:
    """Element counts of the formula that an id starts with; None where it is no plain formula (`Mgx…`)."""
    formula = without_prefix(path_id).split("_")[0].replace("-", "")
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula)
    if "".join(element + count for element, count in parts) != formula:
        return None
    counts: Counter[str] = Counter()
    for element, count in parts:
        counts[element] += float(count or 1)  # type: ignore[assignment]
    return dict(counts)


def without_prefix(name: str) -> str:
    """An id or a composition without what tells a polymorph: `O3-NaMnO2` is NaMnO2, `M-NaFePO4_1` is NaFePO4_1."""
    return re.sub(r"^(a1?|b|d|e|g|O3?|M)-", "", name)


def reduced(counts: dict[str, int] | dict[str, float]) -> dict[str, float]:
    """Element counts over their greatest common divisor (fractions below 0.1 are not resolved)."""
    tenths = {element: round(10 * n) for element, n in counts.items()}
    divisor = gcd(*tenths.values())
    return {element: n / divisor for element, n in sorted(tenths.items())}


def framework_formula(path: MigrationPath) -> str:
    """Reduced formula of every atom that is not of the mobile element, in alphabetical order: V1 P1 O5 -> O5PV."""
    counts = reduced(dict(Counter(s for s in path.host_species if s != path.mobile_ion)))
    return "".join(element + (f"{n:g}" if n != 1 else "") for element, n in counts.items())
