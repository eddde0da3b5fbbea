import re

import numpy as np
import pytest
import yaml
from helpers import CARD, FULL, SPINELS, constant, csv_lines, one_sentence, result_or_sentence, write_submission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import emigbench
from emigbench import EmigbenchError, Prediction, splits
from emigbench.predictions import COLUMNS, PREDICTIONS_FILE, grouped, read_predictions, write_predictions
from emigbench.submission import read, read_card, read_run

IDS = list(splits.held_out(SPINELS, "official"))
OTHERS = csv_lines()[1:]  # valid rows for every id but the first


def fails(function, *arguments) -> str:
    with pytest.raises(EmigbenchError) as error:
        function(*arguments)
    return one_sentence(error)


# --- The card


@pytest.fixture
def card_file(tmp_path):
    return tmp_path / "submission.yaml"


def card_refused(file, text) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = fails(read_card, file)
    assert str(file) in message
    return message


def with_card(**changes):
    return yaml.safe_dump({key: value for key, value in (CARD | changes).items() if value is not ...})


def test_a_card_with_every_key(card_file):
    full = CARD | {"paper": "doi", "licence": "MIT", "pretraining": "none", "n_parameters": 12, "notes": "ü\nline"}
    card_file.write_text(yaml.safe_dump(full), encoding="utf-8")
    assert read_card(card_file).model_dump() == full


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"mae": 0.1}, "'mae'"),
        ({"kind": "magic"}, "'kind'"),
        ({"name": ...}, "'name'"),
        ({"name": "  "}, "'name'"),
        ({"name": "x" * 81}, "'name'"),
        ({"slug": "Not A Slug"}, "'slug'"),
        ({"slug": "../up"}, "'slug'"),
        ({"slug": "a-model\n"}, None),
        ({"authors": []}, "'authors'"),
        ({"authors": "one string"}, "'authors'"),
        ({"n_parameters": -1}, "'n_parameters'"),
        ({"n_parameters": "many"}, "'n_parameters'"),
        ({"version": 1.0}, "'version'"),
    ],
)
def test_a_wrong_key_is_named(card_file, changes, part):
    if part is None:  # white space around a value is not the person's fault
        card_file.write_text(with_card(**changes))
        assert read_card(card_file).slug == "a-model"
    else:
        assert part in card_refused(card_file, with_card(**changes))


def test_a_number_where_text_belongs_says_how_to_mend_it(card_file):
    assert "quotes" in card_refused(card_file, with_card(version=1.0))


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "\t- x",
        "date: 2024-99-99",
        "n: !!int abc",
        "b: !!bool perhaps",
        "[" * 3000,
        "a: &x [*x, *x]\n? [1, 2]\n: 3",
        b"\xff\xfe\x00",
        "name: \x00",
        "name: 'a'\n---\nname: 'b'",
    ],
)
def test_bad_yaml(card_file, text):
    card_refused(card_file, text)


@pytest.mark.parametrize("text", ["", "- a\n- b", "42", "just text", "null"])
def test_yaml_without_keys(card_file, text):
    assert "keys and values" in card_refused(card_file, text)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/new:os.system ['touch {file}']",
        "!!python/object/apply:subprocess.check_output [['touch', '{file}']]",
        "!!python/name:os.system",
    ],
)
def test_a_tag_that_builds_an_object_is_refused_and_not_executed(card_file, value):
    trace = card_file.with_name("executed")
    card_refused(card_file, with_card(notes=...) + f"notes: {value.format(file=trace)}\n")
    assert not trace.exists()


def test_aliases_that_grow_without_bound_are_refused_at_once(card_file):
    lines = ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 60)), "authors: *a59"]
    card_refused(card_file, "\n".join(lines))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="ignore"))))
def test_random_cards_give_one_sentence_or_a_card(tmp_path, content):
    file = tmp_path / "submission.yaml"
    file.write_bytes(content)
    result_or_sentence(file, read_card, file)


# --- The folder


def test_a_valid_submission(tmp_path):
    found = read(write_submission(tmp_path), FULL)
    assert found.card.slug == "a-model"
    assert list(found.predictions) == ["official"]
    assert len(found.predictions["official"][0]) == 60
    assert found.run["dataset"]["sha256"] == FULL.sha256


def test_slug_must_be_the_name_of_the_folder(tmp_path, monkeypatch):
    folder = write_submission(tmp_path).rename(tmp_path / "other-name")
    message = fails(read, folder, FULL)
    assert "'a-model'" in message
    assert "'other-name'" in message
    monkeypatch.chdir(folder)
    assert "'other-name'" in fails(read, type(folder)("."), FULL)


def test_no_folder(tmp_path):
    assert str(tmp_path / "absent") in fails(read, tmp_path / "absent", FULL)


@pytest.mark.parametrize("name", ["submission.yaml", "predictions.csv", "run.json"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_submission(tmp_path)
    (folder / name).unlink()
    assert str(folder / name) in fails(read, folder, FULL)


@pytest.mark.parametrize("name", ["submission.yaml", "predictions.csv", "run.json"])
def test_a_folder_in_place_of_a_file(tmp_path, name):
    folder = write_submission(tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert str(folder / name) in fails(read, folder, FULL)


# --- The run record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"predictions_sha256": "x"}',
        '{"predictions_sha256": 1, "dataset": 2}',
        "[" * 100_000,
        '{"predictions_sha256": null, "dataset": {"sha256": null}}',
    ],
)
def test_a_run_record_that_is_none(tmp_path, text):
    folder = write_submission(tmp_path)
    (folder / "run.json").write_text(text)
    assert str(folder / "run.json") in fails(read_run, folder, FULL)


def test_a_run_record_of_other_predictions(tmp_path):
    folder = write_submission(tmp_path)
    file = folder / PREDICTIONS_FILE
    file.write_text(file.read_text().replace(",0.5\n", ",0.6\n", 1))
    message = fails(read_run, folder, FULL)
    assert "other predictions" in message
    assert str(folder / "run.json") in message


def test_a_run_record_of_another_dataset(tmp_path):
    folder = write_submission(tmp_path, labels=SPINELS)
    for function in (read, read_run):  # before it is said that ids are missing
        message = fails(function, folder, FULL)
        assert "another dataset" in message
        assert "full 1." in message


def test_line_ends_do_not_change_whose_the_record_is(tmp_path):
    folder = write_submission(tmp_path)
    file = folder / PREDICTIONS_FILE
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(folder, FULL).predictions["official"]


# --- The predictions


@pytest.fixture
def csv_file(tmp_path):
    return tmp_path / PREDICTIONS_FILE


def refused(file, *lines) -> str:
    content = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode()
    file.write_bytes(content)
    message = fails(read_predictions, file, SPINELS)
    assert str(file) in message
    return message


def test_two_columns_are_enough(csv_file):
    csv_file.write_text("\n".join(["id,e_m_ev", *csv_lines()]))
    assert read_predictions(csv_file, SPINELS) == {"official": {0: constant(SPINELS)}}


@pytest.mark.parametrize(("text", "value"), [(".5", 0.5), ("5.", 5.0), ("+5e-1", 0.5), ("-.5E+0", -0.5)])
def test_a_number_may_be_written_in_any_usual_way(csv_file, text, value):
    csv_file.write_text("\n".join(["id,e_m_ev", *csv_lines(value=text)]))
    assert read_predictions(csv_file, SPINELS)["official"][0][0].e_m == value


def test_a_seed_may_be_the_whole_number_that_pandas_writes(csv_file):
    csv_file.write_text("\n".join(["id,e_m_ev,seed", *(f"{row},3.0" for row in csv_lines())]))
    assert list(read_predictions(csv_file, SPINELS)["official"]) == [3]


def test_the_split_that_was_asked_for_is_the_default(csv_file):
    csv_file.write_text("\n".join(["id,e_m_ev", *csv_lines(split="material-cv")]))
    assert list(read_predictions(csv_file, SPINELS, "material-cv")) == ["material-cv"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text + "\n\n\n",
        lambda text: text.replace(",", " , "),
        lambda text: re.sub("^(.+?),", r'"\1",', text, flags=re.MULTILINE),
        lambda text: "\n".join([text.splitlines()[0], *reversed(text.splitlines()[1:])]),
    ],
    ids=["byte order mark", "CRLF", "CR", "empty lines", "spaces", "quotes", "other order"],
)
def test_what_spreadsheets_do_to_a_file_is_no_error(csv_file, change):
    csv_file.write_bytes(change("\n".join(["id,e_m_ev", *csv_lines()])).encode())
    assert read_predictions(csv_file, SPINELS)["official"][0] == constant(SPINELS)


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-Infinity", "1e999", "0,5", "half", "1_0", "٣", "0x1p3", "--1"]
)
@pytest.mark.parametrize("column", ["e_m_ev", "std_ev", "seconds"])
def test_a_value_that_is_no_finite_number(csv_file, value, column):
    values = {"e_m_ev": "0.5", "std_ev": "0.1", "seconds": "1"} | {column: f'"{value}"'}
    message = refused(csv_file, "id,e_m_ev,std_ev,seconds", f"{IDS[0]},{','.join(values.values())}", *OTHERS)
    assert "line 2" in message
    assert IDS[0] in message
    assert column in message
    assert "finite number such as 0.5" in message


@pytest.mark.parametrize(("column", "value"), [("std_ev", "-0.1"), ("seconds", "-1"), ("status", "fine")])
def test_a_value_out_of_range(csv_file, column, value):
    message = refused(csv_file, f"id,e_m_ev,{column}", f"{IDS[0]},0.5,{value}")
    assert "line 2" in message
    assert IDS[0] in message
    assert value in message


def test_a_missing_value_points_to_failed(csv_file):
    message = refused(csv_file, "id,e_m_ev", f"{IDS[0]},", *OTHERS)
    assert IDS[0] in message
    assert "failed" in message


def test_a_failed_path_with_a_value_is_neither(csv_file):
    assert IDS[0] in refused(csv_file, "id,e_m_ev,status", f"{IDS[0]},0.5,failed")


def test_an_unknown_id(csv_file):
    message = refused(csv_file, "id,e_m_ev", "Unobtainium_1,0.5", *csv_lines())
    assert "'Unobtainium_1' is no path of spinels" in message


def test_an_id_of_the_training_side(csv_file):
    trained = next(facts.id for facts in SPINELS if facts.split == "train")
    message = refused(csv_file, "id,e_m_ev", *csv_lines(), f"{trained},0.5")
    assert f"{trained!r} is not held out by split official" in message


@pytest.mark.parametrize("path_id", ["", '"a\nb"', "\x1b[31mred"])
def test_an_id_that_is_none(csv_file, path_id):
    assert "is no id" in refused(csv_file, "id,e_m_ev", f"{path_id},0.5")


def test_an_id_given_twice(csv_file):
    message = refused(csv_file, "id,e_m_ev", *csv_lines(), csv_lines()[3])
    assert f"{IDS[3]!r} is given twice for split official, seed 0" in message


def test_a_missing_id(csv_file):
    message = refused(csv_file, "id,e_m_ev", *OTHERS)
    assert f"1 of {len(IDS)} ids are missing" in message
    assert repr(IDS[0]) in message


def test_an_id_missing_for_one_seed_alone(csv_file):
    lines = [f"{seed},{line}" for seed in (0, 1) for line in csv_lines()]
    message = refused(csv_file, "seed,id,e_m_ev", *lines[:-1])
    assert repr(IDS[-1]) in message
    assert "seed 1" in message


@pytest.mark.parametrize("name", ["e_m_mev", "E_m (eV)", "barrier"])
def test_a_column_in_another_unit_or_unknown(csv_file, name):
    message = refused(csv_file, f"id,{name}", *csv_lines())
    assert repr(name) in message
    assert "in eV" in message


@pytest.mark.parametrize(("header", "name"), [("id", "e_m_ev"), ("e_m_ev", "id"), ("", "id"), ("split,seed", "id")])
def test_a_missing_column(csv_file, header, name):
    assert f"no column {name!r}" in refused(csv_file, header, "")


def test_a_column_twice(csv_file):
    assert "twice" in refused(csv_file, "id,e_m_ev,id", "a,0.5,a")


@pytest.mark.parametrize("line", [f"{IDS[0]},0.5,ok,more", f"{IDS[0]},0.5"])
def test_too_many_or_too_few_values(csv_file, line):
    message = refused(csv_file, "id,e_m_ev,status", line)
    assert "line 2" in message
    assert "the header has 3" in message


@pytest.mark.parametrize("seed", ["-1", "1.5", "one", "²", "1" * 10])
def test_a_bad_seed(csv_file, seed):
    message = refused(csv_file, "seed,id,e_m_ev", f"{seed},{IDS[0]},0.5")
    assert repr(seed) in message
    assert IDS[0] in message


def test_an_unknown_split(csv_file):
    message = refused(csv_file, "split,id,e_m_ev", f"random,{IDS[0]},0.5")
    assert "'random'" in message
    assert "official, material-cv, leave-group-out, leave-ion-out, official@50, " in message
    assert splits.FITTED not in message  # for published rows alone


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"id,e_m_ev\n",
        b"\xef\xbb\xbf",
        b"id,e_m_ev\n\xe9,1\n",
        "id,e_m_ev\nä,1\n".encode("utf-16"),
        b'id,e_m_ev\n"a,0.5\n',
        b'id,e_m_ev\n"a"b,0.5\n',
        b'"id',
        b"id,e_m_ev\n" + b"a" * 200_000,
        b"id\x00,e_m_ev\n",
    ],
)
def test_a_file_that_is_no_table(csv_file, content):
    refused(csv_file, content)


def test_no_file(tmp_path):
    assert "absent.csv" in fails(read_predictions, tmp_path / "absent.csv", SPINELS)


def test_predictions_are_grouped_in_the_order_of_the_labels():
    rows = [
        (split, seed, p) for split in ("official", "material-cv") for seed in (1, 3) for p in constant(SPINELS, split)
    ]
    found = grouped(reversed(rows), SPINELS, "here")
    assert list(found) == ["official", "material-cv"]
    for split, seeds in found.items():
        assert list(seeds) == [1, 3]
        assert [p.id for p in seeds[1]] == list(splits.held_out(SPINELS, split))


# --- Writing


barriers = st.floats(-100, 100, allow_nan=False)
positive = st.floats(0, 100)


@st.composite
def prediction_sets(draw):
    def one(path_id):
        std, seconds = draw(st.none() | positive), draw(st.none() | positive)
        status = draw(st.sampled_from(["ok", "not_converged", "failed"]))
        e_m = None if status == "failed" else draw(barriers)
        if e_m is None or draw(st.booleans()):
            return Prediction(path_id, e_m, std, status, seconds)
        low, high = draw(st.floats(-100, e_m)), draw(st.floats(e_m, 100))
        return Prediction(path_id, e_m, std, status, seconds, low, high)

    seeds = draw(st.lists(st.integers(0, 999), min_size=1, max_size=2, unique=True))
    return {"official": {seed: [one(path_id) for path_id in IDS] for seed in sorted(seeds)}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(predictions=prediction_sets())
def test_reading_and_writing_again_keeps_the_bytes(tmp_path, predictions):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    write_predictions(predictions, first)
    found = read_predictions(first, SPINELS)
    write_predictions(found, second)
    assert second.read_bytes() == first.read_bytes()
    for seed, given_ in predictions["official"].items():
        for before, after in zip(given_, found["official"][seed], strict=True):
            assert (after.id, after.status) == (before.id, before.status)
            assert after.e_m == (before.e_m if before.e_m is None else pytest.approx(before.e_m, rel=1e-7))
            for name in ("std", "low", "high"):
                value = getattr(before, name)
                assert getattr(after, name) == (value if value is None else pytest.approx(value, rel=1e-7))


def test_the_header_and_a_row_as_documented(csv_file):
    rest = [Prediction(path_id, None, status="failed") for path_id in IDS[1:]]
    write_predictions({"official": {7: [Prediction(IDS[0], 0.125, 0.25, "not_converged", 1.5), *rest]}}, csv_file)
    lines = csv_file.read_bytes().decode().split("\n")
    assert lines[0] == "split,seed,id,e_m_ev,std_ev,status,seconds"
    assert lines[1] == f"official,7,{IDS[0]},0.125,0.25,not_converged,1.5"
    assert lines[2] == f"official,7,{IDS[1]},,,failed,"
    assert lines[-1] == ""
    with_interval = Prediction(IDS[0], 0.125, low=0.1, high=0.5)
    write_predictions({"official": {7: [with_interval, *rest]}}, csv_file)
    lines = csv_file.read_bytes().decode().split("\n")
    assert lines[0] == "split,seed,id,e_m_ev,std_ev,status,seconds,low_ev,high_ev" == ",".join(COLUMNS)
    assert lines[1] == f"official,7,{IDS[0]},0.125,,ok,,0.1,0.5"
    assert lines[2] == f"official,7,{IDS[1]},,,failed,,,"


def test_what_a_model_gives_one_by_one_is_written_whole(csv_file):
    given = [Prediction(i, 0.5, low=0.1, high=0.9) for i in IDS]
    write_predictions({"official": {np.int64(0): iter(given)}}, csv_file)
    assert read_predictions(csv_file, SPINELS) == {"official": {0: given}}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (constant(SPINELS), "written by split and seed; give {'official': {0: predictions}}"),
        ({0: constant(SPINELS)}, "written by split and seed"),
        ({"official": constant(SPINELS)}, "written by split and seed"),
        ({"random": {0: constant(SPINELS)}}, "there is no split 'random'; there are official, material-cv,"),
        ({"official": {-1: constant(SPINELS)}}, "'-1' is no seed"),
        ({"official": {10**9: constant(SPINELS)}}, "'1000000000' is no seed"),
        ({"official": {0.5: constant(SPINELS)}}, "'0.5' is no seed"),
        ({"official": {0: [0.5] * 11}}, "A prediction is a float"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(csv_file, given, part):
    assert part in fails(write_predictions, given, csv_file)
    assert not csv_file.exists()


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("0.1,", "an interval has a lower end, an upper end"),
        (",0.9", "an interval has a lower end, an upper end"),
        ("0.9,0.6", "expected two finite numbers, the lower one first"),
        ("0.1,900", "high_ev of .* is 900 eV, which is beyond the plausible 100 eV"),
        ("nan,0.9", "low_ev of .* expected a finite number"),
    ],
)
def test_an_interval_that_is_none_is_refused(csv_file, ends, said):
    csv_file.write_text("\n".join(["id,e_m_ev,low_ev,high_ev", *(f"{i},0.5,{ends}" for i in IDS)]))
    assert re.search(said, fails(read_predictions, csv_file, SPINELS))


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        (",id,e_m_ev", "unknown column ''; if it is the index of a pandas table, write that with index=False."),
        ("id;e_m_ev", "unknown column 'id;e_m_ev'; columns are separated by commas."),
        ("id\te_m_ev", r"unknown column 'id\te_m_ev'; columns are separated by commas."),
        ("sep=,\nid,e_m_ev", "unknown column 'sep='; delete this line, which only Excel reads."),
        ("sep=;\nid;e_m_ev", "unknown column 'sep=;'; delete this line, which"),
        ("id,barrier", "unknown column 'barrier'; columns are split, seed, id, "),
        ("id,Em", "unknown column 'Em'; call it e_m_ev if that is what it holds."),
        ("id,E_m", "unknown column 'E_m'; call it e_m_ev if"),
        ("id,e_m_ev,std", "unknown column 'std'; call it std_ev if"),
        ("id,e_m_ev,Low", "unknown column 'Low'; call it low_ev if"),
        ("id,e_m_mev", "unknown column 'e_m_mev'; columns are split, seed, id, "),
    ],
)
def test_an_unknown_column_says_what_is_probably_meant(csv_file, header, advice):
    csv_file.write_text(f"{header}\n")
    assert advice in fails(read_predictions, csv_file, SPINELS)


def test_predictions_of_a_notebook_are_written_and_read(tmp_path):
    data = emigbench.load("spinels")
    _, test = data.split("official")
    file = str(tmp_path / "predictions.csv")
    emigbench.write_predictions({"official": {0: [Prediction(path.id, 0.5) for path in test]}}, file)
    found = emigbench.read_predictions(file, data)
    assert found == emigbench.read_predictions(file, data.labels)
    assert [p.e_m for p in found["official"][0]] == [0.5] * 11
    with pytest.raises(EmigbenchError, match="type str is no dataset; give what"):
        emigbench.read_predictions(file, "spinels")


def test_an_interval_beside_its_barrier_is_read(csv_file):
    csv_file.write_text("\n".join(["id,e_m_ev,low_ev,high_ev", *(f"{i},0.5,0.6,0.9" for i in IDS)]))
    assert read_predictions(csv_file, SPINELS)["official"][0][0] == Prediction(IDS[0], 0.5, low=0.6, high=0.9)


# --- Anything at all

HEADERS = st.sampled_from(["id,e_m_ev", ",".join(COLUMNS), "id", "e_m_ev,id,status", '"id","e_m_ev"', "seed,id,e_m_ev"])
CELLS = st.one_of(
    st.sampled_from([*IDS[:3], "0.5", "nan", "ok", "failed", "official", "0", "", '"', "1e999", "\x00", "\r"]),
    st.text(max_size=5),
)
TABLES = st.tuples(HEADERS, st.lists(st.lists(CELLS, max_size=8).map(",".join), max_size=6)).map(
    lambda table: "\n".join([table[0], *table[1]]).encode(errors="surrogatepass")
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=100), TABLES))
def test_random_files_give_one_sentence_or_a_valid_set(tmp_path, content):
    file = tmp_path / PREDICTIONS_FILE
    file.write_bytes(content)
    found = result_or_sentence(file, read_predictions, file, SPINELS)
    for split, seeds in (found or {}).items():
        for given_ in seeds.values():
            assert [p.id for p in given_] == list(splits.held_out(SPINELS, split))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2000), replacement=st.binary(max_size=3))
def test_a_valid_file_with_a_few_bytes_changed(tmp_path, position, replacement):
    content = "\n".join(["split,seed,id,e_m_ev", *(f"official,0,{line}" for line in csv_lines())]).encode()
    position %= len(content)
    file = tmp_path / PREDICTIONS_FILE
    file.write_bytes(content[:position] + replacement + content[position + 1 :])
    found = result_or_sentence(file, read_predictions, file, SPINELS)
    for split, seeds in (found or {}).items():
        for given_ in seeds.values():
            assert [p.id for p in given_] == list(splits.held_out(SPINELS, split))
