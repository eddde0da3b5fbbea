"""`run.json`, the record of a run, as the program writes it; `emigbench.run_schema` reads it, whoever wrote it."""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from emigbench import provenance

LOG = logging.getLogger(__name__)
RUN_FILE = "run.json"
REMARKS = "remarks"
"""Where the `details` of a fit say what a reader should know of single paths, such as why one failed: id -> text."""
LEFT_OUT = "left out"
"""Where they say what is not among them."""
LARGEST_RUN = 4_000_000
"""Bytes of it."""
LONGEST_TEXT = 20_000
"""Characters of a text in it."""
LARGEST_NUMBER = 1e18
"""In it; more seconds than the universe has, fewer than a float or a 64-bit whole number holds."""
DEEPEST = 20
"""How deep it may nest."""


def new(
    *,
    dataset: Mapping[str, str],
    predictions_sha256: str,
    ran_on: Mapping[str, str | int],
    packages: Iterable[str] = (),
    **of_the_run: object,
) -> dict[str, object]:
    """The content of `run.json`; `ran_on` is the hardware, this machine's or that of the workers.

    `packages` are those of the model, see `emigbench.model.packages_of`.
    """
    return {
        "command": provenance.command(),
        "dataset": dict(dataset),
        "predictions_sha256": predictions_sha256,
        **of_the_run,
        "versions": provenance.versions(packages),
        "hardware": dict(ran_on),
    }


def text_of(record: Mapping[str, Any]) -> str:
    """The text of `run.json`; of details that would make it larger than what is read, the remarks or nothing is left.

    A warning says what is left out.
    """
    for kept, told in (((REMARKS,), " but for remarks on single paths"), ((), "")):
        text = _as_json(record)
        if len(text) <= LARGEST_RUN:
            return text
        LOG.warning(
            "%s would have %.4g MB, and at most %g are read, so the details of the fits%s are left out.",
            RUN_FILE, len(text) / 1e6, LARGEST_RUN / 1e6, told,
        )  # fmt: skip
        record = {**record, "units": [_with_details(unit, kept) for unit in record["units"]]}
    return _as_json(record)


def _as_json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, allow_nan=False) + "\n"  # ASCII, so as many bytes as characters


def _with_details(unit: Mapping[str, Any], kept: Container[str]) -> dict[str, Any]:
    details = {key: value for key, value in unit.get("details", {}).items() if key in kept}
    return {**unit, "details": {**details, LEFT_OUT: "details that the record of the run has no room for"}}


def remarks(folder: Path) -> dict[str, str]:
    """What a finished run says of single paths, such as why they failed: id -> remark."""
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    told = [unit.get("details", {}).get(REMARKS, {}) for unit in record["units"]]
    return {path_id: remark for of_unit in told for path_id, remark in of_unit.items()}


def added(record: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `run.json` of a run whose results were added to those of an earlier one."""
    return {
        **record,
        "kind": record["kind"] if record.get("kind") is not None else earlier.get("kind"),
        "command": f"{earlier.get('command', '')} && {record['command']}",
        "units": [*earlier.get("units", []), *record["units"]],
        "versions": provenance.joined([earlier.get("versions", {}), record["versions"]]),
        "hardware": provenance.joined([earlier.get("hardware", {}), record["hardware"]]),
    }
