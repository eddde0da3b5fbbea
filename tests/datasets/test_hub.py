"""The Hub over real HTTP: the real client, in processes of its own, against a server on this machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread

import hub_client
import pytest
from helpers import PATIENCE_S, one_sentence, run
from hub_client import stand_in
from hub_server import TOKEN, Fault, HubServer, Repo

from emigbench.datasets import catalogue, product, rows, store
from emigbench.datasets.hashing import dataset_hash
from emigbench.datasets.store import Dataset

TESTS = Path(__file__).parents[1]
REPO = "group/name"
TAG = catalogue.info("full").revision
TRAIN, TEST = rows.OFFICIAL
GOT = f"full {catalogue.info('full').version}: 82 paths, content {stand_in().sha256}\n"


@pytest.fixture
def server():
    hub = HubServer()
    thread = Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


@pytest.fixture(scope="module")
def content():
    """The repository of the stand-in: path -> content."""
    info = stand_in()
    return product.files(Dataset("full", info.version, info.sha256, store.load("spinels").entries), REPO)


@pytest.fixture
def held(server, content):
    """The server holds the dataset, as if it had been published."""
    repo = server.repos[REPO] = Repo()
    repo.main = repo.tags[TAG] = repo.commit(dict(content), "Dataset")
    return repo


@pytest.fixture
def folder(content, tmp_path):
    product.write(content, tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture
def env(server, tmp_path):
    """The environment of a user with empty caches and a token."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "PYTHONUTF8": "1",
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "EMIGBENCH_CACHE": str(tmp_path / "cache"),
        "EMIGBENCH_HUB_REPO": REPO,
    }


FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["hub_client", "emigbench.datasets.publish", "pyarrow.parquet", "filelock", "httpx2"])
"""Clients are forked from a process that has imported what takes long, so that each costs half."""


class Client:
    """A client that runs, in a process of its own."""

    def __init__(self, env, *arguments, largest_file=None):
        folder = Path(mkdtemp(dir=env["HOME"]))
        self.out, self.err = folder / "out", folder / "err"
        for file in (self.out, self.err):
            file.touch()
        given = (list(map(str, arguments)), env, self.out, self.err, largest_file)
        self.process = FORKS.Process(target=hub_client.forked, args=given, daemon=True)
        self.process.start()

    def result(self):
        """Exit code, stdout, stderr, when it has ended."""
        self.process.join(timeout=PATIENCE_S)
        out, err = self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8")
        assert TOKEN not in out + err
        return self.process.exitcode, out, err


def client(env, *arguments, **options):
    """Run a client to its end: exit code, stdout, stderr."""
    return Client(env, *arguments, **options).result()


def said(result):
    """The sentence of a client that failed."""
    code, out, err = result
    assert (code, out) == (2, "")
    return one_sentence(err.splitlines()[-1])


def blobs(env):
    """The files in the Hub's own cache, but for its bookkeeping."""
    return [file for file in Path(env["HF_HOME"]).rglob("blobs/*") if file.is_file()]


def cached(env):
    """Our own copy."""
    return Path(env["EMIGBENCH_CACHE"]) / f"full-{catalogue.info('full').version}"


def assert_nothing_damaged(env, content):
    """Whatever the caches hold is whole: the Hub's by its hash, ours by the dataset's."""
    hashes = {hashlib.sha256(each).hexdigest() for each in content.values()}
    assert all(hashlib.sha256(file.read_bytes()).hexdigest() in hashes for file in blobs(env))
    if cached(env).exists():
        assert dataset_hash(store.read_built(cached(env))) == stand_in().sha256


def downloads(server, path=TRAIN):
    oid = hashlib.sha256(server.repos[REPO].trees[server.repos[REPO].main][path]).hexdigest()
    return server.seen.count(("GET", f"/cdn/{oid}"))


# --- The whole way


def test_publish_and_load_back(server, env, full, tmp_path):
    """The command line as it is, on the whole dataset: publish, publish again, load elsewhere, load offline."""
    built = {"EMIGBENCH_DATA": str(tmp_path / "built")}
    store.write_built(Dataset("full", catalogue.info("full").version, dataset_hash(full), full), tmp_path / "built")
    done = run("data", "publish", "--repo", REPO, env=env | built)
    assert done.returncode == 0, done.stderr
    repo = server.repos[REPO]
    assert done.stdout == f"{server.url}/datasets/{REPO}/commit/{repo.main}\n"
    assert repo.messages == ["initial commit", f"Dataset {catalogue.info('full').version}"]
    assert repo.tags == {TAG: repo.main}

    again = run("data", "publish", "--repo", REPO, env=env | built)
    assert again.stdout == f"Nothing to publish: {REPO} holds these files already.\n"
    assert len(repo.trees) == 2

    pinned = catalogue.info("full").sha256
    got = run("data", "get", env=env)
    assert got.stdout == f"full {catalogue.info('full').version}: 619 paths, content {pinned}\n", got.stderr
    shutil.rmtree(env["HF_HOME"])
    server.seen.clear()
    offline = run("data", "get", env=env | {"HF_HUB_OFFLINE": "1"})
    assert offline.stdout == got.stdout
    assert server.seen == []


def test_newcomers_load_it_by_its_name(held, env, content, tmp_path):
    """Plain `datasets`, at the tag, from the server: nothing of ours is imported."""
    code = f"""
import sys, datasets
data = datasets.load_dataset("{REPO}", "official", revision="{TAG}")
print(len(data["train"]), len(data["test"]), data["train"][0]["lattice"][0][0] > 0)
assert not any(name.split(".")[0].startswith("emigbench") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "71 11 True\n", done.stderr


# --- Get


def test_get_keeps_a_copy(server, held, env, content):
    assert client(env, "get") == (0, GOT, "")
    assert len(blobs(env)) == 2
    assert_nothing_damaged(env, content)
    shutil.rmtree(env["HF_HOME"])
    server.seen.clear()
    assert client(env, "get") == (0, GOT, "")
    assert server.seen == []


def test_the_hubs_own_cache_is_enough_offline(server, held, env):
    client(env, "get")
    shutil.rmtree(env["EMIGBENCH_CACHE"])
    server.seen.clear()
    assert client(env | {"HF_HUB_OFFLINE": "1"}, "get") == (0, GOT, "")
    assert server.seen == []


def test_what_the_server_still_has_is_not_fetched_again(server, held, env):
    """The ETag says that a file in the Hub's cache is the one of another commit: its headers are asked for alone."""
    client(env, "get")
    shutil.rmtree(env["EMIGBENCH_CACHE"])
    for name in ("snapshots", "refs"):
        shutil.rmtree(next(Path(env["HF_HOME"]).rglob(name)))
    held.main = held.tags[TAG] = held.commit(held.trees[held.main] | {"README.md": b"another card"}, "a better card")
    assert client(env, "get") == (0, GOT, "")
    assert ("HEAD", f"/datasets/{REPO}/resolve/{TAG}/{TRAIN}") in server.seen
    assert downloads(server) == downloads(server, TEST) == 1


def test_offline_with_empty_caches(server, held, env):
    text = said(client(env | {"HF_HUB_OFFLINE": "1"}, "get"))
    assert "HF_HUB_OFFLINE" in text
    assert "authors' files" not in text  # another host, but the network all the same
    assert server.seen == []


def test_two_first_loads_at_the_same_moment(server, held, env, content):
    both = [Client(env, "get") for _ in range(2)]
    for each in both:
        code, out, err = each.result()
        assert (code, out) == (0, GOT), err
    assert downloads(server) == downloads(server, TEST) == 1
    assert_nothing_damaged(env, content)


def test_two_first_loads_that_share_only_the_hubs_cache(server, held, env, content, tmp_path):
    both = [Client(env | {"EMIGBENCH_CACHE": str(tmp_path / name)}, "get") for name in "ab"]
    for each in both:
        code, out, err = each.result()
        assert (code, out) == (0, GOT), err
    assert_nothing_damaged(env, content)


def test_a_connection_cut_in_the_middle_of_a_file(server, held, env, content):
    server.faults.append(Fault("GET", "/cdn/", cut=len(content[TRAIN]) // 2))
    code, out, _ = client(env, "get")
    assert (code, out) == (0, GOT)
    assert downloads(server) == 2
    assert_nothing_damaged(env, content)


def test_a_server_that_fails_and_recovers(server, held, env, content):
    kinds = [("GET", "/revision/", 500), ("HEAD", TRAIN, 500), ("GET", "/cdn/", 500), ("GET", "/cdn/", 429)]
    server.faults.extend(Fault(method, path, status=status) for method, path, status in kinds)
    code, out, err = client(env, "get")
    assert (code, out) == (0, GOT), err
    assert not any(fault.times for fault in server.faults)
    assert_nothing_damaged(env, content)


def test_a_server_that_only_fails(server, held, env):
    server.faults.append(Fault("GET", "/cdn/", status=500, times=99))
    assert f"The Hub answered 500 for {REPO}" in said(client(env, "get"))
    assert downloads(server) == 3
    assert blobs(env) == []


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"null", b"[]", b'{"sha": 1}'])
def test_a_page_of_somebody_elses(server, held, env, page):
    """As of a hotel's network, with the status of an answer."""
    server.faults.append(Fault("GET", "/revision/", page=page, times=99))
    code, out, err = client(env, "get")
    assert "The Hub's answer is not what it should be" in said((code, out, err))
    assert "Going on to the authors' files." in err


def test_wrong_bytes_of_the_right_size_once(server, held, env, content):
    server.faults.append(Fault("GET", "/cdn/", spoil=True))
    assert client(env, "get")[:2] == (0, GOT)
    assert downloads(server) == 2
    assert_nothing_damaged(env, content)


def test_wrong_bytes_again_and_again(server, held, env, content):
    server.faults.append(Fault("GET", "/cdn/", spoil=True, times=99))
    assert f"{REPO} does not hold the pinned content at {TAG}" in said(client(env, "get"))
    assert downloads(server) == 2
    assert blobs(env) == []
    assert not (Path(env["EMIGBENCH_CACHE"]) / f"full-{catalogue.info('full').version}").exists()


def test_another_dataset_under_the_tag(server, held, env, content):
    """Tables that are sound, but of other records: what the hash is for."""
    tree = content | {TRAIN: content[TEST], TEST: content[TRAIN]}
    held.main = held.tags[TAG] = held.commit(tree, "swapped sides")
    assert client(env, "get")[:2] == (0, GOT)  # the order of records is no content
    held.main = held.tags[TAG] = held.commit(content | {TRAIN: content[TEST]}, "other records")
    env |= {"HF_HOME": env["HF_HOME"] + "2", "EMIGBENCH_CACHE": env["EMIGBENCH_CACHE"] + "2"}
    assert "does not hold the pinned content" in said(client(env, "get"))


def test_damaged_files_in_the_hubs_cache(server, held, env, content):
    client(env, "get")
    shutil.rmtree(env["EMIGBENCH_CACHE"])
    short, flipped = blobs(env)
    short.write_bytes(short.read_bytes()[:-10])
    flipped.write_bytes(bytes(byte ^ 0xFF for byte in flipped.read_bytes()))
    assert client(env, "get")[:2] == (0, GOT)
    assert len(blobs(env)) == 2
    assert_nothing_damaged(env, content)


def test_a_damaged_copy_in_our_cache(server, held, env, content):
    client(env, "get")
    damaged = cached(env) / TRAIN
    damaged.write_bytes(damaged.read_bytes()[:-100])
    code, out, err = client(env, "get")
    assert (code, out) == (0, GOT)
    assert err.count("is damaged or outdated and is fetched again") == 1
    assert_nothing_damaged(env, content)
    assert client(env, "get") == (0, GOT, "")


def test_a_copy_that_cannot_be_replaced_stays(server, held, env, content):
    client(env, "get")
    copy = cached(env) / TRAIN
    kept = copy.read_bytes()
    (cached(env) / store.INFO_FILE).write_text("")
    assert "is not at hand" in said(client(env | {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": "none"}, "get"))
    assert copy.read_bytes() == kept
    assert client(env, "get")[:2] == (0, GOT)


def test_a_private_repository(server, held, env):
    server.private = True
    assert "no dataset repository" in said(client(env | {"HF_TOKEN": ""}, "get"))
    assert "does not know your token" in said(client(env | {"HF_TOKEN": "hf_other"}, "get"))
    assert blobs(env) == []
    assert client(env, "get") == (0, GOT, "")


@pytest.mark.parametrize("present", [False, True], ids=["no repository", "no version"])
def test_nothing_there(server, env, present, content):
    words = f"There is no dataset repository {REPO}"
    if present:
        repo = server.repos[REPO] = Repo()
        repo.main = repo.commit(content, "untagged")
        words = f"{REPO} has no version {TAG}"
    code, out, err = client(env, "get")
    assert words in said((code, out, err))
    assert "Going on to the authors' files." in err


def test_no_network(env):
    assert "The Hub cannot be reached" in said(client(env | {"HF_ENDPOINT": "http://127.0.0.1:1"}, "get"))


def test_the_hub_can_be_left_out(server, held, env):
    assert "EMIGBENCH_HUB_REPO is empty" in said(client(env | {"EMIGBENCH_HUB_REPO": ""}, "get"))
    assert server.seen == []


def test_files_that_cannot_grow(server, held, env, content):
    text = said(client(env, "get", largest_file=8000))
    assert "File too large" in text
    assert_nothing_damaged(env, content)
    assert client(env, "get")[:2] == (0, GOT)


@pytest.mark.parametrize("small", ["HF_HOME", "EMIGBENCH_CACHE"])
def test_a_full_disk(server, held, env, content, small, tmp_path):
    """A file system of 20 kB, in a namespace of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mount = f"mount -t tmpfs -o size=20k tmpfs {place}"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "sh", "-c", mount]).returncode:
        pytest.skip("no small file system can be mounted here")
    inner = [sys.executable, str(TESTS / "hub_client.py"), "get"]
    script = f'{mount} && "$@"; code=$?; find {place} -name "*.incomplete" -o -name "*.parquet" >&3; exit $code'
    left = tmp_path / "left"
    with left.open("w") as stream:
        done = subprocess.run(
            ["unshare", "-rm", "bash", "-c", f"exec 3>&{stream.fileno()}; {script}", "-", *inner],
            env=env | {small: str(place / "cache")},
            capture_output=True,
            text=True,
            pass_fds=[stream.fileno()],
        )
    assert "No space left on device" in said((done.returncode, done.stdout, done.stderr))
    assert left.read_text() == ""


# --- Publish


def test_publish_sets_everything_up(server, env, folder, content):
    code, _, err = client(env, "publish", folder)
    assert code == 0, err
    repo = server.repos[REPO]
    assert repo.tags == {TAG: repo.main}
    assert {path: each for path, each in repo.trees[repo.main].items() if path != ".gitattributes"} == content
    assert client(env, "get")[:2] == (0, GOT)


def test_publishing_twice_makes_no_commit(server, env, folder):
    client(env, "publish", folder)
    before = len(server.repos[REPO].trees)
    assert client(env, "publish", folder)[:2] == (0, "Published(url='', tag='')\n")
    assert client(env, "publish", folder, "--pull-request")[:2] == (0, "Published(url='', tag='')\n")
    assert len(server.repos[REPO].trees) == before


def test_a_change_of_the_card_is_a_commit_and_the_tag_stays(server, env, folder):
    client(env, "publish", folder)
    repo = server.repos[REPO]
    tagged = repo.main
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nOne more line.\n")
    code, _, err = client(env, "publish", folder)
    assert code == 0, err
    assert repo.main != tagged
    assert repo.tags == {TAG: tagged}
    changed = {path for path in repo.trees[tagged] if repo.trees[tagged][path] != repo.trees[repo.main][path]}
    assert changed == {"README.md"}


def test_files_that_are_no_more_are_removed_and_others_stay(server, held, env, folder, content):
    more = {"splits/old.csv": b"old", "data/old/train.parquet": b"old", "submissions/a/predictions.csv": b"theirs"}
    held.main = held.commit(content | more, "before")
    assert client(env, "publish", folder)[0] == 0
    assert held.trees[held.main] == content | {"submissions/a/predictions.csv": b"theirs"}


def test_a_pull_request(server, held, env, folder):
    before = held.main
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nA better line.\n")
    code, out, err = client(env, "publish", folder, "--pull-request")
    assert (code, out) == (0, f"Published(url='{server.url}/datasets/{REPO}/discussions/1', tag='')\n"), err
    assert held.main == before
    assert held.trees[held.pulls[0]]["README.md"].endswith(b"A better line.\n")


def test_a_tag_that_stands_for_other_content(server, held, env, folder, content):
    info = json.loads(content[store.INFO_FILE])
    info["sha256"] = "0" * 64
    held.main = held.tags[TAG] = held.commit(content | {store.INFO_FILE: json.dumps(info).encode()}, "other")
    text = said(client(env, "publish", folder))
    assert TAG in text
    assert "000000000000…" in text
    assert "raise the version" in text
    assert len(held.trees) == 2


def test_a_commit_whose_tag_failed_is_tagged_the_next_time(server, env, folder):
    server.faults.append(Fault("POST", "/tag/", status=500, times=9))
    assert "The Hub answered 500" in said(client(env, "publish", folder))
    repo = server.repos[REPO]
    n, main = len(repo.trees), repo.main
    server.faults.clear()
    assert client(env, "publish", folder)[:2] == (0, f"Published(url='', tag='{TAG}')\n")
    assert (len(repo.trees), repo.tags) == (n, {TAG: main})


def test_publishing_through_a_server_that_fails_and_recovers(server, env, folder):
    kinds = [("POST", "/create"), ("GET", "/refs"), ("GET", "/tree/"), ("POST", "/preupload/"), ("PUT", "/lfs/")]
    server.faults.extend(Fault(method, path, status=500) for method, path in kinds)
    code, _, err = client(env, "publish", folder)
    assert code == 0, err
    assert not any(fault.times for fault in server.faults)
    assert len(server.repos[REPO].trees) == 2


def test_a_commit_that_is_refused_is_not_sent_again(server, env, folder):
    """Its answer may be lost while it stands: a second one could be a second commit."""
    server.faults.append(Fault("POST", "/commit/", status=500, times=9))
    assert "The Hub answered 500" in said(client(env, "publish", folder))
    assert [path for _, path in server.seen if "/commit/" in path] == [f"/api/datasets/{REPO}/commit/main"]


def test_someone_else_committed_meanwhile(server, held, env, folder):
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    server.before_commit = lambda: setattr(held, "main", held.commit(held.trees[held.main] | {"a": b"a"}, "theirs"))
    assert "412" in said(client(env, "publish", folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"HF_TOKEN": ""}, "There is no Hub token"),
        ({"HF_TOKEN": "hf_other"}, "does not know your token"),
        ({"HF_ENDPOINT": "http://127.0.0.1:1"}, "The Hub cannot be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_publishing_that_cannot_be(server, env, folder, change, words):
    assert words in said(client(env | change, "publish", folder))
    assert server.repos == {}


def test_no_right_to_write(server, held, env, folder):
    server.forbidden = True
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert f"may not write to {REPO}" in said(client(env, "publish", folder))
    assert f"may not open pull requests of {REPO}" in said(client(env, "publish", folder, "--pull-request"))
    assert len(held.trees) == 1


def test_a_pull_request_of_nothing(server, env, folder):
    assert f"There is no dataset repository {REPO}" in said(client(env, "publish", folder, "--pull-request"))
    assert server.repos == {}


def test_a_card_that_the_hub_does_not_take(server, env, folder):
    (folder / "README.md").write_text("---\npretty_name: no licence\n---\n")
    assert "400" in said(client(env, "publish", folder))
    assert len(server.repos[REPO].trees) == 1


def test_a_name_that_is_no_repository(env, folder):
    for action in (["get"], ["publish", folder]):
        assert "'a/b/c' is no name" in said(client(env | {"EMIGBENCH_HUB_REPO": "a/b/c"}, *action))


def test_a_revision_is_a_version():
    assert replace(catalogue.info("full"), version="2.1.0").revision == "v2.1.0"
