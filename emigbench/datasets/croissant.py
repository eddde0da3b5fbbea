"""Croissant metadata: a description of the files and their columns that machines read, made and checked by its library.

Format: MLCommons Croissant 1.1. Files carry their sha256, so a loader that follows it proves them too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emigbench.datasets import card, rows
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError

if TYPE_CHECKING:
    import mlcroissant

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"


def text(labels: Labels, repo: str, tables: Mapping[str, bytes], splits: Mapping[str, bytes]) -> str:
    """The metadata as JSON.

    Args:
        labels: of the dataset.
        repo: name of the repository.
        tables: path in the repository -> content, of each Parquet file.
        splits: the same of each split's CSV file.

    Raises:
        EmigbenchError: if the library that makes it is not installed.
    """
    try:
        import mlcroissant as mlc
    except ImportError as error:
        raise EmigbenchError("A dataset is published with mlcroissant; pip install 'emigbench[dev]'.") from error
    files = {**dict.fromkeys(tables, "application/x-parquet"), **dict.fromkeys(splits, "text/csv")}
    metadata = mlc.Metadata(
        ctx=mlc.Context(conforms_to=CONFORMS_TO),
        name="emigbench",
        description=f"{len(labels)} barriers of ionic migration in solids by DFT-NEB, with structures and paths.",
        url=f"https://huggingface.co/datasets/{repo}",
        license=["https://spdx.org/licenses/MIT.html"],
        version=labels.version,
        keywords=[tag for tag in card.TAGS if ":" not in tag],
        cite_as=card.CITATION,
        creators=[mlc.Person(name=name) for name in card.AUTHORS],
        distribution=[
            mlc.FileObject(
                id=path,
                name=path,
                content_url=path,
                encoding_formats=[kind],
                sha256=hashlib.sha256({**tables, **splits}[path]).hexdigest(),
            )
            for path, kind in files.items()
        ],
        record_sets=[
            *(_record_set(path, [_column(path, column) for column in rows.COLUMNS]) for path in tables),
            *(_record_set(path, [_field(path, name, meaning) for name, meaning in _SIDE.items()]) for path in splits),
        ],
    )
    return json.dumps(metadata.to_json(), indent=1, ensure_ascii=False) + "\n"


_SIDE = {
    "split": "Name of the split.",
    "fold": "Name of the fold.",
    "id": "Id of a path.",
    "side": "Where the path is in this fold: train or held_out; unused where it is on neither side.",
}


def _record_set(path: str, fields: list[mlcroissant.Field]) -> mlcroissant.RecordSet:
    import mlcroissant as mlc

    return mlc.RecordSet(id=_name(path), name=_name(path), fields=fields)


def _column(path: str, column: rows.Column) -> mlcroissant.Field:
    shape = ",".join(str(-1 if length is None else length) for length in column.shape)
    return _field(path, column.name, column.meaning, column.kind, shape)


def _field(path: str, name: str, meaning: str, kind: str = "string", shape: str = "") -> mlcroissant.Field:
    import mlcroissant as mlc

    types = {"string": mlc.DataType.TEXT, "float64": mlc.DataType.FLOAT, "int64": mlc.DataType.INTEGER}
    array: dict[str, Any] = {"is_array": True, "array_shape": shape} if shape else {}
    source = mlc.Source(file_object=path, extract=mlc.Extract(column=name))
    return mlc.Field(
        id=f"{_name(path)}/{name}", name=name, description=meaning, data_types=[types[kind]], source=source, **array
    )


def _name(path: str) -> str:
    """data/official/train.parquet -> official-train."""
    return path.rsplit(".", 1)[0].removeprefix("data/").replace("/", "-")
