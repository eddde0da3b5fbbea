"""Whether predictions may be something else than their makers think, without anything that a GPU machine may lack."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from emigbench.datasets.labels import Labels
from emigbench.predictions import PredictionSet
from emigbench.records import Prediction

SAME_DECIMALS, FEWEST_SAME = 4, 10
"""Predictions that equal the label to so many decimals (eV), and so many of a split, are worth a question."""
OTHER_UNIT = 20.0
"""Times the labels' median that predictions of eV never are; a kcal/mol is 23 times smaller than an eV."""

LEAST_STD_EV = 0.001
"""A smaller standard deviation claims more than DFT-NEB can know; trees that agree give one."""


def doubts(predictions: PredictionSet, labels: Labels) -> list[str]:
    """What their makers should look at again: predictions that are the labels, of another unit, too sure, or none."""
    sentences = []
    for split, seeds in predictions.items():
        sentences += _of_sharpness(split, [p for of_seed in seeds.values() for p in of_seed if p.status != "failed"])
        given = [(p.e_m, labels.by_id[p.id].e_m_ev) for of_seed in seeds.values() for p in of_seed if p.e_m is not None]
        same = sum(round(e_m, SAME_DECIMALS) == round(label, SAME_DECIMALS) for e_m, label in given)
        if not given:
            sentences.append(f"No path of {split} has a value, so that this is the score of the training median.")
        elif same >= max(FEWEST_SAME, len(given) / 2):
            sentences.append(f"{same} of {len(given)} predictions on {split} equal the label; is it the right column?")
        elif len(given) >= FEWEST_SAME:
            if sum(e_m <= 0 for e_m, _ in given) > len(given) / 2:
                sentences.append(f"Most predictions on {split} are not above 0 eV, and no barrier is; is a sign wrong?")
            size, of_labels = (float(median(abs(pair[k]) for pair in given)) for k in (0, 1))
            if size >= OTHER_UNIT * of_labels or 0 < size <= of_labels / OTHER_UNIT:
                sentences.append(
                    f"Half of the predictions on {split} are beyond {size:.3g}, where the labels' median is "
                    f"{of_labels:.3g} eV; are they in eV?"
                )
    return sentences


def _of_sharpness(split: str, given: Sequence[Prediction]) -> list[str]:
    """That NLL hangs on a few predictions that are too sure of themselves, where there is an NLL."""
    sharp = [p for p in given if p.std is not None and p.std < LEAST_STD_EV]
    if not sharp or any(p.std is None for p in given):
        return []
    is_worth = "is undefined" if any(p.std == 0 for p in sharp) else "means little"
    return [
        f"{len(sharp)} of {len(given)} predictions on {split} have a standard deviation below {LEAST_STD_EV:g} eV (the "
        f"first is {sharp[0].id!r}), so that NLL {is_worth}."
    ]
