"""Which frames of a damaged file are good: those that lean on nothing that was lost.

A container says which packet is damaged, a decoder which it refused and which frame it had to make up; what leans on
such a frame says nothing. So everything is left out from the damage to the next picture that leans on no other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from cacl.data.media.timeline import FrameFacts, PacketFacts

_JOIN = 3  # packets; where recordings were joined, a picture to begin with follows this soon
_LEADING = 32  # packets behind a picture to begin with that may be shown before it


@dataclass(frozen=True)
class Good:
    """What is left of the frames of a sequential decode.

    Attributes:
        frames: numbers of the good ones, increasing.
        left_out: how many are damaged before and between these.
        gaps: places in ``frames`` right before which some were left out.
        ends_early: why nothing behind the last good one is good, or an empty string.
    """

    frames: list[int]
    left_out: int
    gaps: tuple[int, ...]
    ends_early: str


def good_frames(
    frames: list[FrameFacts], packets: list[PacketFacts], failed: dict[int, str], *, parsed: bool, stopped: str = ""
) -> Good:
    """Find the good ones among the frames of a sequential decode that went on after damage.

    Args:
        frames: all that came out, in this order.
        packets: all that hold data, in the order of the file.
        failed: packets that the decoder refused, and why.
        parsed: whether the container's mark of damage stands on the packet before the damaged one: so in MPEG-TS,
            where a picture ends when the next is seen.
        stopped: why the file could not be read to its end, or an empty string.
    """
    flagged = {f.packet for f in frames if f.corrupt}
    clean = sorted({f.packet for f in frames if f.intra and packets[f.packet].key} - flagged)
    told = {*_marked(packets, parsed=parsed), *failed}
    damaged = _spread(told | flagged, packets, clean)
    if all(f.packet in damaged for f in frames):  # "nothing is whole", says the decoder, of what it decodes
        damaged = _spread(told, packets, clean)
    tail = len(packets)
    while tail - 1 in damaged:
        tail -= 1
    good = [i for i, f in enumerate(frames) if f.packet not in damaged]
    why = stopped
    if tail < len(packets):
        why = next((failed[k] for k in sorted(failed) if k >= tail), "damaged data")
        good = _up_to(tail, good, frames, packets, clean)
    between = {k for k in damaged if k < tail}
    a_frame = 2 if len(packets) - len(damaged) > 1.5 * max(len(good), 1) else 1  # packets: of pictures or of fields
    return Good(good, -(-len(between) // a_frame), _gaps(good, frames, between), why)


def _marked(packets: list[PacketFacts], *, parsed: bool) -> Iterator[int]:
    """Packets from which on the container says that something is missing.

    Where another recording was joined on, shown by times that go back, its packets are merely counted anew.
    """
    for number, packet in enumerate(packets):
        if packet.corrupt and not any(_joined(packets, k) for k in range(number + 1, number + 1 + _JOIN)):
            start = number + parsed
            if start < len(packets):
                yield start


def _joined(packets: list[PacketFacts], number: int) -> bool:
    """Whether a recording begins with this packet."""
    if number >= len(packets) or not packets[number].key:
        return False
    before, now = packets[number - 1].dts, packets[number].dts
    return before is not None and now is not None and now < before


def _spread(starts: Iterable[int], packets: list[PacketFacts], clean: list[int]) -> set[int]:
    """All packets that lean on a damaged one: up to the next of ``clean``, and those shown before that one."""
    damaged: set[int] = set()
    for start in sorted(starts):
        if start in damaged:
            continue
        after = bisect_right(clean, start)
        end = clean[after] if after < len(clean) else len(packets)
        damaged.update(range(start, end))
        begin = packets[end].pts if end < len(packets) else None
        for k in range(end + 1, min(end + _LEADING, len(packets))):
            pts = packets[k].pts
            if packets[k].key or begin is None:
                break
            if pts is not None and pts < begin:
                damaged.add(k)
    return damaged


def _up_to(
    tail: int, good: list[int], frames: list[FrameFacts], packets: list[PacketFacts], clean: list[int]
) -> list[int]:
    """The good frames that are shown before the first one of a damaged end."""
    missing = [p.pts for p in packets[tail:] if p.pts is not None]
    after = bisect_right(clean, tail)
    group = clean[after - 1] if after else 0  # times of another recording say nothing here
    if not missing:
        return good
    first = min(missing)
    return [i for i in good if frames[i].packet < group or (pts := frames[i].pts) is None or pts < first]


def _gaps(good: list[int], frames: list[FrameFacts], between: set[int]) -> tuple[int, ...]:
    """Places in ``good`` before which frames are missing: that came out, or of packets that gave none."""
    found = {place for place, i in enumerate(good) if i != (good[place - 1] + 1 if place else 0)}
    latest = list(accumulate((frames[i].packet for i in good), max))
    found |= {bisect_right(latest, k) for k in between - {f.packet for f in frames}}
    return tuple(sorted(place for place in found if place < len(good)))
