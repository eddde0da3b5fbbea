"""Source files over real HTTP from this machine, and folders that are not what they should be."""

import hashlib
import json
import logging
import re
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pandas as pd
import pytest

from emigbench.datasets import sources
from emigbench.datasets.sources import SourceFile, check_mirror, download, read
from emigbench.errors import EmigbenchError

CUT = 100_000
"""Bytes before the connection breaks: more than one chunk, so that something has arrived."""


def pinned(path, content):
    return SourceFile(path, hashlib.sha256(content).hexdigest())


def record(name, size=10):
    return {"sys_name": name, "padding": "x" * size}


@pytest.fixture
def contents(monkeypatch, tmp_path):
    """Small files under the names of the real ones, pinned by their own hashes: path -> bytes."""
    sheet = tmp_path / "sheet.xlsx"
    pd.DataFrame({"sys_name": ["a", "b"], "XC": ["GGA", "GGA"]}).to_excel(sheet, sheet_name="COMPLETE-TABUATION")
    found = {
        "BANDS_TRAIN": json.dumps([record("a", 3 * CUT)]).encode(),
        "BANDS_TEST": json.dumps([record("b")]).encode(),
        "ENDPOINTS_TEST": json.dumps([record("b"), record("c")]).encode(),
        "TABLE": sheet.read_bytes(),
    }
    pin(monkeypatch, found)
    return {getattr(sources, name).path: content for name, content in found.items()}


def pin(monkeypatch, found):
    for name, content in found.items():
        monkeypatch.setattr(sources, name, pinned(getattr(sources, name).path, content))
    files = tuple(getattr(sources, name) for name in ("BANDS_TRAIN", "BANDS_TEST", "ENDPOINTS_TEST", "TABLE"))
    monkeypatch.setattr(sources, "SOURCE_FILES", files)


@pytest.fixture
def mirror(contents, tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    for path, content in contents.items():
        (folder / path.rsplit("/", 1)[-1]).write_bytes(content)
    return folder


class Server(ThreadingHTTPServer):
    """Serves `contents` with ranges, and misbehaves on demand.

    Attributes:
        asked: (file name, Range header or None) of every request, in order.
        cuts: file name -> numbers of bytes after which coming answers break off.
        ranges: whether Range is honoured.
        status: file name -> status to answer with instead.
    """

    daemon_threads = True

    def __init__(self, contents):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = dict(contents)
        self.asked, self.cuts, self.status, self.ranges = [], {}, {}, True
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the game."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.lstrip("/")
        name, wanted = path.rsplit("/", 1)[-1], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        content, start = self.server.contents.get(path), 0
        status = self.server.status.get(name, 404 if content is None else 200)
        if status == 200 and wanted and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            status = 206 if start < len(content) else 416
        body = content[start:] if status in (200, 206) else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cuts = self.server.cuts.get(name)
        self.wfile.write(body[: cuts.pop(0)] if cuts else body)
        self.close_connection = True

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server(contents, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    server = Server(contents)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "sources"


TRAIN = sources.BANDS_TRAIN.name


def assert_complete(folder, contents):
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        path.rsplit("/", 1)[-1]: content for path, content in contents.items()
    }


def error_of(action, *args):
    with pytest.raises(EmigbenchError) as error:
        action(*args)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 350
    return text


# --- Download


def test_download(server, folder, contents):
    download(folder, server.url)
    assert_complete(folder, contents)
    assert sorted(server.asked) == sorted((path.rsplit("/", 1)[-1], None) for path in contents)
    assert set(read(folder).endpoints) == {"b", "c"}


def test_what_is_there_is_not_asked_for_again(server, folder, contents):
    download(folder, server.url)
    server.asked.clear()
    download(folder, server.url)
    assert server.asked == []
    (folder / TRAIN).unlink()
    download(folder, server.url)
    assert server.asked == [(TRAIN, None)]
    assert_complete(folder, contents)


def test_a_damaged_file_in_the_cache_is_replaced(server, folder, contents):
    download(folder, server.url)
    (folder / TRAIN).write_bytes(b"damaged")
    download(folder, server.url)
    assert_complete(folder, contents)


def arrived(asked):
    (name, wanted) = asked
    assert name == TRAIN
    return int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])


def test_a_broken_connection_is_taken_up_where_it_stopped(server, folder, contents):
    server.cuts[TRAIN] = [CUT]
    download(folder, server.url)
    assert_complete(folder, contents)
    assert server.asked[0] == (TRAIN, None)
    assert CUT / 2 < arrived(server.asked[1]) <= CUT
    assert len(server.asked) == 5


def test_a_connection_that_breaks_again_and_again(server, folder, contents):
    server.cuts[TRAIN] = [CUT, CUT, CUT]
    download(folder, server.url)
    assert_complete(folder, contents)
    starts = [arrived(asked) for asked in server.asked[1:4]]
    assert starts == sorted(set(starts))


def test_a_connection_that_only_breaks_is_an_error_and_nothing_is_lost(server, folder, contents):
    server.cuts[TRAIN] = [CUT, *[0] * 10]
    text = error_of(download, folder, server.url)
    assert TRAIN in text
    assert "no connection, or it broke" in text
    (left,) = folder.iterdir()
    assert left.name == f"{TRAIN}.part"
    kept = left.read_bytes()
    assert contents[sources.BANDS_TRAIN.path].startswith(kept)

    server.cuts.clear()
    server.asked.clear()
    download(folder, server.url)  # another process, another day
    assert_complete(folder, contents)
    assert arrived(server.asked[0]) == len(kept) > CUT / 2


def test_what_an_earlier_process_left_is_taken_up(server, folder, contents):
    folder.mkdir(parents=True)
    (folder / f"{TRAIN}.part").write_bytes(contents[sources.BANDS_TRAIN.path][:1000])
    download(folder, server.url)
    assert_complete(folder, contents)
    assert server.asked[0] == (TRAIN, "bytes=1000-")


def test_an_earlier_process_that_stopped_at_the_very_end(server, folder, contents):
    """The server has nothing left to send (416): the file is whole and only waits for its check."""
    folder.mkdir(parents=True)
    (folder / f"{TRAIN}.part").write_bytes(contents[sources.BANDS_TRAIN.path])
    download(folder, server.url)
    assert_complete(folder, contents)
    assert [name for name, _ in server.asked].count(TRAIN) == 1


@pytest.mark.parametrize("length", [1000, 10 * CUT], ids=["short", "longer than the file"])
def test_rubbish_left_by_an_earlier_process_is_thrown_away(server, folder, contents, length):
    folder.mkdir(parents=True)
    (folder / f"{TRAIN}.part").write_bytes(b"?" * length)
    download(folder, server.url)
    assert_complete(folder, contents)
    assert server.asked[1] == (TRAIN, None)


@pytest.mark.parametrize("cut", [None, CUT])
def test_a_server_without_ranges(server, folder, contents, cut):
    server.ranges = False
    folder.mkdir(parents=True)
    (folder / f"{TRAIN}.part").write_bytes(contents[sources.BANDS_TRAIN.path][:1000])
    server.cuts[TRAIN] = [] if cut is None else [cut]
    download(folder, server.url)
    assert_complete(folder, contents)
    assert [name for name, _ in server.asked].count(TRAIN) == (1 if cut is None else 2)


def test_wrong_content_of_the_right_size(server, folder, contents):
    good = dict(server.contents)
    path = sources.BANDS_TRAIN.path
    server.contents[path] = good[path].replace(b"xxx", b"yyy", 1)
    assert len(server.contents[path]) == len(good[path])
    text = error_of(download, folder, server.url)
    assert f"{server.url}/{path}" in text
    assert "not that of the pinned file" in text
    assert list(folder.iterdir()) == []
    server.contents = good
    download(folder, server.url)
    assert_complete(folder, contents)


def test_what_was_good_stays_where_a_later_file_fails(server, folder):
    server.contents.pop(sources.TABLE.path)
    text = error_of(download, folder, server.url)
    assert sources.TABLE.name in text
    assert "404" in text
    assert sorted(file.name for file in folder.iterdir() if file.stat().st_size) == sorted(
        file.name for file in sources.SOURCE_FILES[:3]
    )


@pytest.mark.parametrize("status", [403, 404, 416, 500, 503])
def test_a_server_that_refuses(server, folder, contents, status):
    server.status[TRAIN] = status
    text = error_of(download, folder, server.url)
    assert f"the server answers {status}" in text
    server.status.clear()
    download(folder, server.url)
    assert_complete(folder, contents)


def test_nobody_there(folder, contents, monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    server = Server(contents)
    server.server_close()
    assert "no connection" in error_of(download, folder, server.url)
    assert "InvalidSchema" in error_of(download, folder, "no-such-protocol://x")


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file" / "sources") in error_of(download, tmp_path / "file" / "sources")


def test_a_failing_download_prints_nothing_of_its_own(server, folder, capfd, caplog):
    """The sentence is the exception's; a bar may have been shown and wiped."""
    server.cuts[TRAIN] = [CUT, *[0] * 10]
    with caplog.at_level(logging.INFO):
        error_of(download, folder, server.url)
    out, err = capfd.readouterr()
    assert out == ""
    assert not re.search(r"[Ww]arning|[Ee]rror|[Rr]etr|pooch|Trying|attempt|Traceback", err)
    assert not [entry for entry in caplog.records if entry.name.startswith(("pooch", "huggingface_hub"))]


# --- Mirrors


def test_a_mirror(mirror):
    check_mirror(mirror)
    found = read(mirror)
    assert [entry["sys_name"] for entry in found.bands["train"]] == ["a"]
    assert [entry["sys_name"] for entry in found.bands["test"]] == ["b"]
    assert list(found.endpoints) == ["b", "c"]
    assert list(found.table.index) == ["a", "b"]


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_is_missing(mirror, number):
    name = sources.SOURCE_FILES[number].name
    (mirror / name).unlink()
    text = error_of(read, mirror)
    assert name in text
    assert str(mirror) in text
    assert sources.COMMIT[:8] in text


@pytest.mark.parametrize("number", range(4))
def test_a_file_of_other_content(mirror, number):
    source = sources.SOURCE_FILES[number]
    (mirror / source.name).write_bytes((mirror / source.name).read_bytes() + b" ")
    text = error_of(read, mirror)
    assert str(mirror / source.name) in text
    assert source.sha256[:12] in text


def test_a_folder_that_is_not_there(tmp_path):
    assert "is missing" in error_of(read, tmp_path / "nothing")


def test_a_truncated_file_that_someone_pinned(mirror, monkeypatch):
    content = (mirror / TRAIN).read_bytes()[:-10]
    (mirror / TRAIN).write_bytes(content)
    pin(monkeypatch, {"BANDS_TRAIN": content})
    text = error_of(read, mirror)
    assert str(mirror / TRAIN) in text
    assert "not valid JSON" in text


def test_the_real_files_are_the_pinned_ones(source_dir):
    check_mirror(source_dir)
    found = read(source_dir)
    assert {side: len(records) for side, records in found.bands.items()} == {"train": 559, "test": 60}
    assert len(found.endpoints) == 60
    assert len(found.table) == 619
    assert found.table.index.is_unique
    ids = [entry["sys_name"] for side in found.bands.values() for entry in side]
    assert sorted(ids) == sorted(found.table.index)


def test_pins():
    assert sources.COMMIT in sources.BASE_URL
    assert len({source.name for source in sources.SOURCE_FILES}) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in sources.SOURCE_FILES)
    assert replace(sources.TABLE, path="x/y.z").name == "y.z"
