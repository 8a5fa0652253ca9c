"""Pictures of videos as the page holds them: a still and an animation as data, with the caption; kept as JSON in a run.

A run's page can be made again, with the results of an analysis or beside other runs, when the videos are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cacl.reports.tiles import Tile, TileRow, jpeg_uri, webp_uri


@dataclass(frozen=True)
class Preview:
    """A tile, its pictures as ``data:`` addresses.

    Attributes:
        still: JPEG, also for readers who want no motion.
        moving: animated WebP, or None where there is one frame only.
        width, height: pixels.
        caption, note, right, title: as of :class:`cacl.reports.tiles.Tile`.
    """

    still: str
    moving: str | None
    width: int
    height: int
    caption: str
    note: str
    right: bool | None
    title: str


@dataclass(frozen=True)
class PreviewRow:
    """A query, if any, and what was found."""

    tiles: tuple[Preview, ...]
    lead: Preview | None = None


def preview_rows(rows: Sequence[TileRow]) -> list[PreviewRow]:
    """Encode the pictures of tiles."""
    return [
        PreviewRow(tuple(map(_preview, row.tiles)), None if row.lead is None else _preview(row.lead)) for row in rows
    ]


def rows_to_json(rows: Sequence[PreviewRow]) -> list[dict[str, Any]]:
    """For a JSON file."""
    return [asdict(row) for row in rows]


def rows_from_json(content: Sequence[Mapping[str, Any]]) -> list[PreviewRow]:
    """What ``rows_to_json`` gave.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return [
        PreviewRow(
            tuple(_from_json(tile) for tile in row["tiles"]),
            None if row["lead"] is None else _from_json(row["lead"]),
        )
        for row in content
    ]


def _preview(tile: Tile) -> Preview:
    height, width = tile.image.shape[:2]
    moving = None if tile.frames is None else webp_uri(tile.frames, milliseconds=tile.milliseconds)
    return Preview(jpeg_uri(tile.image), moving, width, height, tile.caption, tile.note, tile.right, tile.title)


def _from_json(content: Mapping[str, Any]) -> Preview:
    preview = Preview(**content)
    for address in (preview.still, preview.moving):
        if address is not None and not address.startswith("data:image/"):
            raise ValueError("a preview must hold its pictures itself")
    return preview
