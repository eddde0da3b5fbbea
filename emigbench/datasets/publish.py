"""Publish a version of the dataset on the Hugging Face Hub: one commit, one tag, nothing where nothing changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emigbench import transport
from emigbench.datasets import product
from emigbench.datasets.catalogue import DatasetInfo
from emigbench.datasets.store import INFO_FILE
from emigbench.errors import EmigbenchError

if TYPE_CHECKING:
    import huggingface_hub


@dataclass(frozen=True)
class Published:
    """What publishing changed.

    Attributes:
        url: of the commit or the pull request; "" where every file was there already.
        tag: the tag that was set; "" where none was.
    """

    url: str = ""
    tag: str = ""


def publish(files: Mapping[str, bytes], repo: str, info: DatasetInfo, *, as_pull_request: bool = False) -> Published:
    """Bring a dataset repository to exactly these files, in one commit, and tag it with the dataset's version.

    The repository is created where it is not there. Files of ours that are no more are removed, other people's
    files stay. A pull request sets no tag: the one who merges it publishes again, which does.

    Args:
        files: path in the repository -> content.
        repo: name of the repository, such as group/name.
        info: the dataset's entry in the catalogue.
        as_pull_request: open a pull request instead of committing to the main branch.

    Raises:
        EmigbenchError: if there is no token, the Hub refuses or cannot be reached, or the tag is there with other
            content.
    """
    import huggingface_hub

    transport.require_token()
    api = huggingface_hub.HfApi()
    with transport.one_sentence(repo, "open pull requests of" if as_pull_request else "write to"):
        if not as_pull_request:
            transport.patiently(lambda: api.create_repo(repo, repo_type="dataset", exist_ok=True))
        refs = transport.patiently(lambda: api.list_repo_refs(repo, repo_type="dataset"))
        tagged = {tag.name: tag.target_commit for tag in refs.tags}
        if info.revision in tagged:
            _check_tag(repo, info, tagged[info.revision])
        head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
        url = ""
        if operations := transport.patiently(lambda: _operations(api, repo, files)):
            done = api.create_commit(
                repo,
                operations,
                repo_type="dataset",
                commit_message=f"Dataset {info.version}",
                commit_description=f"Content hash {info.sha256}",
                parent_commit=head,
                create_pr=as_pull_request,
            )
            head, url = done.oid, str(done.pr_url or done.commit_url)
        if as_pull_request or info.revision in tagged:
            return Published(url)
        api.create_tag(repo, tag=info.revision, revision=head, repo_type="dataset", exist_ok=True)
        return Published(url, info.revision)


def _check_tag(repo: str, info: DatasetInfo, commit: str) -> None:
    """Make sure that the version's tag stands for the same records; the card around them may change."""
    import huggingface_hub

    file = transport.patiently(
        lambda: huggingface_hub.hf_hub_download(repo, INFO_FILE, repo_type="dataset", revision=commit)
    )
    try:
        tagged = str(json.loads(Path(file).read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError):
        tagged = "unreadable"
    if tagged != info.sha256:
        raise EmigbenchError(
            f"The tag {info.revision} of {repo} stands for other content ({tagged[:12]}…, ours is "
            f"{info.sha256[:12]}…); raise the version in emigbench/datasets/catalogue.py."
        )


def _operations(api: huggingface_hub.HfApi, repo: str, files: Mapping[str, bytes]) -> list[Any]:
    """What a commit has to change for the repository to hold these files."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

    listed = api.list_repo_tree(repo, repo_type="dataset", recursive=True)
    there = {each.path: each for each in listed if isinstance(each, RepoFile)}
    added = [
        CommitOperationAdd(path, content)
        for path, content in files.items()
        if path not in there or not _same(there[path], content)
    ]
    gone = [path for path in there if path.startswith(product.FOLDERS) and path not in files]
    return [*added, *(CommitOperationDelete(path) for path in gone)]


def _same(remote: huggingface_hub.hf_api.RepoFile, content: bytes) -> bool:
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == hashlib.sha256(content).hexdigest())
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content)  # how git names a file's content
    return bool(remote.blob_id == blob.hexdigest())
