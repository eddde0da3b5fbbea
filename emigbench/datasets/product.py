"""The dataset as a repository: every file of it, made from the records. Nothing here knows the network.

    README.md, croissant.json         for people, for machines
    data/<config>/<split>.parquet     the records, see `rows`
    splits/<split>.csv                the sides of every split, see `emigbench.splits`
    figures/*.png                     of the card
    corrections.yaml, CHANGELOG.md    decisions about the data, and its history
    dataset.json                      names, versions and content hashes

The same records give the same bytes with the same versions of the libraries.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from emigbench import splits
from emigbench.datasets import card, croissant, plots, rows, store
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.store import Dataset
from emigbench.errors import EmigbenchError
from emigbench.storage import write_bytes

FOLDERS = ("data/", "splits/", "figures/")
"""What is in them is all ours: a file of an earlier version that is no more is removed when a new one is published."""
_ALONG = ("corrections.yaml", "CHANGELOG.md")


def files(data: Dataset, repo: str) -> dict[str, bytes]:
    """The whole repository: path -> content.

    Args:
        data: the full dataset.
        repo: name of the repository, for the card.

    Raises:
        EmigbenchError: if a library that only publishing needs is not installed, or the labels are not of these
            records.
    """
    _check_labels(data)
    configs = {"official": data, "spinels": store.load("spinels")}
    paths: dict[str, dict[str, str]] = {
        config: {side: rows.table_path(config, side) for side in rows.SIDES} for config in configs
    }
    tables = {path: table for config in configs for path, table in store.tables(configs[config], config).items()}
    sides = {f"splits/{name}.csv": splits.csv_text(data.labels, name).encode() for name in splits.SPLITS}
    sizes: dict[str, dict[str, int]] = {
        config: {side: sum(entry.split == side for entry in of_config) for side in rows.SIDES}
        for config, of_config in configs.items()
    }
    figures = {f"figures/{name}": content for name, content in plots.draw(data.labels).items()}
    info = {**store.description(data), "spinels": store.description(configs["spinels"])}
    return {
        **tables,
        **sides,
        **figures,
        **_along(),
        store.INFO_FILE: (json.dumps(info, indent=2) + "\n").encode(),
        "croissant.json": croissant.text(data.labels, repo, tables, sides).encode(),
        "README.md": card.text(data.labels, repo, paths, sizes).encode(),
    }


def write(content: dict[str, bytes], folder: Path) -> None:
    """Write the repository into a folder, which may hold an earlier build of the same files and nothing else.

    Raises:
        EmigbenchError: if something else is there, or the folder cannot be written to.
    """
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.relative_to(folder).as_posix() not in content:
            raise EmigbenchError(f"{file} is no part of the dataset; choose an empty folder.")
    for name, each in content.items():
        write_bytes(folder / name, each)


def _check_labels(data: Dataset) -> None:
    """Make sure that the rows, which take their facts from `labels.csv`, are the records and nothing else."""
    facts = data.labels.by_id
    if dataset_hash([rows.from_row(rows.to_row(entry, facts[entry.id])) for entry in data]) != data.sha256:
        raise EmigbenchError("labels.csv is not of this dataset; make it anew with emigbench.datasets.tables.")


def _along() -> dict[str, bytes]:
    """Files of the package that go with the data."""
    package = resources.files("emigbench.datasets")
    return {name: (package / name).read_bytes() for name in _ALONG}
