"""How a model of an outsider becomes a row: a filled folder, a look at the row, a pull request."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from emigbench import comparison, scoring, splits, submission, transport
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, first_fault, quoted
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, read_predictions
from emigbench.scoring import Score
from emigbench.storage import write_text
from emigbench.submission import CARD_FILE, FILES, LONGEST_SLUG, SLUG, Card, Submission

NOT_STATED = "not stated"
_UNKNOWN_MAKER = "a table of predictions; what made them is not recorded"


# --- A new folder


def start(
    parent: Path,
    slug: str,
    labels: Labels,
    given: Mapping[str, Any],
    *,
    predictions_file: Path | None = None,
    run_folder: Path | None = None,
    default_split: str = "official",
) -> Path:
    """Write a submission folder with what is known so far; or put results beside a card that stands alone.

    Args:
        parent: the folder of the submissions.
        slug: name of the new folder in it.
        labels: of the dataset.
        given: values of the card's keys; what is not given stands as "not stated".
        predictions_file: a table with at least id and e_m_ev, brought into the form of a submission.
        run_folder: a folder that `emigbench evaluate` wrote, copied.
        default_split: of a table without that column.

    Raises:
        EmigbenchError: if the folder is there already, or something given is not valid.
    """
    if not re.fullmatch(SLUG, slug) or len(slug) > LONGEST_SLUG:
        raise EmigbenchError(
            f"{quoted(slug)} cannot be a slug; take small letters, digits and single hyphens, such as my-model-2."
        )
    if slug in submission.RESERVED:
        raise EmigbenchError(f"{quoted(slug)} is a reserved name; choose another slug.")
    folder = parent / slug
    table = predictions_file if run_folder is None else run_folder / PREDICTIONS_FILE
    has_card = table is not None and _holds_a_card_alone(folder)
    if (folder.exists() or folder.is_symlink()) and not has_card:
        raise EmigbenchError(f"{folder} is there already; choose another slug, or edit {folder / CARD_FILE}.")
    if has_card and (told := [key for key, value in given.items() if value]):
        raise EmigbenchError(f"{folder} has a card already; write its {' and '.join(told)} there.")
    run = {} if run_folder is None else submission.read_run(run_folder, labels)
    predictions: PredictionSet | None = None
    if table is not None:
        predictions = read_predictions(table, labels, default_split)
        submission.check_seeds(predictions, table)
    if not has_card:
        _write_card(folder, slug, given, run)
    if predictions is not None:
        submission.write_results(folder, predictions, labels, run or {"copied_from": _UNKNOWN_MAKER})
    return folder


def _holds_a_card_alone(folder: Path) -> bool:
    return not folder.is_symlink() and folder.is_dir() and [file.name for file in folder.iterdir()] == [CARD_FILE]


def _write_card(folder: Path, slug: str, given: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    values = _filled({**given, "slug": slug, "kind": given.get("kind") or submission.recorded_kind(run)})
    text = card_template(values)
    _check_card(values, {"kind"} if values.get("kind") is None else set())
    write_text(folder / CARD_FILE, text)


def card_template(values: Mapping[str, Any]) -> str:
    """`submission.yaml` with a comment on every key, made from the schema."""
    head = f"# {CARD_FILE}: what only a person can know. `emigbench validate` checks it; unknown keys are refused.\n"
    schema = Card.model_json_schema()
    keys = {
        name: _explained(rules, optional=name not in schema["required"]) for name, rules in schema["properties"].items()
    }
    return head + "".join(f"\n# {text}\n{_yaml_line(name, values.get(name))}" for name, text in keys.items())


def unstated(card: Card) -> list[str]:
    """The keys that a person has not filled in yet."""
    return [name for name, value in card.model_dump().items() if value in (NOT_STATED, [NOT_STATED])]


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    known = {"name": given["slug"], "version": "1.0", "authors": [_git_user() or NOT_STATED]}
    known |= {key: value for key, value in given.items() if value not in (None, "", [])}
    required = {name for name, field in Card.model_fields.items() if field.is_required()} - {"kind"}
    return {name: NOT_STATED for name in sorted(required)} | known


def _check_card(values: Mapping[str, Any], later: set[str]) -> None:
    try:
        Card(**values)
    except ValidationError as error:
        if fault := first_fault(error, later):
            raise EmigbenchError(f"{fault}.") from error


def _explained(rules: Mapping[str, Any], *, optional: bool) -> str:
    """What belongs into a key and what may stand there, from its JSON schema."""
    said = [str(rules["description"])]
    if "enum" in rules:
        said.append(f"one of {', '.join(rules['enum'])}")
    if "maxLength" in rules:
        said.append(f"at most {rules['maxLength']} characters")
    if any(choice.get("type") == "integer" for choice in rules.get("anyOf", ())):
        said.append("a whole number")
    if optional:
        said.append("may be left empty")
    return "; ".join(said)


def _yaml_line(name: str, value: Any) -> str:
    if value is None:
        return f"{name}:\n"
    return str(yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False, width=1000))


def _git_user() -> str | None:
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


# --- A look at the row


@dataclass(frozen=True)
class Standing:
    """Where a submission would stand on one split.

    Attributes:
        score: its scores.
        ranks: best and worst rank that it may hold; None on a split that ranks nobody.
        n_rows: rows of that board, this one among them.
        tied: names of the rows that it is not told apart from, of all comparisons of this one row with others.
        resolution: smallest difference that this board tells apart, in eV (median over pairs).
    """

    score: Score
    ranks: tuple[int, int] | None
    n_rows: int
    tied: tuple[str, ...]
    resolution: float

    def to_json(self) -> dict[str, Any]:
        """The standing as plain values; what is undefined is None."""
        return {
            "ranks": None if self.ranks is None else list(self.ranks),
            "n_rows": self.n_rows,
            "not_told_apart_from": list(self.tied),
            "resolution_ev": self.resolution if math.isfinite(self.resolution) else None,
            "score": self.score.to_json(),
        }


def standings(own: Submission, others: Sequence[Submission], labels: Labels) -> dict[str, Standing]:
    """Where a submission would stand on each of its splits, among other submissions."""
    return {split: _standing(own, others, labels, split) for split in own.predictions if split not in splits.CURVE}


def siblings(folder: Path, own: str, labels: Labels) -> tuple[list[Submission], list[str]]:
    """The other submissions of a folder, and what is wrong with those that cannot be read."""
    found, wrong = [], []
    for each in submission.folders(folder):
        if each.name != own:
            try:
                found.append(submission.read(each, labels))
            except EmigbenchError as error:
                wrong.append(str(error))
    return found, wrong


def _standing(own: Submission, others: Sequence[Submission], labels: Labels, split: str) -> Standing:
    score = scoring.score(own.predictions[split], labels, split)
    rivals = [other for other in others if split in other.predictions]
    if split == splits.FITTED:
        return Standing(score, None, len(rivals) + 1, (), float("nan"))
    predictions = {each.card.slug: each.predictions[split] for each in (own, *rivals)}
    found = comparison.compare_submissions(predictions, labels, split)
    slug = own.card.slug
    names = {rival.card.slug: rival.card.name for rival in rivals}
    tied = tuple(names[other] for other, pair in found.own_differences(slug).items() if not pair.told_apart)
    return Standing(score, found.ranks[slug], len(found.slugs), tied, found.detectable)


# --- The pull request


def git_commands(folder: Path, slug: str) -> list[str]:
    """What to type for a pull request, from inside a clone of one's fork; the folder is copied there if need be."""
    inside = f"submissions/{slug}"
    resolved = folder.resolve()
    at_home = (resolved.parent.parent / ".git").exists() and resolved.parent.name == "submissions"
    return [
        *([] if at_home else [f"cp -r {shlex.quote(str(resolved))} {inside}"]),
        f"git switch -c submission-{slug}",
        f"git add {inside}",
        f"git commit -m 'Submission: {slug}' -- {inside}",
        f"git push -u origin submission-{slug}",
    ]


def pull_request(folder: Path, slug: str, repo_id: str) -> str:
    """Open a pull request of a Hub dataset repository with the folder's three files.

    Returns:
        Where it is.

    Raises:
        EmigbenchError: one sentence about a missing token, no network or a refusal.
    """
    import huggingface_hub

    transport.require_token()
    with transport.one_sentence(repo_id, "open pull requests of"):
        done = huggingface_hub.HfApi().create_commit(
            repo_id,
            [huggingface_hub.CommitOperationAdd(f"submissions/{slug}/{name}", folder / name) for name in FILES],
            repo_type="dataset",
            commit_message=f"Submission: {slug}",
            create_pr=True,
        )
    return str(done.pr_url or done.commit_url)
