"""Make the tables that ship with the package from the source files.

Run `python -m emigbench.datasets.tables SOURCE_DIR` after a change of the curation; it writes `labels.csv` and
`spinels.csv` and prints the content hashes to pin in `catalogue.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emigbench.datasets import curation, labels, sources, spinels, store, symmetry
from emigbench.datasets.findings import framework_formula
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.labels import Facts
from emigbench.records import LabelledPath

N_FOLDS = 5
FOLD_SEED = 0


def facts_of(entries: Sequence[LabelledPath]) -> list[Facts]:
    """The rows of `labels.csv`, ordered by id."""
    paths = [entry.path for entry in entries]
    clusters = symmetry.framework_clusters(paths)
    rows = [_facts(entry, clusters[entry.id]) for entry in entries]
    return assign_folds(sorted(rows, key=lambda row: row.id))


def _facts(entry: LabelledPath, cluster: str) -> Facts:
    path = entry.path
    framework, filled = symmetry.found_space_groups(path)
    return Facts(
        id=path.id,
        split=entry.split,
        e_m_ev=entry.e_m,
        structural_group=path.structural_group,
        mobile_ion=path.mobile_ion,
        material_id=path.material_id,
        composition=path.composition,
        state=path.state,
        xc=path.xc,
        space_group=path.space_group,
        crystal_system=path.crystal_system,
        path_label=path.path_label,
        hop_length_a=round(path.hop_length, 4),
        n_atoms=path.n_atoms,
        framework=framework_formula(path),
        framework_cluster=cluster,
        material_cv_fold=-1,
        duplicate_of=entry.duplicate_of,
        flags=path.flags,
        label_flags=entry.label_flags,
        space_group_framework=framework,
        space_group_filled=filled,
        **{f"{name}_raw": value for name, value in path.raw.items()},
    )


def assign_folds(rows: Sequence[Facts]) -> list[Facts]:
    """Deal the paths into five folds, barriers alike in each and no framework in two of them.

    The unit is the framework formula. It holds materials, duplicate bands and framework clusters together, and
    polymorphs too: stricter than the clusters, and free of a matching tolerance.
    """
    import pandas as pd
    from sklearn.model_selection import StratifiedGroupKFold

    quartile = pd.qcut([row.e_m_ev for row in rows], 4, labels=False)
    splitter = StratifiedGroupKFold(n_splits=N_FOLDS, shuffle=True, random_state=FOLD_SEED)
    folds = splitter.split(rows, quartile, groups=[row.framework for row in rows])
    fold_of = {int(i): fold for fold, (_, held_out) in enumerate(folds) for i in held_out}
    return [replace(row, material_cv_fold=fold_of[i]) for i, row in enumerate(rows)]


def main(folder: Path) -> None:
    """Write both tables and print what to pin."""
    entries = curation.curate(sources.read(folder))
    labels.write_table(facts_of(entries))
    spinels.write_table(spinels.table_from(entry.path for entry in entries))
    print(f"full     {len(entries)} paths, sha256 {dataset_hash(entries)}")
    rebuilt = store.embedded_spinels()
    print(f"spinels  {len(rebuilt)} paths, sha256 {dataset_hash(rebuilt)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
