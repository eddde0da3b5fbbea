"""Features of a path for the classical models: six families from matminer and nine of the hop itself.

The paper (arXiv 2508.06436, section 6.4.2) names the families, not the featurizers, so the choice is ours:
those that need no download, survive a cell of a thousand atoms and take well under a second. `feature_list` says
what each number is. Composition and structure are those of the initial cell, which holds the moving ion once;
features of a site are those of the moving ion at its initial site.

Features are kept on disk, a small file for each geometry. matminer and pymatgen, which take seconds to
import, are imported only when a geometry is not there yet.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import emigbench
from emigbench import EmigbenchError, MigrationPath
from emigbench.progress import progress_on_stderr
from emigbench.provenance import available_cores, versions
from emigbench.records import FloatArray
from emigbench.storage import write_bytes
from emigbench_baselines.classical.feature_list import FEATURES
from emigbench_baselines.classical.ions import charges
from emigbench_baselines.classical.path_features import PATH_FEATURES, path_features
from emigbench_baselines.classical.path_table import path_table

if TYPE_CHECKING:
    from pymatgen.core import Structure

Featurizer = Callable[["Structure"], Mapping[str, Any]]

log = logging.getLogger(__name__)

FEATURES_VERSION = 2
"""Part of every cache key: raise it whenever a value changes, and older cache files are never read again."""

DECIMALS = 8
"""Coordinates are rounded to this before anything is computed or looked up."""

MIN_PARALLEL = 8
"""Fewer missing paths than this are computed without starting other processes."""


def feature_table(paths: Sequence[MigrationPath], *, workers: int | None = None) -> pd.DataFrame:
    """The features of each path: a row a path, a column for each of `FEATURES`; NaN where one is undefined.

    Args:
        paths: the paths; duplicates by geometry are computed once.
        workers: processes that compute what is not cached; all cores of this process by default. They start
            the way the platform starts processes, so on macOS and Windows a script needs the usual
            `if __name__ == "__main__":`.

    Raises:
        EmigbenchError: if something has to be computed and matminer is not installed, or the cache folder
            cannot be written.
    """
    folder = cache_folder()
    geometries = [canonical(path) for path in paths]
    keys = [cache_key(geometry) for geometry in geometries]
    rows = {key: values for key in dict.fromkeys(keys) if (values := _read(folder / f"{key}.npz")) is not None}
    missing = {key: geometry for key, geometry in zip(keys, geometries, strict=True) if key not in rows}
    if missing:
        _featurizers()  # says at once that matminer is missing; processes that are forked inherit the import
        computed = _compute_all(missing, available_cores() if workers is None else workers)
        with progress_on_stderr("features") as progress:
            for done, (key, values) in enumerate(computed, start=1):
                _write(folder / f"{key}.npz", values)
                rows[key] = values
                progress(missing[key].id, done, len(missing))
    return path_table([rows[key] for key in keys], paths, FEATURES)


def canonical(path: MigrationPath) -> MigrationPath:
    """The same geometry, described in one way: origin at the initial site, host wrapped, rounded and sorted.

    What is computed from it does not depend on the periodic images, the order of the atoms and the origin that
    the source happened to choose.
    """
    start = path.band_frac_coords[0]
    host = np.round(np.round(path.host_frac_coords - start, DECIMALS) % 1, DECIMALS)
    order = np.lexsort((*host.T[::-1], np.array(path.host_species)))
    return replace(
        path,
        lattice=np.round(path.lattice, DECIMALS),
        host_species=tuple(path.host_species[i] for i in order),
        host_frac_coords=host[order],
        band_frac_coords=np.round(path.band_frac_coords - start, DECIMALS),
        final_lattice=None,
        final_host_frac_coords=None,
    )


def cache_key(geometry: MigrationPath) -> str:
    """Content of a canonical geometry, and the versions that its features depend on, as sha256."""
    digest = hashlib.sha256(_versions().encode())
    digest.update(" ".join([geometry.mobile_ion, *geometry.host_species]).encode())
    for values in (geometry.lattice, geometry.host_frac_coords, geometry.band_frac_coords):
        digest.update(np.rint(values * 10**DECIMALS).astype("<i8").tobytes())
    return digest.hexdigest()


@cache
def _versions() -> str:
    """FEATURES_VERSION and the versions of what computes the features, which are not imported for that."""
    installed = versions()
    return f"{FEATURES_VERSION} {installed.get('matminer', 'none')} {installed.get('pymatgen', 'none')}"


def cache_folder() -> Path:
    """Where features are kept: a folder of the project's cache."""
    return emigbench.cache_folder() / "features"


def _read(file: Path) -> FloatArray | None:
    """The cached features, None where there are none or the file is damaged (its checksum tells)."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            values: FloatArray = archive["values"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return values if values.shape == (len(FEATURES),) and values.dtype == np.float64 else None


def _write(file: Path, values: FloatArray) -> None:
    content = io.BytesIO()
    np.savez(content, values=values)
    try:
        write_bytes(file, content.getvalue())
    except EmigbenchError as error:
        advice = "set EMIGBENCH_CACHE to a folder that can be written to"
        raise EmigbenchError(f"The feature cache cannot be kept ({str(error).removesuffix('.')}); {advice}.") from error


def _compute_all(geometries: Mapping[str, MigrationPath], workers: int) -> Iterator[tuple[str, FloatArray]]:
    """Features by key, as they are ready; large cells first, so that no core is left with one at the end."""
    if workers == 1 or len(geometries) < MIN_PARALLEL:
        for key, geometry in geometries.items():
            yield key, compute(geometry)
        return
    largest_first = sorted(geometries.items(), key=lambda item: -item[1].n_atoms)
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(compute, geometry): key for key, geometry in largest_first}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def compute(geometry: MigrationPath) -> FloatArray:
    """The features of one canonical geometry, in the order of `FEATURES`.

    A featurizer that fails gives NaN for its columns: no path is ever left out.

    Raises:
        MemoryError: if there is too little memory, which is no trait of the path and is not to be kept as one.
    """
    labelled: dict[str, Mapping[str, Any]] = {}

    def of_path(structure: Structure) -> Mapping[str, Any]:
        return dict(zip(PATH_FEATURES, path_features(geometry), strict=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = geometry.structure(0)
        for source, featurizer in {**_featurizers(), "path_features": of_path}.items():
            try:
                labelled[source] = featurizer(structure)
            except MemoryError:
                raise
            except Exception as error:  # matminer passes on whatever its helpers raise
                log.info("%s: no features from %s (%r).", geometry.id, source, error)
    found = [labelled.get(f.source, {}).get(f.label, np.nan) for f in FEATURES.values()]
    values = np.array(found, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


@cache
def _featurizers() -> dict[str, Featurizer]:
    """The matminer featurizers by source, for a structure with the moving ion at site 0."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from matminer.featurizers import composition, site, structure
            from pymatgen.analysis.local_env import CrystalNN
    except ImportError as error:
        raise EmigbenchError(
            "The features of these paths are not cached yet, and computing them needs matminer: "
            "pip install 'emigbench[classical]'."
        ) from error

    def of_composition(featurizer: Any) -> Featurizer:
        return lambda cell: _labelled(featurizer, cell.composition)

    def of_site(featurizer: Any) -> Featurizer:
        return lambda cell: _labelled(featurizer, cell, 0)

    def of_structure(featurizer: Any) -> Featurizer:
        return lambda cell: _labelled(featurizer, cell)

    ewald = site.EwaldSiteEnergy(accuracy=12)
    radial = site.GeneralizedRadialDistributionFunction.from_preset("gaussian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "ElementProperty": of_composition(composition.ElementProperty.from_preset("magpie", impute_nan=True)),
            "SiteElementalProperty": of_site(site.SiteElementalProperty.from_preset("seko-prb-2017")),
            "Stoichiometry": of_composition(composition.Stoichiometry()),
            "ValenceOrbital": of_composition(composition.ValenceOrbital(impute_nan=True)),
            "AtomicOrbitals": of_composition(composition.AtomicOrbitals()),
            "BandCenter": of_composition(composition.BandCenter(impute_nan=True)),
            "TMetalFraction": of_composition(composition.TMetalFraction()),
            "CrystalNNFingerprint": of_site(site.CrystalNNFingerprint.from_preset("ops")),
            "CoordinationNumber": of_site(site.CoordinationNumber.from_preset("CrystalNN")),
            "AverageBondLength": of_site(site.AverageBondLength(CrystalNN())),
            "AverageBondAngle": of_site(site.AverageBondAngle(CrystalNN())),
            "DensityFeatures": of_structure(structure.DensityFeatures()),
            "GlobalSymmetryFeatures": of_structure(structure.GlobalSymmetryFeatures()),
            "GeneralizedRadialDistributionFunction": of_site(radial),
            "GaussianSymmFunc": of_site(site.GaussianSymmFunc()),
            "IonProperty": of_composition(composition.IonProperty(fast=True, impute_nan=True)),
            "YangSolidSolution": of_composition(composition.YangSolidSolution(impute_nan=True)),
            "Miedema": of_composition(composition.Miedema(impute_nan=True)),
            "EwaldSiteEnergy": lambda cell: _labelled(ewald, _with_charges(cell), 0),
        }


def _labelled(featurizer: Any, *args: object) -> dict[str, Any]:
    return dict(zip(featurizer.feature_labels(), featurizer.featurize(*args), strict=True))


def _with_charges(structure: Structure) -> Structure:
    """A copy with point charges on its sites, as the Ewald sum needs them."""
    charged = structure.copy()
    charged.add_oxidation_state_by_element(charges(site.specie.symbol for site in structure))
    return charged
