"""When frames are shown: from the clock alone, and in whole files against a plain decode."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from conftest import blocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cacl.data.media.clock import clock_of, fraction
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.media.open_files import frame_seconds
from cacl.data.videos.scan import scan

if TYPE_CHECKING:
    from cacl.models.encoder import Encoder

MS = Fraction(1, 1000)


def clock(times: list[int | None], durations: list[int] | int = 0, rates: tuple[Fraction | None, ...] = ()):  # type: ignore[no-untyped-def]
    stated = [durations] * len(times) if isinstance(durations, int) else durations
    return clock_of(times, stated, time_base=MS, rates=rates)


def test_times_are_the_files_own_and_the_end_is_that_of_the_last_frame() -> None:
    found = clock([100, 140, 1140, 2140], [40, 1000, 1000, 500])
    assert found.seconds.tolist() == pytest.approx([0, 0.04, 1.04, 2.04, 2.54])
    assert (found.rate, found.rule) == (pytest.approx(4 / 2.54), "timestamps")


@pytest.mark.parametrize("made_up", [0, 1, 25])
def test_made_up_durations_are_not_believed(made_up: int) -> None:
    assert clock([0, 14, 60, 140, 200, 255], made_up).seconds[-1] == pytest.approx(0.255 + 0.055)  # the median gap


def test_a_constant_rate_is_exact_though_times_are_rounded() -> None:
    ntsc = Fraction(30000, 1001)
    times: list[int | None] = [round(i * 1000 / ntsc) for i in range(60)]
    assert clock(times, 33, (ntsc,)).rate == float(ntsc)
    assert clock(times, 33, (Fraction(1000), ntsc)).rate == float(ntsc)  # the first is a guess that does not fit
    assert clock(times, 33).rate == pytest.approx(float(ntsc), rel=1e-3)


def test_joined_recordings_follow_one_another() -> None:
    found = clock([1000, 1040, 1080, 1000, 1040, 1100], 40)
    assert found.seconds.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.22, 0.26])
    assert found.rule == "joined"
    again = clock([0, 40, 80, 7, 47, 87], 40)  # not the same times: they would lie between one another
    assert (again.seconds[:-1].tolist(), again.rule) == (pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2]), "joined")


def test_swapped_times_are_put_in_order() -> None:
    found = clock([40, 80, 120, 200, 160, 240], 40)
    assert found.seconds.tolist() == pytest.approx(np.arange(7) * 0.04)
    assert found.rule == "put in order"


def test_missing_and_equal_times_are_filled_in() -> None:
    assert clock([None, 40, None, None, 160, None], 40).seconds.tolist() == pytest.approx(np.arange(7) * 0.04)
    twins = clock([0, 0, 80, 80, 160, 160], 80)
    assert twins.rule == "some missing"
    assert twins.seconds[:-2].tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert np.all(np.diff(twins.seconds) > 0)


def test_without_times_the_stated_rate_counts_and_without_a_rate_nothing() -> None:
    found = clock([None] * 4, 0, (None, Fraction(20)))
    assert (found.seconds.tolist(), found.rate, found.rule) == (pytest.approx([0, 0.05, 0.1, 0.15, 0.2]), 20.0, "rate")
    unknown = clock([None] * 4)
    assert np.isnan(unknown.seconds).all()
    assert (unknown.rate, unknown.rule) == (0.0, "unknown")


def test_a_single_frame() -> None:
    assert clock([500], 40).seconds.tolist() == pytest.approx([0, 0.04])
    assert clock([500], 0, (Fraction(25),)).seconds.tolist() == pytest.approx([0, 0.04])
    assert clock([500], 0).rate == 0.0


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), min_size=1, max_size=40), st.integers(0, 100))
def test_whatever_is_stated_times_increase_from_0(times: list[int | None], duration: int) -> None:
    found = clock(times, duration, (Fraction(25),))
    assert len(found.seconds) == len(times) + 1
    assert found.seconds[0] == 0
    assert np.all(np.diff(found.seconds) > 0)
    assert found.rate > 0


class Missing:
    """As PyAV 19 states a rate that is unknown: 0 / 1 or 0 / 0, never None."""

    def __init__(self, numerator: int, denominator: int) -> None:
        self.numerator, self.denominator = numerator, denominator


def test_unknown_rates_of_every_version_of_pyav() -> None:
    assert [fraction(value) for value in (None, Missing(0, 1), Missing(0, 0), Missing(-1, 1))] == [None] * 4
    assert fraction(Missing(30000, 1001)) == Fraction(30000, 1001)


# ---- whole files -----------------------------------------------------------------------------------------------------


def plain_decode(path: Path) -> tuple[list[float], list[int]]:
    """Seconds of each frame after the first, and its mean brightness, by PyAV alone."""
    times, seen = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            times.append(float(frame.pts * stream.time_base))
            seen.append(int(frame.to_ndarray(format="gray").mean()))
    ends = [i for i in range(1, len(times)) if times[i] < times[i - 1]]
    for i in ends:  # a recording that is joined on goes on a frame later, 40 ms in these tests
        times[i:] = [t - times[i] + times[i - 1] + 0.04 for t in times[i:]]
    return [t - times[0] for t in times], seen


gaps_ms = st.lists(st.sampled_from([40, 40, 40, 80, 120, 1000, 17]), min_size=5, max_size=24)


def write(path: Path, gaps: list[int]) -> None:
    """A video of frames of growing brightness, each shown for so many milliseconds."""
    frames = (
        np.full((len(gaps), 32, 48, 3), 0, np.uint8) + np.arange(len(gaps), dtype=np.uint8)[:, None, None, None] * 10
    )
    starts = [0.0, *accumulate(gap / 1000 for gap in gaps[:-1])]
    write_video(path, frames, timestamps=starts, options={"g": "6", "bf": "2", "preset": "ultrafast"})


def check_against_plain_decode(path: Path, part: tuple[float, float]) -> None:
    times, seen = plain_decode(path)
    with VideoDecoder(path) as decoder:
        assert decoder.frames == len(times)
        assert decoder.seconds[:-1] == pytest.approx(times, abs=1e-9)
        assert decoder.info.fps == pytest.approx(len(times) / decoder.seconds[-1], rel=0.01)
        first, count = decoder.span(*part)
        chosen = [i for i, t in enumerate(times) if part[0] - 5e-7 <= t < part[1] - 5e-7]
        assert list(range(first, first + count)) == chosen
        if chosen:
            shown = decoder.read(chosen, height=4, width=4).mean(axis=(1, 2, 3))
            assert shown == pytest.approx([seen[i] for i in chosen], abs=2)
    assert frame_seconds(str(path))[:-1] == pytest.approx(times, abs=1e-9)
    check_vectors(path, times)


def check_vectors(path: Path, times: list[float]) -> None:
    """``embed``'s seconds are those of a plain decode, and so is what ``videos.csv`` says of the rate."""
    if importlib.util.find_spec("torch") is None:  # what reads media needs none
        return
    from cacl.models.segments import segment_windows

    found = small_encoder().embed_video(path)
    _, first, stop = segment_windows(len(times), frames=4, stride=1)
    assert found.start_s == pytest.approx([times[i] for i in first], abs=1e-6)
    inner = stop < len(times)
    assert found.end_s[inner] == pytest.approx([times[i] for i in stop[inner]], abs=1e-6)
    (video,) = [video for video in scan(path.parent).videos if video.path == path.name]
    assert (video.frames, video.fps) == (len(times), pytest.approx(len(times) / found.end_s[-1], rel=0.01))


@cache
def small_encoder() -> Encoder:
    from cacl.models.encoder import ClipSpec, Encoder

    return Encoder("r3d10", width=4, clip=ClipSpec(frames=4, stride=1, resize=(16, 16), size=16)).eval()


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(gaps=gaps_ms, part=st.tuples(st.floats(0, 1), st.floats(1, 3)))
def test_files_of_any_times(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, gaps: list[int], part: tuple[float, float]
) -> None:
    path = tmp_path_factory.mktemp("times") / f"v{suffix}"
    write(path, gaps)
    check_against_plain_decode(path, part)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(lengths=st.lists(st.integers(3, 30), min_size=2, max_size=4), part=st.tuples(st.floats(0, 1), st.floats(1, 3)))
def test_joined_files(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], part: tuple[float, float]) -> None:
    folder = tmp_path_factory.mktemp("joined")
    for number, length in enumerate(lengths):
        write(folder / f"{number}.ts", [40] * length)
    joined = folder / "joined.ts"
    joined.write_bytes(b"".join((folder / f"{number}.ts").read_bytes() for number in range(len(lengths))))
    check_against_plain_decode(joined, part)
    with VideoDecoder(joined) as decoder:
        assert decoder.frames == sum(lengths)
        assert decoder.info.fps == pytest.approx(25)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(gaps=gaps_ms, hidden=st.integers(0, 4), late=st.integers(0, 2000))
def test_edit_lists(tmp_path_factory: pytest.TempPathFactory, gaps: list[int], hidden: int, late: int) -> None:
    """MP4 whose first frames are cut away by its edit list, or which begins late."""
    folder = tmp_path_factory.mktemp("edits")
    write(folder / "whole.mp4", gaps)
    with (
        av.open(str(folder / "whole.mp4")) as old,
        av.open(str(folder / "cut.mp4"), "w", options={"avoid_negative_ts": "0"}) as new,
    ):
        stream = old.streams.video[0]
        out = new.add_stream_from_template(stream)
        packets = [p for p in old.demux(stream) if p.size]
        shift = late * 12 if not hidden else -sorted(p.pts for p in packets)[hidden]
        for packet in packets:
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, out
            new.mux(packet)
    check_against_plain_decode(folder / "cut.mp4", (0.05, 2.0))


def test_parts_and_vectors_have_the_seconds_of_the_file(tmp_path: Path) -> None:
    """64 frames of 40 ms, then one a second: start and end of parts, rates, and windows of an embedding."""
    pytest.importorskip("torch")
    from cacl.models.encoder import ClipSpec, Encoder
    from cacl.models.segments import segment_windows

    starts = [i * 0.04 for i in range(64)] + [2.56 + i for i in range(61)]
    write_video(tmp_path / "s.mkv", blocks(125, 32, 48), timestamps=starts, options={"bf": "0", "preset": "ultrafast"})
    (tmp_path / "videos.csv").write_text("path,start,end\ns.mkv,0,2.56\ns.mkv,2.56,10.5\ns.mkv,,\n")
    early, late, whole = (
        sorted(scan(tmp_path).videos, key=lambda v: (v.frames, v.first_frame))[::-1][1],
        *sorted(scan(tmp_path).videos, key=lambda v: v.frames)[::2],
    )
    assert (early.first_frame, early.frames, early.fps) == (0, 64, pytest.approx(25))
    assert (late.first_frame, late.frames, late.fps) == (64, 8, pytest.approx(1))
    assert (whole.frames, whole.fps) == (125, pytest.approx(125 / 62.6))
    encoder = Encoder("r3d10", width=4, clip=ClipSpec(resize=(16, 16), size=16))
    found = encoder.embed_video(tmp_path / "s.mkv")
    _, first, stop = segment_windows(125, frames=16, stride=2)
    ends = np.append(starts, 62.6)
    assert found.start_s == pytest.approx(ends[first])
    assert found.end_s == pytest.approx(ends[stop])
    assert (found.start_s[1], found.end_s[-1]) == (pytest.approx(1.28), pytest.approx(62.6))
