"""Lists of single frames, a row a frame, as SlowFast has them for AVA, Charades and Something-Something.

The header is ``original_vido_id video_id frame_id path labels``, blanks between; a video is the folder of its frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing, split_of_list
from cacl.data.videos.lists.text import decoded, rows


def is_frame_rows(path: Path) -> bool:
    """Whether the first line of a file is that header."""
    with path.open("rb") as file:
        words = decoded(file.read(512)).split()
    return words[1:4] == ["video_id", "frame_id", "path"]


def frame_row_lists(files: Iterable[Path]) -> Listing:
    """One entry a folder; its labels are all that its frames have."""
    used = sorted(files)
    found: dict[tuple[str, str | None], dict[str, None]] = {}
    for path in used:
        split = split_of_list(path)
        for _, row in rows(path, needs="path", delimiter=" "):
            folder = row["path"].replace("\\", "/").rpartition("/")[0]
            labels = found.setdefault((folder, split), {})
            labels.update(dict.fromkeys(label.strip() for label in row.get("labels", "").split(",") if label.strip()))
    entries = [Entry(folder, tuple(labels), split) for (folder, split), labels in found.items() if folder]
    return Listing(tuple(entries), tuple(used), f"not in {' or '.join(p.name for p in used)}", False)
