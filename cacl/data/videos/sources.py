"""Where frames come from: the video files themselves, or a store in which they lie ready.

Both say the same: ``read(video, indices)`` gives frames of one size, to several threads at once. Both can be pickled
and forked: files are opened in the process that reads.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.cut import Box, Cut, box_of
from cacl.data.media.isolated import LostVideo, isolated, time_limit
from cacl.data.media.open_files import Stamp, frame_seconds, read_frames
from cacl.data.media.stream import MAX_PIXELS, MAX_SIDE
from cacl.data.media.timeline import Timeline
from cacl.data.remote.place import RemotePath, file_at, names_store, place
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.pixel_rules import rules_from_json
from cacl.data.videos.stored.fetched import SmallFiles
from cacl.data.videos.stored.packed import PackedFrames
from cacl.data.videos.stored.shares import FRAMES, Shares
from cacl.errors import UserError, VideoError

FORMAT = 1
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


@runtime_checkable
class TimedSource(FrameSource, Protocol):
    """A source that knows when its frames are shown."""

    def seconds(self, video: int) -> NDArray[np.float64]:
        """When each of the N frames of a video is shown, and when the last one ends.

        Returns:
            float64 ``[N + 1]``, seconds, 0 first, increasing; all NaN where nothing tells the time.

        Raises:
            VideoError: this video cannot be decoded.
        """


class DecodedVideos:
    """Frames decoded from the video files each time. Good for small and short videos; a store is faster.

    Decoding is done in processes of its own, one for each thread that reads: a file that crashes the decoder, hangs or
    eats memory is a ``VideoError`` like any other.

    Args:
        catalog: the videos; number i is ``catalog.videos[i]``.
        height: of the frames given out, pixels.
        width: pixels.
        rules: how stored pixels become RGB.
    """

    def __init__(self, catalog: Catalog, *, height: int, width: int, rules: PixelRules = AS_CODED) -> None:
        self.catalog = catalog
        self.rules = rules
        self.height = height
        self.width = width
        self._learnt: OrderedDict[str, tuple[Stamp, Timeline]] = OrderedDict()  # what took a whole decode to learn
        self._lost: dict[str, str] = {}  # files that a process was lost over: once is enough

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, height, width, 3]``; a VideoError where they cannot be decoded."""
        entry = self.catalog.videos[video]
        if len(indices) and not (indices.min() >= 0 and indices.max() < entry.frames):
            raise IndexError(f"{entry.id}: frames {indices.min()} to {indices.max()} asked for, of {entry.frames}")
        if entry.path in self._lost:
            raise VideoError(entry.path, self._lost[entry.path])
        file = str(file_at(self.catalog.root, entry.path))
        try:
            frames, learnt = isolated(
                file,
                time_limit(file),
                read_frames,
                file,
                indices + entry.first_frame,
                height=self.height,
                width=self.width,
                at_least=entry.first_frame + entry.frames,
                rules=self.rules,
                known=self._learnt.get(entry.path),
                cut=Cut(entry.region, self.catalog.blank),
            )
        except VideoError as error:
            if isinstance(error, LostVideo):
                self._lost[entry.path] = error.reason
            raise VideoError(entry.path, error.reason) from None
        if learnt is not None:
            self._learnt[entry.path] = learnt
            if len(self._learnt) > _KEPT_TIMELINES:
                with suppress(KeyError):  # another thread was faster
                    self._learnt.popitem(last=False)
        return frames

    def seconds(self, video: int) -> NDArray[np.float64]:
        """When each frame is shown, by the file's own timestamps: see ``TimedSource.seconds``."""
        entry = self.catalog.videos[video]
        file, last = str(file_at(self.catalog.root, entry.path)), entry.first_frame + entry.frames
        try:
            found = isolated(file, time_limit(file), frame_seconds, file)
        except VideoError as error:
            raise VideoError(entry.path, error.reason) from None
        if len(found) <= last:
            raise VideoError(entry.path, f"has {len(found) - 1} frames, {last} when it was looked at first")
        seconds: NDArray[np.float64] = found[entry.first_frame : last + 1] - found[entry.first_frame]
        return seconds

    def __deepcopy__(self, memo: object) -> DecodedVideos:
        return self  # for several threads at once; a catalog of a million videos would take ten seconds to copy

    def __getstate__(self) -> dict[str, Any]:
        return {"catalog": self.catalog, "height": self.height, "width": self.width, "rules": self.rules}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class FrameStore:
    """Frames that ``build_store`` made, read from memory-mapped files, or from a server by ranges; no video decoder is
    needed.

    Args:
        path: the store's folder, or its address.

    Attributes:
        catalog: the videos it holds, and every file that is not in it with the reason.
        height: of every frame, pixels.
        width: pixels.
        kind: ``"jpeg"`` or ``"raw"``.
        rules: by which stored pixels became RGB.
        size: bytes of all frames as they are stored.

    Raises:
        UserError: the folder is no complete store, or a server does not give it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = place(path)
        self._small = SmallFiles(self.path)
        manifest = self._manifest()
        self.height: int = manifest["height"]
        self.width: int = manifest["width"]
        self.kind: Literal["jpeg", "raw"] = manifest["kind"]
        self.rules = rules_from_json(manifest.get("pixels"))
        try:
            self.catalog = Catalog.read_csv(
                self._small.folder / "videos.csv", root=manifest["root"], blank=self._blank(manifest)
            )
        except UserError as error:
            raise UserError(str(error).replace(str(self._small.folder), str(self.path))) from None
        try:
            offsets = np.load(self._small.folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{self.path}/offsets.npy is damaged ({error}). Make the store again.") from error
        self._offsets: NDArray[np.int64] = offsets
        counts = np.array([v.frames for v in self.catalog.videos], np.int64)
        self._first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        array = isinstance(self._offsets, np.ndarray)  # and no archive of arrays
        if not array or self._offsets.dtype != np.int64 or self._offsets.shape != (self._first[-1] + 1,):
            raise UserError(f"{self.path}/offsets.npy does not fit its videos.csv. Make the store again.")
        self._offsets = self._offsets.view(np.ndarray)  # of what is mapped, which is slower to index
        self.shares = Shares(self.path, manifest) if "shares" in manifest else None
        self.size = self._size() if self.shares is None else self.shares.size
        if self._offsets[-1] != self.size:
            due, file = int(self._offsets[-1]), "frames.bin" if self.shares is None else "manifest.json"
            raise UserError(f"{self.path}/{file} is damaged: {self.size} bytes, {due} expected. Make it again.")
        whole = PackedFrames([self.path / FRAMES], np.array([[0, self.size]], np.int64))
        self._packed = whole if self.shares is None else self.shares.packed
        remote = isinstance(self.path, RemotePath)  # its copy may go with a process that was forked from this one
        self._times: dict[str, Any] | None = self._small.times() if remote else None

    def seconds(self, video: int) -> NDArray[np.float64]:
        """When each frame is shown: see ``TimedSource.seconds``. Stores made before there were times know the rate."""
        entry, found = self.catalog.videos[video], self._kept_times(video)
        if found is not None:
            return np.asarray(found - found[0], np.float64)
        return np.arange(entry.frames + 1) / entry.fps if entry.fps > 0 else np.full(entry.frames + 1, np.nan)

    def file_seconds(self, video: int) -> NDArray[np.float64]:
        """The same, counted from the first frame of the file that the video is a part of."""
        entry, found = self.catalog.videos[video], self._kept_times(video)
        if found is not None and (found[0] > 0 or not entry.first_frame):
            return found
        begin = entry.first_frame / entry.fps if entry.fps > 0 else np.nan  # older stores count parts from 0
        return begin + self.seconds(video)

    def _kept_times(self, video: int) -> NDArray[np.float64] | None:
        """What the store says of a video's times; None where that is nothing, or damaged."""
        if self._times is None:
            self._times = self._small.times()
        with suppress(ValueError, TypeError):
            found = np.array(self._times.get(str(video)), np.float64)
            if found.shape == (self.catalog.videos[video].frames + 1,) and (np.diff(found) > 0).all():
                return found
        return None

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, height, width, 3]``; numbers as in ``FrameSource.read``."""
        count = self.catalog.videos[video].frames
        if len(indices) and not (indices.min() >= 0 and indices.max() < count):
            raise IndexError(f"frames {indices.min()} to {indices.max()} of video {video} asked for, of {count}")
        wanted = list(dict.fromkeys(indices.tolist()))
        frames = self._first[video] + np.array(wanted, np.int64)
        packed = self._packed.read(np.array([self._offsets[frames], self._offsets[frames + 1]]).T)
        out = np.empty((len(indices), self.height, self.width, 3), np.uint8)
        compressed, done = dict(zip(wanted, packed, strict=True)), dict[int, int]()
        for row, index in enumerate(indices.tolist()):
            if index in done:
                out[row] = out[done[index]]
                continue
            try:
                self._unpack(compressed[index], out[row])
            except ValueError as error:
                path = self.catalog.videos[video].path
                raise VideoError(path, f"frame {index} is damaged in {self.path} ({error})") from None
            done[index] = row
        return out

    @property
    def files(self) -> tuple[Path, ...]:
        """Where its frames lie: one file, or one for each share."""
        return self._packed.files

    def _size(self) -> int:
        """Bytes of the frames that lie in its own folder."""
        file = self.path / FRAMES
        if isinstance(file, RemotePath):
            return file.stat().st_size
        return file.stat().st_size if file.exists() else 0

    def _manifest(self) -> dict[str, Any]:
        """What the store says of itself, every value of the right type and range."""
        try:
            manifest = json.loads((self._small.folder / "manifest.json").read_text(encoding="utf-8"))
            version = manifest["format"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise UserError(f"{self.path} is not a complete frame store. Make it with cacl prepare.") from None
        if version != FORMAT:
            raise UserError(f"{self.path} is a frame store of format {version}, this is for {FORMAT}. Make it again.")
        sizes = [manifest.get("height"), manifest.get("width")]
        good = all(type(size) is int and 1 <= size <= MAX_SIDE for size in sizes) and sizes[0] * sizes[1] <= MAX_PIXELS
        try:
            rules_from_json(manifest.get("pixels"))
        except (KeyError, TypeError, ValueError, AttributeError):
            good = False
        if not good or manifest.get("kind") not in ("jpeg", "raw") or not isinstance(manifest.get("root"), str):
            raise UserError(f"{self.path}/manifest.json is damaged. Make the store again.")
        return dict(manifest)

    def _blank(self, manifest: dict[str, Any]) -> tuple[Box, ...]:
        """The boxes that are black in its frames."""
        stated = manifest.get("blank", [])
        boxes = [box_of(",".join(map(str, box))) for box in stated if isinstance(box, list)]
        if not isinstance(stated, list) or len(boxes) != len(stated) or None in boxes:
            raise UserError(f"{self.path}/manifest.json is damaged. Make the store again.")
        return tuple(box for box in boxes if box is not None)

    def _unpack(self, packed: NDArray[np.uint8], out_HWC: NDArray[np.uint8]) -> None:
        if self.kind == "raw":
            out_HWC[:] = packed.reshape(out_HWC.shape)
            return
        import simplejpeg

        height, width, _, _ = simplejpeg.decode_jpeg_header(packed)
        if (height, width) != out_HWC.shape[:2]:
            raise ValueError(f"{height}x{width} pixels")
        # Quick upsampling of colour: a quarter less time, 0.4 dB, far below what augmentation does to colour.
        simplejpeg.decode_jpeg(packed, "RGB", fastupsample=True, buffer=out_HWC)

    def __deepcopy__(self, memo: object) -> FrameStore:
        return self  # for several threads at once

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def is_store(path: str | Path) -> bool:
    """Whether a folder is a complete frame store; an address can be one if it ends in ``.store``.

    Raises:
        UserError: a server does not say.
    """
    folder = place(path) if is_url(path) else Path(path)
    if isinstance(folder, RemotePath) and not names_store(folder):
        return False
    return (folder / "manifest.json").is_file() and (folder / "offsets.npy").is_file()
