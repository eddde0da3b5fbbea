"""The table that others read: what goes in comes out, and every column is what it says."""

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emigbench import load, load_labels
from emigbench.datasets import rows
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.labels import Facts
from emigbench.errors import EmigbenchError

FACTS = load_labels("full").by_id


@pytest.fixture(scope="module")
def spinels():
    return load("spinels").entries


def with_final_state(entry):
    path = entry.path
    final = {"final_lattice": 1.01 * path.lattice, "final_host_frac_coords": path.host_frac_coords + 1 / 3}
    return replace(entry, path=replace(path, **final))


def test_entries_come_back_to_the_last_bit(spinels, tmp_path):
    entries = (with_final_state(spinels[0]), *spinels[1:])
    file = tmp_path / "table.parquet"
    file.write_bytes(rows.to_parquet(rows.to_row(entry, FACTS[entry.id]) for entry in entries))
    back = rows.read(file)
    assert dataset_hash(back) == dataset_hash(entries) != dataset_hash(spinels)
    for a, b in zip(entries, back, strict=True):
        assert (a.id, a.e_m, a.split, a.label_flags, a.duplicate_of) == (
            b.id,
            b.e_m,
            b.split,
            b.label_flags,
            b.duplicate_of,
        )
        for name in a.path.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(a.path, name), getattr(b.path, name))
        assert not b.path.lattice.flags.writeable


def test_the_whole_dataset_comes_back_in_its_order(full, tmp_path):
    """Train and test stand in files of their own; one after the other they are the dataset as curated."""
    back = []
    for side in rows.SIDES:
        of_side = [rows.to_row(entry, FACTS[entry.id]) for entry in full if entry.split == side]
        (tmp_path / side).write_bytes(rows.to_parquet(of_side))
        back += rows.read(tmp_path / side)
    assert [entry.id for entry in back] == [entry.id for entry in full]
    assert dataset_hash(back) == dataset_hash(full)


def test_every_fact_and_array_is_a_column_with_a_meaning():
    names = [column.name for column in rows.COLUMNS]
    assert len(names) == len(set(names))
    assert set(names) == {field.name for field in fields(Facts)} | {"host_species", *rows._GEOMETRY}
    assert all(column.meaning.endswith(".") for column in rows.COLUMNS)


def test_the_file_says_its_own_types(spinels, tmp_path):
    """Arrow's types alone, so that any reader finds them; lengths that are fixed are in the type."""
    file = tmp_path / "table.parquet"
    file.write_bytes(rows.to_parquet([rows.to_row(spinels[0], FACTS[spinels[0].id])]))
    schema = pq.read_schema(file)
    assert schema.names == [column.name for column in rows.COLUMNS]
    assert not schema.metadata
    assert str(schema.field("e_m_ev").type) == "double"
    lattice = schema.field("lattice").type
    assert (lattice.list_size, lattice.value_type.list_size) == (3, 3)
    assert schema.field("band_frac_coords").type.list_size == 5


def test_nulls_are_of_lists_of_any_length(spinels, tmp_path):
    """Up to Arrow 25 nothing reads a file with the null of a fixed length, and nothing writes one."""
    file = tmp_path / "table.parquet"
    file.write_bytes(rows.to_parquet(rows.to_row(entry, FACTS[entry.id]) for entry in spinels[:2]))
    table = pq.read_table(file)
    with_nulls = {name for name in table.column_names if table[name].null_count}
    assert with_nulls == {"final_lattice", "final_host_frac_coords"}
    assert not any(pa.types.is_fixed_size_list(table.schema.field(name).type) for name in with_nulls)


def test_equal_rows_give_equal_bytes(spinels):
    table = [rows.to_row(entry, FACTS[entry.id]) for entry in spinels]
    assert rows.to_parquet(table) == rows.to_parquet(iter(table))


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"PAR1" + b[4:-8] + b"\0" * 8])
def test_a_damaged_file(spinels, tmp_path, spoil):
    file = tmp_path / "table.parquet"
    file.write_bytes(spoil(rows.to_parquet([rows.to_row(spinels[0], FACTS[spinels[0].id])])))
    with pytest.raises(EmigbenchError, match="is damaged") as error:
        rows.read(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("change", [{"lattice": None}, {"state": "half"}, {"e_m_ev": None}, {"flags": None}])
def test_rows_that_are_no_records(spinels, tmp_path, change):
    file = tmp_path / "table.parquet"
    file.write_bytes(rows.to_parquet([rows.to_row(spinels[0], FACTS[spinels[0].id]) | change]))
    with pytest.raises(EmigbenchError, match="is damaged"):
        rows.read(file)


@pytest.mark.parametrize("change", [{"composition": b"CaCr2S4"}, {"composition": None}, {"flags": [b"small_cell"]}])
def test_what_is_no_text_is_no_record(spinels, change):
    """A flipped bit can make bytes of a column of texts."""
    with pytest.raises(TypeError, match="is no text"):
        rows.from_row(rows.to_row(spinels[0], FACTS[spinels[0].id]) | change)
