"""How the server begins: its address, a port in use, an address that is not of this machine, packages that lack."""

from __future__ import annotations

import builtins
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cacl.errors import UserError
from cacl.serving.serve import listening, serve


def test_a_port_in_use_is_a_sentence(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from cacl import cli

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["cacl", "serve", str(archive / "my.index"), "--port", str(port)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err == f"Port {port} is in use: give another with --port, or --port 0 for any that is free.\n"


def test_an_address_of_another_machine_is_a_sentence():
    with pytest.raises(UserError, match=r"--host is 192\.0\.2\.1, which this machine cannot answer at"):
        listening("192.0.2.1", 0)
    with pytest.raises(UserError, match="--host is no name, which"):
        listening("no name", 0)
    for name in ("a..b", "a" * 64):
        with pytest.raises(UserError, match=f"--host is {name}, which is no name of a machine"):
            listening(name, 0)
    with listening("127.0.0.1", 0) as made:
        assert made.getsockname()[0] == "127.0.0.1"


def test_what_is_no_index_and_what_is_no_table_of_labels(archive: Path, tmp_path: Path):
    with pytest.raises(UserError, match="is no index"):
        serve(archive / "videos", port=0)
    (tmp_path / "labels.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="is no table of labels"):
        serve(archive / "my.index", port=0, labels=tmp_path / "labels.csv")


def test_packages_that_lack_are_named(archive: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def lacking(name: str, *more: Any) -> Any:
        if name == "uvicorn":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UserError, match=r"pip install .*uvicorn"):
        serve(archive / "my.index", port=0)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_answers_until_it_is_stopped(archive: Path, tmp_path: Path, host: str):
    words = ["serve", str(archive / "my.index"), "--port", "0", "--host", host, "--labels", str(tmp_path / "l.csv")]
    with subprocess.Popen(
        [sys.executable, "-m", "cacl", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            assert select.select([server.stdout], [], [], 120)[0]
            line = server.stdout.readline()
            found = re.search(r"http://[\d.]+:(\d+)/(\?token=\S{32})?", line)
            assert found is not None
            assert (found[2] is None) == (host == "127.0.0.1")
            assert ask(int(found[1]), "/") == (200 if host == "127.0.0.1" else 403)
            assert ask(int(found[1]), f"/{found[2] or ''}") == (200 if host == "127.0.0.1" else 303)
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()


def ask(port: int, path: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])
