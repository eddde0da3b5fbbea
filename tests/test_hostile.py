"""Submissions that were made to do harm: each is refused with one sentence or shown harmlessly, within bounds."""

import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest
import yaml
from helpers import CARD, FULL, PATIENCE_S, SPINELS, one_sentence, result_or_sentence, run, write_submission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emigbench import EmigbenchError, splits, submission
from emigbench.datasets.hashing import predictions_hash
from emigbench.predictions import COLUMNS, PREDICTIONS_FILE, read_predictions
from emigbench.report import leaderboard
from emigbench.submission import CARD_FILE, read, read_card
from emigbench.unfinished import FOLDER as UNFINISHED

IDS = list(splits.held_out(FULL, "official"))
SCRIPT = "<script>alert(1)</script>"
LINK = "javascript:alert(1)"
TEXTS = ("name", "version", "source", "paper", "licence", "inputs", "training_data", "pretraining", "notes")
BOUND_MB = 400  # of a whole process; a plain run of `emigbench validate` takes about 90


def refused(folder) -> str:
    with pytest.raises(EmigbenchError) as error:
        read(folder, FULL)
    return one_sentence(error)


def with_run(folder, **changes):
    """Write changes into `run.json`."""
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def with_table(folder, lines):
    """Write another table, and a run record that belongs to it."""
    text = "\n".join(lines) + "\n"
    (folder / PREDICTIONS_FILE).write_text(text, encoding="utf-8")
    return with_run(folder, predictions_sha256=predictions_hash(text))


def rows(value="0.5", of=IDS):
    return [f"official,0,{path_id},{value}" for path_id in of]


HEADER = "split,seed,id,e_m_ev"


# --- Text that is shown


class Page(HTMLParser):
    """What a browser would run or follow."""

    def __init__(self, text):
        super().__init__()
        self.links, self.alive = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name.startswith("on"):
                self.alive.append((tag, name))
            if name in ("href", "src", "action", "formaction", "xlink:href"):
                self.links.append(value or "")


@pytest.mark.parametrize("harm", [SCRIPT, LINK, "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "=1+1"])
def test_text_that_would_do_something_is_shown_as_it_is(call, tmp_path, harm):
    card = {key: harm[:20] if key == "version" else harm for key in TEXTS} | {"authors": [harm, harm]}
    folder = with_run(write_submission(tmp_path / "in", card=card), command=harm, model=harm, hardware={harm: harm})
    assert read(folder, FULL).card.name == harm
    code, _, err = call("leaderboard", "build", "--submissions", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 0, err
    assert json.loads((tmp_path / "out" / "results.json").read_text())["boards"]["official"][0]["name"] == harm
    for file in (tmp_path / "out").rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "<script>alert(1)" not in text
        page = Page(text)
        assert page.alive == []
        assert not [link for link in page.links if link.lower().startswith(("javascript:", "data:text", "vbscript:"))]
    assert "<script>alert(1)" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [*TEXTS, "authors"])
@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\x1b", "\x07", "\x7f", "\x85", "\u2028", "\ue000"]
)
def test_characters_that_cannot_be_seen_are_refused_and_named(tmp_path, key, character):
    text = f"a{character}b"
    card = CARD | {key: [text] if key == "authors" else text}
    file = tmp_path / CARD_FILE
    file.write_text(json.dumps(card))  # JSON is YAML, and escapes
    with pytest.raises(EmigbenchError) as error:
        read_card(file)
    assert f"U+{ord(character):04X}" in one_sentence(error)
    assert character not in str(error.value)


@pytest.mark.parametrize("character", "\u3164\u2800\u115f\u1160\uffa0\u034f\u17b4\u17b5\u180b\u180d\ufe00\ufe0f")
def test_letters_and_marks_that_show_nothing_are_refused(tmp_path, character):
    folder = write_submission(tmp_path, card={"name": character})
    assert f"'name': it holds U+{ord(character):04X}" in refused(folder)


@pytest.mark.parametrize("name", ["Müller–Lüdenscheidt", "模型 3", "ЭМ-1", "mod\u00a0el", "🔋 net"])
def test_names_of_all_the_world_are_welcome(tmp_path, name):
    assert read(write_submission(tmp_path, card={"name": name}), FULL).card.name == name


def test_what_cannot_be_seen_in_a_run_record_is_replaced(tmp_path):
    folder = with_run(write_submission(tmp_path), command="a\u202eb\x1b[31m")
    assert read(folder, FULL).run["command"] == "a\ufffdb\ufffd[31m"


def test_what_a_sentence_quotes_cannot_write_on_the_terminal(tmp_path):
    folder = tmp_path / "x\n::error::\x1b[2J\u202e"
    done = run("validate", folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()


# --- YAML


def test_a_billion_laughs(tmp_path):
    laughs = ["a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    laughs += [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    file = tmp_path / CARD_FILE
    file.write_text("\n".join(laughs))
    started = time.process_time()
    with pytest.raises(EmigbenchError) as error:
        read_card(file)
    assert "anchor" in one_sentence(error)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["x: &a 1", "x: [1]\ny: *x", "name: a\nname: b", "a: {b: 1, b: 2}", "<<: {name: x}"])
def test_yaml_beyond_keys_and_values(tmp_path, text):
    file = tmp_path / CARD_FILE
    file.write_text(text)
    with pytest.raises(EmigbenchError) as error:
        read_card(file)
    assert str(file) in one_sentence(error)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [id]", "!!python/name:os.system", "!x {a: 1}"])
@pytest.mark.parametrize("key", ["name", "authors", "n_parameters"])
def test_tags_build_nothing(tmp_path, tag, key):
    folder = write_submission(tmp_path)
    text = yaml.safe_dump({k: v for k, v in CARD.items() if k != key})
    (folder / CARD_FILE).write_text(f"{text}{key}: {tag}\n")
    assert "could not determine a constructor" in refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"notes": "x" * 10_000},
        {"authors": ["x"] * 1000},
        {"authors": [""]},
        {"n_parameters": 10**300},
        {"n_parameters": float("inf")},
        {"n_parameters": True},
        {"x" * 5000: 1},
        {"slug": "con"},
        {"slug": "index"},
    ],
)
def test_a_card_out_of_bounds(tmp_path, changes):
    file = tmp_path / CARD_FILE
    file.write_text(yaml.safe_dump(CARD | changes))
    with pytest.raises(EmigbenchError) as error:
        read_card(file)
    one_sentence(error)


def test_a_card_that_nests_without_end(tmp_path):
    folder = write_submission(tmp_path)
    for text in ("[" * 60_000, "- " * 30_000, "{a: " * 15_000, "? " * 30_000):
        (folder / CARD_FILE).write_text(text)
        started = time.process_time()
        assert CARD_FILE in refused(folder)
        assert time.process_time() - started < 10


# --- Paths


@pytest.mark.parametrize("slug", ["../x", "..", "/etc", "a/b", "A-Model", "a--b", "-a", "a\n", "a" * 61, ""])
def test_a_slug_that_is_no_name(call, tmp_path, monkeypatch, slug):
    folder = write_submission(tmp_path)
    (folder / CARD_FILE).write_text(yaml.safe_dump(CARD | {"slug": slug}))
    if slug.strip() != "a":
        assert "'slug'" in refused(folder)
    monkeypatch.chdir(tmp_path)
    code, _, err = call("init-submission", "--", slug)
    assert (code, "cannot be a slug" in err) == (2, True)
    assert not (tmp_path / "submissions").exists()


@pytest.mark.parametrize("name", submission.FILES)
def test_a_file_that_is_a_link(tmp_path, name):
    folder = write_submission(tmp_path / "in")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    assert "symbolic link" in refused(folder)


def test_a_folder_that_is_a_link(tmp_path):
    folder = write_submission(tmp_path / "elsewhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / folder.name).symlink_to(folder)
    assert "symbolic link" in refused(tmp_path / "in" / folder.name)
    with pytest.raises(EmigbenchError, match="symbolic link"):
        leaderboard.read_entries(tmp_path / "in", FULL)
    (tmp_path / "all").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmigbenchError, match="symbolic link"):
        leaderboard.read_entries(tmp_path / "all", FULL)


@pytest.mark.parametrize("name", ["model.pkl", "conftest.py", "Predictions.csv", ".gitattributes", "x\x1b[2J"])
def test_a_file_that_does_not_belong(tmp_path, name):
    folder = write_submission(tmp_path)
    (folder / name).write_text("")
    assert "no part of a submission" in refused(folder)


def test_what_an_unfinished_run_leaves_is_a_folder(tmp_path):
    folder = write_submission(tmp_path)
    (folder / UNFINISHED).write_text("")
    assert "no folder of an unfinished run" in refused(folder)
    (folder / UNFINISHED).unlink()
    (folder / UNFINISHED).mkdir()
    assert read(folder, FULL)


@pytest.mark.parametrize("name", submission.FILES)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    folder = write_submission(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no plain file" in refused(folder)


def test_two_submissions_with_one_slug(tmp_path):
    other = write_submission(tmp_path).rename(tmp_path / "b-model")
    write_submission(tmp_path)
    with pytest.raises(EmigbenchError, match="'b-model'"):
        leaderboard.read_entries(tmp_path, FULL)
    other.rename(tmp_path / "A-MODEL")  # one folder with a-model where the file system knows no capitals
    with pytest.raises(EmigbenchError, match="'A-MODEL'"):
        leaderboard.read_entries(tmp_path, FULL)


@pytest.mark.parametrize("name", ["EMIG-best", "emig-BEST", "EMIG\uff0dbest", "ＥＭＩＧ-best"])
def test_two_submissions_with_one_name(call, tmp_path, name):
    write_submission(tmp_path, card={"slug": "emig-best", "name": "EMIG-best"})
    folder = write_submission(tmp_path, card={"slug": "perfect", "name": name})
    with pytest.raises(EmigbenchError, match="perfect and emig-best have the same name"):
        leaderboard.read_entries(tmp_path, FULL)
    code, out, err = call("submit", folder)
    assert (code, out) == (2, "")
    assert "perfect and emig-best have the same name" in one_sentence(err.rstrip("\n"))


# --- Size


MEASURED = """
import json, pathlib, sys, time
sys.argv = ["emigbench", *sys.argv[1:]]
from emigbench.cli import main
started = time.process_time()
try:
    main()
finally:
    seconds = time.process_time() - started
    status = pathlib.Path("/proc/self/status")  # ru_maxrss would hold the parent's peak, from before the exec
    lines = status.read_text().splitlines() if status.is_file() else []
    peak = max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0.0)
    print(json.dumps([seconds, peak]), file=sys.__stdout__)
"""


def measured(*arguments):
    """Exit code, last line of stderr, seconds and peak memory in MB of the command line in a process of its own."""
    command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, done.stderr.rstrip("\n"), seconds, peak


def refused_within_bounds(folder, seconds=10):
    code, message, took, peak = measured("validate", folder)
    assert code == 2, message
    one_sentence(message)
    assert took < seconds
    assert peak < BOUND_MB
    return message


@pytest.mark.parametrize("name", submission.FILES)
def test_a_file_of_a_gigabyte_is_not_read(tmp_path, name):
    folder = write_submission(tmp_path)
    with (folder / name).open("r+b") as stream:
        stream.truncate(1_000_000_000)  # sparse: takes no disk
    message = refused_within_bounds(folder, seconds=3)
    assert name in message
    assert "1000 MB" in message


FILL = 19_900_000


@pytest.mark.parametrize(
    ("head", "filling", "said"),
    [
        ("", "a", "longer than"),
        ("", ",", "longer than"),
        ("id,e_m_ev\n", '"', "longer than"),
        ("id,e_m_ev\n", "\n", "more than 200000 lines"),
        ("id,e_m_ev\n", "\0", "longer than"),
        ('id,e_m_ev\n"', "\n", "more than 200000 lines"),
    ],
    ids=["one line", "columns without end", "quotes", "empty lines", "NUL", "a quote that never ends"],
)
def test_a_table_as_large_as_allowed_stays_within_bounds(tmp_path, head, filling, said):
    folder = write_submission(tmp_path)
    (folder / PREDICTIONS_FILE).write_text(head + filling * FILL)
    assert re.search(said, refused_within_bounds(folder))


def test_a_run_record_nests_twenty_deep_at_most(tmp_path):
    deep = 0
    for _ in range(19):
        deep = {"a": deep}
    assert read(with_run(write_submission(tmp_path), of_its_own=deep), FULL).run["of_its_own"] == deep
    assert "nests deeper than 20" in refused(with_run(tmp_path / "a-model", of_its_own={"a": deep}))


def test_one_seed_too_many(tmp_path):
    folder = write_submission(tmp_path)
    for n in (20, 21):
        with_table(folder, [HEADER, *(f"official,{seed},{i},0" for seed in range(n) for i in IDS)])
        if n == 20:
            assert len(read(folder, FULL).predictions["official"]) == 20
    assert "has 21 seeds on split official; at most 20 are taken" in refused(folder)


def test_seeds_without_end_stay_within_bounds(tmp_path):
    folder = write_submission(tmp_path)
    seeds = range(199_999 // len(IDS))
    with_table(folder, [HEADER, *(f"official,{seed},{i},0" for seed in seeds for i in IDS)])
    assert "at most 20" in refused_within_bounds(folder, seconds=30)


# --- Numbers, ids and seeds


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "1e999", "1e308", "-1e308", "100.1", "-101", "9" * 400])
@pytest.mark.parametrize("column", ["e_m_ev", "std_ev"])
def test_numbers_that_are_no_barriers(tmp_path, value, column):
    table = [f"{HEADER},std_ev", *(f"{row},0.1" for row in rows())]
    table[1] = f"official,0,{IDS[0]},{value},0.1" if column == "e_m_ev" else f"official,0,{IDS[0]},0.5,{value}"
    message = refused(with_table(write_submission(tmp_path), table))
    assert column in message
    assert "line 2" in message


def test_the_published_extremes_are_barriers(tmp_path):
    table = [HEADER, f"official,0,{IDS[0]},86.02", f"official,0,{IDS[1]},-5", *rows(of=IDS[2:])]
    assert read(with_table(write_submission(tmp_path), table), FULL)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([HEADER, *rows(), rows()[5]], "given twice"),
        ([HEADER, *rows(), 'official,0,"=HYPERLINK(""http://x"",""y"")",0.5'], "is no path of full"),
        ([HEADER, *rows()[1:], f"official,0,{IDS[0]},=1+1"], "finite number"),
        ([HEADER, *rows()[1:], f"official,0,{IDS[0]},@SUM(A1)"], "finite number"),
        ([HEADER, *rows()[1:]], "1 of 60 ids are missing"),
        ([HEADER, *rows(), f"official,1,{IDS[0]},0.5"], "59 of 60 ids are missing for split official, seed 1"),
        ([HEADER, *rows(), f"material-cv,0,{IDS[0]},0.5"], "618 of 619 ids are missing for split material-cv"),
        ([HEADER, *rows(), f"official,99999999999,{IDS[0]},0.5"], "no whole number"),
        ([HEADER, *rows(), f"{SCRIPT},0,{IDS[0]},0.5"], "no split"),
        ([f"{HEADER},{SCRIPT}", *rows()], "unknown column"),
        ([f"{HEADER},status", f"official,0,{IDS[0]},0.5,{'x' * 1900}"], "status 'xxx"),
        ([",".join(f"c{k}" for k in range(300))], "unknown column"),
        ([HEADER, *rows(), f"official,0,{'x' * 1900},0.5"], "is no id"),
        ([HEADER, *rows(), f"official,0,{IDS[0]}\u202e,0.5"], "is no id"),
        ([HEADER, *rows(), f"official,0,{IDS[0]}\x00,0.5"], "is no id"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, table, said):
    message = refused(with_table(write_submission(tmp_path), table))
    assert said in message
    assert message.isprintable()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp037"])
def test_other_encodings(tmp_path, encoding):
    for name in submission.FILES:
        folder = write_submission(tmp_path / f"{encoding}-{name}")
        (folder / name).write_bytes((folder / name).read_text().encode(encoding))
        assert str(folder / name) in refused(folder)


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")])
def test_what_editors_do_is_no_harm(tmp_path, change):
    folder = write_submission(tmp_path)
    for name in submission.FILES:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
    assert read(folder, FULL)


# --- Run records


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3_900_000,
        '{"a":' * 700_000,
        "[" * 40 + "]" * 40,
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": 1e999}',
        f'{{"x": {"9" * 400}}}',
        f'{{"x": {"9" * 5000}}}',
        f'{{"x": "{"y" * 30_000}"}}',
        "\x00",
        '"\ud800"',
    ],
    ids=range(11),
)
def test_a_run_record_beyond_bounds(tmp_path, text):
    folder = write_submission(tmp_path)
    (folder / "run.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    message = refused(folder)
    assert "run.json" in message
    assert "too large" in message or "run record" in message or "UTF-8" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"units": "none"},
        {"units": [1]},
        {"units": [{"fit_seconds": "<b>"}]},
        {"units": [{"fit_seconds": -1}]},
        {"hardware": {"cores": [1]}},
        {"hardware": 1},
        {"versions": {"numpy": {}}},
        {"command": ["a"]},
        {"model": 3},
        {"dataset": {"sha256": 1}},
        {"dataset": {"name": "<b>x", "sha256": FULL.sha256}},
        {"dataset": {"name": "full", "version": "9.9", "sha256": FULL.sha256}},
        {"dataset": []},
        {"predictions_sha256": "<script>" * 100},
    ],
)
def test_a_run_record_of_another_form(tmp_path, changes):
    assert "run.json" in refused(with_run(write_submission(tmp_path), **changes))


# --- Anything at all


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path):
    return write_submission(tmp_path, labels=SPINELS)


@ANYTHING
@given(st.dictionaries(st.sampled_from([*CARD, "notes", "paper", "n_parameters", "other"]), JSON))
def test_any_card(folder, changes):
    (folder / CARD_FILE).write_text(json.dumps(CARD | changes), encoding="utf-8")
    result_or_sentence(folder, read, folder, SPINELS)


@ANYTHING
@given(
    st.dictionaries(st.sampled_from("dataset units hardware versions command kind predictions_sha256 x".split()), JSON)
)
def test_any_run_record(folder, changes):
    file = folder / "run.json"
    before = file.read_text()
    file.write_text(json.dumps(json.loads(before) | changes))
    found = result_or_sentence(folder, read, folder, SPINELS)
    file.write_text(before)
    if found:
        json.dumps(found.run, allow_nan=False).encode()


@ANYTHING
@given(st.sampled_from(submission.FILES), st.binary(max_size=300))
def test_any_file(folder, name, content):
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    result_or_sentence(folder, read, folder, SPINELS)
    (folder / name).write_bytes(before)


@ANYTHING
@given(st.sampled_from(submission.FILES), st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 20))
def test_a_valid_folder_with_a_few_bytes_changed(folder, name, position, replacement, cut):
    before = (folder / name).read_bytes()
    position %= len(before)
    (folder / name).write_bytes(before[:position] + replacement + before[position + cut :])
    result_or_sentence(folder, read, folder, SPINELS)
    (folder / name).write_bytes(before)


@ANYTHING
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["official", "material-cv", "x", ""]) | st.text(max_size=4),
            st.integers(-1, 3) | st.text(max_size=3),
            st.sampled_from(list(SPINELS.by_id)) | st.text(max_size=4),
            st.floats() | st.text(max_size=4),
            st.floats() | st.text(max_size=2),
            st.sampled_from(["ok", "failed", "not_converged"]) | st.text(max_size=3),
            st.floats() | st.text(max_size=2),
            st.floats() | st.text(max_size=2),
            st.floats() | st.text(max_size=2),
        ),
        max_size=15,
    )
)
def test_any_table(tmp_path, table):
    file = tmp_path / PREDICTIONS_FILE
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in table)]
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    result_or_sentence(file, read_predictions, file, SPINELS)
