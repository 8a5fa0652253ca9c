"""An index that is open: its videos and vectors, searches by files, parts and examples, duplicates.

Shapes: n vectors, d numbers each, v videos, m examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog
from cacl.errors import UserError, did_you_mean
from cacl.evaluation.embedding import VECTORS
from cacl.files import check_there
from cacl.indexing.generation import Generation, IndexedVideo, Spans, open_generation
from cacl.indexing.hits import Curve, Hit
from cacl.indexing.layout import COPY, DECISIONS, POINTER, SCALE, SPACE, stamp_of
from cacl.indexing.on_server.served import Served
from cacl.indexing.parts_of import Part, inside, part_of
from cacl.indexing.previews import read_preview
from cacl.indexing.request import read_pointer
from cacl.indexing.searcher import Searcher
from cacl.models.segments import Segments
from cacl.search.decisions import Decisions
from cacl.search.exact import exact_nearest
from cacl.search.score import Scale
from cacl.search.space import Space
from cacl.servers.address import is_address

if TYPE_CHECKING:
    from cacl.search.duplicates import Duplicate

Query = str | Path | Part
MOST_PROBES = 16
_FEW = 200_000  # vectors that are read in less time than PyTorch takes to be imported
Vectors = NDArray[np.float64]


class Index:
    """An index made by ``cacl index``, opened for reading; it stays as it was opened while a new state is made.

    Attributes:
        path: the folder.
        about: what it is made of: ``videos``, ``root``, ``step``, ``precision``, ``whiten``, ``segments``,
            ``features``, ``encoder`` …
        root: where the videos are.

    Raises:
        UserError: no index there, one that is not finished, or damaged.
    """

    def __init__(
        self, path: str | Path, *, videos: str | Path | None = None, few: bool = False, approximate: bool = False
    ) -> None:
        """Open it.

        Args:
            path: the folder, or the address of the vector server that it was pushed to, ``postgresql://…``.
            videos: the folder that its videos were moved to.
            few: for a search or two: vectors are read as they are, and PyTorch is not needed.
            approximate: search by what the server has for that, which may miss some; of a server only.
        """
        self._served = Served(str(path), approximate=approximate) if is_address(path) else None
        if approximate and self._served is None:
            raise UserError(f"{path} is a folder, which is searched exactly: --approximate is for a vector server.")
        self.path = Path(path) if self._served is None else self._served.folder
        check_there(self.path)
        if not read_pointer(self.path):
            raise UserError(f"{self.path} is no index: it has no {POINTER}; make one with cacl index VIDEOS --out.")
        generation = open_generation(self.path)
        if generation is None:
            raise UserError(f"{self.path} is not finished: give the command that began it again.")
        self._generation: Generation = generation
        if self._served is not None:
            self._served.attach(generation)
        self._few = few
        self.about: dict[str, Any] = generation.about
        self.root = place(self.about["root"] if videos is None else videos)
        if videos is not None:
            check_there(self.root)

    def close(self) -> None:
        """Let go of the state that it was opened with; a later ``cacl index`` may remove it."""
        self._generation.close()
        if self._served is not None:
            self._served.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, float32 ``[n, d]``, read from the disk or the server as they are used."""
        return self._generation.vectors if self._served is None else self._served.rows

    @property
    def catalog(self) -> Catalog:
        """Every file: the videos in their order, and the others with the reason why they are not used."""
        return self._generation.catalog

    @property
    def catalog_file(self) -> Path:
        """The table of these, ``videos.csv``."""
        return self._generation.path / "videos.csv"

    @property
    def spans(self) -> Spans:
        """Of each vector the number of its video, its frames and its seconds."""
        return self._generation.spans

    @cached_property
    def segments(self) -> Segments:
        """A table of all stretches with their vectors."""
        videos, spans = self.catalog.videos, self.spans
        paths = [videos[number].path for number in spans.video.tolist()]
        frames = spans.frames
        first, count = frames[:, 0], frames[:, 1] - frames[:, 0]
        return Segments(paths, spans.seconds[:, 0], spans.seconds[:, 1], first, count, self.vectors)

    @property
    def videos(self) -> tuple[IndexedVideo, ...]:
        """The videos, those that are absent among them."""
        return self._generation.videos

    @cached_property
    def space(self) -> Space:
        """Where vectors are compared."""
        return Space.load(self._generation.path / SPACE)

    @cached_property
    def scale(self) -> Scale:
        """What scores mean."""
        return Scale.load(self._generation.path / SCALE)

    @cached_property
    def neighbours(self) -> Any:
        """The vectors as ``cacl.search.neighbours.Neighbours``, to be searched again and again."""
        from cacl.search.neighbours import Neighbours

        if self._served is not None:
            return self._served.neighbours(self.space)
        folder = self._generation.path
        return Neighbours(
            folder / VECTORS, space=self.space, copy=folder / COPY, version=self.about["fingerprint"], few=self._few
        )

    @property
    def decisions(self) -> Decisions:
        """Pairs that were said not to be the same."""
        return Decisions(self.path / DECISIONS / "not_the_same.json")

    def search(
        self,
        like: Query | Sequence[Query],
        *,
        unlike: Sequence[Query] = (),
        k: int = 10,
        within: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> list[Hit]:
        """Videos with stretches like the examples, best first; a stretch that was asked with is not found itself.

        Args:
            like: a video file, a part of one (``"query.mp4@12.5-15"``, seconds), a part of a video of the index
                (``"index:b12.mp4@3-5"``, as the index names it; nothing is decoded), or several of these.
            unlike: examples against.
            k: how many videos.
            within: only videos in this folder (relative to the folder of videos), or with this label.
            say: told what is unusual about the examples.

        Raises:
            UserError: an example that cannot be read, a part beyond the end, no such folder or label.
        """
        wanted = [like] if isinstance(like, (str, Path, Part)) else list(like)
        examples = [self.examples(query, say=say) for query in (*wanted, *unlike)]
        own = np.concatenate([np.zeros(0, np.int64), *(rows for _, rows in examples)])
        vectors = [vectors for vectors, _ in examples]
        against = vectors[len(wanted) :]
        probes = self.probes(np.concatenate(vectors[: len(wanted)]), np.concatenate(against) if against else None)
        return self.along(probes, k, within=within, without=own)

    def probes(self, like: ArrayLike, unlike: ArrayLike | None = None) -> Vectors:
        """What is searched along: a direction of the space for each example, less the mean of those against.

        Args:
            like: vectors of the archive's kind, ``[d]`` or ``[m, d]``; of more than ``MOST_PROBES`` neighbours are
                taken together.
            unlike: the same, or ``None``.

        Returns:
            float64 ``[≤ m, d]``.

        Raises:
            UserError: no example for, another width, NaN or infinite numbers.
        """
        table = np.atleast_2d(np.asarray(like, np.float64))
        groups = np.array_split(table, min(MOST_PROBES, max(len(table), 1)))
        return np.stack([self.space.direction(group, unlike) for group in groups])

    def examples(
        self, query: Query, *, say: Callable[[str], None] = lambda text: None
    ) -> tuple[Vectors, NDArray[np.int64]]:
        """The vectors of an example, ``[m, d]``, and their rows where they are of the index (else none).

        Args:
            query: as of ``search``.
            say: told what is unusual about it.

        Raises:
            UserError: it cannot be read, or the part is beyond the end.
        """
        part = query if isinstance(query, Part) else part_of(str(query), index=self.path)
        path = self._path_of(part)
        if path is not None:
            rows = self.rows(path, part.start, part.end)
            return self.vectors[rows].astype(np.float64), rows
        from cacl.indexing.query import embedded

        return embedded(self.path, self.about, part, say=say).astype(np.float64), np.zeros(0, np.int64)

    def rows(self, path: str, start: float = 0.0, end: float | None = None) -> NDArray[np.int64]:
        """Rows of the stretches in a part of a video: by their middles; where none is inside, the nearest one.

        Args:
            path: of the video, as the index names it.
            start: seconds.
            end: seconds, ``None``: to its end.

        Raises:
            UserError: no such video, or the part is beyond its end.
        """
        numbers = self._numbers.get(path)
        if numbers is None:
            raise UserError(f"{self.path} has no video {path}.{did_you_mean(path, self._numbers)}")
        own = np.concatenate([np.arange(*self.spans.rows(n).indices(len(self.vectors))) for n in numbers])
        chosen: NDArray[np.int64] = own[inside(self.spans.seconds[own], path, start, end)]
        return chosen

    def along(self, probes: ArrayLike, k: int = 10, *, within: str | None = None, without: ArrayLike = ()) -> list[Hit]:
        """The videos that have most of what is asked for: the mean, over the probes, of the best stretch for each.

        Args:
            probes: directions of the space, as of ``probes`` or ``space.direction``, float64 ``[m, d]`` or ``[d]``.
            k: how many.
            within: as of ``search``.
            without: rows that are not to be found.
        """
        if k < 1:
            raise UserError(f"k is {k}: ask for at least 1 hit.")
        mask = np.ones(len(self.vectors), np.bool_) if within is None else self.within(within)
        mask[np.asarray(without, np.int64)] = False
        return self._searcher.along(np.atleast_2d(np.asarray(probes, np.float64)), k, mask)

    def curve(self, probes: ArrayLike, video: int) -> Curve:
        """How much every stretch of a video is like what is asked for, along the whole video: the best of the probes.

        Args:
            probes: as of ``along``.
            video: its number.
        """
        return self._searcher.curve(np.atleast_2d(np.asarray(probes, np.float64)), video)

    def preview(self, row: int) -> bytes | None:
        """A moving picture of the stretch of this vector, animated WebP; ``None``: none was made."""
        video = int(self.spans.video[row])
        return read_preview(self.path, self._generation.known.keys[video], row - self.spans.rows(video).start)

    def within(self, name: str) -> NDArray[np.bool_]:
        """Which vectors are of videos in a folder or with a label, bool ``[n]``. Raises UserError: neither is there."""
        folder = name.rstrip("/") + "/"
        videos = self.catalog.videos
        chosen = [video.path.startswith(folder) or video.path == name or name in video.labels for video in videos]
        if not any(chosen):
            folders = {video.path.rpartition("/")[0] for video in videos} - {""}
            choices = sorted(folders | {label for video in videos for label in video.labels})
            raise UserError(f"--within is {name}: no folder and no label of {self.path}.{did_you_mean(name, choices)}")
        mask: NDArray[np.bool_] = np.array(chosen)[self.spans.video]
        return mask

    def duplicates(
        self,
        *,
        pixels: bool = True,
        say: Callable[[str], None] = lambda text: None,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    ) -> list[Duplicate]:
        """Every stretch that is in two videos, best first; see ``cacl.search.duplicates``. Nothing is changed.

        Args:
            pixels: look at the pixels of candidates, which need their files; without it all is only likely.
            say: told what could not be looked at.
            progress: called with what is done, how much of it and of how much; may raise to end it.
        """
        from cacl.indexing.twice import duplicates_of

        return duplicates_of(self, pixels=pixels, say=say, progress=progress)

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        """The parts of every file."""
        numbers: dict[str, list[int]] = {}
        for number, video in enumerate(self.catalog.videos):
            numbers.setdefault(video.path, []).append(number)
        return numbers

    def _path_of(self, part: Part) -> str | None:
        """What the index calls a query's file where it has it, unchanged."""
        if part.indexed:
            return part.path
        try:
            path = place(part.path).resolve().relative_to(self.root.resolve()).as_posix()
        except (OSError, ValueError):
            return None
        looked = self._generation.known.looked.get(path)
        return path if path in self._numbers and looked and stamp_of(place(part.path)) == looked.stamp else None

    @cached_property
    def _searcher(self) -> Searcher:
        videos, spans, space, scale = self.catalog.videos, self.spans, self.space, self.scale
        if self._served is not None:
            return Searcher(self.vectors, spans, videos, space, scale, self._served.nearest(space))
        few = self._few and len(self.vectors) <= _FEW

        def nearest(probes: Vectors, k: int, mask: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], Vectors]]:
            if few:
                return exact_nearest(self.vectors, space, probes, k, within=mask)
            return [(found.rows, found.scores) for found in self.neighbours.along(probes, k, within=mask)]

        return Searcher(self.vectors, spans, videos, space, scale, nearest)

    def __len__(self) -> int:
        return int(self.about["segments"])

    def __repr__(self) -> str:
        about = self.about
        return (
            f"Index({self.path}: {about['segments']} segments of {about['used']} videos, {about['features']} features)"
        )
