"""What is unusual about a media file, in the words of ``videos.csv``."""

from __future__ import annotations

from cacl.data.media.timeline import Timeline
from cacl.errors import counted

_CLOCKS = {
    "timestamps": "",
    "put in order": "timestamps out of order, put in order",
    "joined": "timestamps go back: taken for joined recordings, one after the other",
    "some missing": "some timestamps missing, filled in evenly",
    "rate": "no timestamps: times by the stated rate",
    "unknown": "no timestamps and no rate: times unknown",
}


def notes(timeline: Timeline, first: int, count: int) -> list[str]:
    """Notes on ``count`` frames of a file from number ``first`` on."""
    found = []
    gaps = [place for place in timeline.gaps if first < place < first + count]
    if not gaps and first == 0 and 0 in timeline.gaps:
        found.append(f"{counted(timeline.left_out, 'damaged frame')} left out at the beginning")
    elif gaps:
        where = ", ".join(map(str, gaps[:3])) + (" …" if len(gaps) > 3 else "")
        found.append(
            f"{counted(timeline.left_out, 'damaged frame')} left out of the file, before frame {where}: clips may span "
            f"{'the gap' if len(gaps) == 1 else 'the gaps'}"
        )
    if clock := _CLOCKS[timeline.clock.rule]:
        found.append(clock)
    look = timeline.first
    if timeline.interlaced or (look is not None and look.interlaced):
        found.append("interlaced: one field of each frame")
    return found + list(() if look is None else look.oddities)
