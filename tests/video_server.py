"""Servers of files for tests, on loopback: one that speaks HTTP with ranges and fails as told, and an S3 (moto's)."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Fault = str  # "drop", "short", a status ("503"), "page", "whole", "go ADDRESS"


class VideoServer:
    """The files of a folder.

    Attributes:
        url: of the folder, with ``/``.
        latency: seconds before each answer.
        faults: of a file, one for each of the next requests.
        always: of a file, for every request.
        asked: file, first byte and one after the last of each answer.
    """

    def __init__(self, folder: Path, *, latency: float = 0.0) -> None:
        self.folder, self.latency = folder, latency
        self.faults, self.always = defaultdict[str, list[Fault]](list), dict[str, Fault]()
        self.asked: list[tuple[str, int, int]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that has heard enough
        self._server.daemon_threads = True
        self._server.of = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def sent(self) -> int:
        """Bytes of all answers."""
        return sum(stop - start for _, start, stop in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server: VideoServer = self.server.of  # type: ignore[attr-defined]
        name = self.path.lstrip("/").partition("?")[0]
        time.sleep(server.latency)
        fault = server.faults[name].pop(0) if server.faults[name] else server.always.get(name, "")
        file = server.folder / name
        if fault.isdigit() or not file.is_file():
            self._send(int(fault or 404), b"no")
        elif fault == "page":
            self._send(200, b"<!DOCTYPE html><html>Hello</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif fault.startswith("go "):
            self._send(302, b"", {"Location": fault.removeprefix("go ")})
        elif fault == "whole":
            self._send(200, file.read_bytes())
        elif fault == "drop":
            self.close_connection = True
        else:
            self._range(name, file, short=fault == "short")

    def _range(self, name: str, file: Path, *, short: bool) -> None:
        size, found = file.stat().st_size, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found is not None, self.headers["Range"]
        first, stop = int(found[1]), min(int(found[2]) + 1, size)
        if first >= size:
            self._send(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        with file.open("rb") as opened:
            opened.seek(first)
            data = opened.read(stop - first)
        self.server.of.asked.append((name, first, stop))  # type: ignore[attr-defined]
        tag = f'"{size}-{file.stat().st_mtime_ns}"'
        about = {"Content-Range": f"bytes {first}-{stop - 1}/{size}", "ETag": tag, "Content-Length": str(len(data))}
        self._send(206, data[: len(data) // 2] if short and len(data) > 1 else data, about)
        self.close_connection = short

    def _send(self, status: int, data: bytes, about: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(about or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: Any) -> None:
        pass


@contextmanager
def s3_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 without an object, which the environment names; a test that asks is skipped where moto is missing."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'cacl[remote]'")
    moto = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[s3]' flask flask-cors")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    forget_servers()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        forget_servers()


@contextmanager
def gs_server(patch: pytest.MonkeyPatch, bucket: str) -> Iterator[Any]:
    """A Google Storage with a bucket, which the environment names; a test that asks is skipped where it is missing."""
    pytest.importorskip("gcsfs", reason="needs gcsfs: pip install 'cacl[remote]'")
    reason = "needs a Google Storage: pip install gcp-storage-emulator"
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason=reason)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    server._api._httpd.handle_error = lambda *_: None  # a client that has heard enough
    port = server._api._httpd.server_address[1]
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    patch.setenv("FSSPEC_GS_TOKEN", "anon")  # for decode processes; fsspec has read it in this one
    patch.setitem(pytest.importorskip("fsspec").config.conf, "gs", {"token": "anon"})
    forget_servers()
    try:
        yield server
    finally:
        server.stop()
        forget_servers()


def forget_servers() -> None:
    """What was kept of servers is of another one by now; decode processes have the environment of their start."""
    from cacl.data.media.isolated import end_idle
    from cacl.data.remote import place, servers

    fsspec = pytest.importorskip("fsspec")
    place.forget()
    servers._started.cache_clear()
    for kind in ("s3", "http"):
        fsspec.get_filesystem_class(kind).clear_instance_cache()
    end_idle()


def put_folder(folder: Path, bucket: str, prefix: str, *, scheme: str = "s3") -> None:
    """Copy a folder into a bucket, made for it where it is missing."""
    from cacl.data.remote.servers import system_of

    system = system_of(f"{scheme}://{bucket}")
    if not system.exists(bucket):
        system.mkdir(bucket)
    for file in folder.rglob("*"):
        if file.is_file():
            system.pipe_file(f"{bucket}/{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())
