"""The table of facts, and the content hash that pins what it is about."""

import csv
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from emigbench.datasets import catalogue, labels, symmetry, tables
from emigbench.datasets.findings import FLAGS, LABEL_FLAGS
from emigbench.datasets.hashing import dataset_hash, geometry_hash, predictions_hash
from emigbench.datasets.labels import TABLE, Facts, read, read_table, write_table
from emigbench.datasets.store import embedded_spinels
from emigbench.errors import EmigbenchError
from emigbench.records import LabelledPath

BY_PYMATGEN = ("framework_cluster", "space_group_framework", "space_group_filled")


@pytest.fixture(scope="module")
def rows():
    return read_table()


# --- The table


def test_every_path_once(rows):
    assert len({row.id for row in rows}) == len(rows) == 619
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert Counter(row.split for row in rows) == {"train": 559, "test": 60}
    assert len(read("full")) == 619
    assert [facts.id for facts in read("full")] == [row.id for row in rows]
    assert read("full")[0] == rows[0]


def test_the_table_holds_no_structures():
    with TABLE.open(encoding="utf-8", newline="") as stream:
        header = next(csv.reader(stream))
    assert header == [field.name for field in fields(Facts)]
    assert header[:3] == ["id", "split", "e_m_ev"]
    assert not [name for name in header if any(word in name for word in ("coord", "lattice", "band_", "species"))]
    longest = max(len(value) for line in TABLE.read_text(encoding="utf-8").splitlines() for value in line.split(","))
    assert longest < 120  # a coordinate list would be longer


def test_values_are_what_they_should_be(rows):
    for row in rows:
        assert 0 < row.e_m_ev < 10
        assert 1 < row.hop_length_a < 10
        assert 10 < row.n_atoms < 1100
        assert row.material_cv_fold in range(5)
        assert "" not in (row.material_id, row.framework, row.space_group, row.crystal_system, row.xc, row.composition)
        assert set(row.flags) <= set(FLAGS)
        assert set(row.label_flags) <= set(LABEL_FLAGS)


def test_text_survives_reading_and_writing(rows, tmp_path):
    write_table(rows, tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_bytes() == TABLE.read_bytes()
    assert read_table(tmp_path / "labels.csv") == rows
    odd = [replace(rows[0], path_label='a, "b"\nc', flags=("x", "y"), label_flags=(), e_m_ev=0.0035)]
    write_table(odd, tmp_path / "odd.csv")
    assert read_table(tmp_path / "odd.csv") == odd


def test_the_embedded_part(rows):
    spinels = read("spinels")
    assert (len(spinels), spinels.name, spinels.sha256) == (82, "spinels", catalogue.info("spinels").sha256)
    assert all(facts == read("full").by_id[facts.id] for facts in spinels)
    with pytest.raises(EmigbenchError, match="There is no dataset 'half'; there are full, spinels"):
        read("half")


def test_folds_are_alike(rows):
    by_fold = [[row.e_m_ev for row in rows if row.material_cv_fold == fold] for fold in range(5)]
    assert all(90 < len(barriers) < 160 for barriers in by_fold)
    medians = [np.median(barriers) for barriers in by_fold]
    assert max(medians) - min(medians) < 0.15


def test_the_table_is_what_the_source_gives(full, rows, monkeypatch):
    """Every column that needs no topology search and no spglib; those are below."""
    monkeypatch.setattr(symmetry, "framework_clusters", lambda paths: {path.id: "" for path in paths})
    monkeypatch.setattr(symmetry, "found_space_groups", lambda path: ("", ""))
    ours = [replace(row, **dict.fromkeys(BY_PYMATGEN, "")) for row in rows]
    assert tables.facts_of(full) == ours


def test_space_groups_are_what_spglib_finds(full, rows):
    """Every sixth path; the figures lean on spglib's version, so a few may differ."""
    by_id = {row.id: row for row in rows}
    differing = [
        entry.id
        for entry in full[::6]
        if symmetry.found_space_groups(entry.path)
        != (by_id[entry.id].space_group_framework, by_id[entry.id].space_group_filled)
    ]
    assert len(differing) <= 2, differing


def test_framework_clusters_are_what_pymatgen_finds(full, rows):
    by_id = {row.id: row for row in rows}
    formulas = sorted({row.framework for row in rows})[::5]
    paths = [entry.path for entry in full if by_id[entry.id].framework in formulas]
    found = symmetry.framework_clusters(paths)
    assert len(found) > 80
    assert [i for i, cluster in found.items() if cluster != by_id[i].framework_cluster] == []


def test_clusters_hold_materials_together(rows):
    for key in ("material_id", "duplicate_of"):
        clusters = {}
        for row in rows:
            if getattr(row, key):
                clusters.setdefault(getattr(row, key), set()).add(row.framework_cluster)
        assert all(len(found) == 1 for found in clusters.values())
    by_id = {row.id: row for row in rows}
    assert all(by_id[row.framework_cluster].framework == row.framework for row in rows)


def test_clusters_agree_with_the_audit(rows, audit):
    """The audit's tolerances are its own, so most pairs that it puts together are together here, and back."""
    frame = audit.framework_cluster.to_dict()

    def pairs(cluster_of):
        groups = {}
        for row in rows:
            groups.setdefault(cluster_of(row), []).append(row.id)
        return {(a, b) for members in groups.values() for a in members for b in members if a < b}

    ours, theirs = pairs(lambda row: row.framework_cluster), pairs(lambda row: frame[row.id])
    assert len(ours & theirs) / len(ours) > 0.85
    assert len(ours & theirs) / len(theirs) > 0.75


# --- The content hash


def small():
    """Three spinels with every optional field in use."""
    entries = list(embedded_spinels()[:3])
    path = entries[0].path
    host = np.array(path.host_frac_coords)
    entries[0] = replace(
        entries[0],
        path=replace(path, final_lattice=1.01 * path.lattice, final_host_frac_coords=host, flags=("a", "b")),
        label_flags=("label_conflict", "label_suspicious"),
    )
    return entries


def test_the_pinned_hashes_are_those_of_the_records(full):
    assert dataset_hash(full) == catalogue.info("full").sha256
    assert len(full) == catalogue.info("full").n_paths
    spinels = embedded_spinels()
    assert dataset_hash(spinels) == catalogue.info("spinels").sha256
    assert len(spinels) == catalogue.info("spinels").n_paths


def test_order_does_not_matter(full):
    assert dataset_hash(small()[::-1]) == dataset_hash(small())
    assert dataset_hash(full[::-1]) == dataset_hash(full)


def test_order_of_flags_and_raw_does_not_matter():
    first, *others = small()
    turned = replace(
        first,
        path=replace(first.path, flags=first.path.flags[::-1], raw=dict(reversed(first.path.raw.items()))),
        label_flags=first.label_flags[::-1],
    )
    assert dataset_hash([turned, *others]) == dataset_hash(small())


def test_dropping_or_doubling_a_record_changes_it():
    entries = small()
    assert dataset_hash(entries[1:]) != dataset_hash(entries)
    assert dataset_hash([*entries, entries[0]]) != dataset_hash(entries)
    assert dataset_hash([]) != dataset_hash(entries)


GEOMETRY = ("lattice", "host_frac_coords", "band_frac_coords", "final_lattice", "final_host_frac_coords")


@pytest.mark.parametrize("name", GEOMETRY)
def test_float_noise_does_not_matter_and_more_does(name):
    first, *others = small()
    values = np.round(getattr(first.path, name), 6)

    def hashed(shift):
        return dataset_hash([replace(first, path=replace(first.path, **{name: values + shift})), *others])

    assert hashed(1e-10) == hashed(0) == hashed(-1e-10)
    assert hashed(2e-8) != hashed(0)


@pytest.mark.parametrize("name", GEOMETRY)
def test_one_coordinate_is_enough(name):
    first = small()[0]
    values = np.array(getattr(first.path, name))
    values[-1, -1] += 1e-6
    changed = replace(first.path, **{name: values})
    assert geometry_hash(changed) != geometry_hash(first.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"material_id": "other"},
        {"structural_group": "OTHER"},
        {"mobile_ion": "Rb"},
        {"composition": "other"},
        {"state": "unknown"},
        {"xc": "SCAN"},
        {"space_group": "P1"},
        {"crystal_system": "Triclinic"},
        {"path_label": "other"},
        {"flags": ("a",)},
        {"flags": ()},
        {"raw": {}},
        {"final_lattice": None, "final_host_frac_coords": None},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_field_of_a_path_counts(changes):
    first, *others = small()
    assert dataset_hash([replace(first, path=replace(first.path, **changes)), *others]) != dataset_hash(small())


@pytest.mark.parametrize(
    "changes", [{"e_m": 1.00000002}, {"split": "test"}, {"label_flags": ()}, {"duplicate_of": "x"}], ids="-".join
)
def test_every_field_of_a_label_counts(changes):
    first, *others = small()
    assert first.split == "train"
    assert first.e_m == 1
    assert dataset_hash([replace(first, **changes), *others]) != dataset_hash(small())


def test_swapped_atoms_change_it():
    path = small()[0].path
    species = list(path.host_species)
    i, j = 0, len(species) - 1
    assert species[i] != species[j]
    species[i], species[j] = species[j], species[i]
    assert geometry_hash(replace(path, host_species=tuple(species))) != geometry_hash(path)


def test_no_field_is_forgotten():
    """A field that is added to a record and not to the hash fails here."""
    tried = {"lattice", "host_species", *GEOMETRY, *"id material_id structural_group mobile_ion".split()}
    tried |= set("composition state xc space_group crystal_system path_label flags raw".split())
    assert {field.name for field in fields(small()[0].path)} == tried
    assert {field.name for field in fields(LabelledPath)} == {"path", "e_m", "split", "label_flags", "duplicate_of"}


def test_predictions_hash_ignores_line_ends():
    same = ("id,e_m_ev\na,0.1", "id,e_m_ev\na,0.1\n", "id,e_m_ev\r\na,0.1\r\n")
    assert len({predictions_hash(variant) for variant in same}) == 1
    assert predictions_hash("a,0.1\nid,e_m_ev\n") != predictions_hash("id,e_m_ev\na,0.1\n")
    assert predictions_hash("ab\n\n") != predictions_hash("a\nb\n")


def test_read_is_cached():
    assert labels.read("full") is labels.read("full")


def test_labels_are_shown_on_one_line():
    assert repr(read("spinels")) == f"<Labels spinels {read('spinels').version}: 82 paths>"


def test_labels_are_found_by_id():
    found = read("spinels")
    assert found[found[3].id] is found[3]
    assert found[3].id in found
    assert found[3] in found
    assert "nothing" not in found
    with pytest.raises(EmigbenchError, match="spinels has no path 'nothing'"):
        found["nothing"]
