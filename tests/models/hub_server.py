"""A model hub on loopback, as much of one as ``huggingface_hub`` needs to make, fill, list and read repositories.

Files come back by ``resolve`` with ETag and commit; commits are NDJSON; large files go by LFS, as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
TOKEN = "hf_of_mia"


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: list[tuple[str, Files]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files) -> str:
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((sha, dict(files)))
        return sha

    def at(self, revision: str) -> tuple[str, Files] | None:
        if revision == "main":
            return self.commits[-1]
        wanted = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit[0] == wanted), None)


@dataclass
class Hub:
    """What the server has, and who asked for what."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: Files = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, files: Files, *, private: bool = False, gated: bool = False) -> str:
        repository = self.repositories.setdefault(name, Repository(private, gated))
        return repository.commit(files)


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.reply()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def reply(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.command == "PUT":
            self.hub.large[path.removeprefix("/lfs/")] = body
            return self.send(200, b"")
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        for pattern, method in (
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self.preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self.commit),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self.tree),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self.info),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
        ):
            if match := re.fullmatch(pattern, path):
                if self.allowed(match[1], writes=self.command == "POST"):
                    method(*match.groups(), *([body] if self.command == "POST" else []))  # type: ignore[operator]
                return None
        return self.send(404, b"")

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def allowed(self, name: str, *, writes: bool) -> bool:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.known):
            self.fail(401 if not self.known else 404, "RepoNotFound")
        elif repository.gated and self.command != "POST" and "/resolve/" in self.path:
            self.fail(403, "GatedRepo")
        elif writes and not (self.known and name.startswith("mia/")):
            self.send(403, b"{}")
        else:
            return True
        return False

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if not self.known:
            return self.send(401, b"{}")
        if not name.startswith("mia/"):
            return self.send(403, b"{}")
        there = name in self.hub.repositories
        if not there:
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        return self.answer({"url": f"{self.hub.endpoint}/{name}"}, status=409 if there else 200)

    def preupload(self, name: str, body: bytes) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self.answer({"files": modes})

    def batch(self, name: str, body: bytes) -> None:
        found = [
            {**thing, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{thing['oid']}"}}}
            for thing in json.loads(body)["objects"]
        ]
        self.answer({"transfer": "basic", "objects": found})

    def commit(self, name: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.commits[-1][1])
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.hub.large[value["oid"]]
                assert (hashlib.sha256(content).hexdigest(), len(content)) == (value["oid"], value["size"])
                files[value["path"]] = content
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files)
        self.answer({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}", "commitOid": sha})

    def at(self, name: str, revision: str | None) -> tuple[str, Files] | None:
        found = self.hub.repositories[name].at(revision or "main")
        if found is None:
            self.fail(404, "RevisionNotFound")
        return found

    def info(self, name: str, revision: str | None) -> None:
        if found := self.at(name, revision):
            siblings = [{"rfilename": file} for file in found[1]]
            self.answer({"_id": "1", "id": name, "modelId": name, "sha": found[0], "siblings": siblings, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        if found := self.at(name, revision):
            rows = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in found[1].items()
            ]
            self.answer(rows)

    def resolve(self, name: str, revision: str, file: str) -> None:
        if (found := self.at(name, revision)) is None:
            return None
        if file not in found[1]:
            return self.fail(404, "EntryNotFound")
        content = found[1][file]
        return self.send(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": found[0]})

    def answer(self, value: Any, *, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str) -> None:
        self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port, as long as the context lasts."""
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("OfThis", (Handler,), {"hub": hub})) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
