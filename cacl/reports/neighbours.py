"""The picture of queries with their nearest neighbours, right and wrong marked: what Recall@k looks like.

Right is a solid blue frame with a tick, wrong a dashed orange one with a cross: three differences, so that neither
colour blindness nor a grey printer hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Video
from cacl.data.videos.sources import FrameSource
from cacl.errors import VideoError, printable
from cacl.reports.figures import save_figure
from cacl.reports.tiles import Tile, TileRow, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PREVIEW_FRAMES, _PREVIEW_SECONDS = 12, 2.0
_MARKS = {True: ("\N{CHECK MARK} ", "#0072b2"), False: ("\N{BALLOT X} ", "#d55e00"), None: ("", "#333333")}


def pick_queries(labels: Sequence[str | None], count: int = 8) -> list[int]:
    """Positions of ``count`` queries that show as many classes as can be, class by class in sorted order.

    Within a class the queries are taken evenly from the first to the last, so that the choice is the same every time
    and does not look at the result.
    """
    members: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label or "", []).append(position)
    classes = sorted(members)
    if len(classes) > count:
        classes = [classes[i] for i in np.linspace(0, len(classes) - 1, count).round().astype(int)]
    turns = -(-count // max(1, len(classes)))
    queues = {name: _evenly(members[name], turns) for name in classes}
    picked = [queues[name][turn] for turn in range(turns) for name in classes if turn < len(queues[name])]
    return picked[:count]


def _evenly(items: list[int], count: int) -> list[int]:
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]  # the middle of each part


def neighbour_rows(
    queries: Sequence[Video],
    gallery: Sequence[Video],
    indices_QK: NDArray[np.int64],
    similarities_QK: NDArray[np.float32],
    *,
    query_source: FrameSource,
    gallery_source: FrameSource,
    query_numbers: Sequence[int] | None = None,
    gallery_numbers: Sequence[int] | None = None,
    show: Sequence[int] | None = None,
    neighbours: int = 5,
    height: int = 96,
) -> list[TileRow]:
    """One row a query: its middle frame and some around it, then those of its nearest neighbours, best first.

    Args:
        queries: the query videos, Q of them.
        gallery: the gallery videos.
        indices_QK: neighbours of each query as positions in ``gallery``, from :func:`retrieval.nearest`.
        similarities_QK: their cosines.
        query_source: frames: query i is number ``query_numbers[i]``, by default i.
        gallery_source: frames of the gallery, likewise.
        show: which queries, by default :func:`pick_queries`.
        neighbours: how many a query.
        height: of a picture in pixels.

    Returns:
        Rows; a video whose frame cannot be read is left out.
    """
    rows = []
    for q in pick_queries([video.label for video in queries]) if show is None else show:
        query = queries[q]
        number = q if query_numbers is None else query_numbers[q]
        lead = _tile(query_source, number, query, height, note="query")
        tiles = []
        for g, similarity in zip(indices_QK[q, :neighbours], similarities_QK[q, :neighbours], strict=True):
            number = int(g) if gallery_numbers is None else gallery_numbers[g]
            right = None if query.label is None else gallery[g].label == query.label
            tiles.append(_tile(gallery_source, number, gallery[g], height, note=f"{similarity:.2f}", right=right))
        if lead is not None:
            rows.append(TileRow(tuple(tile for tile in tiles if tile is not None), lead=lead))
    return rows


def _tile(
    source: FrameSource, number: int, video: Video, height: int, *, note: str, right: bool | None = None
) -> Tile | None:
    indices_T, milliseconds = preview_frames(video.frames, video.fps)
    try:
        frames_THWC = shrink(source.read(number, indices_T), height)
    except VideoError:
        return None
    middle = int(np.flatnonzero(indices_T == video.frames // 2)[0])
    return Tile(
        frames_THWC[middle],
        caption=video.label if video.label is not None else video.id,
        note=note,
        right=right,
        title=video.path,
        frames=frames_THWC if len(frames_THWC) > 1 else None,
        milliseconds=milliseconds,
    )


def preview_frames(frames: int, fps: float) -> tuple[NDArray[np.int64], int]:
    """About two seconds around the middle of a video as at most 12 frames, the middle one among them, at their speed.

    Args:
        frames: of the video, at least 1.
        fps: its frames a second; 0 where unknown, then 25.

    Returns:
        Frame numbers, int64 ``[T]``, evenly spaced, and how many milliseconds each is to be seen.
    """
    rate = fps if fps > 0 else 25.0
    step = max(1, round(_PREVIEW_SECONDS * rate / _PREVIEW_FRAMES))
    step = min(step, max(1, frames // _PREVIEW_FRAMES))  # a short video is shown whole
    around_T = frames // 2 + step * (np.arange(_PREVIEW_FRAMES) - _PREVIEW_FRAMES // 2)
    return around_T[(around_T >= 0) & (around_T < frames)].astype(np.int64), round(1000 * step / rate)


def draw_neighbours(rows: Sequence[TileRow], path: Path) -> bool:
    """Write the picture as PNG; returns False, and writes nothing, where there are no rows."""
    if not rows:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 + max(len(row.tiles) for row in rows)
    figure = Figure(figsize=(1.75 * columns, 1.6 * len(rows) + 0.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, tile in zip(axes_row, [row.lead, *row.tiles], strict=False):
            if tile is not None:
                _draw_tile(axes, tile)
    save_figure(figure, path)
    return True


def _draw_tile(axes: Axes, tile: Tile) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(tile.image)
    mark, colour = _MARKS[tile.right]
    caption = tile.caption if len(tile.caption) <= 18 else tile.caption[:17] + "…"
    text = f"{mark}{printable(caption)}\n{printable(tile.note)}"
    text = text.replace("$", r"\$")  # a dollar sign would start mathematics
    axes.set_title(text, fontsize=7.5, color=colour, fontweight="bold" if tile.right is None else "normal", pad=3)
    if tile.right is not None:
        height, width = tile.image.shape[:2]
        style = "-" if tile.right else (0, (3, 2))
        frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=3, linestyle=style)
        frame.set_clip_on(False)
        axes.add_patch(frame)
