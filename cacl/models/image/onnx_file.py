"""An image network that is an ONNX file, computed by onnxruntime on the CPU.

Shapes: N frames, C=3 colours, S pixels a side.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.extras import install_extra


class OnnxNetwork(nn.Module):
    """``[N, 3, S, S]`` float32 to the first output of the graph.

    Args:
        content: the file, whole: weights in files beside it are taken in by ``read_onnx``.
        name: what it is called in a sentence.

    Attributes:
        content: the same.
        sides: the batch and the sides that the graph fixes, ``(N or None, H or None, W or None)``.

    Raises:
        UserError: onnxruntime is not installed, it is no ONNX model, or it takes something else than frames.
    """

    def __init__(self, content: bytes, *, name: str) -> None:
        super().__init__()
        self.content, self.name = content, name
        self._session = _session(content, name)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "nothing"
            raise UserError(f"{name} takes {found}: an image encoder takes one float32 input [N, 3, H, W].")
        if isinstance(shape[1], int) and shape[1] != 3:
            raise UserError(f"{name} takes {shape}: an image encoder takes [N, 3, H, W], colours before rows.")
        batch, _, height, width = (side if isinstance(side, int) else None for side in shape)
        self.sides: tuple[int | None, int | None, int | None] = (batch, height, width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Frames to what the graph gives, on the device of the frames."""
        session = self._session
        out = session.run(None, {session.get_inputs()[0].name: x_NCHW.detach().cpu().numpy()})[0]
        return torch.from_numpy(out).to(x_NCHW.device)

    def __deepcopy__(self, memo: object) -> OnnxNetwork:
        return self  # a session is never changed


def read_onnx(file: Path) -> bytes:
    """An ONNX file with the weights that lie beside it, as one.

    Raises:
        UserError: it is no ONNX model, weights are missing or not in its own folder, or a package is missing.
    """
    content = file.read_bytes()
    try:
        onnx: Any = importlib.import_module("onnx")
    except ImportError as error:
        raise UserError(f"{file} can be read with onnx and onnxruntime alone: {install_extra('onnx')}.") from error
    try:
        model = onnx.load_from_string(content)
        beside = {
            entry.value
            for tensor in onnx.external_data_helper._get_all_tensors(model)
            for entry in tensor.external_data
            if entry.key == "location"
        }
        if not model.graph.node:
            raise ValueError("no graph in it")
    except Exception as error:  # protobuf's errors have no common base but this
        raise UserError(f"{file} is no ONNX model, or is damaged: export it again.") from error
    for name in sorted(beside):
        if Path(name).name != name or not (file.parent / name).is_file():
            raise UserError(f"{file} has its weights in {name}, which is not beside it: put both into one folder.")
    if not beside:
        return content
    onnx.load_external_data_for_model(model, str(file.parent))
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return bytes(model.SerializeToString())


def _session(content: bytes, name: str) -> Any:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(f"{name} is computed by onnxruntime, which is missing: {install_extra('onnx')}.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common base but this
        reason = (str(error).splitlines() or [""])[0][:160]
        raise UserError(f"{name} is no ONNX model that onnxruntime can compute ({reason}): export it again.") from error
