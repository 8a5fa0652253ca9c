"""``run.compile``: each network becomes a graph of its own; the method between them stays as it is written.

So losses, queue and what is logged need nothing of the compiler, and a network keeps its names in every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cacl.machine.device_errors import out_of_memory


@contextmanager
def compiled(networks: Sequence[nn.Module], *, say: Callable[[str], None]) -> Iterator[None]:
    """Within, ``forward`` of each network is compiled at its first call; where that fails it stays as it was.

    Args:
        networks: called with inputs of the same shape every time.
        say: told once where compiling fails.
    """
    said: list[str] = []

    def tell(reason: str) -> None:
        if not said:
            said.append(reason)
            say(f"run.compile: this machine cannot compile ({reason}); what failed runs as it is, to the same result.")

    for network in networks:
        # an attribute of the instance hides the method of its class, and leaves names and state alone
        object.__setattr__(network, "forward", _Forward(network.forward, tell))
    try:
        yield
    finally:
        for network in networks:
            object.__delattr__(network, "forward")


class _Forward:
    """A network's ``forward``, compiled when it is called first."""

    def __init__(self, plain: Callable[..., Any], tell: Callable[[str], None]) -> None:
        self._plain, self._tell = plain, tell
        self._call: Callable[..., Any] = torch.compile(plain, dynamic=False)  # the shapes are always the same

    def __call__(self, *inputs: Any) -> Any:
        if self._call is self._plain:
            return self._plain(*inputs)
        try:
            return self._call(*inputs)
        except Exception as error:  # the compiler fails in a dozen ways; what is wrong otherwise is so without it, too
            if out_of_memory(error):
                raise
            lines = [line for line in str(error).splitlines() if line.strip()]
            self._tell(f"{type(error).__name__}: {lines[0].strip() if lines else ''}")
            self._call = self._plain
            return self._plain(*inputs)
