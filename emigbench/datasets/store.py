"""`load()`: where a dataset is found, and the proof that it is the pinned one."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from emigbench import splits
from emigbench.datasets import catalogue, labels, rows
from emigbench.datasets.catalogue import DatasetInfo
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, in_words, on_one_line
from emigbench.records import LabelledPath, MigrationPath
from emigbench.storage import read_text, write_bytes, write_text

LOG = logging.getLogger(__name__)
INFO_FILE = "dataset.json"
LARGEST_INFO = 100_000
"""Bytes of `dataset.json`; it has four short lines."""


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[LabelledPath]):
    """A dataset: a sequence of labelled paths, also found by id, with a name, a version and a content hash.

    Attributes:
        name: name in the catalogue.
        version: version of the content.
        sha256: content hash, equal for equal content wherever it came from.
        entries: the labelled paths.
    """

    name: str
    version: str
    sha256: str
    entries: tuple[LabelledPath, ...]

    def __repr__(self) -> str:
        return f"<Dataset {self.name} {self.version}: {len(self)} paths>"

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int | slice | str) -> Any:
        return self.by_id[labels.known_id(index, self.labels)] if isinstance(index, str) else self.entries[index]

    def __contains__(self, item: object) -> bool:
        return item in self.by_id if isinstance(item, str) else item in self.entries

    def __iter__(self) -> Iterator[LabelledPath]:
        return iter(self.entries)

    @property
    def identity(self) -> dict[str, str]:
        """What says which data it is, in records and results: name, version and content hash."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    @cached_property
    def labels(self) -> Labels:
        """The facts about the paths, without structures."""
        return labels.read(self.name)

    @cached_property
    def by_id(self) -> dict[str, LabelledPath]:
        """Id -> labelled path."""
        return {entry.id: entry for entry in self.entries}

    def split(self, name: str) -> tuple[list[LabelledPath], list[MigrationPath]]:
        """The two sides of a split of one fold: labelled paths to fit to, and paths to predict.

        Raises:
            EmigbenchError: if there is no such split, or it has several folds (then use `folds`).
        """
        sides = list(self.folds(name))
        if len(sides) != 1:
            raise EmigbenchError(f"Split {name!r} has {len(sides)} folds; use data.folds({name!r}).")
        return sides[0]

    def folds(self, name: str) -> Iterator[tuple[list[LabelledPath], list[MigrationPath]]]:
        """The two sides of every fold of a split.

        Raises:
            EmigbenchError: if there is no such split.
        """
        for fold in splits.folds(self.labels, name):
            train = [self.by_id[path_id] for path_id in fold.train]
            yield train, [self.by_id[path_id].path for path_id in fold.held_out]


def load(name: str = "full", path: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a dataset and check that its content is the pinned one.

    `spinels` is part of the package. `full` is looked for in this order: `path` or the folder in
    EMIGBENCH_DATA (made by `emigbench data build`, or a copy of the Hub's repository); the source files in the
    folder EMIGBENCH_SOURCE, curated on the spot; the user cache; the dataset's repository on the Hub at the tag of
    this version; the source files at their pinned commit. What comes over the network is kept in the user cache.

    Raises:
        EmigbenchError: if it is found nowhere, or what is found is not the pinned content.
    """
    info = catalogue.info(name)
    if name == "spinels":
        if path:
            raise EmigbenchError(f"{name} is part of the package, so it is not read from {path}; leave the folder out.")
        return _checked(info, embedded_spinels(), "the package")
    built = path or os.environ.get("EMIGBENCH_DATA")
    if built:
        return _checked(info, read_built(Path(built)), str(built))
    if source := os.environ.get("EMIGBENCH_SOURCE"):
        return _checked(info, _curate(Path(source)), source)
    cached = _cached(info)
    return fetch(name) if cached is None else cached


def fetch(name: str = "full") -> Dataset:
    """Get a dataset from the Hub or, where that fails, from the authors' files, and keep it in the user cache.

    Processes that do so at the same time wait for each other, and only the first one asks the network. A damaged
    copy in the cache is replaced.

    Raises:
        EmigbenchError: if it cannot be had; it says what was tried and what to do.
    """
    import filelock

    info = catalogue.info(name)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f"{name}-{info.version}.lock"):
            data = _cached(info)
            if data is None:
                if _cache_of(info).exists():
                    LOG.warning("The copy in %s is damaged or outdated and is fetched again.", _cache_of(info))
                data = _downloaded(info)
                shutil.rmtree(_cache_of(info), ignore_errors=True)
                write_built(data, _cache_of(info))
    except OSError as error:
        raise EmigbenchError(f"Cannot write to the cache {folder}: {error.strerror or error}.") from error
    return data


def _cached(info: DatasetInfo) -> Dataset | None:
    """The dataset in the user cache, where it is there and whole."""
    folder = _cache_of(info)
    try:
        return _checked(info, read_built(folder), str(folder))
    except EmigbenchError:
        return None


def _downloaded(info: DatasetInfo) -> Dataset:
    """The dataset from the Hub, or else from the authors' files."""
    from emigbench.datasets import hub, sources

    tried = "EMIGBENCH_HUB_REPO is empty, so the Hub was not asked."
    if catalogue.hub_repo():
        try:
            return _checked(info, hub.fetch(info), "the Hub")
        except EmigbenchError as error:
            tried = str(error)
        if hub.is_offline():
            raise _not_at_hand(info, tried)
        LOG.warning("%s Going on to the authors' files.", on_one_line(tried))  # may quote a server
    folder = cache_folder() / "sources"
    try:
        sources.download(folder)
    except EmigbenchError as error:
        raise _not_at_hand(info, f"{tried} {error}") from error
    return _checked(info, _curate(folder), str(folder))


def _not_at_hand(info: DatasetInfo, tried: str) -> EmigbenchError:
    return EmigbenchError(
        f"Dataset {info.name!r} is not at hand: EMIGBENCH_DATA and EMIGBENCH_SOURCE are not set, the cache "
        f"{cache_folder()} does not hold it, and the download failed: {tried} Connect to the network, point "
        f"EMIGBENCH_SOURCE at the source files, or use the embedded set with --dataset spinels."
    )


def _cache_of(info: DatasetInfo) -> Path:
    return cache_folder() / f"{info.name}-{info.version}"


def build(source: Path, out: Path) -> Dataset:
    """Curate the source files of a folder into a built dataset that `load(path=...)` reads."""
    data = _checked(catalogue.info("full"), _curate(source), str(source))
    write_built(data, out)
    return data


def cache_folder() -> Path:
    """The user cache: EMIGBENCH_CACHE, or the platform's own place."""
    if chosen := os.environ.get("EMIGBENCH_CACHE"):
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("emigbench"))


def embedded_spinels() -> tuple[LabelledPath, ...]:
    """The spinel paths, rebuilt from their figures and joined with their facts by id."""
    from emigbench.datasets import spinels

    facts = labels.read("full").by_id
    return tuple(rows.from_facts(facts[figures.id], *spinels.geometry(figures)) for figures in spinels.read_table())


def _curate(folder: Path) -> tuple[LabelledPath, ...]:
    from emigbench.datasets import curation, sources

    return curation.curate(sources.read(folder))


def _checked(info: DatasetInfo, entries: tuple[LabelledPath, ...], where: str) -> Dataset:
    digest = dataset_hash(entries)
    if digest != info.sha256:
        raise EmigbenchError(
            f"The dataset {info.name!r} from {where} has content hash {digest[:12]}…, expected "
            f"{info.sha256[:12]}… of version {info.version}: it is damaged or of another version; {rows.RENEW}."
        )
    return Dataset(info.name, info.version, digest, entries)


def description(data: Dataset) -> dict[str, Any]:
    """What stands beside a copy of the dataset for people and programs; a copy is proven by its content alone."""
    return {**data.identity, "n_paths": len(data)}


def tables(data: Dataset, config: str) -> dict[str, bytes]:
    """The records as Parquet files, one for each side: path in the dataset's repository -> content.

    All but the structures is taken from `labels.csv`, so the dataset has to be of the pinned content.
    """
    facts = data.labels.by_id
    return {
        rows.table_path(config, side): rows.to_parquet(
            rows.to_row(entry, facts[entry.id]) for entry in data if entry.split == side
        )
        for side in rows.SIDES
    }


def write_built(data: Dataset, folder: Path) -> None:
    """Write a dataset as its repository on the Hub has it, tables and a description, each replaced only when whole."""
    for name, content in tables(data, "official").items():
        write_bytes(folder / name, content)
    write_text(folder / INFO_FILE, json.dumps(description(data), indent=2) + "\n")


def read_built(folder: Path) -> tuple[LabelledPath, ...]:
    """Read what `write_built` wrote, or a copy of the dataset's repository on the Hub.

    Raises:
        EmigbenchError: if the folder holds no built dataset, a damaged one or one of another version.
    """
    _check_version(folder)
    for table in rows.OFFICIAL:
        if not (folder / table).is_file():
            raise EmigbenchError(
                f"{folder} holds no dataset as this emigbench writes it ({table} is missing); make it anew with "
                f"emigbench data build."
            )
    return tuple(entry for table in rows.OFFICIAL for entry in rows.read(folder / table))


def _check_version(folder: Path) -> None:
    """Refuse what says of itself that it is of another version; where nothing is said, the content hash decides."""
    file = folder / INFO_FILE
    if not file.is_file():
        return
    try:
        said = json.loads(read_text(file, LARGEST_INFO))
        name, version = str(said["name"]), str(said["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EmigbenchError(f"{file} is damaged ({in_words(error)}); {rows.RENEW}.") from error
    catalogue.check_version(name, version, str(folder))
