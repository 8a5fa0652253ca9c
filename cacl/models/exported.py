"""What a file of ``cacl export`` says of itself: the ``config.json`` of the encoder that is in it."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.models.state_file import stored_config

CONFIG_FILE = "cacl.json"  # in a .pt2, and the key in the properties of an .onnx


def exported_config(file: Path) -> dict[str, Any] | None:
    """The encoder's ``config.json`` in a ``.pt2``, ``.onnx`` or ``.safetensors``; ``None`` in files of others.

    Raises:
        UserError: a ``.pt2`` or ``.onnx`` that is damaged, or an ``.onnx`` and no onnxruntime.
    """
    if file.suffix == ".pt2":
        return _config_in_pt2(file)
    return _config_in_onnx(file) if file.suffix == ".onnx" else stored_config(file)


def was_exported(file: Path) -> bool:
    """Whether ``cacl export`` wrote a file; not where it is damaged."""
    try:
        return exported_config(file) is not None
    except UserError:
        return False


def _config_in_pt2(file: Path) -> dict[str, Any] | None:
    try:
        with zipfile.ZipFile(file) as archive:
            name = next((name for name in archive.namelist() if name.endswith(f"extra/{CONFIG_FILE}")), None)
            return None if name is None else _object(archive.read(name).decode())
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}): export it again.") from error


def _config_in_onnx(file: Path) -> dict[str, Any] | None:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(f"{file} can be looked into with onnxruntime alone: {install_extra('onnx')}.") from error
    try:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common base but this
        raise UserError(f"{file} is damaged, or no ONNX file: export it again.") from error
    return _object(session.get_modelmeta().custom_metadata_map.get(CONFIG_FILE, "null"))


def _object(json_text: str) -> dict[str, Any] | None:
    content = json.loads(json_text)
    return content if isinstance(content, dict) else None
