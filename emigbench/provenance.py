"""What the program can know about a run, so that nobody has to type it."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shlex
import sys
from collections.abc import Container, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
_BETWEEN = ", "
"""Values of several machines."""
DEEPEST = 20
"""How deep it may nest."""

_PACKAGES = "emigbench numpy scipy scikit-learn pymatgen matminer pandas torch ase chgnet mace-torch mattersim sevenn"


def versions(others: Iterable[str] = ()) -> dict[str, str]:
    """The versions of Python and of what is installed of the packages that models here use, and of others."""
    found = {"python": platform.python_version()}
    for name in [*_PACKAGES.split(), *others]:
        try:
            found[re.sub("[-_.]+", "-", name).lower()] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int]:
    """Processor, cores and operating system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
    }


def joined(records: Iterable[Mapping[str, str | int]]) -> dict[str, str | int]:
    """The facts of several runs or machines as one, each value once: those that differ have commas between."""
    found: dict[str, dict[str, str | int]] = {}
    for record in records:
        for key, value in record.items():
            for each in value.split(_BETWEEN) if isinstance(value, str) else [value]:
                found.setdefault(key, {})[str(each)] = each
    return {key: next(iter(v.values())) if len(v) == 1 else _BETWEEN.join(v) for key, v in found.items()}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def command() -> str:
    """The command line as typed, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def peak_memory_mb() -> float | None:
    """Largest memory that this process held so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)


def run_record(
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
        "command": command(),
        "dataset": dict(dataset),
        "predictions_sha256": predictions_sha256,
        **of_the_run,
        "versions": versions(packages),
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
    return {path_id: remark for unit in record["units"] for path_id, remark in unit["details"].get(REMARKS, {}).items()}


def added(record: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `run.json` of a run whose results were added to those of an earlier one."""
    return {
        **record,
        "kind": record["kind"] if record.get("kind") is not None else earlier.get("kind"),
        "command": f"{earlier.get('command', '')} && {record['command']}",
        "units": [*earlier.get("units", []), *record["units"]],
        "versions": joined([earlier.get("versions", {}), record["versions"]]),
        "hardware": joined([earlier.get("hardware", {}), record["hardware"]]),
    }
