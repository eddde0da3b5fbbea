"""The pages as text: what people wrote does no harm, and the same inputs give the same bytes."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import FULL, constant, one_sentence, write_submission

from emigbench import EmigbenchError, Prediction, scoring, splits
from emigbench.metrics import Sample
from emigbench.report import cells, costs, html, index, leaderboard, model, per_path, plots, site, text

ASSETS = Path(html.__file__).with_name("assets")
VOID = {"meta", "link", "input", "br"}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 200)


def built(folder):
    entries = leaderboard.read_entries(folder, FULL)
    return site.files(entries, leaderboard.boards(entries, FULL), FULL)


class Page(HTMLParser):
    """The elements of a page, its addresses and its text; fails where tags do not match."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.addresses, self.handlers, self.texts, self.open = [], [], [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.addresses += [value for name, value in attributes if name in ("href", "src", "action", "formaction")]
        if tag not in VOID and tag not in ("line", "circle", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


HARMFUL = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></textarea><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; &#60;",
    "<!-- comment ]]>",
    "javascript:alert(1)",
    "x" * 79 + "!",
]


@pytest.mark.parametrize("harmful", HARMFUL)
def test_what_people_wrote_is_shown_and_does_nothing(tmp_path, harmful):
    fields = ("source", "paper", "licence", "inputs", "training_data", "pretraining", "notes")
    plain = {"name": "Plain", "authors": ["Plain"], **dict.fromkeys(fields, "Plain")}
    write_submission(tmp_path / "plain", card=plain)
    write_submission(
        tmp_path / "harmful", card={"name": harmful, "authors": [harmful], **dict.fromkeys(fields, harmful)}
    )
    usual, found = built(tmp_path / "plain"), built(tmp_path / "harmful")
    assert usual.keys() == found.keys()
    for name in ("index.html", "models/a-model.html"):
        page = Page(found[name])
        assert page.elements == Page(usual[name]).elements
        assert page.addresses == Page(usual[name]).addresses
        assert page.handlers == []
        assert " ".join(harmful.split()) in page.text


LINKS = [
    ("javascript:alert(1)", []),
    ("JaVaScRiPt://example.org/%0aalert(1)", []),
    ("data:text/html,<script>alert(1)</script>", []),
    ("vbscript:x file:///etc/passwd ftp://example.org", []),
    ("see https://example.org/a?b=c&d=e.", ["https://example.org/a?b=c&d=e"]),
    ("http://example.org/(x)", ["http://example.org/(x"]),
    ('https://example.org/"onmouseover="alert(1)', ["https://example.org/"]),
    ("https://example.org/<script>", ["https://example.org/"]),
    ("npj 2026, DOI 10.1038/s41524-026-01972-8", ["https://doi.org/10.1038/s41524-026-01972-8"]),
    ("10.1038/javascript:alert(1)", ["https://doi.org/10.1038/javascript:alert(1"]),
    ("github.com/sai-mat-group/x, TABLE.xlsx", ["https://github.com/sai-mat-group/x"]),
    ("https://... and http://.,", []),
    ("evil.github.com/x and notgithub.com/x", []),
    ("user@github.com/x", []),
]


@pytest.mark.parametrize(("written", "addresses"), LINKS)
def test_links_lead_to_the_web_alone(tmp_path, written, addresses):
    parts = text.linked(written)
    assert "".join(part.text for part in parts) == written
    assert all(part.text for part in parts)
    assert [part.href for part in parts if part.href] == addresses
    write_submission(tmp_path, card={"source": written})
    page = Page(built(tmp_path)["models/a-model.html"])
    outside = [address for address in page.addresses if not address.startswith(("#", "../", "data:,"))]
    assert outside == addresses
    assert all(address.startswith(("https://", "http://")) for address in outside)


def test_text_is_cleaned():
    assert text.clean("a\u202eb\x00c\n d\ud800") == "abc d"
    assert text.clean("x" * 10_000) == "x" * (text.LONGEST - 1) + "…"
    assert len(text.clean("x " * 10**6)) <= text.LONGEST
    assert text.clean(None) == "None"


def test_the_same_submissions_give_the_same_bytes_and_each_has_a_page(tmp_path):
    for slug in ("b", "a", "c"):
        write_submission(tmp_path, card={"slug": slug, "name": slug})
    first = built(tmp_path)
    assert built(tmp_path) == first
    pages_found = [name for name in first if name.startswith("models/")]
    assert pages_found == [f"models/{slug}.html" for slug in "abc"]
    for slug in "abc":
        assert f'href="models/{slug}.html"' in first["index.html"]
    assert set(first) - set(pages_found) == {
        "README.md",
        "results.json",
        "index.html",
        *(f"assets/{name}" for name in ("paths.js", "style.css", "model.js", "vega.min.js")),
    }


def test_the_index_needs_nothing_else(tmp_path):
    write_submission(tmp_path)
    page = built(tmp_path)["index.html"]
    assert not re.search(r"<(script|img|iframe|object|embed)[^>]*\bsrc=", page)
    assert '<link rel="stylesheet"' not in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'$", policy)


def test_data_in_scripts_cannot_leave_them(tmp_path):
    write_submission(tmp_path, card={"name": "</script><!--<script>"})
    pages = [page for name, page in built(tmp_path).items() if name.endswith(".html")]
    for page in pages:
        found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert found
        for content in found:
            assert "<" not in content
            assert json.loads(content)


def test_all_values_of_a_card_and_a_run_are_on_the_page(tmp_path):
    folder = write_submission(tmp_path, card={"notes": "a note", "licence": "MIT", "n_parameters": 12345})
    run = json.loads((folder / "run.json").read_text())
    run |= {"hardware": {"processor": "Abacus", "cores": 1}, "versions": {"python": "3.11"}, "command": "do it"}
    run["units"] = [{"split": "official", "fit_seconds": 90, "predict_seconds": 6, "n_held_out": 60}]
    (folder / "run.json").write_text(json.dumps(run))
    shown = Page(built(tmp_path)["models/a-model.html"]).text
    for value in ("a note", "MIT", "12 345", "Abacus, 1 core", "python 3.11", "do it", "1.5 min", "100 ms"):
        assert value in shown.replace("\u202f", " ")


STRANGE_RUNS = [
    {"units": 3, "hardware": [], "versions": "x", "command": ["x"]},
    {"units": [None, {}, {"split": "official", "fit_seconds": "long", "predict_seconds": -1, "n_held_out": 0}]},
    {"units": [{"split": "official", "fit_seconds": 1e400, "predict_seconds": 10**400, "n_held_out": True}]},
    {"hardware": {"processor": 5, "cores": "many", "gpu": "<script>"}, "versions": {"<b>": ["<i>"]}},
]


@pytest.mark.parametrize("strange", STRANGE_RUNS)
def test_a_strange_run_record_costs_no_page(tmp_path, strange):
    folder = write_submission(tmp_path)
    run = json.loads((folder / "run.json").read_text()) | strange
    (folder / "run.json").write_text(json.dumps(run))
    try:
        files = built(tmp_path)
    except EmigbenchError as error:  # refused on reading, in one sentence, is as good
        one_sentence(error)
        return
    assert "<i>" not in files["models/a-model.html"]
    assert costs.costs(run, {}, "official").fit_seconds is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.0, "< 1 ms"),
        (0.0123, "12 ms"),
        (4.21, "4.2 s"),
        (0.9997, "1.0 s"),
        (59.9, "59.9 s"),
        (59.97, "1.0 min"),
        (186, "3.1 min"),
        (3590, "59.8 min"),
        (3598, "1.0 h"),
        (18000, "5.0 h"),
    ],
)
def test_durations(seconds, shown):
    assert costs.duration(seconds) == shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"gpu": "H200", "processor": "Abacus", "cores": 16}, "H200, Abacus, 16 cores"),
        ({"accelerator": "cuda", "processor": "Abacus", "cores": "1 and 2"}, "cuda, Abacus"),
        ({"processor": "x" * 61, "cores": 0}, "x" * 59 + "…"),
        ({}, ""),
    ],
)
def test_hardware_in_a_few_words(found, shown):
    assert costs.hardware({"hardware": found}) == shown


@pytest.mark.parametrize(
    ("n", "shown"),
    [(None, "–"), (0, "0"), (999, "999"), (1000, "1 k"), (4_076_033, "4.08 M"), (999_600, "1 M"), (10**13, "10 T")],
)
def test_counts(n, shown):
    assert costs.count(n) == shown


def test_huge_and_undefined_figures(tmp_path):
    assert cells.number(-0.25, 2) == "−0.25"
    assert len(cells.number(1e308, 3)) < 10
    assert cells.number(-1e308, 3) == "−1.00e+308"
    assert (cells.number(99_999, 1), cells.number(-100_000, 1)) == ("99999.0", "−1.00e+05")
    assert (cells.short(123_456.78914), cells.short(-1_234_567.0)) == (123_456.7891, -1_235_000.0)
    assert plots.at(float("nan"), (0, 1)) == plots.at(1e308, (0, 1)) == "100.0"
    assert plots.scale_of([float("nan")], []) == (0.0, 1.0)
    assert plots.scale_of([0.2, 0.25, 1e300], [0.3, 0.4, float("inf")])[1] < 1
    write_submission(tmp_path, {i: 0.1 for i in FULL.by_id} | {"KNiF3": 49.0})
    assert "models/a-model.html" in built(tmp_path)


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (1.0, "1.00"),
        (0.3, "0.30"),
        (0.0999, "0.10"),
        (0.091, "0.091"),
        (0.012, "0.012"),
        (6e-4, "0.001"),
        (4e-4, "4e-04"),
    ],
)
def test_p_values_have_as_many_digits_as_are_read(p, shown):
    assert cells.p_value(p) == shown


@pytest.mark.parametrize("tie", [0.2345, -0.0625, 1.0005, 0.00105])
def test_ties_round_alike_on_every_machine(tie):
    """The order in which a processor adds decides the last bits of a mean, and they would decide the third digit."""
    for value in (np.nextafter(tie, -1), np.nextafter(tie, 2)):
        assert cells.number(value, 3) == cells.number(tie, 3)
        assert cells.short(value) == cells.short(tie)
        assert leaderboard._rounded({"a": [value / 1e5]}) == leaderboard._rounded({"a": [tie / 1e5]})


@pytest.mark.parametrize(
    ("letters", "shown"),
    [
        ("", []),
        ("a", ["a"]),
        ("ab", ["a", "b"]),
        ("abcf", ["a–c", "f"]),
        ("XYZa2b2d2", ["X–b2", "d2"]),
        ("acegikmo", ["a", "c", "e", "g", "i", "k", "…"]),
    ],
)
def test_runs_of_tie_letters(letters, shown):
    assert index.runs_of(letters) == shown


def test_the_worst_paths_have_the_largest_errors_of_either_sign():
    """Mean predictions 1.3, 0.4 and 1.1 eV of labels of 1 eV; the first model's largest error goes in the mean."""
    samples = [Sample(np.ones(3), values, ["a", "b", "c"]) for values in ([1.3, 0.4, 2.1], [1.3, 0.4, 0.1])]
    found = per_path.worst(FULL[:3], samples, 2)
    assert [(facts.id, true, predicted) for facts, true, predicted in found] == [
        (FULL[1].id, 1.0, pytest.approx(0.4)),
        (FULL[0].id, 1.0, pytest.approx(1.3)),
    ]


def test_race_tracks_are_materials_whose_labels_differ_or_all_that_a_small_split_has():
    def facts(path_id, material, e_m):
        return dataclasses.replace(FULL[0], id=path_id, material_id=material, e_m_ev=e_m)

    tracks = [facts("a2", "a", 0.5), facts("b1", "b", 0.2), facts("a1", "a", 0.55), facts("b2", "b", 0.4)]
    alone = [facts(f"c{k}", f"c{k}", 0.1 * k) for k in range(96)]
    assert per_path.tracks([*tracks, *alone[:95]]) == [1, 3, 2, 0]  # b differs by 0.2 eV, a by 0.05
    assert per_path.tracks([*tracks, *alone]) == [1, 3]


def test_plots_have_the_mean_over_seeds_and_their_spread(tmp_path):
    entry = leaderboard.read_entries(write_submission(tmp_path / "submissions").parent, FULL)[0]
    seeds = {0: constant(FULL, value=0.5), 1: constant(FULL, value=0.7)}
    seeds[1][2] = dataclasses.replace(seeds[1][2], status="not_converged")
    seeds[0][3] = Prediction(seeds[0][3].id, None, status="failed")
    entry = dataclasses.replace(entry, predictions={"official": seeds})
    samples = list(scoring.samples_of(seeds, FULL, "official").values())
    found = per_path.plot_data(entry, "official", samples, [], None)
    assert (found["predicted"][0], found["seedSd"][0], found["std"]) == (0.6, 0.1414, None)  # 0.2 / sqrt(2)
    assert (found["failed"], found["notConverged"]) == ([3], [2])
    assert per_path.plot_data(entry, "official", samples[:1], [], None)["seedSd"] is None


def test_a_models_page_by_hand(tmp_path):
    """It is off by 0.1 eV, but for 0.8 of each of group G's paths; the other lacks one path, and is off by 0.2."""
    facts = [FULL.by_id[i] for i in splits.held_out(FULL, "official")]
    group = facts[0].structural_group
    errors = np.array([0.8 if each.structural_group == group else 0.1 for each in facts])
    seeds = {
        0: [Prediction(f.id, f.e_m_ev + error) for f, error in zip(facts, errors, strict=True)],
        1: [Prediction(f.id, f.e_m_ev - error / 2) for f, error in zip(facts, errors, strict=True)],
    }
    given = [Prediction(f.id, f.e_m_ev + 0.2) for f in facts]
    given[1] = Prediction(given[1].id, None, status="failed")
    entry = leaderboard.read_entries(write_submission(tmp_path / "submissions").parent, FULL)[0]
    own, other = (
        dataclasses.replace(entry, card=entry.card.model_copy(update={"slug": slug}), predictions={"official": each})
        for slug, each in (("own", seeds), ("other", {0: given}))
    )
    board = leaderboard.boards([own, other], FULL)["official"]
    (row,) = (row for row in board if row.card.slug == "own")
    view = model.split_view(own, row, FULL, "official", board.comparison, {"own": "Own", "other": "Other"})
    mae, rmse = errors.mean(), math.sqrt((errors**2).mean())
    assert view.seeds == [
        (0, pytest.approx(mae), pytest.approx(rmse)),
        (1, pytest.approx(mae / 2), pytest.approx(rmse / 2)),
    ]
    (line,) = (line for line in view.groups if line.name == group)
    assert (line.mae, line.bias, line.largest) == pytest.approx((0.75 * 0.8, 0.25 * 0.8, 0.75 * 0.8))
    assert f"group {group} moves" in view.influence
    assert f"would be {0.75 * (mae - 0.1):.3f} eV lower" in view.influence
    (rival,) = view.rivals
    assert (rival.n_common, rival.common.value) == (59, pytest.approx(0.75 * np.delete(errors, 1).mean() - 0.2))


def test_costs_are_of_the_split_and_per_path():
    units = [
        {"split": "official", "fit_seconds": 2.0, "predict_seconds": 1.0, "n_held_out": 10},
        {"split": "official", "fit_seconds": 4.0, "predict_seconds": 2.0, "n_held_out": 50},
        {"split": "official", "fit_seconds": None, "predict_seconds": None, "n_held_out": 60},  # not measured
        {"split": "official", "predict_seconds": 9.0},
        {"split": "material-cv", "fit_seconds": 60.0, "predict_seconds": 70.0, "n_held_out": 100},
    ]
    seeds = {0: constant(FULL)}
    found = costs.costs({"units": units}, seeds, "official")
    assert (found.fit_seconds, found.n_fits, found.fit_seconds_in_all, found.seconds_per_path) == (3.0, 2, 6.0, 3 / 60)
    seeds[0][:2] = [dataclasses.replace(p, seconds=s) for p, s in zip(seeds[0][:2], (5.0, 7.0), strict=True)]
    assert (
        costs.costs({"units": units}, seeds, "official").seconds_per_path == 6.0
    )  # those that were measured one by one


def test_a_cell_of_the_heat_map_is_the_row_minus_the_column(tmp_path):
    truth = {i: FULL.by_id[i].e_m_ev for i in splits.held_out(FULL, "official")}
    for slug, error in (("far", 0.4), ("near", 0.1), ("middle", 0.2)):
        write_submission(tmp_path, {i: e_m + error for i, e_m in truth.items()}, card={"slug": slug})
    entries = leaderboard.read_entries(tmp_path, FULL)
    rows = leaderboard.boards(entries, FULL)["official"]
    found = index.board("official", rows, {entry.card.slug: entry for entry in entries}, FULL).heat_map
    assert found.names == ["near", "middle", "far"]
    values = [[None if each is None else each.value for each in of_row] for of_row in found.cells]
    assert values[0] == [None, pytest.approx(-0.1), pytest.approx(-0.3)]
    assert values[2] == [pytest.approx(0.3), pytest.approx(0.2), None]
    assert found.scale == pytest.approx(0.3)  # the fifth largest of six


def test_error_histogram():
    bins = plots.histogram([[0.05, -0.05, 0.1, 5.0, -1e300], [0.05, -0.05, 0.1, 1.0, -2]])
    filled = {b["x"]: (b["n"], b["class"]) for b in bins if b["n"]}
    assert filled == {
        -1.1: (1, "> 0.3 eV"),
        -0.1: (1, "< 0.1 eV"),
        0.0: (1, "< 0.1 eV"),
        0.1: (1, "0.1–0.3 eV"),
        1.0: (1, "> 0.3 eV"),
    }


def test_stale_pages_differ_and_are_removed_but_no_others(tmp_path):
    folder, out = tmp_path / "submissions", tmp_path / "board"
    write_submission(folder, card={"slug": "stays"})
    gone = write_submission(folder, card={"slug": "goes"})
    site.write(out, built(folder))
    for file in gone.iterdir():
        file.unlink()
    (out / "models" / "my-own.html").write_text("<p>written by a person</p>")
    (out / "notes.txt").write_text("kept")
    files = built(folder)
    (out / "assets" / "logo.svg").write_text("of the site that the board is part of")
    assert site.differences(out, files)[-1:] == ["models/goes.html"]
    site.write(out, files)
    assert not (out / "models" / "goes.html").exists()
    assert (out / "notes.txt").exists()
    assert (out / "assets" / "logo.svg").exists()
    assert (out / "models" / "my-own.html").exists()
    assert site.differences(out, files) == []


def test_two_pages_cannot_leave_the_folder():
    for slug in ("../up", "a/b", "A", "", ".."):
        assert not re.fullmatch(leaderboard.submission.SLUG, slug)


def test_vega_is_what_vl_convert_bundles():
    """How to make the file again: its leading comment, then this, then a line's end."""
    bundler = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed: pip install -e '.[dev]'")
    kept = (ASSETS / "vega.min.js").read_text()
    comment, _, bundle = kept.partition(" */\n")
    if f"vl-convert-python {bundler.__version__}" not in " ".join(comment.split()):
        pytest.skip(f"vl-convert-python is {bundler.__version__}, another than vega.min.js was made with")
    assert bundle == bundler.javascript_bundle("window.vegaEmbed=vegaEmbed;") + "\n"
    assert "</script" not in (ASSETS / "index.js").read_text()


def test_two_rows_without_a_path_in_common(tmp_path):
    for slug in ("first", "second", "whole"):
        write_submission(tmp_path, card={"slug": slug, "name": slug})
    first, second, whole = leaderboard.read_entries(tmp_path, FULL)

    def failing_on(entry, chosen):
        given = [Prediction(p.id, None, status="failed") if chosen(k) else p for k, p in enumerate(constant(FULL))]
        return dataclasses.replace(entry, predictions={"official": {0: given}})

    entries = [failing_on(first, lambda k: k < 30), failing_on(second, lambda k: k >= 30), whole]
    files = site.files(entries, leaderboard.boards(entries, FULL), FULL)
    (in_common,) = re.findall(r">second</bdi>.*</tr>", files["models/first.html"])
    assert ">none<" in in_common
    (in_common,) = re.findall(r">whole</bdi>.*</tr>", files["models/first.html"])
    assert ">(30)<" in in_common


# --- The learning curve


def test_the_learning_curve_is_the_scores_of_its_parts(tmp_path):
    folder = write_submission(tmp_path / "submissions")
    entry = leaderboard.read_entries(folder.parent, FULL)[0]
    parts = {name: {0: constant(FULL, value=value)} for name, value in (("official@50", 0.9), ("official@400", 0.7))}
    entry = dataclasses.replace(entry, predictions={**entry.predictions, **parts})
    whole = scoring.score(entry.predictions["official"], FULL, "official").metrics["mae"]
    points = per_path.learning_curve(entry, FULL, "official", whole)
    assert [point["n"] for point in points] == [
        *(len(splits.folds(FULL, name)[0].train) for name in parts),
        559,
    ]
    for point, name in zip(points, parts, strict=False):
        figure = scoring.score(parts[name], FULL, name).metrics["mae"]
        assert (point["mae"], point["low"], point["high"]) == pytest.approx(
            (figure.value, figure.low, figure.high), abs=5e-5
        )
    assert points[-1]["mae"] == pytest.approx(whole.value, abs=5e-5)
    found = leaderboard.boards([entry], FULL)
    assert list(found) == ["official"]  # parts of the training side rank nowhere
    page = site.files([entry], found, FULL)["models/a-model.html"]
    assert 'data-plot="curve"' in page
    without = dataclasses.replace(entry, predictions={"official": entry.predictions["official"]})
    assert per_path.learning_curve(without, FULL, "official", whole) == []
    assert 'data-plot="curve"' not in site.files([without], found, FULL)["models/a-model.html"]
    curve_alone = dataclasses.replace(entry, card=entry.card.model_copy(update={"slug": "alone"}), predictions=parts)
    both = [without, curve_alone]
    assert "1 submission scored" in site.files(both, leaderboard.boards(both, FULL), FULL)["index.html"]
