import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import parity

from emigbench import EmigbenchError, MigrationPath, load
from emigbench_baselines.alignn import elements, graph_store
from emigbench_baselines.alignn.graph import (
    band_neighbours,
    crystal_graph,
    endpoint_neighbours,
    has_final_state,
    subgraph_neighbours,
)
from emigbench_baselines.alignn.neighbours import nearest

CUBE = 4.0 * np.eye(3)
FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
ROCK_SALT = ([11] * 4 + [17] * 4, [*FCC, [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])


@pytest.fixture(scope="module")
def spinel() -> MigrationPath:
    return load("spinels")[0].path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path / "cache"))


def knn_graph(lattice, numbers, coords, *, k=12, canonical, original=False):
    return crystal_graph(nearest(lattice, numbers, coords, k=k, original=original), canonical=canonical)


def by_brute_force(lattice, coords, k, cutoff):
    """The original's words taken literally: a cutoff, its extension, the k-th distance; (centre, neighbour, image)."""
    lattice, coords = np.asarray(lattice, float), np.asarray(coords, float)
    while True:
        reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(lattice), axis=0)).astype(int) + 1
        found = [
            [
                (distance, j, image)
                for image in product(*(range(-m, m + 1) for m in reach))
                for j, there in enumerate(coords)
                if 0.15 < (distance := np.linalg.norm((there + image - here) @ lattice)) <= cutoff
            ]
            for here in coords
        ]
        if min(map(len, found)) >= k:
            break
        longest = np.linalg.norm(lattice, axis=1).max()
        cutoff = longest if cutoff < longest else 2 * cutoff
    shells = [sorted(entries)[k - 1][0] + 1e-5 for entries in found]
    return {(i, j, image) for i, entries in enumerate(found) for d, j, image in entries if d <= shells[i]}


def as_set(neighbours):
    entries = {
        (int(i), int(j), tuple(map(int, s)))
        for i, j, s in zip(neighbours.centre, neighbours.neighbour, neighbours.image, strict=True)
    }
    assert len(entries) == len(neighbours.centre)
    return entries


def lengths(graph):
    return np.linalg.norm(graph.displacement, axis=1)


def in_degree(graph):
    return np.bincount(graph.destination, minlength=graph.n_atoms)


def fingerprint(graph):
    """What must not depend on how a crystal is described: kinds and lengths of edges, and angles, as sorted arrays."""
    z, unit = graph.atomic_numbers.astype(int), graph.displacement / lengths(graph)[:, None]
    kinds = 1000 * z[graph.source] + z[graph.destination]
    bonds = np.column_stack([kinds, lengths(graph)])[np.lexsort((lengths(graph), kinds))]
    first, second = np.nonzero(graph.destination[:, None] == graph.source)
    return bonds, np.sort((unit[first] * unit[second]).sum(axis=1))


# by hand


@pytest.mark.parametrize(("k", "n_entries"), [(6, 6), (12, 18), (18, 18), (19, 26), (33, 56)])
def test_simple_cubic_has_shells_of_6_12_8_6_and_24(k, n_entries):
    """The last is more than is asked for at first."""
    assert len(nearest(CUBE, [84], [[0, 0, 0]], k=k).centre) == n_entries


@pytest.mark.parametrize(("canonical", "n_edges"), [(False, 96), (True, 48)])
def test_fcc_has_twelve_neighbours_at_half_a_face_diagonal(canonical, n_edges):
    graph = knn_graph(CUBE, [29] * 4, FCC, canonical=canonical)
    assert graph.n_edges == n_edges
    assert np.allclose(lengths(graph), 4 / np.sqrt(2))
    assert set(in_degree(graph)) == {n_edges // 4}


@pytest.mark.parametrize("canonical", [False, True])
def test_own_images_stand_twice_in_both_lists(canonical):
    primitive = 2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    graph = knn_graph(primitive, [29], [[0, 0, 0]], canonical=canonical)
    assert graph.n_edges == 24
    assert set(Counter(map(tuple, graph.displacement.tolist())).values()) == {2}


@pytest.mark.parametrize(("k", "per_atom"), [(6, 6), (7, 18), (12, 18)])
@pytest.mark.parametrize("canonical", [False, True])
def test_rock_salt(k, per_atom, canonical):
    graph = knn_graph(CUBE, *ROCK_SALT, k=k, canonical=canonical)
    assert graph.n_edges == 8 * per_atom * (1 if canonical else 2)
    z = graph.atomic_numbers
    unlike = z[graph.source] != z[graph.destination]
    assert np.allclose(lengths(graph)[unlike], 2)
    assert np.allclose(lengths(graph)[~unlike], 4 / np.sqrt(2))


@pytest.mark.parametrize(("canonical", "mutual"), [(False, 2), (True, 1)])
def test_mutual_pair_twice_one_sided_pair_once(canonical, mutual):
    in_a_row = [[0, 0, 0], [0.05, 0, 0], [0.12, 0, 0]]  # A and B are nearest to each other, C is nearest to B
    graph = knn_graph(20 * np.eye(3), [1, 2, 3], in_a_row, k=1, canonical=canonical)
    edges = Counter(zip(graph.source.tolist(), graph.destination.tolist(), strict=True))
    assert edges == {(0, 1): mutual, (1, 0): mutual, (1, 2): 1, (2, 1): 1}
    assert np.allclose(graph.displacement[(graph.source == 1) & (graph.destination == 2)], [1.4, 0, 0])


def test_search_reaches_as_far_as_it_must():
    sparse = np.diag([25.0, 27.0, 30.0])  # k = 12 needs sites far beyond 8 Å
    found = nearest(sparse, [1, 1], [[0, 0, 0], [0.03, 0, 0]], k=12)
    assert np.linalg.norm(found.displacement, axis=1).max() > 30
    assert as_set(found) == by_brute_force(sparse, [[0, 0, 0], [0.03, 0, 0]], 12, 8.0)


@pytest.mark.parametrize(("gap", "seen"), [(0.14, False), (0.16, True)])
def test_sites_that_overlap_are_not_neighbours(gap, seen):
    found = nearest(CUBE, [3, 3], [[0, 0, 0], [gap / 4, 0, 0]], k=6)
    assert ((0, 1, (0, 0, 0)) in as_set(found)) is seen
    assert np.bincount(found.centre).min() >= 6


def test_many_overlapping_sites_still_have_neighbours():
    found = nearest(CUBE, [3] * 60, np.linspace(0, 1e-3, 60)[:, None] * [1, 0, 0], k=12)
    assert np.bincount(found.centre, minlength=60).min() >= 12


def test_rounding_splits_no_shell():
    noisy = np.array(FCC) + np.random.default_rng(0).normal(0, 1e-8, (4, 3))
    assert len(nearest(CUBE, [29] * 4, noisy, k=3).centre) == 48


@pytest.mark.parametrize(
    ("beyond", "original", "n_seen"), [(9e-6, False, 2), (2e-5, False, 1), (1e-8, True, 1), (0, True, 2)]
)
def test_where_a_shell_ends(beyond, original, n_seen):
    """One site 1 Å away, another a little farther on the other side."""
    in_a_row = np.array([[0, 0, 0], [1, 0, 0], [-1 - beyond, 0, 0]]) / 16
    found = nearest(16 * np.eye(3), [1, 2, 3], in_a_row, k=1, original=original)
    assert (found.centre == 0).sum() == n_seen


def test_the_search_goes_on_where_it_has_reached_half_a_shell(monkeypatch):
    monkeypatch.setattr("emigbench_baselines.alignn.neighbours._first_radius", lambda *_: 1 + 4e-6)
    in_a_row = np.array([[0, 0, 0], [1, 0, 0], [-1 - 8e-6, 0, 0], [-1.5, 0, 0]]) / 16
    found = nearest(16 * np.eye(3), [1, 2, 3, 4], in_a_row, k=1)
    assert (found.centre == 0).sum() == 2


def test_the_originals_roundings():
    """Sites stand in a cell of five decimals, images are moved by vectors of all.

    Each atom's own images are 4.000014 Å away, not 4.00001; its other neighbour is 4.000012 Å away, so the nearest.
    """
    cell, sites = np.diag([4.000014, 16, 16]), [[0, 0, 0], [0, 4.000012 / 16, 0]]
    found = nearest(cell, [1, 2], sites, k=1, original=True)
    assert as_set(found) == {(0, 1, (0, 0, 0)), (1, 0, (0, 0, 0))}
    assert found.lattice.diagonal().tolist() == [4.00001, 16, 16]
    assert np.array_equal(nearest(cell, [1, 2], sites, k=1).lattice, cell)


# in general


cells = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 14)).map(
    lambda drawn: (np.random.default_rng(drawn[0]), drawn[1], drawn[2])
)


@settings(max_examples=40, deadline=None)
@given(cells)
def test_same_as_brute_force(drawn):
    rng, n, k = drawn
    lattice = np.diag(rng.uniform(2.5, 6, 3)) + rng.uniform(-1, 1, (3, 3))
    coords = rng.uniform(-0.5, 1.5, (n, 3))
    wrapped = coords - np.floor(coords)
    found = nearest(lattice, [8] * n, wrapped, k=k)
    assert as_set(found) == by_brute_force(lattice, wrapped, k, 3.0)
    elsewhere = nearest(lattice, [8] * n, coords, k=k)
    assert np.allclose(np.sort(np.linalg.norm(found.displacement, axis=1)),
                       np.sort(np.linalg.norm(elsewhere.displacement, axis=1)))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(cells, st.booleans(), st.booleans())
def test_graph_does_not_depend_on_the_description(drawn, symmetric, canonical):
    rng, n, _ = drawn
    if symmetric:
        lattice, (numbers, coords) = CUBE, ROCK_SALT
    else:
        lattice = np.diag(rng.uniform(3, 6, 3)) + rng.uniform(-1, 1, (3, 3))
        numbers, coords = rng.integers(1, 90, n), rng.uniform(0, 1, (n, 3))
    bonds, angles = fingerprint(knn_graph(lattice, numbers, coords, canonical=canonical))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(coords))
    moved = (np.array(coords) + rng.uniform(-2, 2, 3) + rng.integers(-2, 3, (len(coords), 3)))[order]
    others = knn_graph(lattice @ rotation, np.array(numbers)[order], moved, canonical=canonical)
    other_bonds, other_angles = fingerprint(others)
    assert bonds.shape == other_bonds.shape
    assert np.allclose(bonds, other_bonds, atol=1e-5)
    assert np.allclose(angles, other_angles, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(cells, st.booleans())
def test_edges_are_sorted_and_go_both_ways(drawn, canonical):
    rng, n, k = drawn
    graph = knn_graph(5 * np.eye(3), [8] * n, rng.uniform(0, 1, (n, 3)), k=k, canonical=canonical)
    assert (np.diff(graph.destination) >= 0).all()
    assert (graph.source.dtype, graph.displacement.dtype) == (np.int32, np.float32)
    pairs = Counter(zip(graph.source.tolist(), graph.destination.tolist(), strict=True))
    assert all(count == pairs[v, u] for (u, v), count in pairs.items())
    assert np.allclose(graph.displacement.sum(axis=0), 0, atol=1e-3)


# paths


def test_band_holds_the_images_first(spinel):
    graph = crystal_graph(band_neighbours(spinel), canonical=False)
    assert graph.n_atoms == len(spinel.host_species) + 5
    assert set(graph.atomic_numbers[:5]) == {elements.atomic_number(spinel.mobile_ion)}
    assert [elements.SYMBOLS[z - 1] for z in graph.atomic_numbers[5:]] == list(spinel.host_species)


def test_canonical_band_has_about_half_the_edges(spinel):
    plain, canonical = (crystal_graph(band_neighbours(spinel), canonical=canonical) for canonical in (False, True))
    assert 0.5 <= canonical.n_edges / plain.n_edges < 0.6
    assert {*zip(*plain_edges(plain), strict=True)} == {*zip(*plain_edges(canonical), strict=True)}


def plain_edges(graph):
    return graph.source.tolist(), graph.destination.tolist(), *np.round(graph.displacement, 2).T.tolist()


def test_whole_shells_only_add_to_what_the_original_finds(spinel):
    whole, original = band_neighbours(spinel), band_neighbours(spinel, original=True)
    assert as_set(original) < as_set(whole)
    reach = []
    for found in (whole, original):
        farthest = np.zeros(found.n_atoms)
        np.maximum.at(farthest, found.centre, np.linalg.norm(found.displacement, axis=1))
        reach.append(farthest)
    assert np.abs(reach[0] - reach[1]).max() < 3e-5


def test_reversed_band_is_the_same_graph(spinel):
    values = {name: getattr(spinel, name) for name in spinel.__dataclass_fields__}
    turned = MigrationPath(**values | {"band_frac_coords": spinel.band_frac_coords[::-1]})
    for one, other in zip(
        fingerprint(crystal_graph(band_neighbours(spinel), canonical=False)),
        fingerprint(crystal_graph(band_neighbours(turned), canonical=False)),
        strict=True,
    ):
        assert np.allclose(one, other, atol=1e-5)


def test_endpoints_hold_the_ion_first(spinel):
    initial, final = endpoint_neighbours(spinel)
    assert initial.n_atoms == final.n_atoms == spinel.n_atoms
    assert initial.atomic_numbers[0] == final.atomic_numbers[0] == elements.atomic_number(spinel.mobile_ion)


def test_endpoints_take_the_final_cell_where_there_is_one(spinel):
    values = {name: getattr(spinel, name) for name in spinel.__dataclass_fields__}
    own = {"final_lattice": 1.01 * spinel.lattice, "final_host_frac_coords": spinel.host_frac_coords}
    _, approximated = endpoint_neighbours(spinel)
    _, final = endpoint_neighbours(MigrationPath(**values | own))
    assert np.allclose(np.sort(lengths(final)), 1.01 * np.sort(lengths(approximated)), rtol=1e-5)


def test_endpoints_are_the_two_ends_of_the_band_in_their_own_hosts(spinel):
    moved = {"final_lattice": 1.01 * spinel.lattice, "final_host_frac_coords": spinel.host_frac_coords + 0.01}
    for own, lattice, host in (
        ({}, spinel.lattice, spinel.host_frac_coords),
        (moved, moved["final_lattice"], moved["final_host_frac_coords"]),
    ):
        initial, final = endpoint_neighbours(dataclasses.replace(spinel, **own))
        assert np.array_equal(initial.lattice, spinel.lattice)
        assert np.array_equal(initial.frac_coords, [spinel.band_frac_coords[0], *spinel.host_frac_coords])
        assert np.array_equal(final.lattice, lattice)
        assert np.array_equal(final.frac_coords, [spinel.band_frac_coords[-1], *host])


@pytest.mark.parametrize("original", [False, True])
def test_twelve_neighbours_an_atom_but_six_in_the_subgraph_by_the_rule_that_was_asked_for(
    spinel, monkeypatch, original
):
    """As in the authors' code."""
    asked = []

    def noted(*cell, k, original, name):
        asked.append((k, original))
        return nearest(*cell, k=k, original=original, name=name)

    monkeypatch.setattr("emigbench_baselines.alignn.graph.nearest", noted)
    for kind in ("band", "endpoints", "subgraph"):
        graph_store.path_neighbours(spinel, kind, original=original)
    assert asked == [(12, original), (12, original), (12, original), (6, original)]


def test_final_state_from_the_band_is_told(full):
    known = [entry for entry in full if has_final_state(entry.path)]
    assert {entry.split for entry in known} == {"test"}
    assert len(known) == 60


def test_subgraph_is_what_touches_the_images(spinel):
    graph = crystal_graph(subgraph_neighbours(spinel), canonical=False)
    assert (np.minimum(graph.source, graph.destination) < 5).all()
    assert set(graph.atomic_numbers[:5]) == {elements.atomic_number(spinel.mobile_ion)}
    assert (in_degree(graph) > 0).all()
    assert 5 < graph.n_atoms < 40


def test_subgraph_is_that_part_of_the_bands_neighbours(spinel):
    """Around a corner of the cell, so that neighbours are taken from other cells."""
    corner = spinel.band_frac_coords[2]
    path = dataclasses.replace(
        spinel,
        band_frac_coords=spinel.band_frac_coords - corner,
        host_frac_coords=(spinel.host_frac_coords - corner) % 1,
    )
    whole, part = band_neighbours(path, k=6), subgraph_neighbours(path)
    kept = (whole.centre < 5) | (whole.neighbour < 5)
    assert whole.image[kept].any()
    expected = [entry for entry, touches in zip(kinds_and_vectors(whole), kept, strict=True) if touches]
    assert kinds_and_vectors(part) == expected
    assert np.array_equal(part.frac_coords[:5], path.band_frac_coords)


def kinds_and_vectors(neighbours):
    """Of every entry the two elements, the displacement and where the centre stands."""
    z, place = neighbours.atomic_numbers, neighbours.frac_coords[neighbours.centre]
    return list(
        zip(
            z[neighbours.centre].tolist(),
            z[neighbours.neighbour].tolist(),
            neighbours.displacement.tolist(),
            place.tolist(),
            strict=True,
        )
    )


def test_graphs_of_all_paths(full):
    graphs = [crystal_graph(band_neighbours(entry.path), canonical=False) for entry in full]
    assert all(np.isfinite(g.displacement).all() and (in_degree(g) >= 12).all() for g in graphs)
    assert all(lengths(g).min() > 0.15 for g in graphs)
    assert not any((g.source == g.destination).any() for g in graphs)
    atoms = sum(g.n_atoms for g in graphs)
    assert sum(g.n_edges for g in graphs) / atoms == pytest.approx(24.6, abs=0.1)


# what cannot be a graph


@pytest.mark.parametrize(
    ("lattice", "numbers", "coords", "words"),
    [
        (CUBE, [0], [[0, 0, 0]], "atomic number 0"),
        (CUBE, [8, 101], [[0, 0, 0], [0.5, 0, 0]], "atomic number 101"),
        (CUBE, [8], [[0, np.nan, 0]], "not finite"),
        (np.full((3, 3), np.inf), [8], [[0, 0, 0]], "not finite"),
        (np.ones((3, 3)), [8], [[0, 0, 0]], "no volume"),
        (np.zeros((3, 3)), [8], [[0, 0, 0]], "no volume"),
        ([[8, 0, 0], [8, 5e-5, 0], [0, 0, 8]], [8], [[0, 0, 0]], "too flat, its lattice planes are 5e-05 Å apart"),
        (np.diag([0.09, 8, 8]), [8], [[0, 0, 0]], "too flat, its lattice planes are 0.09 Å apart"),
        (0.4 * np.eye(3), [8], [[0, 0, 0]], r"0\.06 Å³ for each atom, .*; give its vectors in Å\.$"),
        (0.9 * np.eye(3), [8, 8], [[0, 0, 0], [0.5, 0.5, 0.5]], r"0\.4 Å³ for each atom, "),
        (CUBE, [8, 8], [[0, 0, 0]], "as many sites"),
        (CUBE, [], np.zeros((0, 3)), "as many sites"),
    ],
)
def test_bad_structure_is_one_sentence_with_its_name(lattice, numbers, coords, words):
    with pytest.raises(EmigbenchError, match=f"^Bad1: .*{words}"):
        nearest(lattice, numbers, coords, k=12, name="Bad1")


@pytest.mark.parametrize("lattice", [np.diag([0.11, 4, 4]), 0.8 * np.eye(3)])
def test_a_cell_that_is_just_large_enough_has_neighbours(lattice):
    """0.11 Å between planes; 0.512 Å³ for the atom."""
    assert len(nearest(lattice, [8], [[0, 0, 0]], k=12).centre) >= 12


def test_bad_path_is_one_sentence_with_its_id(spinel):
    values = {name: getattr(spinel, name) for name in spinel.__dataclass_fields__}
    alone = MigrationPath(**values | {"host_species": (), "host_frac_coords": np.zeros((0, 3))})
    strange = MigrationPath(**values | {"mobile_ion": "Og"})
    for path, words in ((alone, "alone"), (strange, "'Og'")):
        for build in (band_neighbours, endpoint_neighbours, subgraph_neighbours):
            with pytest.raises(EmigbenchError, match=f"^{spinel.id}: .*{words}"):
                build(path)


# elements


def test_features_of_some_elements():
    features = elements.features()
    assert features.shape == (101, 92)
    assert np.flatnonzero(features[8]).tolist() == [16, 20, 34, 37, 51, 64, 74, 79, 86]  # oxygen, by the CGCNN table
    assert np.flatnonzero(features[2]).tolist() == [18, 19, 36, 47, 67, 78, 88]  # no electronegativity, no affinity
    assert not features[0].any()
    assert all(len(p.classes) == 100 for p in elements.PROPERTIES)
    assert elements.atomic_number("Fm") == 100


# store


@pytest.mark.parametrize("kind", ["band", "endpoints", "subgraph"])
def test_cache_gives_the_same_lists_again(kind, spinel, monkeypatch):
    expected = {
        "band": lambda: (band_neighbours(spinel),),
        "endpoints": lambda: endpoint_neighbours(spinel),
        "subgraph": lambda: (subgraph_neighbours(spinel),),
    }[kind]()
    made = graph_store.path_neighbours(spinel, kind)
    monkeypatch.setattr(graph_store, "_make", None)
    again = graph_store.path_neighbours(spinel, kind)
    for found in (made, again):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


def assert_same(one, other):
    for field in ("lattice", "atomic_numbers", "frac_coords", "centre", "neighbour", "image"):
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:200] + b"x" * 50 + b[250:]])
def test_damaged_cache_file_is_made_again(damage, spinel, tmp_path):
    made = graph_store.path_neighbours(spinel, "band")
    (file,) = (tmp_path / "cache" / "graphs").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert_same(graph_store.path_neighbours(spinel, "band")[0], made[0])
    assert len(file.read_bytes()) == len(whole)
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_cache_key_tells_geometry_kind_and_rule_apart(spinel):
    other = load("spinels")[1].path
    keys = {
        graph_store.cache_key(path, kind, original=original)
        for path in (spinel, other)
        for kind in ("band", "endpoints", "subgraph")
        for original in (False, True)
    }
    assert len(keys) == 12


def test_lists_of_another_version_are_not_read(spinel, tmp_path, monkeypatch):
    graph_store.pack(tmp_path / "old.npz", [band_neighbours(spinel)])
    old_key = graph_store.cache_key(spinel, "band", original=False)
    monkeypatch.setattr(graph_store, "STORE_VERSION", graph_store.STORE_VERSION + 1)
    with pytest.raises(EmigbenchError, match=r"old\.npz is damaged or of another version \(version 1, expected 2\)"):
        graph_store.unpack(tmp_path / "old.npz")
    assert graph_store.cache_key(spinel, "band", original=False) != old_key


@pytest.mark.parametrize("name", ["n_atoms", "n_neighbours", "neighbour", "lattice"])
def test_an_archive_that_has_lost_a_row_is_refused(name, spinel, tmp_path):
    graph_store.pack(tmp_path / "whole.npz", [band_neighbours(spinel)] * 2)
    with np.load(tmp_path / "whole.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "cut.npz", **arrays | {name: arrays[name][:-1]})
    with pytest.raises(EmigbenchError, match=r"cut\.npz is damaged"):
        graph_store.unpack(tmp_path / "cut.npz")


def test_archive_round_trip(tmp_path):
    lists = [band_neighbours(entry.path) for entry in load("spinels")[:5]]
    lists.append(nearest(25 * np.eye(3), [1], [[-3.0, 0, 0]], k=12))
    labels = {"target": np.arange(6.0), "ids": np.array(["a", "b", "c", "d", "e", "f"])}
    graph_store.pack(tmp_path / "graphs.npz", lists, labels)
    again, extra = graph_store.unpack(tmp_path / "graphs.npz")
    assert len(again) == len(lists)
    for one, other in zip(lists, again, strict=True):
        assert_same(one, other)
        for a, b in zip(plain_edges(crystal_graph(one, canonical=False)),
                        plain_edges(crystal_graph(other, canonical=False)), strict=True):  # fmt: skip
            assert a == b
    assert {name: values.tolist() for name, values in extra.items()} == {k: v.tolist() for k, v in labels.items()}


def test_empty_archive(tmp_path):
    graph_store.pack(tmp_path / "none.npz", [])
    assert graph_store.unpack(tmp_path / "none.npz") == ([], {})


def test_archive_errors(tmp_path, spinel):
    file = tmp_path / "graphs.npz"
    with pytest.raises(EmigbenchError, match="no graph archive"):
        graph_store.unpack(file)
    with pytest.raises(EmigbenchError, match="'lattice'"):
        graph_store.pack(file, [], {"lattice": np.zeros(1)})
    np.savez(file, version=np.array(object()), allow_pickle=True)
    with pytest.raises(EmigbenchError, match="damaged"):
        graph_store.unpack(file)
    with pytest.raises(EmigbenchError, match="kind 'bands'"):
        graph_store.path_neighbours(spinel, "bands")


def test_no_torch_is_imported():
    code = "import sys, emigbench_baselines.alignn.graph_store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# the original stack


@pytest.fixture(scope="module")
def oracle() -> str:
    pytest.importorskip("torch", reason="our line graphs are made by torch")
    python = parity.oracle_python()
    if python is None:
        pytest.skip("no alignn with DGL 1.1: point EMIGBENCH_ORACLE_PYTHON at a Python that has them")
    return python


def test_features_are_those_of_jarvis(oracle):
    code = "import jarvis.core.specie as s; print(open(s.cgcnn_feature_json).read())"
    run = subprocess.run([oracle, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    table = json.loads(run.stdout[run.stdout.index("{") :])
    assert sorted(map(int, table)) == list(range(1, 101))
    for z, vector in table.items():
        assert np.array_equal(elements.features()[int(z)], vector)


def test_graphs_are_the_original_ones(full, oracle):
    """Whole, canonical, and the sub-graphs of MODEL-4: the original is started once for all."""
    chosen = [path for group in parity.choose([entry.path for entry in full]).values() for path in group]
    assert len(chosen) >= 40
    requests = [parity.Request(path, canonical=canonical) for canonical in (False, True) for path in chosen]
    requests += [parity.subgraph_request(path) for path in chosen if path.n_atoms < parity.LARGE_FOR_SUBGRAPHS]
    for request, answer in zip(requests, parity.build_with_original(requests, oracle), strict=True):
        found = parity.difference(request.ours(), answer)
        assert (found.edges, found.angles) == (0, 0), (request.path.id, request.canonical, request.n_first)
        assert found.displacement < 1e-6
        assert found.cosine < 1e-6


def test_graphs_of_tiny_cells_are_the_original_ones(oracle):
    skewed = np.array([[2.8, 0.1, 0], [1.3, 2.6, 0], [0.2, 0.9, 2.4]])
    cells = [
        (CUBE, [84], [[0.0, 0, 0]]),
        (skewed, [29], [[0.3, 0.3, 0.3]]),
        (skewed, [55, 17], [[0.0, 0, 0], [0.48, 0.53, 0.5]]),
        (CUBE, *ROCK_SALT),
        (np.diag([3.0, 11, 25]), [8, 1], [[0.0, 0, 0], [0.3, 0, 0]]),
    ]
    asked = [(cell, canonical) for cell in cells for canonical in (False, True)]
    answers = parity.ask([(*cell, (12, 8.0, canonical, 0)) for cell, canonical in asked], oracle)
    for (cell, canonical), answer in zip(asked, answers, strict=True):
        found = parity.difference(knn_graph(*cell, canonical=canonical, original=True), answer)
        assert (found.edges, found.angles) == (0, 0)
