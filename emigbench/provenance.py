"""What the program can know of where it runs: versions, hardware, cores, memory, its own command."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import parent_process
from pathlib import Path

_BETWEEN = ", "
"""Values of several machines."""
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


def available_cores() -> int:
    """Cores that this process may use; 1 in a worker, since its siblings have the others."""
    if parent_process() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    name = Path(sys.argv[0]).name
    program = ["python", "-m", "emigbench"] if name == "__main__.py" else [name]
    return shlex.join([*program, *sys.argv[1:]])


def peak_memory_mb() -> float | None:
    """Largest memory that this process held so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
