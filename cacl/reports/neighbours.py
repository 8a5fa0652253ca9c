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

from cacl.data.videos.dataset import Dataset
from cacl.errors import VideoError
from cacl.evaluation.evaluate import Neighbours
from cacl.reports.figures import COLOURS, INK, new_figure, save_figure, words
from cacl.reports.tiles import Tile, TileRow, shrink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PREVIEW_FRAMES, _PREVIEW_SECONDS = 12, 2.0
_MARKS = {True: ("\N{CHECK MARK} ", COLOURS[0]), False: ("\N{BALLOT X} ", COLOURS[1]), None: ("", INK)}


def neighbour_rows(data: Dataset, neighbours: Sequence[Neighbours], *, height: int = 96) -> list[TileRow]:
    """One row a query: its middle frame and some around it, then those of its nearest neighbours, best first.

    Args:
        data: where their numbers count.
        neighbours: queries with what was found.
        height: of a picture in pixels.

    Returns:
        Rows; a video whose frame cannot be read is left out.
    """
    rows = []
    for one in neighbours:
        label = data.catalog.videos[one.query].label
        lead = _tile(data, one.query, height, note="query")
        tiles = []
        for number, similarity in zip(one.found, one.similarity, strict=True):
            right = None if label is None else data.catalog.videos[number].label == label
            tiles.append(_tile(data, number, height, note=f"{similarity:.2f}", right=right))
        if lead is not None:
            rows.append(TileRow(tuple(tile for tile in tiles if tile is not None), lead=lead))
    return rows


def _tile(data: Dataset, number: int, height: int, *, note: str, right: bool | None = None) -> Tile | None:
    video = data.catalog.videos[number]
    indices_T, milliseconds = preview_frames(video.frames, video.fps)
    try:
        frames_THWC = shrink(data.source.read(number, indices_T), height)
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
    columns = 1 + max(len(row.tiles) for row in rows)
    figure = new_figure(1.75 * columns, 1.6 * len(rows) + 0.3)
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
    text = f"{mark}{words(caption)}\n{words(tile.note)}"
    axes.set_title(text, fontsize=7.5, color=colour, fontweight="bold" if tile.right is None else "normal", pad=3)
    if tile.right is not None:
        height, width = tile.image.shape[:2]
        style = "-" if tile.right else (0, (3, 2))
        frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=3, linestyle=style)
        frame.set_clip_on(False)
        axes.add_patch(frame)
