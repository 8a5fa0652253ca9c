"""What a device says when it cannot go on, as a sentence that tells what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cacl.errors import UserError

# cuBLAS, cuDNN and the driver have words of their own for what PyTorch's allocator calls OutOfMemoryError
_FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "not enough memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of a device, or of the machine, is full."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)
    )


def explained(error: BaseException, *, memory: str = "") -> str | None:
    """A sentence for the errors that a user of a GPU can mend, None for all others.

    Args:
        error: what PyTorch raised.
        memory: what to do where memory is full.
    """
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if out_of_memory(error):
        advice = memory or "End what else uses it, or choose another device (run.device)."
        return f"The device's memory is full ({_first_line(text)}). {advice}"
    if "CUBLAS_WORKSPACE_CONFIG" in text:
        return (
            "run.deterministic is true, but PyTorch computed on the GPU before: start Python anew, with "
            "CUBLAS_WORKSPACE_CONFIG=:4096:8 in its environment."
        )
    if "does not have a deterministic implementation" in text:
        return (
            f"run.deterministic is true, but {text.split()[0]} of PyTorch {torch.__version__} gives other bits each "
            "time: set it to false, or install a newer PyTorch."
        )
    if "unable to find an engine" in text or "CUDNN_STATUS_NOT_SUPPORTED" in text:
        return (
            f"cuDNN cannot compute this on this GPU ({_first_line(text)}): set run.channels_last=false or "
            "run.precision=float32, and ask cacl doctor."
        )
    if "no kernel image is available" in text:
        return (
            f"PyTorch {torch.__version__} is not built for this GPU: install a build that is (pytorch.org), or set "
            "run.device=cpu."
        )
    return None


@contextmanager
def device_errors(*, memory: str = "") -> Iterator[None]:
    """Within, what ``explained`` knows is raised as UserError. ``memory``: see there."""
    try:
        yield
    except RuntimeError as error:
        sentence = explained(error, memory=memory)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _first_line(text: str) -> str:
    lines = text.splitlines() or [""]
    return lines[0].split(". ")[0].strip().rstrip(".")[:200]
