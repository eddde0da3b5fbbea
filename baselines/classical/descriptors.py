"""Descriptors of a path with a meaning in physics, each with unit and source.

They do not change when the crystal is translated, turned, described with other periodic images or another order
of atoms, or when the path is run backwards; nor, as long as a moving ion is farther than a few Å from its own
periodic images, when the cell is repeated. A path takes some 80 ms, and nothing but NumPy, SciPy and pymatgen's
element tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import nan, pi

import numpy as np
import pandas as pd

from emigbench import MigrationPath
from emigbench.datasets.hashing import geometry_hash
from emigbench.provenance import available_cores
from emigbench.records import FloatArray
from emigbench_baselines.classical.channel import CHANNEL_STATISTICS, CHANNEL_UNITS, channel
from emigbench_baselines.classical.environment import PROFILES, profiles, surroundings
from emigbench_baselines.classical.ions import POLARISABILITY, charges, facts, is_anion
from emigbench_baselines.classical.path_table import path_table

MIN_PARALLEL = 50
"""Fewer paths than this are described without starting other processes."""

DIGITS = 7
"""Significant digits that are kept: what lies below depends on the order of sums."""


@dataclass(frozen=True)
class Descriptor:
    """What one column of the table is.

    Attributes:
        name: of the column.
        family: descriptors of one family are permuted together when their importance is measured.
        unit: of the value; "1" where it has none.
        meaning: in words, with the source where there is one.
    """

    name: str
    family: str
    unit: str
    meaning: str


STATISTICS: Mapping[str, tuple[Callable[[FloatArray], float], str]] = {
    "ends": (lambda v: float(v[0] + v[-1]) / 2, "mean of both ends"),
    "end difference": (lambda v: float(abs(v[0] - v[-1])), "between the ends"),
    "middle": (lambda v: float(v[len(v) // 2]), "in the middle"),
    "middle rise": (lambda v: float(v[len(v) // 2] - (v[0] + v[-1]) / 2), "middle above the ends"),
    "quarter rise": (
        lambda v: float(v[len(v) // 4] + v[-1 - len(v) // 4] - v[0] - v[-1]) / 2,
        "quarters above the ends",
    ),
    "range": (lambda v: float(np.ptp(v)), "highest less lowest"),
    "highest": (lambda v: float(v.max()), "highest along the path"),
    "lowest": (lambda v: float(v.min()), "lowest along the path"),
}
"""What is kept of a quantity along the path. None depends on which end is called the initial one."""

_CATION_FACTS = {
    "electronegativity": "Pauling",
    "cation_radius": "Å",
    "mass": "u",
    "row": "1",
    "group": "1",
    "ionisation_energy": "eV",
}
_FRACTIONS = ("P", "S", "Si", "O", "F", "V", "Mn", "B", "C")

CHEMISTRY = (
    Descriptor("ion electronegativity", "ion", "Pauling", "of the moving ion"),
    Descriptor("ion radius", "ion", "Å", "Shannon, mean over coordination"),
    Descriptor("ion mass", "ion", "u", "of the moving ion"),
    Descriptor("ion row", "ion", "1", "of the periodic table"),
    Descriptor("ion charge", "ion", "e", "nominal"),
    Descriptor("ionic potential", "ion", "e/Å", "charge over radius"),
    Descriptor("anion electronegativity", "anion", "Pauling", "mean over anions"),
    Descriptor("anion radius", "anion", "Å", "mean over anions, Shannon"),
    Descriptor("anion charge", "anion", "e", "mean over anions"),
    Descriptor("anion mass", "anion", "u", "mean over anions"),
    Descriptor("anion polarisability", "polarisability", "Å³", "mean over anions, Pauling 1927"),
    *(
        Descriptor(f"cation {statistic} {name.replace('_', ' ')}", "cations", unit, "of the host's cations")
        for name, unit in _CATION_FACTS.items()
        for statistic in ("mean", "highest", "lowest")
    ),
    *(Descriptor(f"cation {s} charge", "cations", "e", "of the host's cations") for s in ("mean", "highest", "lowest")),
    Descriptor("transition metal charge", "state", "e", "what makes the cell neutral, shared by them"),
    Descriptor("transition metals per anion", "cations", "1", "count"),
    Descriptor("d electrons", "state", "1", "group less charge, mean over transition metals"),
    Descriptor("transition metal group", "cations", "1", "mean"),
    Descriptor("transition metal row", "cations", "1", "mean"),
    *(Descriptor(f"{element} per anion", "composition", "1", "count") for element in _FRACTIONS),
    Descriptor("sulphate", "composition", "1", "1 where sulphur is a cation"),
    Descriptor("mobile ions per anion", "state", "1", "how full the host is, the moving ion among them"),
    Descriptor("mobile ions per cation", "state", "1", "how full the host is"),
    Descriptor("cations per anion", "composition", "1", "count"),
    *(Descriptor(f"is {state}", "state", "1", "1 if so") for state in ("charged", "discharged", "electrolyte")),
    Descriptor("volume per anion", "free volume", "Å³", "of the cell"),
    Descriptor("volume per atom", "free volume", "Å³", "of the cell"),
    Descriptor("packing", "free volume", "1", "share of the cell inside ionic spheres"),
    Descriptor("density", "free volume", "u/Å³", "of the cell"),
    Descriptor("hop length", "hop", "Å", "straight"),
    Descriptor("relative hop length", "hop", "1", "over the cube root of the volume per anion"),
)

_CHANNEL = (
    *(
        Descriptor(f"channel {name} {statistic}", "channel", unit, f"best way round in the rigid host: {meaning}")
        for name, unit in CHANNEL_UNITS.items()
        for statistic, meaning in CHANNEL_STATISTICS.items()
    ),
    Descriptor("channel bend", "channel", "Å", "of the lowest place of the middle plane from the line"),
)

DESCRIPTORS: Mapping[str, Descriptor] = {
    descriptor.name: descriptor
    for descriptor in (
        *CHEMISTRY,
        *(
            Descriptor(f"{name} {statistic}", family, unit, f"{meaning}: {words}")
            for name, (family, unit, meaning) in PROFILES.items()
            for statistic, (_, words) in STATISTICS.items()
        ),
        *_CHANNEL,
    )
}
"""Every column of the table by name, in order."""


MOST_REMEMBERED = 5000
"""Paths whose descriptors this process keeps, 2 kB each: the folds of a split share theirs."""

_REMEMBERED: dict[tuple[str, str], FloatArray] = {}


def descriptor_table(paths: Sequence[MigrationPath], *, workers: int | None = None) -> pd.DataFrame:
    """The descriptors of each path: a row a path, a column for each of `DESCRIPTORS`; NaN where one is undefined.

    Args:
        paths: the paths; what has one geometry and state is described once, in later calls too.
        workers: processes that share the work; all cores of this process by default.
    """
    keys = [(geometry_hash(path), path.state) for path in paths]
    found = {key: values for key in keys if (values := _REMEMBERED.get(key)) is not None}
    missing = {key: path for key, path in zip(keys, paths, strict=True) if key not in found}
    workers = available_cores() if workers is None else workers
    if workers == 1 or len(missing) < MIN_PARALLEL:
        computed = [describe(path) for path in missing.values()]
    else:
        with ProcessPoolExecutor(workers) as pool:
            computed = list(pool.map(describe, missing.values(), chunksize=10))
    found.update(zip(missing, computed, strict=True))
    _REMEMBERED.update(found)
    for key in list(_REMEMBERED)[:-MOST_REMEMBERED]:
        _REMEMBERED.pop(key, None)  # another thread may have been first
    return path_table([found[key] for key in keys], paths, DESCRIPTORS)


def describe(path: MigrationPath) -> FloatArray:
    """The descriptors of one path, in the order of `DESCRIPTORS`."""
    around = surroundings(path)
    found = _chemistry(path)
    for name, values in profiles(path, around).items():
        found |= {f"{name} {statistic}": of(values) for statistic, (of, _) in STATISTICS.items()}
    found |= channel(around)
    values = np.array([found[name] for name in DESCRIPTORS])
    return _rounded(np.where(np.isfinite(values), values, np.nan))


def _rounded(values: FloatArray) -> FloatArray:
    """The same to DIGITS significant digits, and absolutely to as many decimals."""
    return np.round(np.array([float(f"{value:.{DIGITS}g}") for value in values]), DIGITS - 1)


def _chemistry(path: MigrationPath) -> dict[str, float]:
    counts = Counter([path.mobile_ion, *path.host_species])
    charge = charges(counts)
    ion = facts(path.mobile_ion)
    anions = {e: n for e, n in counts.items() if is_anion(e, charge[e])}
    cations = {e: n for e, n in counts.items() if e not in anions and e != path.mobile_ion}
    metals = {e: n for e, n in cations.items() if facts(e).is_transition_metal}
    n_anions = sum(anions.values()) or nan
    n_cations = sum(cations.values()) or nan
    volume = abs(float(np.linalg.det(path.lattice)))
    radius = {e: facts(e).anion_radius if e in anions else facts(e).cation_radius for e in counts}
    found = {
        "ion electronegativity": ion.electronegativity,
        "ion radius": ion.cation_radius,
        "ion mass": ion.mass,
        "ion row": ion.row,
        "ion charge": charge[path.mobile_ion],
        "ionic potential": charge[path.mobile_ion] / ion.cation_radius,
        "anion electronegativity": _mean(anions, lambda e: facts(e).electronegativity),
        "anion radius": _mean(anions, lambda e: facts(e).anion_radius),
        "anion charge": _mean(anions, charge.__getitem__),
        "anion mass": _mean(anions, lambda e: facts(e).mass),
        "anion polarisability": _mean(anions, lambda e: POLARISABILITY.get(e, nan)),
        "transition metal charge": _mean(metals, charge.__getitem__),
        "transition metals per anion": sum(metals.values()) / n_anions,
        "d electrons": _mean(metals, lambda e: facts(e).group - charge[e]),
        "transition metal group": _mean(metals, lambda e: facts(e).group),
        "transition metal row": _mean(metals, lambda e: facts(e).row),
        **{f"{element} per anion": counts[element] / n_anions for element in _FRACTIONS},
        "sulphate": float(charge.get("S", 0.0) > 0),
        "mobile ions per anion": counts[path.mobile_ion] / n_anions,
        "mobile ions per cation": counts[path.mobile_ion] / n_cations,
        "cations per anion": sum(cations.values()) / n_anions,
        **{f"is {state}": float(path.state == state) for state in ("charged", "discharged", "electrolyte")},
        "volume per anion": volume / n_anions,
        "volume per atom": volume / path.n_atoms,
        "packing": sum(4 / 3 * pi * radius[e] ** 3 * n for e, n in counts.items()) / volume,
        "density": sum(facts(e).mass * n for e, n in counts.items()) / volume,
        "hop length": path.hop_length,
        "relative hop length": path.hop_length / (volume / n_anions) ** (1 / 3),
    }
    for name in _CATION_FACTS:
        found |= _over_cations(name.replace("_", " "), cations, lambda e, name=name: float(getattr(facts(e), name)))
    return found | _over_cations("charge", cations, charge.__getitem__)


def _over_cations(name: str, cations: Mapping[str, int], of: Callable[[str], float]) -> dict[str, float]:
    values = [of(e) for e in cations]
    return {
        f"cation mean {name}": _mean(cations, of),
        f"cation highest {name}": max(values, default=nan),
        f"cation lowest {name}": min(values, default=nan),
    }


def _mean(counts: Mapping[str, int], of: Callable[[str], float]) -> float:
    return sum(of(e) * n for e, n in counts.items()) / sum(counts.values()) if counts else nan
