"""The datasets that exist, each pinned by version and content hash; `CHANGELOG.md` says what a version changes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from emigbench.errors import EmigbenchError, quoted


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset is and how a copy proves to be it.

    Attributes:
        name: name in `emigbench.load`.
        version: changes with the content.
        sha256: `emigbench.datasets.hashing.dataset_hash` of its records.
        n_paths: number of records.
        description: one line for people.
    """

    name: str
    version: str
    sha256: str
    n_paths: int
    description: str

    @property
    def revision(self) -> str:
        """The tag of this version in the dataset's repository on the Hub; the hash decides what is behind it."""
        return f"v{self.version}"


HUB_REPO = "emigbench/emigbench"
"""The dataset's repository on the Hub. The maintainers have yet to create it with `emigbench data publish`; until
then `load` goes on to the authors' files."""

CATALOGUE = {
    info.name: info
    for info in (
        DatasetInfo(
            name="full",
            version="1.0.0",
            sha256="162c3e31110b6463325117010c3227f577760b4f7e357e3c1d67fffa3852e3d1",
            n_paths=619,
            description="619 literature DFT-NEB barriers in 27 structural groups; curated from the source files",
        ),
        DatasetInfo(
            name="spinels",
            version="1.0.0",
            sha256="cd75c88610902e58a168625b8cc3e478c420c09f747eb2af889a8c0f43afed92",
            n_paths=82,
            description="the cubic spinel paths of full, rebuilt from their figures; part of the package",
        ),
    )
}


def info(name: str) -> DatasetInfo:
    """The catalogue's entry of a dataset.

    Raises:
        EmigbenchError: if there is none of that name.
    """
    if name not in CATALOGUE:
        raise EmigbenchError(f"There is no dataset {name!r}; there are {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def hub_repo() -> str:
    """The repository to load from: EMIGBENCH_HUB_REPO, or `HUB_REPO`; empty where the Hub is to be left out."""
    return os.environ.get("EMIGBENCH_HUB_REPO", HUB_REPO)


def check_version(name: str, version: str, where: str) -> None:
    """Make sure that a copy of a dataset is of the version that this program knows; another patch is as good.

    Args:
        name: what the copy says that it is.
        version: the version that it says it has.
        where: the folder or repository, for the message.

    Raises:
        EmigbenchError: if the copy is newer, older or of an unknown dataset; it says what to do.
    """
    upgrade = "upgrade emigbench (pip install --upgrade emigbench) or get a copy of the version that it knows"
    if name not in CATALOGUE:
        raise EmigbenchError(f"{where} holds a dataset {quoted(name)} that this emigbench does not know; {upgrade}.")
    known = CATALOGUE[name].version
    if not re.fullmatch(r"\d{1,6}\.\d{1,6}\.\d{1,6}", version, re.ASCII):
        raise EmigbenchError(f"{where} holds {name} of version {quoted(version)}, which is no version like {known}.")
    found, own = (tuple(map(int, each.split(".")[:2])) for each in (version, known))
    if found == own:
        return
    newer = f"newer than {known}, the one that this emigbench knows; {upgrade}"
    older = f"older than {known}, the one that this emigbench knows; make it anew with emigbench data build"
    raise EmigbenchError(f"{where} holds {name} {version}, {newer if found > own else older}.")
