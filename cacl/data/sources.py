"""Where frames come from: the video files themselves, or a store in which they lie ready.

Both say the same: ``read(video, indices)`` gives frames of one size, to several threads at once. Both can be pickled
and forked: files are opened in the process that reads.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cacl.data.catalog import Catalog
from cacl.data.decode import VideoDecoder
from cacl.data.timeline import Timeline
from cacl.errors import UserError, VideoError

FORMAT = 1
_OPEN_FILES = 16
_KEPT_TIMELINES = 4096  # some kilobytes each


@runtime_checkable
class FrameSource(Protocol):
    """Frames of many videos, all of one size."""

    @property
    def height(self) -> int:
        """Of every frame, pixels."""

    @property
    def width(self) -> int:
        """Of every frame, pixels."""

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, H, W, 3]``.

        Args:
            video: its number in the catalog.
            indices: frame numbers from 0, int64 ``[T]``, any order, repeats allowed.

        Raises:
            VideoError: this video cannot be decoded.
        """


class DecodedVideos:
    """Frames decoded from the video files each time. Good for small and short videos; a store is faster.

    Args:
        catalog: the videos; number i is ``catalog.videos[i]``.
        height: of the frames given out, pixels.
        width: pixels.
    """

    def __init__(self, catalog: Catalog, *, height: int, width: int) -> None:
        self.catalog = catalog
        self.height = height
        self.width = width
        self._forget()

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, height, width, 3]``; a VideoError where they cannot be decoded."""
        entry = self.catalog.videos[video]
        with self._borrowed(entry.path) as decoder:
            if entry.first_frame + entry.frames > decoder.frames:
                found = f"{decoder.frames} frames, {entry.first_frame + entry.frames} when it was looked at first"
                raise VideoError(entry.path, f"has {found}")
            if len(indices) and not (indices.min() >= 0 and indices.max() < entry.frames):
                raise IndexError(f"{entry.id}: frames {indices.min()} to {indices.max()} asked for, of {entry.frames}")
            return decoder.read(indices + entry.first_frame, height=self.height, width=self.width)

    @contextmanager
    def _borrowed(self, path: str) -> Iterator[VideoDecoder]:
        """A decoder that no other thread has until it is given back."""
        if self._process != os.getpid():
            self._forget()  # after a fork: open files share their position with the parent's
        with self._lock:
            decoder, timeline = self._open.pop(path, None), self._timelines.get(path)
        if decoder is None:
            try:
                decoder = VideoDecoder(self.catalog.root / path, timeline=timeline)
            except VideoError as error:
                raise VideoError(path, error.reason) from None
        try:
            yield decoder
        finally:
            with self._lock:
                surplus = self._open.pop(path, None)  # of a thread that read the same video meanwhile
                self._open[path] = decoder
                if len(self._open) > _OPEN_FILES:
                    surplus = self._open.popitem(last=False)[1]
                self._timelines[path] = decoder.timeline
                if len(self._timelines) > _KEPT_TIMELINES:
                    self._timelines.popitem(last=False)
            if surplus is not None:
                surplus.close()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: OrderedDict[str, VideoDecoder] = OrderedDict()
        self._timelines: OrderedDict[str, Timeline] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"catalog": self.catalog, "height": self.height, "width": self.width}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["catalog"], height=state["height"], width=state["width"])  # type: ignore[misc]


class FrameStore:
    """Frames that ``build_store`` made, read from one memory-mapped file; no video decoder is needed.

    Args:
        path: the store's folder.

    Attributes:
        catalog: the videos it holds, and every file that is not in it with the reason.
        height: of every frame, pixels.
        width: pixels.
        kind: ``"jpeg"`` or ``"raw"``.

    Raises:
        UserError: the folder is no complete store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
            version = manifest["format"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.path} is not a complete frame store. Make it with cacl prepare.") from None
        if version != FORMAT:
            raise UserError(f"{self.path} is a frame store of format {version}, this is for {FORMAT}. Make it again.")
        self.height: int = manifest["height"]
        self.width: int = manifest["width"]
        self.kind: Literal["jpeg", "raw"] = manifest["kind"]
        self.catalog = Catalog.read_csv(self.path / "videos.csv", root=manifest["root"])
        self._offsets: NDArray[np.int64] = np.load(self.path / "offsets.npy", mmap_mode="r")
        counts = np.array([v.frames for v in self.catalog.videos], np.int64)
        self._first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        size = (self.path / "frames.bin").stat().st_size if (self.path / "frames.bin").exists() else 0
        if len(self._offsets) != self._first[-1] + 1 or self._offsets[-1] != size:
            due = int(self._offsets[-1])
            raise UserError(f"{self.path}/frames.bin is damaged: {size} bytes, {due} expected. Make it again.")
        self._bytes: NDArray[np.uint8] | None = None

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, height, width, 3]``; numbers as in ``FrameSource.read``."""
        count = self.catalog.videos[video].frames
        if len(indices) and not (indices.min() >= 0 and indices.max() < count):
            raise IndexError(f"frames {indices.min()} to {indices.max()} of video {video} asked for, of {count}")
        if self._bytes is None:
            self._bytes = np.memmap(self.path / "frames.bin", np.uint8, mode="r")
        out = np.empty((len(indices), self.height, self.width, 3), np.uint8)
        done: dict[int, int] = {}
        for place, index in enumerate(indices.tolist()):
            if index in done:
                out[place] = out[done[index]]
                continue
            frame = int(self._first[video]) + index
            self._unpack(self._bytes[self._offsets[frame] : self._offsets[frame + 1]], out[place])
            done[index] = place
        return out

    def _unpack(self, packed: NDArray[np.uint8], out_HWC: NDArray[np.uint8]) -> None:
        if self.kind == "raw":
            out_HWC[:] = packed.reshape(out_HWC.shape)
            return
        import simplejpeg

        # Quick upsampling of colour: a quarter less time, 0.4 dB, far below what augmentation does to colour.
        simplejpeg.decode_jpeg(packed, "RGB", fastupsample=True, buffer=out_HWC)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def is_store(path: str | Path) -> bool:
    """Whether a folder is a complete frame store."""
    return (Path(path) / "manifest.json").is_file() and (Path(path) / "offsets.npy").is_file()
