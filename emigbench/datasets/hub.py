"""The dataset from the Hugging Face Hub, at the tag of its version.

All transport is `huggingface_hub`'s, so HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN and proxies mean here what they
mean everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emigbench import transport
from emigbench.datasets import catalogue, rows
from emigbench.datasets.catalogue import DatasetInfo
from emigbench.datasets.hashing import dataset_hash
from emigbench.errors import EmigbenchError
from emigbench.records import LabelledPath

_TIMEOUT_S = 10


def is_offline() -> bool:
    """Whether the user forbade the Hub's client the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def fetch(info: DatasetInfo) -> tuple[LabelledPath, ...]:
    """The records of the full dataset at the tag of its version, from the Hub's own cache (HF_HOME) or the Hub.

    A copy that is not the pinned content is removed and fetched again, once.

    Raises:
        EmigbenchError: if it cannot be had, or what is there is other content.
    """
    repo, revision = catalogue.hub_repo(), info.revision
    for _ in range(2):
        with transport.one_sentence(repo, "read"):
            files = [_file(repo, revision, path) for path in rows.OFFICIAL]
        try:
            entries = tuple(entry for file in files for entry in rows.read(file))
        except EmigbenchError:
            entries = ()
        if dataset_hash(entries) == info.sha256:
            return entries
        for file in files:
            _forget(file)
    raise EmigbenchError(f"The dataset repository {repo} does not hold the pinned content at {revision}, asked twice.")


def _forget(file: Path) -> None:
    """Remove a file from the Hub's cache: what the link in the snapshot points at, and the link."""
    try:
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    except OSError as error:
        raise EmigbenchError(f"{file} is damaged and cannot be removed: {error.strerror}.") from error


def _file(repo: str, revision: str, path: str) -> Path:
    """A file in the Hub's cache; it is asked for where the cache does not hold it."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def get(**options: Any) -> Path:
        found = huggingface_hub.hf_hub_download(repo, path, repo_type="dataset", revision=revision, **options)
        return Path(found)

    try:
        return get(local_files_only=True)
    except LocalEntryNotFoundError:
        _look(repo, revision)
        return transport.patiently(get)


def _look(repo: str, revision: str) -> None:
    """Ask once whether the revision is there: a download would try for long where there is no network."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    try:
        huggingface_hub.HfApi().dataset_info(repo, revision=revision, timeout=_TIMEOUT_S)
    except RevisionNotFoundError as error:
        raise EmigbenchError(f"The dataset repository {repo} has no version {revision}.") from error
    except HfHubHTTPError as error:
        if error.response.status_code not in transport.TRANSIENT:
            raise
