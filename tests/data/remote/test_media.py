"""A video on a server gives the frames of the same file on the disk, and little of it is fetched for a clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from video_server import VideoServer

from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.remote import place
from cacl.errors import VideoError

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")
FRAMES = 240
X264 = {"preset": "veryfast", "g": "40", "bf": "2", "b": "2000000"}
KINDS = {
    "front.mp4": {**X264, "movflags": "+faststart"},
    "behind.mp4": X264,
    "open.mov": {**X264, "x264-params": "open-gop=1:bframes=3"},
    "pieces.mp4": {**X264, "movflags": "frag_keyframe+empty_moov"},
    "other.mkv": X264,
    "old.avi": {**X264, "bf": "0"},
    "stream.ts": X264,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    small = rng.integers(0, 255, (FRAMES, 8, 10, 3), dtype=np.uint8)
    frames: NDArray[np.uint8] = np.kron(small, np.ones((1, 12, 12, 1), np.uint8))
    for name, options in KINDS.items():
        write_video(folder / name, frames, fps=25, options=options)
    return folder


@pytest.fixture
def server(videos: Path) -> Iterator[VideoServer]:
    place.forget()
    server = VideoServer(videos)
    yield server
    server.close()


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_the_disk(server: VideoServer, name: str) -> None:
    size = {"height": 40, "width": 48}
    with VideoDecoder(server.folder / name) as here, VideoDecoder(server.url + name) as there:
        assert here.timeline.from_packets == there.timeline.from_packets
        np.testing.assert_array_equal(here.timeline.times, there.timeline.times)
        np.testing.assert_array_equal(here.timeline.keys, there.timeline.keys)
        np.testing.assert_array_equal(here.seconds, there.seconds)
        assert here.info == there.info
        for first in (FRAMES // 2, FRAMES - 31, 0, 77):
            clip = np.arange(first, first + 31, 2)
            np.testing.assert_array_equal(here.read(clip, **size), there.read(clip, **size))
    with VideoDecoder(server.folder / name) as here, VideoDecoder(server.url + name) as there:
        for ours, theirs in zip(here.iterate(**size), there.iterate(**size), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["front.mp4", "behind.mp4", "open.mov"])
def test_a_clip_costs_its_packets_and_the_index(server: VideoServer, name: str) -> None:
    size = (server.folder / name).stat().st_size
    with VideoDecoder(server.url + name) as there:
        assert server.sent < 70_000 + size / 10  # the beginning, and the index
        packets = _packets(server.folder / name)
        times = there.timeline.times
        assert times is not None
        for first in (130, 170, 90):
            server.asked.clear()
            there.read(range(first, first + 31, 2), height=40, width=48)
            key, last = times[there.timeline.entry(first)], times[first + 30]
            order = [pts for pts, _ in packets]
            needed = sum(size for _, size in packets[order.index(key) : order.index(last) + 1])
            # three packets more at most, which the decoder wants before it gives the last frame
            assert needed / 2 < server.sent <= needed + 5 * max(size for _, size in packets)
            assert len(server.asked) <= 2


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{file}\n#EXT-X-ENDLIST\n", "x.m3u8"),
        ("ffconcat version 1.0\nfile '{file}'\n", "x.ffconcat"),
        ("<!DOCTYPE html><html><video src='{file}'></html>", "x.mp4"),
    ],
)
def test_what_names_other_files_opens_none(server: VideoServer, tmp_path: Path, text: str, name: str) -> None:
    other = VideoServer(tmp_path)
    for file in (str(server.folder / "front.mp4"), server.url + "front.mp4"):
        (tmp_path / name).write_text(text.format(file=file))
        place.forget()
        with pytest.raises(VideoError, match=r"text file|web page"):
            VideoDecoder(other.url + name)
    other.close()
    assert not server.asked


def test_a_list_behind_a_video_suffix_is_refused_by_the_decoder_too(server: VideoServer, tmp_path: Path) -> None:
    """Were it not for the look at its first bytes, FFmpeg itself would be told to open nothing else."""
    from cacl.data.media import stream
    from cacl.data.remote.media import RemoteMedia

    file = server.folder / "front.mp4"
    (tmp_path / "x.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{file}\n#EXT-X-ENDLIST\n")
    other = VideoServer(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_check_head", lambda path, remote: remote.seek(0))
        with pytest.raises(VideoError, match="cannot be opened"):
            stream.open_media(other.url + "x.m3u8", RemoteMedia(other.url + "x.m3u8"))
    other.close()


def _packets(file: Path) -> list[tuple[int | None, int]]:
    with av.open(str(file)) as container:
        return [(packet.pts, packet.size) for packet in container.demux(video=0) if packet.size]
