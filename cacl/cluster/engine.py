"""Who does the work, as ``--engine`` and ``--address`` say it."""

from __future__ import annotations

from typing import Literal

from cacl.errors import UserError

Engine = Literal["here", "ray"]


def check_engine(engine: str, address: str | None, *, shares: bool = False) -> Engine:
    """What was asked for.

    Args:
        engine: ``here`` or ``ray``.
        address: of a Ray cluster, where one was given.
        shares: whether ``--shard`` or ``--merge`` was given.

    Raises:
        UserError: no such engine, or what does not go together.
    """
    if engine not in ("here", "ray"):
        raise UserError(f"--engine is {engine}; it can be here or ray.")
    if address is not None and engine != "ray":
        raise UserError("--address is of a Ray cluster: give it with --engine ray.")
    if engine == "ray" and shares:
        raise UserError("--engine ray shares the work out by itself: leave out --shard and --merge.")
    return "ray" if engine == "ray" else "here"
