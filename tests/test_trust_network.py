"""No file that a user might be sent can reach for the network, and no name gets into a page as more than text."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cacl.cli import main as cli_main
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.media.isolated import isolated
from cacl.data.videos.scan import scan
from cacl.errors import UserError, VideoError


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port of this machine, and who connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: list[object] = []
        server.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                found.append(peer)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], found
        done.set()
        thread.join()


def test_a_video_file_cannot_make_us_fetch_something(listener: tuple[int, list[object]], tmp_path: Path) -> None:
    port, connections = listener
    url = f"http://127.0.0.1:{port}/x.ts"
    playlists = {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
        "concat.ffconcat": f"ffconcat version 1.0\nfile '{url}'\n",
        "dash.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f"<Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        for path, content in ((tmp_path / name, text.encode()), (tmp_path / f"b{name}", text.encode() + b"#\0\xff\n")):
            path.write_bytes(content)
            with pytest.raises(VideoError):
                isolated(str(path), 60.0, VideoDecoder, path)
    with pytest.raises(UserError, match="no video found among 8 files"):
        scan(tmp_path)
    assert connections == []


NAMES = [b"<img src=x onerror=alert(1)>.mp4", b"-rf.mp4", b"a\nb.mp4", b"quo'te\".mp4", b"latin-\xe9.mp4", b"{{x}}.mp4"]


def test_a_run_over_hostile_names_and_its_report(
    tiny: dict[str, Any],
    tmp_path: Path,
    make_square: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "vid<b>eos"
    for number, name in enumerate(NAMES):
        write_video(tmp_path / "v.mp4", make_square(seed=number))
        for part in ("train/<i>a", "train/b", "test/<i>a", "test/b"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "v.mp4", os.path.join(os.fsencode(folder / part), name))
    with open(os.path.join(os.fsencode(folder), b"<script>alert(2)\xff.mp4"), "wb") as file:
        file.write(bytes(100))
    from cacl.experiments.evaluate import evaluate
    from cacl.training.pretrain import pretrain

    run = pretrain(folder, out=tmp_path / "run<u>", method="sdp+v-moco", settings={**tiny, "optim.epochs": 1})
    evaluate(run.path)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(2)" in page, "shown, as text"
    for tag in ("<img src=x", "<script>alert", "<i>a", "<u>"):
        assert tag not in page
    monkeypatch.setattr("sys.argv", ["cacl", "check", str(folder)])
    with pytest.raises(SystemExit) as end:
        cli_main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "24 used, 1 skipped (of 25 files)" in out
