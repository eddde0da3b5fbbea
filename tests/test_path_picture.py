"""Pictures of a path: what is drawn is what is there, the same bytes each time, and nothing from outside is run."""

import json
import re
import struct
from dataclasses import replace

import numpy as np
import pytest

from emigbench import load
from emigbench.report import path_picture, record
from emigbench.report.path_picture import profile, scene

DATA = load("spinels")
ENTRY = DATA.by_id["MgMn2S4"]


def test_the_band_lies_along_x():
    for entry in DATA[::20]:
        band = scene(entry.path).band
        assert band[:, 1:] == pytest.approx(np.zeros((5, 2)), abs=1e-9)
        assert band[:, 0] == pytest.approx(np.linspace(-0.5, 0.5, 5) * entry.path.hop_length)


def test_distances_in_the_scene_are_those_of_the_record():
    for entry in DATA[::9]:
        seen = scene(entry.path)
        for point, image in zip(seen.band, record.images(entry.path), strict=True):
            lengths = np.linalg.norm(seen.atoms - point, axis=1)
            nearest = sorted((round(float(d), 4), e) for d, e in zip(lengths, seen.species, strict=True))[:3]
            assert [d for d, _ in nearest] == pytest.approx([n.distance_a for n in image.nearest[:3]], abs=1e-4)
            assert nearest[0][1] == image.nearest[0].element


def test_bonds_join_a_metal_and_its_ligands():
    seen = scene(ENTRY.path)
    assert len(seen.bonds) > 20
    for i, j in seen.bonds:
        assert {seen.species[i], seen.species[j]} in ({"Mn", "S"}, {"Mg", "S"})
        assert np.linalg.norm(seen.atoms[i] - seen.atoms[j]) < record.bond_limit(seen.species[i], seen.species[j])
    near = [k for k, place in enumerate(seen.atoms) if seen.species[k] == "Mn" and np.linalg.norm(place) < 4]
    assert near
    for k in near:  # octahedra of the spinel are drawn whole
        assert np.count_nonzero(seen.bonds == k) == 6


def test_no_atom_is_drawn_twice(whole):
    for entry in whole.entries[::25]:
        seen = scene(entry.path)
        lengths = np.linalg.norm(seen.atoms[:, None] - seen.atoms, axis=2) + 10 * np.eye(len(seen.atoms))
        assert lengths.min() > 0.5
        assert set(seen.species) <= set(entry.path.host_species)
        assert len(seen.species) == len(seen.atoms)


def test_the_profile_goes_through_the_images():
    for entry in DATA[::9]:
        places, nearest = profile(entry.path, 5)
        for k, image in enumerate(record.images(entry.path)):
            assert places[k] == pytest.approx(image.along_a, abs=1e-5)
            assert min(lengths[k] for lengths in nearest.values()) == pytest.approx(
                image.nearest[0].distance_a, abs=1e-5
            )


@pytest.mark.parametrize("path_id", ["MgMn2S4", "Mn2O4_K"])
def test_png(path_id):
    path, found = DATA.by_id[path_id].path, record.of(path_id, DATA)
    content = path_picture.png(path, found)
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert 1000 < width < 4000
    assert 500 < height < 2000
    assert content == path_picture.png(path, found)
    assert b"Software" not in content


def test_png_of_the_odd_ones(whole):
    """The longest and the shortest hop, a band through an atom, a host without ligands, the largest cell."""
    for path_id in ("a1-LiVOPO4_4", "TiO2_Li", "LiRuO2_1", "MgP2Ru2", "Li2MnSiO4_1"):
        assert path_picture.png(whole.by_id[path_id].path, record.of(path_id, whole)).startswith(b"\x89PNG")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_html_holds_the_scene():
    seen, page = scene(ENTRY.path), path_picture.html(ENTRY.path, record.of(ENTRY.id, DATA))
    content = data_of(page)
    assert content["ion"] == "Mg"
    assert np.array(content["atoms"]) == pytest.approx(seen.atoms, abs=1e-3)
    assert content["bonds"] == seen.bonds.tolist()
    assert set(content["colours"]) == set(content["radii"]) == {*seen.species, "Mg"}
    assert record.in_words(record.of(ENTRY.id, DATA)) in page
    assert len(page) < 40_000
    assert page == path_picture.html(ENTRY.path, record.of(ENTRY.id, DATA))


def test_html_loads_nothing_and_runs_only_its_own_script():
    page = path_picture.html(ENTRY.path, record.of(ENTRY.id, DATA))
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert "default-src 'none'" in page
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", page)


def test_what_the_source_says_is_escaped():
    found = record.of(ENTRY.id, DATA)
    evil = replace(found, facts=replace(found.facts, composition="</pre><script>alert(1)</script>"))
    page = path_picture.html(ENTRY.path, evil)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
