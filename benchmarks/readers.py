"""Ways to read sixteen frames of a video file: ours, the limit, whole videos, and other libraries where they import.

Each is a function (path, frame numbers) -> a function to be timed, which gives uint8 ``[T, HEIGHT, WIDTH, 3]``. What is
done before the clock starts (for the limit: opening and seeking) stays outside the returned function.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from cacl.data.media.decode import VideoDecoder
from cacl.data.media.timeline import Timeline

HEIGHT, WIDTH = 128, 171
Frames = NDArray[np.uint8]
Read = Callable[[], Frames]
Reader = Callable[[Path, NDArray[np.int64]], Read]

_scaler = VideoReformatter()
_timelines: dict[Path, Timeline] = {}


def ours(path: Path, indices: NDArray[np.int64]) -> Read:
    """A file met before, as in every epoch but the first: opened, seeked, decoded, closed."""
    if path not in _timelines:
        with VideoDecoder(path) as decoder:
            _timelines[path] = decoder.timeline

    def read() -> Frames:
        with VideoDecoder(path, timeline=_timelines[path]) as decoder:
            frames = decoder.read(indices, height=HEIGHT, width=WIDTH)
        return frames

    return read


def ours_first(path: Path, indices: NDArray[np.int64]) -> Read:
    """A file never met before: its packets are read first."""

    def read() -> Frames:
        with VideoDecoder(path) as decoder:
            frames = decoder.read(indices, height=HEIGHT, width=WIDTH)
        return frames

    return read


def limit(path: Path, indices: NDArray[np.int64]) -> Read:
    """Nothing but the decoder over every frame from the keyframe to the last one wanted, and scaling of the sixteen."""
    return _bare(path, indices, leave_out=False)


def strict_limit(path: Path, indices: NDArray[np.int64]) -> Read:
    """The same without the frames that are neither wanted nor referred to by others."""
    return _bare(path, indices, leave_out=True)


def _bare(path: Path, indices: NDArray[np.int64], *, leave_out: bool) -> Read:
    with VideoDecoder(path) as decoder:
        times, entry = decoder.timeline.times, decoder.timeline.entry(int(indices.min()))
    assert times is not None
    container = _open(path)
    stream = container.streams.video[0]
    container.seek(int(times[entry]), stream=stream)
    last = int(times[indices.max()])
    place = {int(times[i]): k for k, i in enumerate(indices)}

    def read() -> Frames:
        out = np.empty((len(indices), HEIGHT, WIDTH, 3), np.uint8)
        for packet in container.demux(stream):
            if leave_out:
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in place else "NONREF"
            for frame in stream.decode(packet):
                if frame.pts in place:
                    out[place[frame.pts]] = _scaled(frame)
                if frame.pts == last:
                    return out
        raise AssertionError("the last frame did not come out")

    return read


def whole_as_released(path: Path, indices: NDArray[np.int64]) -> Read:
    """As the released code: every frame of the video to RGB at full size, then the sixteen scaled."""

    def read() -> Frames:
        with _open(path) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack([_scaled(av.VideoFrame.from_ndarray(frames[i], format="rgb24")) for i in indices])

    return read


def whole_lean(path: Path, indices: NDArray[np.int64]) -> Read:
    """Every frame of the video decoded, the sixteen alone converted and scaled."""
    wanted = set(indices.tolist())

    def read() -> Frames:
        with _open(path) as container:
            got = {i: _scaled(frame) for i, frame in enumerate(container.decode(video=0)) if i in wanted}
        return np.stack([got[int(i)] for i in indices])

    return read


def _open(path: Path) -> Any:
    container = av.open(str(path))
    container.streams.video[0].thread_type = "NONE"
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _scaled(frame: av.VideoFrame) -> Frames:
    scaled = _scaler.reformat(frame, WIDTH, HEIGHT, "rgb24", interpolation="BILINEAR", threads=1)
    return cast("Frames", scaled.to_ndarray())


def rivals() -> tuple[dict[str, Reader], list[str]]:
    """Readers of other libraries that import here, and for each that does not the reason."""
    found: dict[str, Reader] = {}
    missing: list[str] = []
    for name, load in (("OpenCV seek", _opencv), ("torchcodec", _torchcodec)):
        try:
            found |= load()
        except (ImportError, OSError, RuntimeError) as error:
            missing.append(f"{name} not measured: {str(error).splitlines()[0]}")
    return found, missing


def _opencv() -> dict[str, Reader]:
    os.environ.setdefault("OPENCV_FFMPEG_THREADS", "1")
    import cv2  # type: ignore[import-not-found, unused-ignore]

    cv2.setNumThreads(1)

    def reader(path: Path, indices: NDArray[np.int64]) -> Read:
        wanted = set(indices.tolist())

        def read() -> Frames:
            video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            first = int(indices.min())
            video.set(cv2.CAP_PROP_POS_FRAMES, first)
            got = {}
            for i in range(first, int(indices.max()) + 1):
                video.grab()
                if i in wanted:
                    small = cv2.resize(video.retrieve()[1], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                    got[i] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
            video.release()
            return np.stack([got[int(i)] for i in indices])

        return read

    return {f"OpenCV {cv2.__version__} seek": reader}


def _torchcodec() -> dict[str, Reader]:
    import torchcodec  # type: ignore[import-not-found, unused-ignore]
    from torchcodec.decoders import VideoDecoder as Decoder  # type: ignore[import-not-found, unused-ignore]
    from torchcodec.transforms import Resize  # type: ignore[import-not-found, unused-ignore]

    def reader(mode: str) -> Reader:
        def prepare(path: Path, indices: NDArray[np.int64]) -> Read:
            def read() -> Frames:
                decoder = Decoder(
                    str(path),
                    dimension_order="NHWC",
                    num_ffmpeg_threads=1,
                    seek_mode=mode,
                    transforms=[Resize((HEIGHT, WIDTH))],
                )
                frames: Frames = decoder.get_frames_at(indices.tolist()).data.numpy()
                return frames

            return read

        return prepare

    return {f"torchcodec {torchcodec.__version__} {mode}": reader(mode) for mode in ("exact", "approximate")}
