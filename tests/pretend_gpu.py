"""A GPU that is none: tensors stay where they are, but say ``cuda:0``, and meet those of the CPU as they would there.

Code that leaves a tensor on the CPU, or fetches one without ``cpu()``, fails under it as on an NVIDIA GPU, on any
machine and with real numbers. What PyTorch computes inside one of its own functions, and in a backward pass, is not
looked at; kernels, memory and NCCL are not pretended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
_SHAPES_ONLY = {"expand_as", "view_as", "reshape_as", "is_same_size", "_has_compatible_shallow_copy_type"}
_CROSSING = {"copy_", "__deepcopy__", "__reduce_ex__", "backward", "__repr__", "__format__"} | _SHAPES_ONLY
_STRICT = {"cat", "stack", "concat"}  # take not even a single number from the CPU


class PretendedGpu(TorchFunctionMode):
    """Within, every function of PyTorch sees to it that its tensors are on one device."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, StorageWeakRef] = {}  # held weakly, an address is not given out again

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the GPU."""
        return tensor.layout == torch.strided and tensor.untyped_storage()._cdata in self._storages

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func.__name__
        if name in ("__get__", "__set__"):
            return self._attribute(func, name, args, kwargs)
        if name in ("to", "cpu", "cuda"):
            return self._moved(func, name, args, kwargs)
        if name in ("numpy", "__array__") and self.holds(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        if name == "pin_memory":
            assert not self.holds(args[0]), "cannot pin a tensor of the GPU"
            return args[0]
        kwargs.pop("pin_memory", None)
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if asked is not None and asked.type == "cuda":
            kwargs["device"] = "cpu"
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name not in _CROSSING and asked is None:
            self._check(name, args, tensors)
        on_gpu = asked.type == "cuda" if asked is not None else any(map(self.holds, tensors))
        return self._told(func(*args, **kwargs), tensors, on_gpu)

    def _attribute(self, func: Any, how: str, args: Any, kwargs: Any) -> Any:
        attribute = func.__self__.__name__
        if how == "__get__" and attribute in ("device", "is_cuda") and self.holds(args[0]):
            return GPU if attribute == "device" else True
        found = func(*args, **kwargs)
        return self._told(found, [], self.holds(args[0])) if attribute == "grad" and found is not None else found

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """``to`` and its kin: a copy where the other device was asked for."""
        own, rest = args[0], list(args[1:])
        before = GPU if self.holds(own) else own.device
        target = {"cpu": torch.device("cpu"), "cuda": GPU}.get(name, before)
        for place, value in enumerate(rest):
            if isinstance(value, str | torch.device):
                target, rest[place] = torch.device(value), "cpu"
            elif isinstance(value, torch.Tensor):
                target = GPU if self.holds(value) else value.device
        if kwargs.get("device") is not None:
            target, kwargs["device"] = torch.device(kwargs["device"]), "cpu"
        if "meta" in (target.type, before.type):
            return func(*args, **kwargs | ({"device": target} if "device" in kwargs else {}))
        out = own if name != "to" else func(own, *rest, **kwargs)
        if target.type == before.type:
            return self._told(out, [own], before.type == "cuda")
        out = out.clone() if out.untyped_storage()._cdata == own.untyped_storage()._cdata else out
        return self._told(out, [own], target.type == "cuda")

    def _check(self, name: str, args: Any, tensors: list[torch.Tensor]) -> None:
        strict = name in _STRICT or name.startswith("_fused")
        here = [tensor for tensor in tensors if self.holds(tensor)]
        there = [tensor for tensor in tensors if not self.holds(tensor) and (tensor.ndim or strict)]
        if not here or not there:
            return
        index = tree_leaves(args[1]) if name in ("__getitem__", "__setitem__") else []
        if index and self.holds(args[0]):  # the index may be on the CPU; a slice is set from anywhere
            value = [args[2]] if name == "__setitem__" else []
            chosen = any(isinstance(part, torch.Tensor) for part in index)
            if not chosen or not any(isinstance(v, torch.Tensor) and v.ndim and not self.holds(v) for v in value):
                return
        shapes = [f"{list(t.shape)} on {'cuda:0' if self.holds(t) else 'cpu'}" for t in tensors]
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {', '.join(shapes)}")

    def _told(self, found: Any, inputs: list[torch.Tensor], on_gpu: bool) -> Any:
        """Where results are; one that lies in an argument's memory is where that is."""
        old = {tensor.untyped_storage()._cdata for tensor in inputs if tensor.layout == torch.strided}
        for leaf in tree_leaves(found) if on_gpu else []:
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in old:
                self._storages[leaf.untyped_storage()._cdata] = StorageWeakRef(leaf.untyped_storage())
        return found


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """PyTorch as with one NVIDIA GPU, in this thread: ``run.device=cuda`` works."""
    facts = SimpleNamespace(name="Pretended", total_memory=2**37, major=9, minor=0)
    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": facts.name,
        "get_device_capability": (9, 0),
        "get_device_properties": facts,
        "is_bf16_supported": True,
        "mem_get_info": (2**37, 2**37),
    }
    autocast, group = torch.autocast, torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def on_cpu(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
        return autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    def grouped(lists: Any, *args: Any, **kwargs: Any) -> Any:
        """What is written in C++ sees where the tensors really are."""
        found = group(lists, *args, **kwargs)
        return {(lists[0][0].device if lists[0] else key[0], key[1]): value for key, value in found.items()}

    with pytest.MonkeyPatch.context() as patch:
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *args, answer=answer, **kwargs: answer)
        for name in ("synchronize", "empty_cache", "set_device", "set_rng_state", "reset_peak_memory_stats"):
            patch.setattr(torch.cuda, name, lambda *args, **kwargs: None)
        patch.setattr(torch.cuda, "get_rng_state", lambda *args, **kwargs: torch.get_rng_state())
        patch.setattr(torch, "autocast", on_cpu)
        patch.setattr(torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(grouped))
        with PretendedGpu() as gpu:
            yield gpu
