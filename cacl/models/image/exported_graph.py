"""An image network that ``torch.export`` wrote (a ``.pt2``), read and computed here, operator by operator.

PyTorch's own reader evaluates expressions and unpickles objects that it finds in the archive, so a file from somebody
else could run code there. Here the graph is JSON, the weights are plain numbers, and only operators that image networks
are made of are called.

Shapes: N frames, C=3 colours, S pixels a side.
"""

from __future__ import annotations

import json
import operator
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.models.state_file import refuse_bomb

# What image networks compute with. No operator of this list reads or writes a file, takes a pointer, or is random.
_OPERATORS = """
conv2d convolution batch_norm _native_batch_norm_legit_no_training layer_norm native_layer_norm group_norm linear
addmm mm bmm matmul baddbmm relu relu_ relu6 relu6_ hardtanh hardtanh_ gelu silu silu_ sigmoid tanh hardswish
hardswish_ hardsigmoid leaky_relu elu mish softmax _softmax clamp clamp_ clamp_min clamp_max add add_ sub rsub mul
mul_ div neg pow sqrt rsqrt exp log abs erf maximum minimum mean sum amax var std linalg_vector_norm max_pool2d
max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d flatten view
_unsafe_view reshape permute transpose t unsqueeze squeeze expand cat stack slice select split split_with_sizes
chunk unbind unflatten narrow contiguous clone alias detach detach_ dropout dropout_ feature_dropout pad
constant_pad_nd roll index_select scaled_dot_product_attention upsample_nearest2d upsample_bilinear2d to _to_copy
type_as sym_size lift_fresh_copy
"""
_ATEN = frozenset(_OPERATORS.split())
_PYTHON: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem", "eq", "ge", "gt", "le", "lt")
}
_TYPES = {1: torch.uint8, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32, 8: torch.float64,
          12: torch.bool, 13: torch.bfloat16}  # fmt: skip
_MEMORY = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size")
_PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_string", "as_bool", "as_bools")


class GraphNetwork(nn.Module):
    """``[N, 3, S, S]`` to the graph's output.

    Args:
        graph: what ``read_exported`` found: ``input`` and ``output`` (names), ``nodes``, ``tensors`` (name in the
            graph -> name of the weights), ``sides``.
        weights: by name.

    Attributes:
        graph: the same, for ``graph.json``.
        sides: batch, height and width where they are fixed, else None.

    Raises:
        KeyError, TypeError, ValueError: it is no such graph, or has an operator that image networks do not have.
    """

    def __init__(self, graph: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.graph = dict(graph)
        batch, height, width = (None if side is None else int(side) for side in graph["sides"])
        self.sides = (batch, height, width)
        self._input, self._output = str(graph["input"]), str(graph["output"])
        self._names = {str(arg): f"t{number}" for number, arg in enumerate(graph["tensors"])}
        for arg, name in graph["tensors"].items():
            self.register_buffer(self._names[arg], weights[name])
        nodes = [node for node in graph["nodes"] if not _is_check(str(node["target"]))]
        self._nodes = [(_function(str(node["target"])), node["inputs"], _outputs(node)) for node in nodes]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Frames to the graph's output."""
        values: dict[str, Any] = {arg: getattr(self, name) for arg, name in self._names.items()}
        values[self._input] = x_NCHW
        for function, inputs, outputs in self._nodes:
            arguments = [(entry.get("kind", 1), entry["name"], _value(entry["arg"], values)) for entry in inputs]
            positional = [value for kind, _, value in arguments if kind != 2]
            found = function(*positional, **{name: value for kind, name, value in arguments if kind == 2})
            if isinstance(outputs, str):
                values[outputs] = found
            else:
                values.update(zip(outputs, found, strict=False))
        result: Tensor = values[self._output]
        return result

    def weights(self) -> dict[str, Tensor]:
        """By the names in ``graph["tensors"]``."""
        return {name: getattr(self, self._names[arg]) for arg, name in self.graph["tensors"].items()}


def read_exported(file: Path) -> GraphNetwork:
    """The network in a ``.pt2`` of ``torch.export.save``; runs no code from it.

    Raises:
        UserError: it is no such file, is damaged, takes something else than frames, or holds an operator that image
            networks do not have.
    """
    try:
        refuse_bomb(file)
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            model = json.loads(archive.read(names["models/model.json"]))
            program = model["graph_module"]
            graph = _prune(program, file)
            weights = _weights(archive, names)
        return GraphNetwork(graph, {name: weights[name] for name in graph["tensors"].values()})
    except zipfile.BadZipFile as error:
        raise UserError(f"{file} is no file of torch.export, or is damaged: export it again.") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OSError) as error:
        reason = error.args[0] if isinstance(error, _NotKnown) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{file} cannot be read as an image network of torch.export ({str(reason)[:200]}): export it again in "
            "evaluation mode with PyTorch 2.9 or later, or export it to ONNX."
        ) from error


class _NotKnown(ValueError):
    """Something in a graph that is not computed here."""


def _prune(program: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What is needed of the graph."""
    tensors, frames = dict[str, str](), list[str]()
    for spec in program["signature"]["input_specs"]:
        kind, content = next(iter(spec.items()))
        if kind == "user_input":
            frames.append(content["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            tensors[content["arg"]["name"]] = content[f"{kind}_name"]
        else:
            raise _NotKnown(f"it takes a {kind}")
    given = [next(iter(spec.items())) for spec in program["signature"]["output_specs"]]
    if any(kind != "user_output" for kind, _ in given):
        raise _NotKnown("it changes its own weights: export it in evaluation mode, model.eval()")
    sizes = program["graph"]["tensor_values"][frames[0]]["sizes"] if len(frames) == 1 else []
    sides = [size.get("as_int") for size in sizes]
    if len(sides) != 4 or sides[1] != 3:
        raise UserError(f"{file} takes {len(frames)} inputs {sides}: an image encoder takes one, frames [N, 3, H, W].")
    nodes = [{"target": n["target"], "inputs": n["inputs"], "outputs": n["outputs"]} for n in program["graph"]["nodes"]]
    return {
        "input": frames[0],
        "output": given[0][1]["arg"]["as_tensor"]["name"],
        "sides": [sides[0], *sides[2:]],
        "tensors": tensors,
        "nodes": nodes,
    }


def _weights(archive: zipfile.ZipFile, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Every weight and constant that is stored as plain numbers."""
    found: dict[str, Tensor] = {}
    for folder in ("weights", "constants"):
        config = json.loads(archive.read(names[f"data/{folder}/model_{folder}_config.json"]))["config"]
        for name, entry in config.items():
            if entry["use_pickle"]:
                raise _NotKnown(f"'{name}' is stored as a Python object, which is never loaded")
            meta = entry["tensor_meta"]
            kind = _TYPES[meta["dtype"]]
            size = [int(n["as_int"]) for n in meta["sizes"]]
            strides = [int(n["as_int"]) for n in meta["strides"]]
            raw = archive.read(names[f"data/{folder}/{entry['path_name']}"])
            flat = torch.frombuffer(bytearray(raw), dtype=kind) if raw else torch.zeros(0, dtype=kind)
            first = int(meta["storage_offset"]["as_int"])
            last = first + sum((n - 1) * step for n, step in zip(size, strides, strict=True))
            if min([*size, *strides, first], default=0) < 0 or (0 not in size and last >= len(flat)):
                raise _NotKnown(f"'{name}' is larger than what is stored of it")
            found[name] = flat.as_strided(size, strides, first).clone()
    return found


def _function(target: str) -> Callable[..., Any]:
    """What a node calls. Raises ValueError for all but the operators of image networks."""
    if target in _PYTHON:
        return _PYTHON[target]
    parts = target.split(".")
    if parts[:3] != ["torch", "ops", "aten"] or len(parts) != 5 or parts[3] not in _ATEN:
        raise _NotKnown(f"it computes {target}, which is none of the operators of image networks known here")
    packet = getattr(torch.ops.aten, parts[3])
    if parts[4] not in packet.overloads():
        raise _NotKnown(f"it computes {target}, which this PyTorch does not have")
    function: Callable[..., Any] = getattr(packet, parts[4])
    return function


def _is_check(target: str) -> bool:
    """Whether a node computes nothing, but would complain about sizes."""
    return target.startswith("torch.ops.aten.") and target.split(".")[3] in _CHECKS


def _outputs(node: Mapping[str, Any]) -> str | list[str]:
    """The name of what a node gives, or the names where it gives several."""
    names: list[str] = []
    several = len(node["outputs"]) > 1
    for output in node["outputs"]:
        kind, content = next(iter(output.items()))
        if kind == "as_tensors":
            names += [entry["name"] for entry in content]
            several = True
        elif kind == "as_tensor":
            names.append(content["name"])
        elif kind in ("as_sym_int", "as_sym_bool"):
            names.append(content["as_name"])
        elif kind == "as_none":
            names.append("")
        else:
            raise _NotKnown(f"it gives a {kind}")
    return names if several or not names else names[0]


def _value(argument: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """An argument of a node."""
    kind, content = next(iter(argument.items()))
    if kind in _PLAIN:
        return content
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return values[content["name"]]
    if kind == "as_tensors":
        return [values[entry["name"]] for entry in content]
    if kind in ("as_sym_int", "as_sym_bool"):
        return _whole(content, values)
    if kind == "as_sym_ints":
        return [_whole(entry, values) for entry in content]
    if kind == "as_scalar_type":
        return _TYPES[content]
    if kind == "as_memory_format":
        return _MEMORY[content]
    if kind in ("as_layout", "as_device"):
        return None  # where and how it is stored is decided here
    raise _NotKnown(f"it takes a {kind}")


def _whole(content: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A number that is known when the graph runs."""
    kind, value = next(iter(content.items()))
    return values[value] if kind == "as_name" else value


def graph_bytes(graph: Mapping[str, Any]) -> bytes:
    """``graph.json``."""
    return (json.dumps(graph) + "\n").encode()
