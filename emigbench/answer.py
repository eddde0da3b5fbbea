"""What a predicted barrier means: good or bad conductor, jump diffusivity, and what is known of like paths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from emigbench.datasets import findings, labels
from emigbench.datasets.geometry import plane_spacings
from emigbench.datasets.labels import Facts
from emigbench.hops.matching import ION_MOVES_A
from emigbench.records import INTERVAL_LEVEL, MigrationPath, Prediction
from emigbench.scoring import THRESHOLDS_EV

BOLTZMANN_EV_PER_K = 8.617333262e-5
ATTEMPT_FREQUENCY_HZ = 1e13
CORRELATION_FACTOR = 1.0
GEOMETRIC_FACTOR = 1.0
"""z / 2d for z equivalent hops in d dimensions: 1 in a chain, a square and a simple cubic network of sites."""
N_KNOWN = 5
FEW = 10
"""A model can hardly have learned from fewer paths of an ion."""
OF_THE_CELL = frozenset({"band_leaves_cell", "band_direction_tied"})
"""Flags that say where a cell is cut, or that another image of the final site is as near: they hang on how a structure
is written, and what was done about them is told where it is read."""
SAME_HOST, SAME_HOP_A = 0.01, 0.2
"""A known path whose host and hop differ by less may be the very path that is asked for: the lattices of experiments
and of calculations make hops longer or shorter by so much."""
NOTHING_ALIKE = 0.99
"""Hosts that differ by more have no element in common, or hardly any of it."""
HOST_RELAXES_A = 0.5
"""Atoms of other elements than the ion hardly ever move farther while a host relaxes: in 6 paths of the dataset."""
EMPTY_LAYER_A = 6.0
"""Between the layers of a crystal there is less: in the dataset 4.2 Å at most, from atom to atom."""
_SD_OF_INTERVAL = NormalDist().inv_cdf((1 + INTERVAL_LEVEL) / 2)
"""Half the width of a 90% interval in standard deviations, if errors are normal."""


@dataclass(frozen=True)
class KnownPath:
    """A path of the dataset that is like another one.

    Attributes:
        facts: what `labels.csv` says about it.
        host_difference: share of the host's atoms that are of other elements, 0 (the same formula) to 1.
        hop_difference: difference of the hop lengths in Å.
    """

    facts: Facts
    host_difference: float
    hop_difference: float


@dataclass(frozen=True, eq=False)
class Answer:
    """A prediction for one path, and what follows from it.

    Attributes:
        path: the path.
        prediction: the model's answer.
        threshold: barrier in eV up to which a conductor is good.
        temperature: in K.
        known: the most similar paths of the dataset.
    """

    path: MigrationPath
    prediction: Prediction
    threshold: float
    temperature: float
    known: tuple[KnownPath, ...]

    @property
    def e_m(self) -> float:
        """The predicted barrier in eV."""
        assert self.prediction.e_m is not None, "an answer is made of a barrier"
        return self.prediction.e_m

    @property
    def good(self) -> bool:
        """Whether the predicted barrier is at most the threshold."""
        return self.e_m <= self.threshold

    @property
    def chance_good(self) -> float | None:
        """Chance that the barrier is at most the threshold; None where the model gives no uncertainty.

        Errors are taken to be normal, with the width of the 90% interval on the side of the threshold, or else
        with the predicted standard deviation. They are around the barrier, or around the middle of an interval that
        it lies outside of.
        """
        low, high, middle = self.prediction.low, self.prediction.high, self.e_m
        if low is not None and high is not None:
            middle = middle if low <= middle <= high else (low + high) / 2
            sd = (high - middle if self.threshold > middle else middle - low) / _SD_OF_INTERVAL
        elif self.prediction.std is not None:
            sd = self.prediction.std
        else:
            return None
        return NormalDist(middle, sd).cdf(self.threshold) if sd > 0 else float(middle <= self.threshold)

    @property
    def diffusivity(self) -> float:
        """Jump diffusivity in cm²/s, see `jump_diffusivity`."""
        return jump_diffusivity(self.e_m, self.path.hop_length, self.temperature)

    @property
    def diffusivity_interval(self) -> tuple[float, float] | None:
        """The jump diffusivities in cm²/s at the upper and the lower end of the barrier's interval, if it has one."""
        if self.prediction.low is None or self.prediction.high is None:
            return None
        hop = self.path.hop_length
        high, low = self.prediction.high, self.prediction.low
        return jump_diffusivity(high, hop, self.temperature), jump_diffusivity(low, hop, self.temperature)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why to doubt the answer: what the model says, what the geometry says, what the dataset lacks."""
        return cautions(self.path, self.prediction)

    def to_json(self) -> dict[str, Any]:
        """The answer as plain values; lengths in Å, barriers in eV, diffusivities in cm²/s."""
        p, interval = self.prediction, self.diffusivity_interval
        return {
            "prediction": {
                "e_m_ev": p.e_m,
                "low_ev": p.low,
                "high_ev": p.high,
                "interval_level": None if p.low is None else INTERVAL_LEVEL,
                "std_ev": p.std,
                "status": p.status,
            },
            "conductor": {"threshold_ev": self.threshold, "good": self.good, "chance_good": self.chance_good},
            "diffusivity": {
                "temperature_k": self.temperature,
                "cm2_per_s": self.diffusivity,
                "low_cm2_per_s": interval and interval[0],
                "high_cm2_per_s": interval and interval[1],
                "assumptions": {
                    "correlation_factor": CORRELATION_FACTOR,
                    "geometric_factor": GEOMETRIC_FACTOR,
                    "attempt_frequency_hz": ATTEMPT_FREQUENCY_HZ,
                    "hop_length_a": self.path.hop_length,
                },
            },
            "known_paths": [
                {
                    "id": k.facts.id,
                    "composition": k.facts.composition,
                    "structural_group": k.facts.structural_group,
                    "e_m_ev": k.facts.e_m_ev,
                    "hop_length_a": k.facts.hop_length_a,
                    "host_difference": k.host_difference,
                    "hop_difference_a": k.hop_difference,
                    "label_flags": list(k.facts.label_flags),
                }
                for k in self.known
            ],
            "cautions": list(self.cautions),
        }


def answer(
    path: MigrationPath, prediction: Prediction, threshold: float = THRESHOLDS_EV[0], temperature: float = 300.0
) -> Answer:
    """What a prediction means for its path."""
    return Answer(path, prediction, threshold, temperature, tuple(nearest_known(path)))


def cautions(path: MigrationPath, prediction: Prediction) -> tuple[str, ...]:
    """Why to doubt a prediction, each a sentence.

    Args:
        path: what was asked; its flags are told.
        prediction: the model's answer.
    """
    said = [*prediction.cautions]
    if prediction.status == "not_converged":
        said.append("the model itself does not trust this value: its calculation did not converge")
    said += [findings.FLAGS[flag] for flag in path.flags if flag not in OF_THE_CELL]
    said += _about_the_host(path)
    said += _about_a_vacuum(path)
    ion = path.mobile_ion
    n = _known_paths()[ion]
    if n < FEW and not any(f"moving {ion}" in told for told in said):
        said.append(
            f"only {n} of the dataset's paths are of a moving {ion}" if n else f"the dataset has no path of {ion}"
        )
    said += _about_known(path, prediction)
    return tuple(f"{text[:1].upper()}{text[1:].removesuffix('.')}." for text in said)


def reasons(failed: Prediction) -> str:
    """What a model says of a path that it has no barrier for, to go on a sentence with; empty if it says nothing."""
    return "".join(f"; {caution.removesuffix('.')}" for caution in failed.cautions)


def _about_the_host(path: MigrationPath) -> Iterator[str]:
    """Whether one of its atoms moves so far to the final state that more than one ion may hop."""
    if path.final_host_frac_coords is None:
        return
    moved = np.linalg.norm((path.final_host_frac_coords - path.host_frac_coords) @ path.lattice, axis=1)
    limits = [ION_MOVES_A if element == path.mobile_ion else HOST_RELAXES_A for element in path.host_species]
    most = int((moved / limits).argmax())
    if moved[most] >= limits[most]:
        place = ", ".join(f"{x:.3f}" for x in path.host_frac_coords[most])
        yield (
            f"the host's {path.host_species[most]} at ({place}) moves by {moved[most]:.2f} Å as well; this may be a "
            f"concerted hop, and the answer is for one ion in a host that only relaxes"
        )


def _about_a_vacuum(path: MigrationPath) -> Iterator[str]:
    """Whether a layer of the cell has no atoms, as beside a surface."""
    atoms = np.sort(np.vstack([path.host_frac_coords, path.band_frac_coords[0]]) % 1.0, axis=0)
    gaps = np.diff(atoms, axis=0, append=atoms[:1] + 1.0).max(axis=0)
    widest = float((gaps * plane_spacings(path.lattice)).max())
    if widest > EMPTY_LAYER_A:
        yield (
            f"a layer of the cell, {widest:.1f} Å thick, has no atoms, as beside a surface; the dataset's paths are in "
            f"the bulk"
        )


def _about_known(path: MigrationPath, prediction: Prediction) -> Iterator[str]:
    """What follows from the dataset's paths of the same ion: this hop or its host is among them, or nothing like it."""
    known = _by_likeness(path)
    if not known:
        return
    same_host = sorted(
        (k for k in known if k.host_difference < SAME_HOST), key=lambda k: (k.hop_difference, k.facts.id)
    )
    if same_host and same_host[0].hop_difference < SAME_HOP_A:
        facts = same_host[0].facts
        narrow = "" if prediction.low is None else ", and its interval is too narrow"
        yield (
            f"the dataset has {facts.id}, a hop of {facts.hop_length_a:.2f} Å in a host of this formula; if it is the "
            f"same hop, a model that was fitted to it knows the answer{narrow}"
        )
    elif same_host:
        yield (
            f"the host is one of the dataset's by its formula, with other hops of {path.mobile_ion} (such as "
            f"{same_host[0].facts.id}); a model that was fitted to them may err less here than in a new host, so do "
            f"not judge it by this answer"
        )
    elif min(k.host_difference for k in known[:N_KNOWN]) > NOTHING_ALIKE:
        yield (
            f"the dataset's most similar paths of {path.mobile_ion} are in hosts that have no element in common with "
            f"this one, so nothing like it says how wrong the answer may be"
        )


def jump_diffusivity(e_m: float, hop_length: float, temperature: float) -> float:
    """Jump diffusivity D = f g a² ν exp(-E_m / k_B T) in cm²/s, Equation 1 of the paper (section 1).

    The correlation factor f and the geometric factor g are 1, the attempt frequency ν is 10¹³ Hz. All hops are
    taken to be alike.

    Args:
        e_m: barrier in eV; a negative one counts as none.
        hop_length: distance a in Å.
        temperature: in K.
    """
    a_cm = hop_length * 1e-8
    prefactor = CORRELATION_FACTOR * GEOMETRIC_FACTOR * a_cm**2 * ATTEMPT_FREQUENCY_HZ
    return prefactor * math.exp(-max(e_m, 0.0) / (BOLTZMANN_EV_PER_K * temperature))


def nearest_known(path: MigrationPath) -> list[KnownPath]:
    """The `N_KNOWN` paths of the dataset with the same ion and the most similar host and hop, nearest first.

    A host of other elements altogether counts as much as a hop longer or shorter by 1 Å. Only the table of
    labels is needed.
    """
    return _by_likeness(path)[:N_KNOWN]


def _by_likeness(path: MigrationPath) -> list[KnownPath]:
    """All paths of the dataset with the same ion, those with the most similar host and hop first."""
    host, hop = _fractions(findings.framework_formula(path)), path.hop_length
    known = [
        KnownPath(facts, _difference(host, _fractions(facts.framework)), abs(facts.hop_length_a - hop))
        for facts in labels.read("full")
        if facts.mobile_ion == path.mobile_ion
    ]
    return sorted(known, key=lambda k: (k.host_difference + k.hop_difference, k.facts.id))


@cache
def _known_paths() -> Counter[str]:
    """Ion -> how many paths of it the dataset has."""
    return Counter(facts.mobile_ion for facts in labels.read("full"))


@cache
def _fractions(formula: str) -> Mapping[str, float]:
    counts = findings.named_formula(formula) or {}
    return {element: n / sum(counts.values()) for element, n in counts.items()}


def _difference(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Half the sum of the absolute differences of two compositions, 0 to 1; 1 where one of them has no atoms."""
    if not a or not b:
        return float(a != b)
    return sum(abs(a.get(e, 0.0) - b.get(e, 0.0)) for e in {*a, *b}) / 2
