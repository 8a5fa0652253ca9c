"""Shared by all tests: the folder of real videos, if there is one, and a folder of small encoded videos made here."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import traceback
import wave
from collections.abc import Callable, Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import av
import hypothesis
import numpy as np
import pytest
import yaml
from array_videos import make_videos
from fingerprint import _fingerprint
from numpy.typing import NDArray
from postgres import Server
from squares import make_squares, square
from tiny import TINY

from cacl import cli
from cacl.data.media.encode import write_video

__all__ = ["_fingerprint", "make_videos"]  # fixtures

pytest.register_assert_rewrite("children", "training.drifting_stage")  # helpers whose asserts should explain themselves
hypothesis.settings.register_profile("cacl", deadline=None)  # no test measures time
hypothesis.settings.load_profile("cacl")

FRAMES = 60
HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a check of the convolutions finds is kept, but not among what the user has kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=None, help="folder of real videos, for the tests marked 'real' (or CACL_DATA)")


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    place = request.config.getoption("--data") or os.environ.get("CACL_DATA")
    if not place:
        pytest.skip("needs the real videos: make test-real DATA=<folder>, or set CACL_DATA")
    folder = Path(place).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the real videos; {folder} is no folder")
    return folder


def blocks(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    """Frames that cannot be mistaken for one another: big blocks of random colour, new in each frame."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    large = small.repeat(-(-height // 6), axis=1).repeat(-(-width // 8), axis=2)
    return np.ascontiguousarray(large[:, :height, :width])


def copy_packets(source: Path, target: Path, *, skip: int = 0, twins: bool = False) -> None:
    """Copy a stream without the first ``skip`` packets, or with packets 2n and 2n + 1 at the same time."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        out = new.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in old.demux(stream) if p.size):
            if number >= skip:
                if twins:
                    packet.pts = packet.dts = packet.pts - packet.pts % (2 * packet.duration)
                packet.stream = out
                new.mux(packet)


def damage(source: Path, target: Path, packet_number: int) -> None:
    """Copy a file, but overwrite the data of one packet with zeros."""
    with av.open(str(source)) as container:
        packet = [p for p in container.demux(video=0) if p.size][packet_number]
        position, size = packet.pos, packet.size
    data = bytearray(source.read_bytes())
    data[position : position + size] = bytes(size)
    target.write_bytes(data)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small videos of every kind that decodes, all different in container, codec or oddity."""
    folder = tmp_path_factory.mktemp("media")
    frames = blocks()
    b_frames = {"g": "12", "bf": "3", "preset": "veryfast"}
    write_video(folder / "h264.mp4", frames, options=b_frames)
    write_video(folder / "h264.mkv", frames, options=b_frames)
    write_video(folder / "open_gop.mp4", frames, options={**b_frames, "x264-params": "open-gop=1"})
    write_video(folder / "open_gop.ts", frames, options={**b_frames, "x264-params": "open-gop=1"})
    write_video(folder / "made_up_times.avi", frames, options=b_frames)
    write_video(folder / "no_times.h264", frames, options=b_frames)
    write_video(folder / "refresh.ts", frames, options={"g": "12", "bf": "0", "x264-params": "intra-refresh=1"})
    write_video(folder / "no_b_frames.mp4", frames, options={"g": "12", "bf": "0"})
    write_video(folder / "mpeg4.avi", frames, codec="mpeg4", options={"g": "12", "bf": "2"})
    write_video(folder / "odd_size.avi", frames[:, :-1, :-5], codec="mpeg4")
    write_video(folder / "vp9.webm", frames, codec="libvpx-vp9", options={"g": "20", "deadline": "realtime"})
    write_video(folder / "ten_bit.mp4", frames, pixel_format="yuv420p10le", options=b_frames)
    write_video(folder / "mpeg2.mpg", frames, codec="mpeg2video", options={"g": "12", "bf": "2"})
    write_video(folder / "animated.gif", frames[:20], codec="gif", pixel_format="rgb8")
    write_video(folder / "one_frame.mp4", frames[:1])
    write_video(folder / "Upper Case ü.MP4", frames[:20])
    uneven = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.3, FRAMES)) - 0.01
    write_video(folder / "uneven_rate.mp4", frames, timestamps=uneven.tolist(), options=b_frames)
    for turn in (90, 180, 270):
        write_video(folder / f"rotated_{turn}.mp4", frames[:20], rotation=turn)
    write_video(
        folder / "hevc.mkv", frames, codec="libx265", options={"x265-params": "log-level=0:keyint=12:bframes=3"}
    )
    copy_packets(folder / "hevc.mkv", folder / "begins_late.mkv", skip=key_packets(folder / "hevc.mkv")[1])
    write_video(folder / "lossless.mkv", frames, codec="ffv1")
    copy_packets(folder / "lossless.mkv", folder / "same_times.mkv", twins=True)
    return folder


def key_packets(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [i for i, p in enumerate(p for p in container.demux(video=0) if p.size) if p.is_keyframe]


@pytest.fixture(scope="session")
def bad_media(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Path:
    """A folder of files that are no video, or break."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.mp4").write_text("This is no video.\n" * 50, encoding="utf-8")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes())
    with wave.open(str(folder / "audio.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    whole = (media / "h264.mp4").read_bytes()
    (folder / "no_index.mp4").write_bytes(whole[: len(whole) // 2])
    damage(media / "h264.mp4", folder / "breaks_late.mp4", 50)
    write_video(folder / "breaks_early.mp4", blocks(), options={"g": "250", "preset": "veryfast"})
    damage(folder / "breaks_early.mp4", folder / "breaks_early.mp4", 20)  # one group: nothing good follows
    still = av.VideoFrame.from_ndarray(blocks(1)[0], format="rgb24").reformat(format="yuvj420p")
    still.time_base = Fraction(1, 25)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "yuvj420p", Fraction(1, 25)
    (folder / "photo.jpg").write_bytes(b"".join(bytes(p) for p in [*encoder.encode(still), *encoder.encode(None)]))
    return folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/CLASS/`` and ``test/CLASS/`` with eight and four small videos of two classes."""
    return make_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def make_square() -> Callable[..., NDArray[np.uint8]]:
    """``square``, for tests that write videos of their own."""
    return square


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL with pgvector, in which tests make databases of their own."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Not to be changed: settings with which a training takes a second: two epochs of two steps on ``squares``."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny`` with one epoch, for ``--config``."""
    file = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    file.write_text(yaml.safe_dump({**TINY, "optim.epochs": 1}))
    return file


@pytest.fixture(scope="session")
def finished(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the whole method on ``squares``. Only for reading: copy it to change it."""
    from cacl.training.pretrain import pretrain

    return pretrain(squares, out=tmp_path_factory.mktemp("runs") / "finished", settings=TINY).path


@pytest.fixture(scope="module")
def quick_end(finished: Path) -> Iterator[None]:
    """Runs end without the classifier of frame differences, with the pictures of another: two seconds less each."""
    from cacl.training import finish, first_batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "difference_baseline", lambda *parts, **keywords: SimpleNamespace(accuracy=9.0))
        patch.setattr(finish, "draw_curves", lambda rows, path, curves: shutil.copy(finished / "curves.png", path))
        patch.setattr(first_batch, "draw_samples", lambda samples, path: shutil.copy(finished / "curves.png", path))
        yield


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Ended(NamedTuple):
    status: int
    out: str
    err: str

    def refused(self, *parts: object) -> None:
        """Check status 2, nothing on stdout, and one line on stderr with these parts."""
        assert self.status == 2, self
        assert self.out == ""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if not line.startswith("Looking through")]
        assert len(lines) == 1, self.err
        for part in parts:
            assert str(part) in lines[0], (part, lines[0])


@pytest.fixture
def cacl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ended]:
    """``cacl("check", folder)``: the command line in this process, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cacl", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def in_processes(tmp_path: Path) -> Callable[..., list[Any]]:
    """``in_processes(2, work)``: ``work()`` in two joined processes at once; what each gave (tensors, plain values).

    A process that is gone, or whose work raised, gives None; ``timeout`` is that of one exchange, in seconds.
    """
    import torch

    from cacl.distributed import processes

    meetings = iter(range(100))

    def work_in(rank: int, count: int, folder: Path, work: Callable[[], Any], timeout: float) -> None:
        try:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
            os.environ.update({name: str(value) for name, value in place.items()})
            os.environ["CACL_MEETING"] = f"file://{folder}/meeting"
            torch.set_num_threads(1)
            processes.join(timedelta(seconds=timeout))
            torch.save(work(), folder / f"{rank}.pt")
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)

    def run(count: int, work: Callable[[], Any], *, timeout: float = 60) -> list[Any]:
        folder = tmp_path / f"meeting-{next(meetings)}"
        folder.mkdir()
        children = []
        gc.collect()  # a child must not tidy up what has threads here, such as a session of ONNX Runtime: it would wait
        for rank in range(count):
            child = os.fork()
            if not child:
                gc.freeze()
                work_in(rank, count, folder, work, timeout)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        found = [folder / f"{rank}.pt" for rank in range(count)]
        return [torch.load(path, weights_only=True) if path.exists() else None for path in found]

    return run
