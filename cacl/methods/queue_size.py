"""How many keys a queue holds where ``queue_size`` is ``auto``."""

from __future__ import annotations

SMALLEST = 64


def queue_size(half: int, *, most: int) -> tuple[int, str]:
    """Half an epoch of keys within the bounds, and words for which of the three it is."""
    if half < SMALLEST:
        return SMALLEST, "the smallest queue, more than "
    return (most, "the largest queue, less than ") if half > most else (half, "")
