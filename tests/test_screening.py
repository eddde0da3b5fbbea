"""Screening a folder: what is found, what is kept, and what bad files do."""

import csv
import hashlib
import html
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import one_sentence
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from emigbench import EmigbenchError, load, screen_structure
from emigbench.hop_barriers import Screened
from emigbench.model import create
from emigbench.report import screening as report
from emigbench.screening import Plan, screen
from emigbench.unfinished import FOLDER as UNFINISHED
from emigbench.unfinished import PLAN_FILE, forget
from emigbench.workers import processes

MODEL = """
import os, signal
from pathlib import Path
import numpy as np
from emigbench import Prediction
from emigbench.errors import EmigbenchError

class Length:
    "The hop length in tenths of an eV per Å."
    def load_trained(self): pass
    def fit(self, train, *, seed): raise AssertionError
    def predict(self, paths):
        if any("V" in path.host_species for path in paths):
            raise RuntimeError("no vanadium")
        return [
            Prediction(p.id, e := p.hop_length / 10, low=e - 0.1, high=e + 0.1, cautions=("Made up.",) * (e > 0.5))
            for p in paths
        ]

class Broken(Length):
    def load_trained(self): raise OSError("no weights")

class Fails(Length):
    def predict(self, paths): return [Prediction(p.id, None, status="failed", cautions=("not now.",)) for p in paths]

class Crowded(Length):
    "Lacks memory for F until there is room."
    def predict(self, paths):
        if "F" in paths[0].host_species and not Path(__file__).with_name("room").exists():
            raise MemoryError
        return super().predict(paths)

class CrowdedFarther(Crowded):
    "Lacks it for longer hops alone."
    one_by_one = True
    def predict(self, paths):
        return super().predict(paths) if paths[0].hop_length > 3.5 else Length.predict(self, paths)

class Deadly(Length):
    "Is killed on F."
    def predict(self, paths):
        if "F" in paths[0].host_species:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(paths)

class DeadlyOnce(Deadly):
    def predict(self, paths):
        before = Path(__file__).with_name("killed")
        if before.exists():
            return Length.predict(self, paths)
        if "F" in paths[0].host_species:
            before.touch()
        return super().predict(paths)

class Uphill(Length):
    "0.3 eV and what the ion gains in distance to the nearest F (eV per Å)."
    def predict(self, paths): return [Prediction(p.id, 0.3 + gained(p)) for p in paths]

class OneWay(Length):
    "Knows no way that leads away from F."
    def predict(self, paths):
        return [
            Prediction(p.id, None, status="failed") if gained(p) > 0 else Prediction(p.id, 0.3) for p in paths
        ]

def gained(path):
    fluorine = path.host_frac_coords[[s == "F" for s in path.host_species]]
    gaps = path.band_frac_coords[[0, -1], None] - fluorine
    first, last = np.linalg.norm((gaps - np.round(gaps)) @ path.lattice, axis=2).min(axis=1)
    return last - first

class ShortOnly(Length):
    "Fails on hops of more than 4.5 Å, and does not trust others."
    def predict(self, paths):
        short = [p.hop_length < 4.5 for p in paths]
        answers = {True: (-0.1, "not_converged"), False: (None, "failed")}
        return [Prediction(p.id, answers[s][0], status=answers[s][1]) for p, s in zip(paths, short, strict=True)]
"""


ORDER = ["b.cif", "more/c.json", "a.vasp"]
"""The salts of `folder`, best first."""


def rock_salt(anion, a):
    """Site by site, which takes pymatgen no time; the orbits of a space group take it half a second."""
    centred = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(a), ["Li"] * 4 + [anion] * 4, [*centred, *(centred + np.array([0.5, 0, 0])) % 1])


@pytest.fixture
def folder(tmp_path):
    """Three salts, one of them below the folder, and a model beside it."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    rock_salt("F", 4.0).to(tmp_path / "in" / "b.cif")
    rock_salt("Cl", 5.1).to(tmp_path / "in" / "a.vasp")
    rock_salt("Br", 4.6).to(tmp_path / "in" / "more" / "c.json")
    (tmp_path / "in" / ".hidden").write_text("x")
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path / "in"


def plan_of(folder, name="Length", **changes):
    usual = {"model": f"{folder.parent / 'models.py'}:{name}", "dataset": "full", "ion": "Li", "max_hop": 4.0}
    return Plan(**(usual | changes))


def refused(*arguments, **options):
    with pytest.raises(EmigbenchError) as error:
        screen(*arguments, **options)
    return one_sentence(error)


def test_salts_are_ranked_by_their_hop(folder):
    found = screen(folder, plan_of(folder), folder.parent / "out")
    assert [each.file for each in found] == ORDER
    assert [each.formula for each in found] == ["LiF", "LiBr", "LiCl"]
    for each, a in zip(found, (4.0, 4.6, 5.1), strict=True):
        barrier = a / 2**0.5 / 10
        first = each.hops[0]
        assert first.length == pytest.approx(a / 2**0.5, abs=1e-4)
        assert (first.e_m, first.low, first.multiplicity) == (pytest.approx(barrier), pytest.approx(barrier - 0.1), 6)
        assert each.percolation == pytest.approx((barrier,) * 3)  # a face-centred network
        assert each.lowest == pytest.approx(barrier)
        assert each.n_atoms == 8


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_an_endless_path_goes_uphill_too(tmp_path, folder, order):
    """Two sites, 3 Å apart, one nearer to F than the other, in either order: the higher of both ways counts."""
    species, coords = ["Li", "Li", "F"], np.array([[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.1]])
    chain = Structure(Lattice.orthorhombic(5, 5.2, 6), [species[k] for k in order], coords[order])
    (tmp_path / "chain").mkdir()
    chain.to(tmp_path / "chain" / "x.vasp")
    far, near = (np.hypot(2.5, 2.6) ** 2 + z**2 for z in (6 * 0.4, 6 * 0.1))
    uphill, one_way = (plan_of(folder, name, max_hop=3.5) for name in ("Uphill", "OneWay"))
    (found,) = screen(tmp_path / "chain", uphill, tmp_path / "out")
    assert found.percolation[0] == pytest.approx(0.3 + far**0.5 - near**0.5, abs=1e-4)
    assert [hop.e_m for hop in found.hops] == pytest.approx([found.percolation[0]] * 2)
    (found,) = screen(tmp_path / "chain", one_way, tmp_path / "one")
    assert "failed on all 2 hops" in found.error


def test_bad_files_are_listed_with_the_reason(folder):
    (folder / "empty.cif").write_text("")
    (folder / "notes.txt").write_text("to do")
    (folder / "no_ion.cif").write_text(Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0] * 3, [0.5] * 3]).to(fmt="cif"))
    (folder / "far.cif").write_text(Structure(Lattice.cubic(8), ["Li", "Cl"], [[0] * 3, [0.5] * 3]).to(fmt="cif"))
    (folder / "model.cif").write_text(rock_salt("V", 4.2).to(fmt="cif"))
    (folder / "gone.cif").symlink_to(folder / "moved.cif")
    (folder / "round.cif").symlink_to("round.cif")
    found = screen(folder, plan_of(folder), folder.parent / "out")
    assert [each.file for each in found][:3] == ["b.cif", "more/c.json", "a.vasp"]
    reasons = {each.file: one_sentence(each.error) for each in found[3:]}
    assert "is empty" in reasons["empty.cif"]
    assert "has no Li" in reasons["no_ion.cif"]
    assert "within 4 Å" in reasons["far.cif"]
    assert "no vanadium" in reasons["model.cif"]
    assert "notes.txt" in reasons["notes.txt"]
    assert reasons["gone.cif"] == "There is no file gone.cif."
    assert "round.cif" in reasons["round.cif"]
    assert str(folder) not in " ".join(reasons.values())


def test_a_run_that_was_stopped_goes_on(folder, monkeypatch):
    out = folder.parent / "out"
    whole = screen(folder, plan_of(folder), folder.parent / "whole")
    done = []

    def stop(name, n_done, total):
        done.append(name)
        if n_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(folder, plan_of(folder), out, progress=stop)
    assert "--resume" in refused(folder, plan_of(folder), out)
    assert "another max_hop (4.0, now 5.0)" in refused(folder, plan_of(folder, max_hop=5.0), out, resume=True)
    again = []
    found = screen(folder, plan_of(folder), out, resume=True, progress=lambda name, *_: again.append(name))
    assert found == whole
    assert sorted(done + again) == sorted(each.file for each in whole)

    rock_salt("F", 4.2).to(folder / "b.cif")  # a file that has changed is done again
    again.clear()
    assert screen(folder, plan_of(folder), out, resume=True, progress=lambda name, *_: again.append(name)) != whole
    assert again == ["b.cif"]
    (out / UNFINISHED / PLAN_FILE).write_text("{")
    assert "is damaged" in refused(folder, plan_of(folder), out, resume=True)


def test_a_damaged_result_is_made_again(folder):
    out = folder.parent / "out"
    whole = screen(folder, plan_of(folder), out)
    for file in (out / UNFINISHED).glob("*.json"):
        if file.name != PLAN_FILE:
            file.write_text(file.read_text()[:40])
    assert screen(folder, plan_of(folder), out, resume=True) == whole


def test_what_other_code_of_the_model_gave_stays_and_is_told(folder, caplog):
    plan, out = plan_of(folder), folder.parent / "out"
    whole = screen(folder, plan, out)
    (folder / "b.cif").unlink()
    (folder.parent / "models.py").write_text(MODEL.replace("p.hop_length / 10", "p.hop_length / 20"))
    assert screen(folder, plan, out, resume=True) == [each for each in whole if each.file != "b.cif"]
    before, after = (
        f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for text in (MODEL, (folder.parent / "models.py").read_text())
    )
    (told,) = caplog.messages
    part = f"since 2 of the results in {out} were made (the first is a.vasp, of {before} and not {after})"
    assert part in one_sentence(told)


def test_a_file_that_gave_nothing_is_tried_again(folder):
    """What was missing then may be there now."""
    plan, out = plan_of(folder, "Crowded"), folder.parent / "out"
    (found,) = (each for each in screen(folder, plan, out) if each.error)
    assert (found.file, "MemoryError" in found.error) == ("b.cif", True)
    (folder.parent / "room").touch()
    again = []
    found = screen(folder, plan, out, resume=True, progress=lambda name, *_: again.append(name))
    assert again == ["b.cif"]
    assert not [each.error for each in found if each.error]


def test_a_file_with_hops_that_failed_is_tried_again(folder):
    plan, out = plan_of(folder, "CrowdedFarther", max_hop=5.0), folder.parent / "out"
    found = screen(folder, plan, out)
    assert [(each.file, each.n_failed, len(each.hops)) for each in found if each.n_failed] == [("b.cif", 1, 2)]
    (folder.parent / "room").touch()
    again = []
    found = screen(folder, plan, out, resume=True, progress=lambda name, *_: again.append(name))
    assert again == ["b.cif"]
    assert not [each.file for each in found if each.n_failed]


@pytest.mark.parametrize(("name", "files"), [("Deadly", ["more/c.json", "a.vasp", "b.cif"]), ("DeadlyOnce", ORDER)])
def test_a_file_whose_worker_dies_is_tried_again_and_costs_no_other(folder, name, files):
    with processes(2) as executor:
        found = screen(folder, plan_of(folder, name), folder.parent / "out", executor=executor)
    assert [each.file for each in found] == files
    errors = {each.file: one_sentence(each.error) for each in found if each.error}
    died = "b.cif: its worker died, perhaps for lack of memory; try fewer --workers."
    assert errors == ({"b.cif": died} if name == "Deadly" else {})


def test_files_side_by_side_give_the_same(folder):
    one = screen(folder, plan_of(folder), folder.parent / "one")
    with ThreadPoolExecutor(3) as executor:
        assert screen(folder, plan_of(folder), folder.parent / "other", executor=executor) == one


def test_workers_in_another_folder_find_the_files(folder, monkeypatch):
    """As those of a cluster are, which have the same file system."""
    one = screen(folder, plan_of(folder), folder.parent / "one")
    monkeypatch.chdir(folder.parent)
    with processes(1) as executor:
        executor.submit(os.chdir, "/").result()
        found = screen(Path(folder.name), plan_of(folder), folder.parent / "other", executor=executor)
    assert found == one


def test_what_is_wrong_with_the_whole_is_one_sentence(folder):
    out = folder.parent / "out"
    assert "no folder" in refused(folder / "nothing", plan_of(folder), out)
    assert "is a file" in refused(folder / "b.cif", plan_of(folder), out)
    assert "no element 'Xx'" in refused(folder, plan_of(folder, ion="Xx"), out)
    assert "no model" in refused(folder, plan_of(folder, model="unheard-of"), out)
    assert "no weights" in refused(folder, plan_of(folder, "Broken"), out)
    (folder.parent / "empty").mkdir()
    assert "no files" in refused(folder.parent / "empty", plan_of(folder), out)
    (folder.parent / "full").mkdir()
    (folder.parent / "full" / "mine.txt").write_text("mine")
    for holding in (folder.parent / "full", folder, folder.parent):
        assert f"{holding} is not empty" in refused(folder, plan_of(folder), holding)


def test_a_model_that_fails_on_all_hops_of_a_file_gives_nothing(folder):
    found = screen(folder, plan_of(folder, "Fails"), folder.parent / "out")
    said = "the model failed on its only hop; not now."
    assert [each.error for each in found] == [f"{each.file}: {said}" for each in found]


def test_hops_that_failed_or_did_not_converge_are_told(folder):
    for file in ("b.cif", "a.vasp", "more/c.json"):
        (folder / file).unlink()
    simple = Structure(Lattice.cubic(4), ["Li", "Cl"], [[0.999999999, 0, 0], [0.5, 0.5, 0.5]])
    simple.to(folder / "simple.cif")
    plan = plan_of(folder, "ShortOnly", max_hop=6.0)
    (found,) = screen(folder, plan, folder.parent / "out")
    assert [hop.status for hop in found.hops] == ["not_converged", "failed"]
    assert found.n_failed == 1
    files = report.files([found], plan, threshold=0.0)  # no barrier is positive
    assert next(csv.DictReader(io.StringIO(files["structures.csv"])))["n_failed"] == "1"
    first, second = csv.DictReader(io.StringIO(files["hops.csv"]))
    assert (first["status"], second["status"]) == ("not_converged", "failed")
    assert (first["from"], first["e_m_ev"]) == ("0.00000 0.00000 0.00000", "-0.1000")
    assert "does not trust this value" in first["cautions"]
    assert ".;" not in first["cautions"]
    assert "1 of 2 hops failed: the barriers of endless paths may be too high" in files["index.html"]
    assert "2 (1 failed)" in report.table([found])
    assert "Where hops failed" in report.table([found])


def test_cautions_are_those_of_a_single_prediction_but_for_how_the_cell_is_cut(folder):
    """The shortest hop of a filled spinel is one of the dataset."""
    path = next(entry.path for entry in load("spinels") if entry.path.mobile_ion in entry.path.host_species)
    filled = np.vstack([path.band_frac_coords[[0, -1]], path.host_frac_coords])
    (folder.parent / "spinel").mkdir()
    Structure(path.lattice, [path.mobile_ion] * 2 + list(path.host_species), filled).to(
        folder.parent / "spinel" / "known.cif"
    )
    plan = plan_of(folder, ion=path.mobile_ion, max_hop=6.5)
    (found,) = screen(folder.parent / "spinel", plan, folder.parent / "out")
    said = " ".join(caution for hop in found.hops for caution in hop.cautions)
    assert "knows the answer" in said
    assert "as near as the one taken" not in said
    assert "leaves the cell" not in said


def test_of_a_trajectory_the_last_frame_counts_and_a_collection_is_refused(folder):
    pytest.importorskip("ase")
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    one, two, other = (
        AseAtomsAdaptor.get_atoms(rock_salt(anion, a), msonable=False)
        for anion, a in (("F", 4.0), ("F", 4.1), ("Cl", 5.1))
    )
    write(folder / "relaxed.extxyz", [one, two])
    write(folder / "several.extxyz", [one, other])
    found = {each.file: each for each in screen(folder, plan_of(folder), folder.parent / "out")}
    assert found["relaxed.extxyz"].hops[0].length == pytest.approx(4.1 / 2**0.5)
    assert "several.extxyz holds 2 structures of different composition" in one_sentence(found["several.extxyz"].error)


def test_of_a_run_of_vasp_the_last_structure_is_taken(folder):
    """Not the first one, the trajectory and the settings; a pattern leaves out what else lies about."""
    done, begun = folder.parent / "vasp" / "done", folder.parent / "vasp" / "begun"
    for run, anion in ((done, "F"), (begun, "Cl")):
        run.mkdir(parents=True)
        rock_salt(anion, 4.1).to(run / "POSCAR", fmt="poscar")
        for name in ("INCAR", "KPOINTS", "OUTCAR", "XDATCAR", "vasprun.xml", "WAVECAR.gz"):
            (run / name).write_text("something else")
        (run / "notes.md").write_text("a note")
    rock_salt("F", 4.0).to(done / "CONTCAR", fmt="poscar")
    (begun / "CONTCAR").write_text("")
    (folder.parent / "vasp" / "OUTCAR").write_text("alone, so that it may be what is meant")
    found = screen(folder.parent / "vasp", plan_of(folder), folder.parent / "a")
    assert sorted(each.file for each in found) == [
        "OUTCAR", "begun/POSCAR", "begun/notes.md", "done/CONTCAR", "done/notes.md",
    ]  # fmt: skip
    found = screen(folder.parent / "vasp", plan_of(folder), folder.parent / "b", pattern="*CAR")
    assert sorted(each.file for each in found if not each.error) == ["begun/POSCAR", "done/CONTCAR"]
    with pytest.raises(EmigbenchError) as error:
        screen(folder.parent / "vasp", plan_of(folder), folder.parent / "c", pattern="*.cif")
    assert "holds no files that fit *.cif" in one_sentence(error)


def test_the_images_of_a_neb_are_one_error(folder):
    """Structures in folders with numbers of their own are none: VASP counts images from 00 with two digits."""
    for name in ("neb/00", "neb/01", "1", "2"):
        (folder / name).mkdir(parents=True)
        rock_salt("F", 4.1).to(folder / name / "POSCAR", fmt="poscar")
    found = {each.file: each for each in screen(folder, plan_of(folder), folder.parent / "out")}
    assert sorted(found) == ["1/POSCAR", "2/POSCAR", "a.vasp", "b.cif", "more/c.json", "neb"]
    assert one_sentence(found["neb"].error).startswith("neb holds the images of a NEB by their names (00, 01, …)")
    assert not found["1/POSCAR"].error


def layered(n):
    """LiCoO2 as measured, in n x n x 1 cells."""
    return Structure.from_spacegroup(
        "R-3m", Lattice.hexagonal(2.816, 14.05), ["Li", "Co", "O"], [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.2605]]
    ) * (n, n, 1)


def test_a_structure_with_an_empty_site_is_told_so(folder):
    """Of 3 Li in a layer of 3 by 3 sites or more, one is taken away: where it was comes out, in the file's cell."""
    whole = layered(3)
    holed = whole.copy()
    place = holed[0].frac_coords
    holed.remove_sites([0])
    model = create(f"{folder.parent / 'models.py'}:Length")
    (told,) = screen_structure(holed, "Li", model=model).cautions
    assert "Some sites of Li may be empty" in one_sentence(told)
    assert f"({', '.join(f'{x % 1:.3f}' for x in place)})" in told
    assert screen_structure(whole, "Li", model=model).cautions == ()
    found = [screen_structure(holed, "Li", model=model, name="holed")]
    assert told in report.page(found, plan_of(folder), 0.65)
    assert f"holed: {told}" in report.table(found)
    assert report.to_json(found)[0]["cautions"] == (told,)
    assert next(csv.DictReader(io.StringIO(report.structures_csv(found))))["cautions"] == told.removesuffix(".")


def test_ends_are_told_inside_the_cell_of_the_file(folder):
    for each in screen(folder, plan_of(folder), folder.parent / "out"):
        for hop in each.hops:
            assert all(-1e-5 < x < 1 for x in hop.start)
            step = np.array(hop.end) - hop.start
            assert np.linalg.norm(step) * hop.length == pytest.approx(hop.length / 2**0.5)  # of a cubic cell


def test_what_an_earlier_screening_wrote_is_no_structure(folder):
    plan = plan_of(folder)
    found = screen(folder, plan, folder / "runs" / "one")
    for name, text in report.files(found, plan, 0.65).items():
        (folder / "runs" / "one" / name).write_text(text)
    forget(folder / "runs" / "one")
    (folder / "hops.csv").write_text("no result: it stands alone")
    assert len(screen(folder, plan, folder / "runs" / "two")) == len(found) + 1


# --- What is written


class Page(HTMLParser):
    """The elements and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]


def test_tables_and_page_hold_every_structure(folder):
    (folder / "bad.cif").write_text("")
    plan = plan_of(folder)
    found = screen(folder, plan, folder.parent / "out")
    files = report.files(found, plan, threshold=0.65)
    rows = list(csv.DictReader(io.StringIO(files["structures.csv"])))
    assert [row["file"] for row in rows] == [each.file for each in found]
    assert [row["rank"] for row in rows] == ["1", "2", "3", ""]
    assert float(rows[0]["percolation_1d_ev"]) == pytest.approx(found[0].percolation[0], abs=1e-4)
    barrier = found[0].percolation[0]
    assert [rows[0]["low_1d_ev"], rows[0]["high_1d_ev"]] == [f"{barrier - 0.1:.4f}", f"{barrier + 0.1:.4f}"]
    assert f"{barrier - 0.1:.2f} to {barrier + 0.1:.2f}" in report.table(found)
    for row, each in zip(rows, found, strict=True):
        assert int(row["n_with_cautions"]) == sum(bool(hop.cautions) for hop in each.hops)
    hops = list(csv.DictReader(io.StringIO(files["hops.csv"])))
    assert len(hops) == sum(len(each.hops) for each in found)
    page = files["index.html"]
    assert all(each.file in page for each in found)
    for each in found[:3]:
        (hop,) = (hop for hop in each.hops if hop.e_m == each.percolation[0])
        assert f"[{hop.low:.2f}, {hop.high:.2f}]" in page
        assert f"hop <bdi>{hop.id}</bdi>, {hop.length:.2f} Å" in page
        assert all(caution in html.unescape(page) for each_hop in each.hops for caution in each_hop.cautions)
    assert "<b><bdi>bad.cif</bdi></b>: is empty." in page
    assert set(Page(page).addresses) <= {"data:,", "#main", "#unusable"}
    assert "script" not in Page(page).tags
    assert report.files(found, plan, 0.65) == files
    for row, as_json in zip(rows, report.to_json(found), strict=True):  # the same, but for how numbers are written
        assert row["rank"] == str(as_json["rank"] or "")
        assert all(row[name] == str(as_json[name]) for name in ("n_hops", "n_failed", "n_with_cautions"))
        for name in ("low_1d_ev", "high_1d_ev"):
            assert row[name] == ("" if as_json[name] is None else f"{as_json[name]:.4f}")
        assert row["limiting_hop"] == (as_json["limiting_hop"] or "")
    assert rows[0]["limiting_hop"] == "b.cif#1"
    assert "b.cif" in report.table(found)
    assert "bad.cif" not in report.table(found)


def test_names_and_reasons_are_escaped():
    evil = "<script>alert(1)</script>"
    found = [Screened(f"{evil}.cif", "", formula="LiF", n_atoms=2), Screened("x", "", error=f"{evil}\u202e.")]
    page = report.page(found, Plan(evil, "full", "Li", 5.0), 0.65)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "script" not in Page(page).tags


def test_a_file_name_that_is_no_text_can_be_written(folder):
    (folder / os.fsdecode(b"bad\xff.cif")).write_text("")
    plan = plan_of(folder)
    files = report.files(screen(folder, plan, folder.parent / "out"), plan, threshold=0.65)
    assert all(text.encode() for text in files.values())
    assert "bad\\udcff.cif" in files["structures.csv"]


def test_kept_results_are_plain_json(folder):
    out = folder.parent / "out"
    found = screen(folder, plan_of(folder), out)
    kept = [json.loads(file.read_text()) for file in (out / UNFINISHED).glob("*.json")]
    assert {content["file"] for content in kept if "file" in content} == {each.file for each in found}
    forget(out)
    assert not (out / UNFINISHED).exists()


def test_one_structure_by_itself_gets_what_it_gets_in_a_folder(folder):
    """From its file, or from memory, in a supercell and named."""
    plan = plan_of(folder)
    in_folder = {each.file: replace(each, sha256="") for each in screen(folder, plan, folder.parent / "out")}
    assert screen_structure(folder / "a.vasp", "Li", max_hop=4.0, model=plan.model) == in_folder["a.vasp"]
    found = screen_structure(str(folder / "b.cif"), "Li", max_hop=4.0, model=create(plan.model), name="LiF")
    assert [hop.id for hop in found.hops] == ["LiF#1"]
    doubled = screen_structure(rock_salt("F", 4.0) * (2, 1, 1), "Li", max_hop=4.0, model=plan.model)
    assert (doubled.file, doubled.n_atoms, doubled.formula) == ("structure", 16, "LiF")
    assert doubled.percolation == pytest.approx(found.percolation, abs=1e-4)


def test_one_structure_that_cannot_be_used_is_one_sentence(folder):
    salt = rock_salt("F", 4.0)
    for arguments, options, what in (
        ((salt, "li"), {}, "write it as Li."),
        ((salt, None), {}, "by a symbol such as Li, not by None"),
        ((salt, "Na"), {}, "structure has no Na"),
        ((salt, "Li"), {"max_hop": "4"}, "1 to 12 Å long, not '4'"),
        ((salt, "Li"), {"max_hop": 40}, "1 to 12 Å long"),
        ((folder / "none.cif", "Li"), {}, "none.cif"),
        ((3, "Li"), {}, "type int is no structure"),
        ((salt, "Li"), {"model": f"{folder.parent / 'models.py'}:Fails"}, "model failed on all 2 hops"),
    ):
        with pytest.raises(EmigbenchError) as error:
            screen_structure(*arguments, **options)
        assert what in one_sentence(error)
