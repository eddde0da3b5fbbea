"""A small Hub on this machine: enough of its HTTP interface for the real client, and faults on demand.

Repositories of datasets with commits, tags, pull requests and large files; downloads with ETag, ranges and conditional
requests. `python tests/hub_server.py` serves an empty one for a look by hand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_secret"
LARGE = (".parquet", ".png")
NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Fault:
    """What happens to the next requests of a kind: a status or page for an answer, a cut or other bytes in it."""

    method: str
    path: str
    status: int = 0
    cut: int = 0
    spoil: bool = False
    page: bytes = b""
    times: int = 1


@dataclass
class Repo:
    """A dataset repository: commits are whole trees, path -> content."""

    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def commit(self, tree: dict[str, bytes], message: str) -> str:
        """Keep a tree; the caller says what points to it."""
        names = [f"{path} {hashlib.sha256(content).hexdigest()}" for path, content in sorted(tree.items())]
        sha = hashlib.sha1("\n".join([message, str(len(self.trees)), *names]).encode()).hexdigest()
        self.trees[sha] = tree
        self.messages.append(message)
        return sha

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and tree of a branch, tag or commit."""
        sha = self.main if revision in ("main", "refs/heads/main") else self.tags.get(revision, revision)
        return (sha, self.trees[sha]) if sha in self.trees else None


class HubServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        repos: name -> repository.
        large: sha256 -> content, of what was uploaded apart.
        private: whether nothing can be read without the token.
        forbidden: whether the token may write nothing.
        faults: what shall go wrong, in order.
        seen: (method, path) of every request.
        before_commit: called when a commit arrives.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.private = self.forbidden = False
        self.faults: deque[Fault] = deque()
        self.seen: list[tuple[str, str]] = []
        self.before_commit: Callable[[], object] = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the game."""

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The first fault that is meant for this request."""
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


class RefusedError(Exception):
    """An answer that is an error: status, the Hub's error code, a text."""

    def __init__(self, status: int, code: str = "", text: str = "no") -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.server.seen.append((self.command, path))
        self.fault = self.server.take_fault(self.command, path)
        try:
            if self.fault and self.fault.status:
                raise RefusedError(self.fault.status)
            if self.fault and self.fault.page:
                self._head(200, {"Content-Type": "text/html", "Content-Length": len(self.fault.page)})
                self.wfile.write(self.fault.page)
                return
            if path.startswith("/cdn/"):
                self._content(self.server.large[path.rsplit("/", 1)[-1]], path.rsplit("/", 1)[-1], {})
                return
            self._may(path)
            for pattern, answer in ROUTES:
                if found := re.fullmatch(f"({pattern[0]}) {pattern[1]}", f"{self.command} {path}"):
                    answer(self, body, **found.groupdict())
                    return
            raise RefusedError(404, "", f"no route for {self.command} {path}")
        except RefusedError as error:
            headers = {"X-Error-Code": error.code} if error.code else {}
            self._json({"error": error.text}, error.status, {**headers, "X-Error-Message": error.text})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    # --- Answers

    def _json(self, content, status: int = 200, headers=()) -> None:
        text = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": len(text), **dict(headers)})
        if self.command != "HEAD":
            self.wfile.write(text)

    def _content(self, content: bytes, etag: str, headers: dict[str, str]) -> None:
        """A file: whole, a range of it, or the word that the client has it already."""
        if self.fault and self.fault.spoil:
            content = bytes(byte ^ 0xFF for byte in content)
        if self.headers.get("If-None-Match") == f'"{etag}"':
            self._head(304, {"ETag": f'"{etag}"', **headers})
            return
        start, status, size = 0, 200, len(content)
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, status = int(wanted[1]), 206
            content = content[start : int(wanted[2]) + 1 if wanted[2] else None]
            headers = {**headers, "Content-Range": f"bytes {start}-{start + len(content) - 1}/{size}"}
        self._head(status, {**headers, "ETag": f'"{etag}"', "Content-Length": len(content), "Accept-Ranges": "bytes"})
        if self.command == "HEAD":
            return
        if self.fault and self.fault.cut:
            self.wfile.write(content[: self.fault.cut])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content)

    def _head(self, status: int, headers) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    # --- What the Hub knows

    def _may(self, path: str) -> None:
        token = self.headers.get("Authorization")
        writes = self.command in ("POST", "PUT") and "paths-info" not in path and not path.startswith("/lfs/")
        if token not in (None, f"Bearer {TOKEN}"):
            raise RefusedError(401, "", "Invalid credentials in Authorization header")
        if (writes or self.server.private) and token is None:
            raise RefusedError(401, "RepoNotFound" if self.server.private else "", "Invalid username or password.")
        if writes and self.server.forbidden:
            raise RefusedError(403, "", "no right to write")

    def _repo(self, name: str) -> Repo:
        if name not in self.server.repos:
            status = 404 if self.headers.get("Authorization") else 401
            raise RefusedError(status, "RepoNotFound", "Repository not found")
        return self.server.repos[name]

    def _tree(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        found = self._repo(name).tree(revision)
        if found is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    # --- Routes

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        assert asked["type"] == "dataset"
        name = f"{asked['organization']}/{asked['name']}"
        answer = {"url": f"{self.server.url}/datasets/{name}", "name": name, "id": name}
        if name in self.server.repos:
            self._json({"error": "You already created this dataset repo", **answer}, 409)
            return
        repo = self.server.repos[name] = Repo()
        repo.main = repo.commit({".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")
        self._json(answer)

    def info(self, body: bytes, repo: str, revision: str = "main") -> None:
        sha, tree = self._tree(repo, revision)
        siblings = [{"rfilename": path} for path in tree]
        self._json({"id": repo, "sha": sha, "private": False, "disabled": False, "tags": [], "siblings": siblings})

    def refs(self, body: bytes, repo: str) -> None:
        found = self._repo(repo)
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": sha} for n, sha in found.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.main}
        self._json({"branches": [main], "converts": [], "tags": tags})

    def list(self, body: bytes, repo: str, revision: str, under: str = "") -> None:
        _, tree = self._tree(repo, revision)
        prefix = f"{under}/" if under else ""
        deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
        inside = {path: content for path, content in tree.items() if path.startswith(prefix)}
        if under and not inside:
            raise RefusedError(404, "EntryNotFound", "no such folder")
        files = [_file(path, content) for path, content in inside.items() if deep or "/" not in path[len(prefix) :]]
        self._json([*_folders(inside, prefix, deep), *files])

    def paths_info(self, body: bytes, repo: str, revision: str) -> None:
        _, tree = self._tree(repo, revision)
        content_type = self.headers.get("Content-Type", "")
        paths = json.loads(body)["paths"] if "json" in content_type else parse_qs(body.decode())["paths"]
        files = [_file(path, tree[path]) for path in paths if path in tree]
        wanted = {path for path in paths if any(each.startswith(f"{path}/") for each in tree)}
        self._json([*files, *({"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in wanted)])

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        header = yaml.safe_load(content.split("---")[1])
        errors = [] if isinstance(header, dict) and header.get("license") else [{"message": "no license"}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        _, tree = self._tree(repo, revision)
        self._json(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                        "oid": _file(each["path"], tree[each["path"]])["oid"] if each["path"] in tree else None,
                    }
                    for each in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, body: bytes, repo: str) -> None:
        self._repo(repo)
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}
            there = each["oid"] in self.server.large
            objects.append({**each, "authenticated": True, **({} if there else {"actions": upload})})
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise RefusedError(400, "", "the content is not that of its hash")
        self.server.large[oid] = body
        self._json({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        self.server.before_commit()
        found = self._repo(repo)
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", found.main) != found.main:
            raise RefusedError(412, "", "A commit has happened since.")
        tree = dict(found.trees[found.main])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.server.large[value["oid"]]
            else:
                del tree[value["path"]]
        sha = found.commit(tree, header["summary"])
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/datasets/{repo}/commit/{sha}"}
        if "create_pr" in parse_qs(urlsplit(self.path).query):
            found.pulls.append(sha)
            answer["pullRequestUrl"] = f"{self.server.url}/datasets/{repo}/discussions/{len(found.pulls)}"
        else:
            found.main = sha
        self._json(answer)

    def tag(self, body: bytes, repo: str, revision: str) -> None:
        name = json.loads(body)["tag"]
        sha, _ = self._tree(repo, revision)
        tags = self._repo(repo).tags
        if name in tags:
            raise RefusedError(409, "", "Tag reference exists already")
        tags[name] = sha
        self._json({})

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        sha, tree = self._tree(repo, revision)
        if path not in tree:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        commit = {"X-Repo-Commit": sha}
        entry = _file(path, tree[path])
        if "lfs" not in entry:
            self._content(tree[path], entry["oid"], commit)
            return
        oid = entry["lfs"]["oid"]
        self.server.large[oid] = tree[path]
        linked = {"X-Linked-Size": len(tree[path]), "X-Linked-ETag": f'"{oid}"'}
        elsewhere = f"http://localhost:{self.server.server_port}/cdn/{oid}"  # another host, as far as a client knows
        self._head(302, {**commit, **linked, "Location": elsewhere, "Content-Length": 0})


def _file(path: str, content: bytes) -> dict:
    """A file as the Hub lists it; a large one is in git as a pointer."""
    kept = content
    found = {"type": "file", "path": path, "size": len(content)}
    if path.endswith(LARGE):
        oid = hashlib.sha256(content).hexdigest()
        kept = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
        found["lfs"] = {"oid": oid, "size": len(content), "pointerSize": len(kept)}
    return {**found, "oid": hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()}


def _folders(inside: dict[str, bytes], prefix: str, deep: bool) -> list[dict]:
    parents = {path[: at.start()] for path in inside for at in re.finditer("/", path) if at.start() >= len(prefix)}
    shown = {parent for parent in parents if deep or "/" not in parent[len(prefix) :]}
    return [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(shown)]


ROUTES = (
    (("POST", "/api/repos/create"), Handler.create),
    (("POST", "/api/validate-yaml"), Handler.validate_yaml),
    (("GET|HEAD", f"/api/datasets/{NAME}"), Handler.info),
    (("GET|HEAD", f"/api/datasets/{NAME}/revision/(?P<revision>.+)"), Handler.info),
    (("GET", f"/api/datasets/{NAME}/refs"), Handler.refs),
    (("GET", f"/api/datasets/{NAME}/tree/(?P<revision>[^/]+)/?(?P<under>.*)"), Handler.list),
    (("POST", f"/api/datasets/{NAME}/paths-info/(?P<revision>.+)"), Handler.paths_info),
    (("POST", f"/api/datasets/{NAME}/preupload/(?P<revision>.+)"), Handler.preupload),
    (("POST", f"/api/datasets/{NAME}/commit/(?P<revision>.+)"), Handler.commit),
    (("POST", f"/api/datasets/{NAME}/tag/(?P<revision>.+)"), Handler.tag),
    (("POST", rf"/datasets/{NAME}\.git/info/lfs/objects/batch"), Handler.batch),
    (("PUT", "/lfs/(?P<oid>[0-9a-f]{64})"), Handler.upload),
    (("GET|HEAD", f"/datasets/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"), Handler.resolve),
)


if __name__ == "__main__":
    hub = HubServer()
    print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
    hub.serve_forever()
