"""Frames by number against a plain sequential decode, by PyAV and by the ffmpeg command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cacl.data.media import decode
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.media.pixels import Orientation
from cacl.errors import UserError, VideoError

KINDS = (
    *("h264.mp4", "h264.mkv", "open_gop.mp4", "open_gop.ts", "made_up_times.avi", "no_times.h264", "refresh.ts"),
    *("no_b_frames.mp4", "mpeg4.avi", "odd_size.avi", "vp9.webm", "ten_bit.mp4", "mpeg2.mpg", "animated.gif"),
    *("one_frame.mp4", "uneven_rate.mp4", "hevc.mkv", "begins_late.mkv", "lossless.mkv", "same_times.mkv"),
)
BY_PACKETS = {"h264.mp4", "open_gop.mp4", "no_b_frames.mp4", "vp9.webm", "ten_bit.mp4", "uneven_rate.mp4", "hevc.mkv"}
TURNS = {90: -1, 180: 2, 270: 1}


def sequential(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        shown = [f.to_ndarray(format="rgb24", interpolation="POINT") for f in container.decode(stream)]
    return np.stack(shown)


@pytest.fixture(scope="module")
def references(media: Path) -> dict[str, NDArray[np.uint8]]:
    return {kind: sequential(media / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_any_frames_in_any_order_equal_a_sequential_decode(
    media: Path, references: dict[str, NDArray[np.uint8]], kind: str
) -> None:
    whole = references[kind]
    count, height, width = whole.shape[:3]
    with VideoDecoder(media / kind) as decoder:
        assert decoder.frames == count
        assert (decoder.info.height, decoder.info.width) == (height, width)
        assert decoder.timeline.from_packets or kind not in BY_PACKETS

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.integers(0, count - 1), min_size=1, max_size=12))
        def check(indices: list[int]) -> None:
            assert np.array_equal(decoder.read(indices, height=height, width=width), whole[indices])

        check()
        for start in (0, count // 2, max(0, count - 31)):
            clip = np.minimum(start + 2 * np.arange(16), count - 1)
            assert np.array_equal(decoder.read(clip, height=height, width=width), whole[clip])
        assert np.array_equal(np.stack(list(decoder.iterate(height=height, width=width))), whole)
        assert np.array_equal(decoder.read([count - 1, 0], height=height, width=width), whole[[count - 1, 0]])
        assert decoder.verify().frames == count
        assert not decoder.timeline.broken


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")
@pytest.mark.parametrize("kind", KINDS)
def test_frames_equal_those_of_the_ffmpeg_command(media: Path, kind: str) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(media / kind), "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    with VideoDecoder(media / kind) as decoder:
        height, width = decoder.info.height, decoder.info.width
        whole = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
        indices = np.random.default_rng(0).integers(0, decoder.frames, 20)
        assert len(whole) == decoder.frames
        got = decoder.read(indices, height=height, width=width)
    # Brightness alone: FFmpeg's versions differ in how they enlarge the colours of odd and 10-bit pictures.
    difference = np.abs((got.astype(float) - whole[indices]) @ [0.299, 0.587, 0.114])
    assert difference.mean(axis=(1, 2)).max() <= 2


def test_a_clip_is_decoded_from_the_nearest_keyframe(media: Path) -> None:
    """Not from the beginning of the file: only the packets of its own groups of pictures are sent to the decoder."""
    with VideoDecoder(media / "h264.mp4") as decoder:
        sent: list[int] = []
        inner = decoder._outputs.frames

        def spy(**how: object) -> object:
            for frame in inner(**how):
                sent.append(decoder._number[frame.pts])
                yield frame

        decoder._outputs.frames = spy  # type: ignore[method-assign, assignment]
        decoder.read([50, 52], height=8, width=8)
        assert min(sent) >= 48


@pytest.mark.parametrize("turn", sorted(TURNS))
def test_rotated_video_comes_out_upright(media: Path, turn: int) -> None:
    path = media / f"rotated_{turn}.mp4"
    upright = np.rot90(sequential(path), TURNS[turn], axes=(1, 2))
    with VideoDecoder(path) as decoder:
        assert decoder.info.rotation == turn
        assert (decoder.info.height, decoder.info.width) == upright.shape[1:3]
        got = decoder.read([7, 3], height=decoder.info.height, width=decoder.info.width)
        assert np.array_equal(got, upright[[7, 3]])
        small = decoder.read([7], height=24, width=20)[0]
    block = upright[7].astype(float).reshape(*_blocked(upright[7].shape, (4, 4))).mean(axis=(1, 3))
    coarse = small.astype(float).reshape(4, 6, 4, 5, 3).mean(axis=(1, 3))
    assert np.abs(block - coarse).mean() < 6  # the right corner stays in its place when shrunk


def _blocked(shape: tuple[int, ...], grid: tuple[int, int]) -> tuple[int, ...]:
    return grid[0], shape[0] // grid[0], grid[1], shape[1] // grid[1], 3


def test_orientation_names_all_quarter_turns() -> None:
    turns = {Orientation(): 0, Orientation(True, True): 90, Orientation(False, True, True): 180}
    turns[Orientation(True, False, True)] = 270
    assert all(orientation.rotation == degrees for orientation, degrees in turns.items())


def test_shrinking_counts_every_pixel(media: Path) -> None:
    with VideoDecoder(media / "h264.mp4") as decoder:
        full = decoder.read([5], height=96, width=128)[0].astype(float)
        small = decoder.read([5], height=24, width=32)[0].astype(float)
    means = full.reshape(24, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < np.abs(small.mean() - means).mean() / 4


def test_a_known_timeline_saves_reading_the_packets(
    media: Path, references: dict[str, NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("h264.mp4", "open_gop.ts", "no_times.h264"):
        with VideoDecoder(media / kind) as first:
            timeline = first.timeline
        with monkeypatch.context() as patch:
            patch.setattr(decode, "first_look", None)
            patch.setattr(decode, "survey", None)
            second = VideoDecoder(media / kind, timeline=timeline)
        with second:
            assert np.array_equal(second.read([40, 3], height=96, width=128), references[kind][[40, 3]])


def test_a_known_timeline_changes_nothing(media: Path) -> None:
    for path in sorted(media.iterdir()):
        try:
            first = VideoDecoder(path)
        except VideoError:
            continue
        with first, VideoDecoder(path, timeline=first.timeline) as second:
            assert second.info == first.info
            assert second.timeline is first.timeline
            asked = [first.frames - 1, first.frames // 2, 0]
            assert np.array_equal(second.read(asked, height=48, width=64), first.read(asked, height=48, width=64))
            for a, b in zip_longest(good_frames(first), good_frames(second)):
                assert np.array_equal(a, b)


def good_frames(decoder: VideoDecoder) -> Iterator[NDArray[np.uint8]]:
    try:
        yield from decoder.iterate(height=48, width=64)
    except VideoError:
        return


def test_seconds_become_frames_by_the_real_times(media: Path) -> None:
    with av.open(str(media / "uneven_rate.mp4")) as container:
        times = np.array([f.time for f in container.decode(video=0)])
    with VideoDecoder(media / "uneven_rate.mp4") as decoder:
        first, count = decoder.span(1.0, 3.0)
        expected = np.flatnonzero((times - times[0] >= 1.0) & (times - times[0] < 3.0))
        assert (first, count) == (expected[0], len(expected))
        assert decoder.span(0.0, None) == (0, decoder.frames)
    with VideoDecoder(media / "h264.mp4") as decoder:
        assert decoder.span(0.4, 0.8) == (10, 10)  # 25 a second


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.mp4", "cannot be opened"),
        ("noise.mp4", "cannot be opened"),
        ("no_index.mp4", "cannot be opened"),
        ("audio.wav", r"no video stream found \(audio only\)"),
        ("photo.jpg", "a still image"),
        ("absent.mp4", "no such file"),
    ],
)
def test_what_is_no_video_gives_its_reason(
    bad_media: Path, name: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VideoError, match=reason):
        VideoDecoder(bad_media / name)
    assert capfd.readouterr() == ("", "")  # FFmpeg's own complaints stay off the terminal


def test_a_broken_video_is_good_up_to_the_break(
    bad_media: Path, references: dict[str, NDArray[np.uint8]], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = references["h264.mp4"]
    with VideoDecoder(bad_media / "breaks_late.mp4") as decoder:
        assert decoder.frames == 60  # the packets look whole
        with pytest.raises(VideoError, match="cannot be decoded"):
            decoder.read([59], height=96, width=128)
        assert np.array_equal(decoder.read([20, 30], height=96, width=128), whole[[20, 30]])
        timeline = decoder.verify()
        assert 46 <= timeline.frames <= 50
        assert timeline.broken.startswith(f"breaks at frame {timeline.frames} of 60")
        assert decoder.frames == timeline.frames
        last = decoder.frames - 1
        assert np.array_equal(decoder.read([last, 0], height=96, width=128), whole[[last, 0]])
        good = []
        with pytest.raises(VideoError, match="breaks at frame"):
            good.extend(decoder.iterate(height=96, width=128))
        assert np.array_equal(np.stack(good), whole[: last + 1])
    assert capfd.readouterr() == ("", "")


def test_a_file_cut_short_says_how_far_it_goes(media: Path, tmp_path: Path) -> None:
    whole = (media / "mpeg4.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 6 // 10])
    with VideoDecoder(tmp_path / "cut.avi") as decoder:
        timeline = decoder.verify()
        assert 20 < timeline.frames < 50
        decoder.read([timeline.frames - 1, 0], height=8, width=8)


def test_an_insane_size_is_refused_before_anything_is_allocated(media: Path, tmp_path: Path) -> None:
    data = bytearray((media / "animated.gif").read_bytes())
    data[6:10] = (40_000).to_bytes(2, "little") * 2
    (tmp_path / "huge.gif").write_bytes(data)
    with pytest.raises(VideoError, match=r"40000×40000|cannot be opened|no frame"):
        VideoDecoder(tmp_path / "huge.gif")


def test_names_that_look_like_protocols_are_files(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(media / "one_frame.mp4", tmp_path / "concat:x.mp4")
    monkeypatch.chdir(tmp_path)
    with VideoDecoder("concat:x.mp4") as decoder:
        assert decoder.frames == 1


def test_numbers_outside_are_an_error(media: Path) -> None:
    with VideoDecoder(media / "one_frame.mp4") as decoder:
        assert decoder.read([0, 0], height=4, width=4).shape == (2, 4, 4, 3)
        assert decoder.read([], height=4, width=4).shape == (0, 4, 4, 3)
        for wrong in (-1, 1):
            with pytest.raises(IndexError):
                decoder.read([wrong], height=4, width=4)


def test_the_best_of_two_streams_is_taken(media: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with (
        av.open(str(media / "odd_size.avi")) as a,
        av.open(str(media / "h264.mkv")) as b,
        av.open(str(path), "w") as out,
    ):
        streams = [out.add_stream_from_template(c.streams.video[0]) for c in (a, b)]
        for container, stream in zip((a, b), streams, strict=True):
            for packet in container.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert best is not None
        expected = best.codec_context.width
    with VideoDecoder(path) as decoder:
        assert decoder.info.width == expected


def test_write_video_says_what_it_cannot_do(tmp_path: Path) -> None:
    frames = np.zeros((2, 15, 17, 3), np.uint8)
    with pytest.raises(UserError, match="17×15 yuv420p video with libx264"):
        write_video(tmp_path / "a.mp4", frames)
    with pytest.raises(UserError, match="nonsense"):
        write_video(tmp_path / "a.mp4", frames, codec="nonsense")
    with pytest.raises(ValueError, match="frames must be uint8"):
        write_video(tmp_path / "a.mp4", frames.astype(float))
    with pytest.raises(ValueError, match="timestamps"):
        write_video(tmp_path / "a.mp4", frames, timestamps=[0.0])


def test_written_frames_come_back(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format="bgr0", fps=30)
    with VideoDecoder(tmp_path / "a.mkv") as decoder:
        assert decoder.info.fps == pytest.approx(30)
        assert np.array_equal(decoder.read(range(5), height=16, width=24), frames)
