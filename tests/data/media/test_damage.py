"""Joined and damaged files: what is given is what the undamaged file holds at that time, and the rest is said."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from conftest import blocks, copy_packets, damage
from numpy.typing import NDArray

from cacl.data.media.damage import good_frames
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.media.notes import notes
from cacl.data.media.timeline import FrameFacts, PacketFacts
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.errors import VideoError

PACKET = 188  # bytes of one of MPEG-TS
CODECS = {
    "mpeg2": ("mpeg2video", {"g": "12", "bf": "2"}),
    "h264": ("libx264", {"g": "15", "bf": "3", "preset": "veryfast"}),
    "open": ("libx264", {"g": "15", "bf": "3", "preset": "veryfast", "x264-params": "open-gop=1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=0:keyint=15"}),
    "mpeg4": ("mpeg4", {"g": "12"}),
}
COUNT = 90


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name, (codec, options) in CODECS.items():
        write_video(folder / f"{name}.ts", blocks(COUNT), codec=codec, options=options)
    return folder


def plain(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24", interpolation="POINT") for f in container.decode(video=0)])


def join(target: Path, *parts: Path | bytes) -> Path:
    target.write_bytes(b"".join(part if isinstance(part, bytes) else part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize("codec", ["mpeg2", "h264", "hevc"])
def test_joined_recordings_are_used_to_the_last_frame(streams: Path, tmp_path: Path, codec: str) -> None:
    short = tmp_path / "short.ts"
    write_video(short, blocks(20, seed=1), codec=CODECS[codec][0], options=CODECS[codec][1])
    joined = join(tmp_path / "joined.ts", short, streams / f"{codec}.ts")
    whole = plain(joined)
    assert len(whole) == 20 + COUNT
    with VideoDecoder(joined) as decoder:
        assert (decoder.frames, decoder.timeline.broken, decoder.timeline.left_out) == (20 + COUNT, "", 0)
        for indices in ([0, 19, 20, 21, 109], range(10, 30), [60, 3]):
            assert np.array_equal(decoder.read(indices, height=96, width=128), whole[list(indices)])
        assert np.array_equal(np.stack(list(decoder.iterate(height=96, width=128))), whole)
    (video,) = scan(joined).videos
    assert (video.frames, video.fps) == (110, pytest.approx(25))
    assert video.note == "timestamps go back: taken for joined recordings, one after the other"


@pytest.mark.parametrize("codec", CODECS)
def test_behind_a_lost_packet_it_goes_on(streams: Path, tmp_path: Path, codec: str) -> None:
    """Every frame that is given equals the one of that time in the whole file, and most are given."""
    data, whole = (streams / f"{codec}.ts").read_bytes(), plain(streams / f"{codec}.ts")
    rng = np.random.default_rng(0)
    path = tmp_path / "lost.ts"
    kept = []
    for place in rng.integers(len(data) // PACKET // 8, len(data) // PACKET * 3 // 4, 6).tolist():
        join(path, data[: place * PACKET], data[(place + 1) * PACKET :])
        with VideoDecoder(path) as decoder:
            numbers = np.rint(decoder.seconds[:-1] * 25).astype(int)
            assert np.array_equal(np.stack(list(decoder.iterate(height=96, width=128))), whole[numbers])
            asked = [decoder.frames - 1, decoder.frames // 2, 0]
            assert np.array_equal(decoder.read(asked, height=96, width=128), whole[numbers[asked]])
            assert decoder.timeline.broken == ""
            if decoder.frames < COUNT:
                gap = int(np.flatnonzero(np.diff(numbers) > 1)[0]) + 1
                assert decoder.timeline.gaps[0] in range(gap - 3, gap + 1)
                (text,) = notes(decoder.timeline, 0, decoder.frames)
                assert "left out of the file" in text
                assert "clips may span the gap" in text
                assert decoder.timeline.left_out in range(COUNT - decoder.frames - 1, COUNT - decoder.frames + 2)
            kept.append(decoder.frames)
    assert np.mean(kept) >= 0.75 * COUNT


def test_frames_behind_a_damaged_packet_of_mp4_are_used_and_the_gap_is_said(tmp_path: Path) -> None:
    """Groups of 12; packet 20 is zeros. Not known from the packets, but by a deep look and by preparing."""
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "gap.mp4"
    write_video(path, blocks(60), options={"g": "12", "bf": "0", "preset": "veryfast"})
    whole = plain(path)
    damage(path, path, 20)
    good = [*range(20), *range(24, 60)]
    with VideoDecoder(path) as decoder:
        assert decoder.frames == 60
        assert np.array_equal(decoder.read([58, 30], height=96, width=128), whole[[58, 30]])
        with pytest.raises(VideoError, match="frame 22 of 60 cannot be decoded"):
            decoder.read([22], height=96, width=128)
        assert np.array_equal(np.stack(list(decoder.iterate(height=96, width=128))), whole[good])
        assert decoder.frames == 56
        assert np.array_equal(decoder.read([19, 20, 55], height=96, width=128), whole[[19, 24, 59]])
        assert decoder.seconds[[19, 20]] == pytest.approx([19 / 25, 24 / 25])
    (video,) = scan(tmp_path / "videos", deep=True).videos
    said = "4 damaged frames left out of the file, before frame 20: clips may span the gap"
    assert (video.frames, video.note) == (56, said)
    store = build_store(scan(tmp_path / "videos"), tmp_path / "store", height=96, width=128, kind="raw")
    assert (store.catalog.videos[0].frames, store.catalog.videos[0].note) == (56, said)
    assert np.array_equal(store.read(0, np.arange(56)), whole[good])


def test_a_recording_that_begins_in_the_middle_of_a_group(streams: Path, tmp_path: Path) -> None:
    """Frames before the first picture to begin with say nothing."""
    data, whole = (streams / "mpeg2.ts").read_bytes(), plain(streams / "mpeg2.ts")
    cut = join(tmp_path / "cut.ts", data[len(data) // 3 // PACKET * PACKET :])
    with VideoDecoder(cut) as head:
        shown = np.stack(list(head.iterate(height=96, width=128)))
        assert np.array_equal(shown, whole[-len(shown) :])
        assert len(shown) > COUNT / 2
        assert [text.split(" ", 1)[1] for text in notes(head.timeline, 0, head.frames)] in (
            [],
            ["damaged frames left out at the beginning"],
        )


def test_every_frame_of_its_own_loses_but_the_damaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.mp4"
    write_video(path, blocks(40), codec="mjpeg", pixel_format="yuvj420p")
    damage(path, path, 10)
    with VideoDecoder(path) as decoder:
        decoder.verify()
        assert (decoder.frames, decoder.timeline.gaps, decoder.timeline.left_out) == (39, (10,), 1)


def test_a_cut_file_still_ends_where_it_is_cut(tmp_path: Path, media: Path) -> None:
    copy_packets(media / "h264.mkv", tmp_path / "h.ts")
    data = (tmp_path / "h.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 2 // 3])
    whole = plain(media / "h264.mkv")
    with VideoDecoder(tmp_path / "cut.ts") as decoder:
        shown = decoder.read(range(decoder.frames), height=96, width=128)
        assert np.array_equal(shown, whole[np.rint(decoder.seconds[:-1] * 25).astype(int)])
        assert 30 <= decoder.frames < 50


# ---- by hand ---------------------------------------------------------------------------------------------------------


def packets(text: str, *, corrupt: tuple[int, ...] = ()) -> list[PacketFacts]:
    """``"I P B"``: one packet each, times in the order of storage."""
    return [
        PacketFacts(pts=i, dts=i, duration=1, key=kind == "I", hidden=False, corrupt=i in corrupt)
        for i, kind in enumerate(text.split())
    ]


def frames(text: str, *, corrupt: tuple[int, ...] = (), without: tuple[int, ...] = ()) -> list[FrameFacts]:
    return [
        FrameFacts(i, i, 1, kind == "I", kind == "I", i in corrupt, False, i)
        for i, kind in enumerate(text.split())
        if i not in without
    ]


@pytest.mark.parametrize("parsed", [False, True])
def test_a_mark_of_mpeg_ts_stands_on_the_packet_before(parsed: bool) -> None:
    text = "I P P P I P"
    good = good_frames(frames(text), packets(text, corrupt=(1,)), {}, parsed=parsed)
    assert good.frames == ([0, 1, 4, 5] if parsed else [0, 4, 5])
    assert (good.left_out, good.gaps) == ((2, (2,)) if parsed else (3, (1,)))


def test_a_damaged_picture_to_begin_with_takes_its_whole_group() -> None:
    text = "I P P I P P I P"
    assert good_frames(frames(text), packets(text, corrupt=(2,)), {}, parsed=True).frames == [0, 1, 2, 6, 7]


def test_what_the_decoder_refuses_or_makes_up() -> None:
    text = "I P P I P P I P"
    made_up = good_frames(frames(text, corrupt=(1,)), packets(text), {}, parsed=False)
    refused = good_frames(frames(text, without=(1,)), packets(text), {1: "no"}, parsed=False)
    assert made_up.frames == [0, 3, 4, 5, 6, 7]
    assert [frames(text, without=(1,))[i].packet for i in refused.frames] == [0, 3, 4, 5, 6, 7]
    assert refused.gaps == (1,)
    assert (refused.left_out, refused.ends_early) == (2, "")


def test_nothing_good_follows() -> None:
    text = "I P P I P P P"
    end = good_frames(frames(text, without=(5,)), packets(text), {5: "invalid data"}, parsed=False)
    assert (end.frames, end.left_out, end.ends_early) == ([0, 1, 2, 3, 4], 0, "invalid data")


def test_a_decoder_that_calls_everything_made_up_is_not_believed() -> None:
    text = "I P P"
    assert good_frames(frames(text, corrupt=(0, 1, 2)), packets(text), {}, parsed=False).frames == [0, 1, 2]
