import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec

import crystals
import numpy as np
import pytest

from emigbench import EmigbenchError, MigrationPath
from emigbench_baselines.classical import features
from emigbench_baselines.classical.feature_list import FEATURES
from emigbench_baselines.classical.features import cache_key, canonical, feature_table
from emigbench_baselines.classical.path_features import PATH_FEATURES, path_features

needs_matminer = pytest.mark.skipif(
    find_spec("matminer") is None, reason="matminer is not installed: pip install 'emigbench[classical]'"
)


def rock_salt(name: str = "rock-salt", edge: float = 4.0, target=(0.5, 0.5, 0.0)) -> MigrationPath:
    """One Li in rock-salt MgO, hopping to the empty cation site beside it."""
    return MigrationPath(
        id=name,
        material_id=name,
        structural_group="OXIDES",
        mobile_ion="Li",
        composition="LiMg2O4",
        state="unknown",
        lattice=edge * np.eye(3),
        host_species=("Mg", "Mg", "O", "O", "O", "O"),
        host_frac_coords=[
            [0.5, 0.0, 0.5],
            [0.0, 0.5, 0.5],
            [0.5, 0.0, 0.0],
            [0.0, 0.5, 0.0],
            [0.0, 0.0, 0.5],
            [0.5, 0.5, 0.5],
        ],
        band_frac_coords=np.linspace(0, 1, 5)[:, None] * np.array(target),
    )


def redescribed(path: MigrationPath) -> MigrationPath:
    """The same geometry with another origin, other periodic images and another order of the atoms."""
    shift = np.array([0.13, 0.71, 0.37])
    order = np.array([4, 2, 0, 5, 1, 3])
    return replace(
        path,
        host_species=tuple(path.host_species[i] for i in order),
        host_frac_coords=(path.host_frac_coords[order] + shift + [1, -2, 0]) % 1,
        band_frac_coords=path.band_frac_coords + shift - [0, 1, 3],
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_CACHE", str(tmp_path))
    return tmp_path / "features"


def test_path_features_of_rock_salt_by_hand():
    # edge 4 Å: bonds of 2 Å; the hop passes between two O at sqrt(2) Å, four more and the nearest Mg at sqrt(6) Å
    found = dict(zip(PATH_FEATURES, path_features(rock_salt()), strict=True))
    assert found["hop length"] == pytest.approx(np.sqrt(8))
    assert found["initial shortest bond"] == pytest.approx(2)
    assert found["initial mean bond"] == pytest.approx(2)
    assert found["initial coordination number"] == pytest.approx(6)
    assert found["initial Voronoi volume"] == pytest.approx(8)
    assert found["middle shortest bond"] == pytest.approx(np.sqrt(2))
    assert found["middle mean bond"] == pytest.approx((2 * np.sqrt(2) + 4 * np.sqrt(6)) / 6)
    assert found["middle nearest cation"] == pytest.approx(np.sqrt(6))


def test_path_features_do_not_depend_on_the_description_of_a_crystal_without_symmetry():
    path = crystals.crystal(0, ("Li", "O", "Ti"))
    found = path_features(path)
    assert np.isfinite(found).all()
    assert path_features(crystals.redescribed(path, 1)) == pytest.approx(found)


def test_middle_voronoi_volume_is_that_of_an_independent_tessellation():
    pytest.importorskip("pymatgen")
    from pymatgen.analysis.local_env import VoronoiNN

    faces = VoronoiNN().get_voronoi_polyhedra(rock_salt().structure(2), 0)
    expected = sum(face["volume"] for face in faces.values())
    assert path_features(rock_salt())[-1] == pytest.approx(expected)


def test_an_ion_on_a_host_atom_has_no_polyhedron_but_a_bond_of_zero():
    through_oxygen = rock_salt(target=(1.0, 0.0, 0.0))
    found = dict(zip(PATH_FEATURES, path_features(through_oxygen), strict=True))
    assert found["middle shortest bond"] == 0
    assert np.isnan(found["middle Voronoi volume"])


def test_a_host_without_anions_has_bonds_to_any_atom_and_no_nan_by_accident():
    metal = replace(rock_salt(), host_species=("Li",) * 6)
    found = dict(zip(PATH_FEATURES, path_features(metal), strict=True))
    assert found["initial shortest bond"] == pytest.approx(2)
    assert [name for name, value in found.items() if np.isnan(value)] == ["middle nearest cation"]


def test_the_sulphur_of_a_sulphate_is_a_cation_and_the_phosphorus_of_a_phosphide_an_anion():
    sulphate = replace(rock_salt(), host_species=("S", "Li", "O", "O", "O", "O"))
    phosphide = replace(rock_salt(), host_species=("Mg", "Mg", "P", "P", "P", "P"))
    for path in (sulphate, phosphide):
        found = dict(zip(PATH_FEATURES, path_features(path), strict=True))
        assert found["initial coordination number"] == pytest.approx(6)
        assert found["middle shortest bond"] == pytest.approx(np.sqrt(2))
        assert found["middle nearest cation"] == pytest.approx(np.sqrt(6))


def test_charges_of_the_ewald_sum_are_those_of_the_descriptors():
    pytest.importorskip("pymatgen")
    phosphide = replace(rock_salt(), host_species=("Mg", "Ru", "P", "P", "P", "P")).structure(0)
    charged = features._with_charges(phosphide)
    assert {site.specie.symbol: site.specie.oxi_state for site in charged} == {"Li": 1, "Mg": 2, "Ru": 9, "P": -3}
    assert charged.charge == 0


def test_every_feature_has_a_unit_a_family_and_a_source():
    families = {feature.family for feature in FEATURES.values()}
    assert families == {
        *("elemental", "stoichiometric", "electronic", "environmental", "structural", "interaction"),
        "path",
    }
    assert all(feature.unit and feature.source for feature in FEATURES.values())
    assert all(name == feature.name for name, feature in FEATURES.items())
    assert sum(feature.family == "path" for feature in FEATURES.values()) == 9


def test_one_geometry_has_one_key_however_it_is_described():
    path = rock_salt()
    assert cache_key(canonical(redescribed(path))) == cache_key(canonical(path))


@pytest.mark.parametrize("change", ["edge", "target", "ion", "element", "version", "matminer", "pymatgen"])
def test_another_geometry_or_version_has_another_key(change, monkeypatch):
    path = rock_salt()
    other = {
        "edge": rock_salt(edge=4.0001),
        "target": rock_salt(target=(0.5, -0.5, 0.0)),
        "ion": replace(path, mobile_ion="Na"),
        "element": replace(path, host_species=("Ca", *path.host_species[1:])),
    }.get(change, path)
    before = cache_key(canonical(path))
    if change == "version":
        features._versions.cache_clear()
        monkeypatch.setattr(features, "FEATURES_VERSION", -1)
    if change in ("matminer", "pymatgen"):
        features._versions.cache_clear()
        installed = features.versions() | {change: "another"}
        monkeypatch.setattr(features, "versions", lambda: installed)
    assert cache_key(canonical(other)) != before
    features._versions.cache_clear()


@needs_matminer
def test_names_are_those_that_matminer_gives():
    structure = rock_salt().structure(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {(name, label) for name, f in features._featurizers().items() for label in f(structure)}
    named = {(f.source, f.label) for f in FEATURES.values() if f.source != "path_features"}
    assert named <= given


@needs_matminer
def test_composition_is_that_of_the_cell_with_one_moving_ion(cache):
    row = feature_table([rock_salt()], workers=1).loc["rock-salt"]
    # Li Mg2 O4: atomic numbers 3, 2 x 12, 4 x 8 over 7 atoms
    assert row["elemental: MagpieData mean Number"] == pytest.approx(59 / 7)
    assert row["stoichiometric: 0-norm"] == 3
    assert row["elemental: site Number"] == 3
    assert row["environmental: CN_CrystalNN"] == 6
    assert row["environmental: Average bond length"] == pytest.approx(2)


@needs_matminer
def test_features_do_not_depend_on_the_description_of_the_geometry(cache):
    first = feature_table([rock_salt()], workers=1)
    for file in cache.iterdir():
        file.unlink()
    second = feature_table([redescribed(rock_salt())], workers=1)
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-6)


@needs_matminer
def test_only_path_features_tell_two_paths_of_one_initial_cell_apart(cache):
    table = feature_table([rock_salt("a"), rock_salt("b", target=(0.5, 0.5, 1.0))], workers=1)
    differing = table.columns[(table.loc["a"] != table.loc["b"]) & table.notna().all()]
    assert "path: hop length" in differing
    assert {FEATURES[name].family for name in differing} == {"path"}


@needs_matminer
def test_a_featurizer_that_fails_leaves_nan_and_the_path(cache, monkeypatch):
    def fails(structure):
        raise RuntimeError("no convergence")

    monkeypatch.setitem(features._featurizers(), "EwaldSiteEnergy", fails)
    row = feature_table([rock_salt()], workers=1).loc["rock-salt"]
    assert np.isnan(row["interaction: ewald_site_energy"])
    assert row.drop("interaction: ewald_site_energy").notna().all()


@needs_matminer
def test_too_little_memory_is_not_kept_as_a_trait_of_the_path(cache, monkeypatch):
    def fails(structure):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setitem(features._featurizers(), "EwaldSiteEnergy", fails)
        with pytest.raises(MemoryError):
            feature_table([rock_salt()], workers=1)
    assert feature_table([rock_salt()], workers=1).notna().all(axis=None)


@needs_matminer
def test_a_damaged_cache_file_is_computed_again(cache):
    expected = feature_table([rock_salt()], workers=1)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for damage in (b"", b"not a cache file", whole[:200], flipped):
        file.write_bytes(damage)
        np.testing.assert_array_equal(feature_table([rock_salt()], workers=1), expected)
        assert [f.name for f in cache.iterdir()] == [file.name]
        assert file.read_bytes() != damage


def test_a_cache_file_of_something_else_is_not_read(tmp_path):
    whole = np.arange(len(FEATURES), dtype=np.float64)
    np.savez(tmp_path / "whole.npz", values=whole)
    np.testing.assert_array_equal(features._read(tmp_path / "whole.npz"), whole)
    for other in ({"values": whole[1:]}, {"values": whole.astype(np.float32)}, {"others": whole}):
        np.savez(tmp_path / "other.npz", **other)
        assert features._read(tmp_path / "other.npz") is None


@needs_matminer
def test_processes_give_the_same_table_and_duplicates_share_a_file(cache, monkeypatch):
    paths = [rock_salt(str(edge), edge) for edge in (3.9, 4.0, 4.1)]
    alone = feature_table(paths, workers=1)
    for file in cache.iterdir():
        file.unlink()
    monkeypatch.setattr(features, "MIN_PARALLEL", 2)
    together = feature_table([*paths, rock_salt("again", 4.0)], workers=2)
    np.testing.assert_array_equal(together.loc[alone.index], alone)
    np.testing.assert_array_equal(together.loc["again"], alone.loc["4.0"])
    assert len(list(cache.iterdir())) == 3


@needs_matminer
def test_reading_the_cache_imports_neither_matminer_nor_pymatgen(cache):
    feature_table([rock_salt()], workers=1)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_features import rock_salt, feature_table\n"
        "assert feature_table([rock_salt()]).shape[0] == 1\n"
        "print([m for m in ('matminer', 'pymatgen', 'sklearn') if m in sys.modules])"
    )
    here = str(features.Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, here], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_paths_give_an_empty_table(cache):
    assert feature_table([]).shape == (0, len(FEATURES))


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("EMIGBENCH_CACHE", str(in_the_way))
    with pytest.raises(EmigbenchError, match="EMIGBENCH_CACHE"):
        feature_table([rock_salt()], workers=1)


def test_missing_matminer_is_said_in_one_sentence(cache, monkeypatch):
    features._featurizers.cache_clear()
    monkeypatch.setitem(sys.modules, "matminer.featurizers", None)
    with pytest.raises(EmigbenchError, match="emigbench\\[classical\\]"):
        feature_table([rock_salt()], workers=1)
