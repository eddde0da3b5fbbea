"""What the program can know about a run, so that nobody has to type it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "emigbench numpy scipy scikit-learn pymatgen matminer pandas torch alignn ase chgnet mace-torch sevenn lightgbm"
)


RUN_FILE = "run.json"


def versions() -> dict[str, str]:
    """Python's version and those of the installed packages that can change a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES.split():
        try:
            found[name] = version(name)
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
    **of_the_run: object,
) -> dict[str, object]:
    """The content of `run.json`."""
    return {
        "command": command(),
        "dataset": dict(dataset),
        "predictions_sha256": predictions_sha256,
        **of_the_run,
        "versions": versions(),
        "hardware": hardware(),
    }
