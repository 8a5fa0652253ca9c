"""Named tensors from a file that somebody sent, without running code from it.

Nothing is ever unpickled beyond tensors and plain containers (``weights_only=True``). Whatever is wrong with a file
comes out as one sentence.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from cacl.errors import UserError
from cacl.run_folder import how_to_mend, is_run

_KINDS = "a .safetensors file or one that torch.save wrote"
_METADATA = "cacl.config"


def read_state(path: str | Path, *, folder: str) -> dict[str, Tensor]:
    """The named tensors of a file, of whatever kind: of a state dict, or of one that lies in a checkpoint.

    Args:
        path: a ``.safetensors`` file, a file that ``torch.save`` wrote (a state dict, or a dictionary with one under
            ``state_dict``, ``model`` or ``model_state_dict``), or a folder that holds ``model.safetensors``.
        folder: what a folder of the right kind is called, for the sentence: "a frame encoder's folder".

    Returns:
        Dense tensors on the CPU, of any type and shape; everything else in the file is left out.

    Raises:
        UserError: no such file, or not readable as tensors alone.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        what = "has no model.safetensors" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}: give {folder}, or a weights file.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        refuse_bomb(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged pickle, which is refused below
            return _tensors(torch.load(file, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} could not be read as tensors alone: it is damaged, no weights file, or holds other Python "
            f"objects, which are never loaded because they can run code. Give {_KINDS}, with nothing but a state dict."
        ) from error
    except Exception as error:  # the unpickler fails in a dozen ways on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        give = how_to_mend(file.parent) if is_run(file.parent.parent) else f"give {_KINDS}"
        raise UserError(f"{file} is no weights file or is damaged ({reason}): {give}.") from error


def refuse_bomb(file: Path) -> None:
    """Raise ValueError for an archive that says it holds more than it takes on the disk.

    ``torch.save`` compresses nothing; a packed archive of a megabyte may hold a terabyte of zeros.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > file.stat().st_size:
            raise ValueError(f"{file.stat().st_size} bytes that unpack to {size}")


def with_config(config: Mapping[str, Any]) -> dict[str, str]:
    """The header of a ``.safetensors`` file that says which encoder its weights belong to."""
    return {"format": "pt", _METADATA: json.dumps(config)}


def stored_config(path: str | Path) -> dict[str, Any] | None:
    """The encoder's description in a ``.safetensors`` file of ``cacl export``; ``None`` in any other file."""
    if Path(path).suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})[_METADATA])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _tensors(content: object) -> dict[str, Tensor]:
    """Named tensors of a state dict, looked for one level down too."""
    if not isinstance(content, Mapping):
        return {}
    inner = (content.get(key) for key in ("state_dict", "model", "model_state_dict"))
    entries = next((entry for entry in inner if isinstance(entry, Mapping)), content)
    return {str(name): value for name, value in entries.items() if isinstance(value, Tensor) and _dense(value)}


def _dense(value: Tensor) -> bool:
    """Whether all numbers of a tensor are in the file: a few bytes can claim to be a tensor of any size."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.nbytes <= value.untyped_storage().nbytes()
