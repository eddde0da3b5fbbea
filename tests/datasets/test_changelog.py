"""The changelog of the data says what the catalogue pins, and its figures are those of the data."""

import re
from importlib.resources import files

from emigbench.datasets import catalogue, corrections, labels
from emigbench.splits import SPLITS

TEXT = (files("emigbench.datasets") / "CHANGELOG.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^## ([\d.]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
FULL = labels.read("full")


def test_the_newest_entry_is_the_pinned_version():
    newest = next(iter(ENTRIES))
    assert list(ENTRIES) == sorted(ENTRIES, key=lambda version: [int(n) for n in version.split(".")], reverse=True)
    for info in catalogue.CATALOGUE.values():
        assert info.version == newest
        assert f"`{info.name}`: {info.n_paths} paths, content `{info.sha256[:12]}`" in ENTRIES[newest]


def test_the_newest_entry_names_the_splits():
    listed = next(iter(ENTRIES.values())).partition("Splits of this version: ")[2]
    assert re.findall(r"`([a-z-]+)`", listed) == list(SPLITS)


def flagged(name):
    return sum(name in facts.flags + facts.label_flags for facts in FULL)


def values(field):
    """(strings of the source, values, changed paths) of a field."""
    pairs = [(getattr(facts, f"{field}_raw"), getattr(facts, field)) for facts in FULL]
    return len({raw for raw, _ in pairs}), len({value for _, value in pairs}), sum(raw != value for raw, value in pairs)


def test_figures_of_the_newest_entry():
    """Whoever changes the data writes a new entry with figures of its own, and changes them here."""
    by_hand = [field for field, _ in corrections.read().fields]
    groups, spaces, systems = values("structural_group"), values("space_group"), values("crystal_system")
    spinels = labels.read("spinels")
    expected = [
        f"{sum(f.split == 'train' for f in FULL)} training and {sum(f.split == 'test' for f in FULL)} test paths",
        f"holds {sum(f.split == 'train' for f in spinels)} and {sum(f.split == 'test' for f in spinels)} of them",
        f"{flagged('final_wrapped')} final states had an atom a whole cell away",
        f"{flagged('host_wrapped')} hosts had atoms outside the cell",
        f"{flagged('overlapping_atoms_merged')} cells had doubled atoms",
        f"{flagged('final_relaxed_separately')} final states have a cell or host of their own",
        f"for the {flagged('final_from_band')} training paths",
        f"{groups[0]} class strings became the paper's {groups[1]} structural groups ({groups[2]} paths",
        f"{spaces[0]} space-group strings became {spaces[1]} symbols ({spaces[2]} paths)",
        f"{systems[0]} crystal-system strings became {systems[1]} ({systems[2]} paths)",
        f"{len(by_hand)} single values were mended by hand: {by_hand.count('composition')} compositions, "
        f"{by_hand.count('space_group')} space groups, {by_hand.count('state')} states",
        f"{flagged('group_disputed')} paths whose chemistry speaks for another group",
        f"{flagged('band_not_shortest')} bands that are not the shortest image",
        f"{flagged('band_near_host')} with an image within 1.0 Å of a host atom, of which {flagged('band_on_host')}",
        f"{flagged('name_differs_from_cell')} whose named framework is not that of the cell",
        f"{flagged('label_conflict')} have a symmetry-identical band with another barrier",
        f"{flagged('label_suspicious')} are suspicious",
        f"{flagged('label_below_50_mev')} lie below 0.05 eV",
        f"{flagged('label_above_4_ev')} above 4 eV",
        f"{len({f.material_id for f in FULL})} materials",
        f"{len({f.framework_cluster for f in FULL})} framework clusters",
        f"{len({f.framework for f in FULL})} framework formulas",
        f"{sum(bool(f.duplicate_of) for f in FULL)} paths in {len({f.duplicate_of for f in FULL} - {''})} sets",
    ]
    entry = next(iter(ENTRIES.values()))
    assert [figure for figure in expected if figure not in entry] == []
