"""`emigbench data show`: what it says about a path is what the record, the labels and the splits hold."""

import json
import re

import numpy as np
import pytest
from helpers import FULL, SPINELS, one_sentence
from hypothesis import given
from hypothesis import strategies as st

from emigbench import load, splits
from emigbench.datasets import geometry
from emigbench.datasets.labels import known_id
from emigbench.errors import EmigbenchError
from emigbench.records import MigrationPath
from emigbench.report import record
from emigbench.report.record import bond_limit

DATA = load("spinels")


def hop(host, species, band=((0.0, 0.5, 0.5), (0.4, 0.5, 0.5)), ion="Li", cell=10.0):
    """A path in a cube of 10 Å."""
    line = np.linspace(band[0], band[1], 5)
    return MigrationPath("A", "A", "OXIDES", ion, "", "unknown", cell * np.eye(3), species, host, line)


# --- Surroundings


def test_neighbours_by_hand():
    """An O 2 Å above the initial site, one 1 Å beyond the final one, and a Co too far to matter."""
    path = hop([[0.0, 0.5, 0.7], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]], ("O", "O", "Co"))
    first, *_, last = record.images(path)
    assert [(n.element, n.distance_a) for n in first.nearest[:2]] == [("O", 2.0), ("O", 5.0)]
    assert (first.coordination, dict(first.bonded)) == (1, {"O": 1})
    assert last.along_a == pytest.approx(4)
    assert (last.nearest[0].element, last.nearest[0].distance_a) == ("O", 1.0)
    assert [round(image.along_a, 6) for image in record.images(path)] == [0, 1, 2, 3, 4]


def test_neighbours_across_the_cell():
    path = hop([[0.9, 0.5, 0.5]], ("O",))
    assert record.images(path)[0].nearest[0].distance_a == pytest.approx(1)
    assert record.images(path)[0].coordination == 1


def test_an_atom_on_the_ion_is_no_bond_of_two_metals():
    path = hop([[0.2, 0.5, 0.5]], ("Ru",))
    assert record.images(path)[2].nearest[0].distance_a == 0
    assert record.images(path)[2].coordination == 0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("Li", "O", 1.2 * 2.05),
        ("O", "Li", 1.2 * 2.05),
        ("Mg", "S", 3.0),
        ("C", "N", 1.62),
        ("Li", "Ru", 0),
        ("O", "O", 0),
    ],
)
def test_limits_of_bonds(a, b, expected):
    """Slater's radii in Å: Li 1.45, O 0.60, Mg 1.50, S 1.00, C 0.70, N 0.65."""
    assert bond_limit(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("path_id", ["MgMn2S4", "Mn2O4_Zn", "AlFe2O4_1", "Ti2S4_Mg"])
def test_spinels_hop_between_tetrahedra_through_a_triangle_and_an_octahedron(path_id):
    """What a textbook says of a spinel: 8a to 16c to 8a, with a triangle of anions between them."""
    assert [image.coordination for image in record.images(DATA.by_id[path_id].path)] == [4, 3, 6, 3, 4]


def test_neighbours_against_other_code():
    """`geometry.surroundings` adds cells until it is sure; it knows nothing of pymatgen."""
    for entry in DATA[::9]:
        path = entry.path
        for image, point in zip(record.images(path), path.band_frac_coords, strict=True):
            around = geometry.surroundings(point, path.host_species, path.host_frac_coords, path.lattice, 4)
            expected = sorted(float(d) for lengths in around.values() for d in lengths)[:4]
            assert [n.distance_a for n in image.nearest] == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.integers(-3, 3), min_size=3, max_size=3), st.integers(0, len(DATA) - 1))
def test_another_choice_of_cell_changes_nothing(shift, k):
    path = DATA[k].path
    moved = MigrationPath(
        path.id, path.material_id, path.structural_group, path.mobile_ion, path.composition, path.state, path.lattice,
        path.host_species, path.host_frac_coords, path.band_frac_coords + shift,
    )  # fmt: skip
    for ours, theirs in zip(record.images(path), record.images(moved), strict=True):
        assert ours.bonded == theirs.bonded
        assert [n.distance_a for n in ours.nearest] == pytest.approx([n.distance_a for n in theirs.nearest], abs=1e-5)


# --- Facts


def test_sides_are_those_of_the_splits(whole):
    for path_id in ("O-LiFePO4", "LiAlPO4F_1", "NaTi2P3O12", "Na2MnSiO4_pc_1"):
        sides = record.of(path_id, whole).sides
        assert list(sides) == list(splits.SPLITS)
        assert sides["official"] == FULL.by_id[path_id].split
        assert sides["material-cv"].startswith(f"held out in fold {FULL.by_id[path_id].material_cv_fold}, train in the")
        for split in ("leave-group-out", "leave-ion-out"):
            parts = splits.folds(FULL, split)
            unused = [fold.name for fold in parts if path_id in fold.unused]
            (held_out,) = [fold.name for fold in parts if path_id in fold.held_out]
            assert f"held out in fold {held_out}" in sides[split]
            assert ("unused in " + ", ".join(unused) in sides[split]) == bool(unused)
            assert sides[split].endswith(f"train in the other {sum(path_id in fold.train for fold in parts)}")


def test_every_flag_is_in_words(whole):
    some = {flag: entry for entry in whole for flag in (*entry.path.flags, *entry.label_flags)}
    assert len(some) > 20
    for entry in some.values():
        found = record.of(entry.id, whole)
        assert list(found.flags) == [*entry.path.flags, *entry.label_flags]
        assert all(len(meaning.split()) > 2 for meaning in found.flags.values())
        assert bool(found.doubts) == bool({"group_disputed", "label_suspicious"} & set(found.flags))


def test_what_was_mended_is_told_with_a_reason():
    def mended(path_id):
        return {m.field: (m.source, m.value, m.reason) for m in record.mended(FULL.by_id[path_id])}

    assert mended("K2NiPO4CO3")["composition"] == ("K3NiPO4CO3", "K2NiPO4CO3", "the cell and the id have two K")
    assert mended("Na3OCl")["structural_group"][:2] == ("CUBIC", "ELECTROLYTES")
    assert mended("MgV2O4")["space_group"][:2] == ("Fm-3m", "Fd-3m")
    assert mended("MgxTi2P3O12_1")["state"][:2] == ("discharged", "charged")
    assert mended("LiCoBO3_c2c_1")["space_group"] == ("C2/c ", "C2/c", "white space")
    assert mended("NiO2_Ca")["space_group"] == ("Triclinic", "P1", "the source's columns were swapped")
    assert mended("CaNb2O4")["crystal_system"][2] == "it follows from the space group"
    assert mended("Ca2FeSi2O7_1")["space_group"] == ("P-421m ", "P-42_1m", "screw axis")
    for facts in FULL:
        told = record.mended(facts)
        changed = {field for field, raw in facts.raw.items() if raw != getattr(facts, field)}
        assert {m.field for m in told} - {"state"} == changed
        assert all(m.reason for m in told)


def test_relatives(whole):
    found = record.of("LiAlPO4F_1", whole).relatives
    assert [(r.id, r.same_band) for r in found] == [("LiAlPO4F_4", True), ("LiAlPO4F_2", False), ("LiAlPO4F_3", False)]
    assert [r.e_m_ev for r in found] == [FULL.by_id[r.id].e_m_ev for r in found]
    assert record.of("O-LiFePO4", whole).relatives == ()
    lengths = {f.id: f.hop_length_a for f in FULL if f.material_id == FULL.by_id["b-Li3PS4_1"].material_id}
    longest = max(lengths, key=lengths.get)
    others = record.of(longest, whole).relatives
    assert len(others) == 9  # all others of the material with the most paths
    away = [(not r.same_band, abs(r.hop_length_a - lengths[longest])) for r in others]
    assert away == sorted(away)


def test_text_and_json_say_the_same(whole):
    for path_id in ("LiRuO2_1", "LiAlPO4F_1", "Na3OCl", "Na-FeC5N5", "MgP2Ru2"):
        found = record.of(path_id, whole)
        text, content = record.in_words(found), json.loads(json.dumps(found.to_json(), allow_nan=False))
        for value in (path_id, found.facts.composition, f"{found.facts.e_m_ev:.4g} eV", *found.flags.values()):
            assert value in text
        for relative in content["relatives"]:
            assert relative["id"] in text
        for image in content["images"]:
            assert image["coordination"] == sum(image["bonded"].values())
            nearest = image["nearest"][0]
            assert f"{nearest['element']} {nearest['distance_a']:.2f}" in text
        assert content["facts"]["id"] == path_id
        assert not re.search(r"nan|None", text)
        assert max(map(len, text.splitlines())) < 160


# --- Typing errors


@pytest.mark.parametrize(
    ("given_id", "expected"), [("Mn204_Mg", "Mn2O4_Mg"), ("o-lifepo4", "O-LiFePO4"), ("LiCoO2", "LiCoO2_1")]
)
def test_a_typing_error_names_what_is_spelt_alike(given_id, expected):
    with pytest.raises(EmigbenchError, match="did you mean") as error:
        known_id(given_id, FULL)
    assert expected in one_sentence(f"{error.value}".removesuffix("?") + ".")


@pytest.mark.parametrize("given_id", ["", "zzz", "x" * 10_000, "\x1b[31m", "../etc"])
def test_what_is_like_nothing(given_id):
    with pytest.raises(EmigbenchError, match="spinels has no path") as error:
        known_id(given_id, SPINELS)
    assert "\x1b" not in one_sentence(error)
