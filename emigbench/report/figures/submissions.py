"""The submissions that figures are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emigbench import comparison, scoring, splits
from emigbench.comparison import Contender
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME, Sample
from emigbench.report.leaderboard import Entry
from emigbench.scoring import Figure

TEST, TRAIN, CV = "official", splits.FITTED, "material-cv"


@dataclass(frozen=True, eq=False)
class Shown:
    """A submission as the figures show it: on each split, its predictions and its scores."""

    slug: str
    name: str
    on: Mapping[str, Contender]
    mae: Mapping[str, Figure]
    r2: Mapping[str, Figure]

    def sample(self, split: str) -> Sample:
        """The prediction averaged over seeds."""
        return scoring.mean_sample(self.on[split].samples)


def shown(entries: Sequence[Entry], labels: Labels, slugs: Sequence[str] = ()) -> list[Shown]:
    """The chosen submissions, or all, best MAE on the test set first and those without one last.

    Raises:
        EmigbenchError: if there is none of a slug.
    """
    by_slug = {entry.card.slug: entry for entry in entries}
    for slug in slugs:
        if slug not in by_slug:
            raise EmigbenchError(f"There is no submission {slug!r}; there are {', '.join(sorted(by_slug))}.")
    found = []
    for entry in (by_slug[slug] for slug in dict.fromkeys(slugs or by_slug)):
        on = {
            s: comparison.contender(entry.card.slug, seeds, labels, s)
            for s, seeds in entry.predictions.items()
            if s in (TEST, TRAIN, CV)
        }
        mae, r2 = (
            {split: scoring.figure(BY_NAME[name], model.samples) for split, model in on.items()}
            for name in ("mae", "r2")
        )
        found.append(Shown(entry.card.slug, entry.card.name, on, mae, r2))
    return sorted(found, key=lambda each: (TEST not in each.mae, _any_mae(each), each.slug))


def _any_mae(model: Shown) -> float:
    return min(model.mae[split].value for split in ((TEST,) if TEST in model.mae else model.mae))
