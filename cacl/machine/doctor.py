"""``cacl doctor``: whether a training would work here, and what to do where it would not.

Versions that are known to be bad, the machine, a video written and decoded in every way that training decodes, and the
convolutions of the very networks that a preset trains, in every precision, against float64.
"""

from __future__ import annotations

import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cacl.config import Settings
from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.data.videos.store import build_store
from cacl.errors import UserError, VideoError
from cacl.extras import install_extra, pip_install
from cacl.machine.cache import cudnn_version
from cacl.machine.convolutions_cache import checked_convolutions
from cacl.machine.device import choose_device, device_auto
from cacl.machine.device_errors import device_errors
from cacl.machine.hardware import Check, check_devices, check_disk, check_limits, check_memory, check_shared_memory
from cacl.machine.precision import choose_precision
from cacl.models.image.sources import PACKAGES

_PACKAGES = ("torch", "numpy", "av", "simplejpeg", "safetensors", "pydantic")
_USUAL = ("h264", "hevc", "mpeg4", "mpeg2video", "vp8", "vp9", "av1", "mjpeg", "wmv2", "gif")  # in people's archives
_ENCODERS = {"h264.mp4": "libx264", "mpeg4.avi": "mpeg4"}
_MOST_DIFFERENCE = 30.0  # levels of 255; codecs lose about ten of these frames, another frame differs by 85


Networks = Callable[[Settings, str], list[tuple[nn.Module, Sequence[int]]]]


def examine(settings: Settings, folder: Path, networks: Networks) -> Iterator[Check]:
    """Every check, one after the other, the quick ones first.

    Args:
        settings: whose networks, clip size and batch are checked.
        folder: where runs are going to be written.
        networks: what the settings train on a device, each with the shape of its batch.
    """
    yield check_versions()
    yield check_known_defects(torch.__version__, cudnn_version())
    yield check_devices()
    yield check_memory()
    yield check_shared_memory()
    yield check_limits()
    yield check_disk(folder)
    yield check_codecs()
    yield check_decoding()
    yield check_image_encoders()
    yield from check_precisions(settings, networks)


def check_image_encoders() -> Check:
    """Whether a frozen image encoder is at hand, and the line that gets one."""
    found = []
    for package in PACKAGES.values():
        with suppress(PackageNotFoundError):
            version(package.package)
            found.append(package.name)
    name = found[0] if found else "efficientnet-lite0"
    line = f"cacl import --image-encoder {name} --out encoders/{name}"
    if found:
        return Check("frozen image encoder", "ok", f"{', '.join(found)}: {line}")
    return Check("frozen image encoder", "ok", f"none; to have one beside your own: {install_extra('image')} && {line}")


def check_versions() -> Check:
    """Python and the packages that matter."""
    found, missing = [f"Python {platform.python_version()}", f"cacl {version('cacl')}"], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        advice = f"Install what is missing: {pip_install(*missing)}."
        return Check("versions", "wrong", f"without {', '.join(missing)}; {', '.join(found)}", advice)
    return Check("versions", "ok", ", ".join(found))


def check_known_defects(torch_version: str, cudnn: int | None) -> Check:
    """Versions that are publicly known to compute 3D convolutions wrongly or at several times the cost.

    Args:
        torch_version: ``"2.9.0+cu128"``.
        cudnn: as PyTorch gives it, 91002 for 9.10.2; ``None`` without CUDA.
    """
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", torch_version)
    release = tuple(int(n) for n in match.groups()) if match else (0, 0, 0)
    if cudnn is None:
        return Check("known defects", "ok", f"none known of PyTorch {torch_version} without CUDA")
    found = f"PyTorch {torch_version} with cuDNN {cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}"
    if release[:2] == (2, 9) and cudnn >= 90800 and (cudnn < 91500 or release == (2, 9, 0)):
        # pytorch#163539 (wrong results), #166122 (4 times slower), #166643 (memory)
        return Check(
            "known defects",
            "wrong",
            f"{found}: 3D convolutions in bfloat16 are slow, take several times the memory, and some are wrong",
            f"{pip_install('torch==2.9.1')} and then 'nvidia-cudnn-cu12>=9.15' (cu13 for CUDA 13), or take PyTorch "
            "2.10 or newer, or 2.8. Until then: --set run.precision=float32.",
        )
    if 90800 <= cudnn < 91300:
        return Check(
            "known defects",
            "note",
            f"{found}: some 3D convolutions in bfloat16 are wrong in cuDNN 9.8 to 9.12",
            f"The checks below tell whether yours are. If they are: {pip_install('nvidia-cudnn-cu12>=9.15')}.",
        )
    return Check("known defects", "ok", f"none known of {found}")


def check_codecs() -> Check:
    """Decoders for what video archives are mostly made of."""
    try:
        import av
    except ImportError as error:
        advice = f"Install PyAV ({pip_install('av')}), or train on a folder that cacl prepare made elsewhere."
        return Check("codecs", "wrong", f"no video can be decoded ({error})", advice)
    there = set()
    for name in _USUAL:
        try:
            av.Codec(name, "r")
        except (av.FFmpegError, ValueError):
            continue
        there.add(name)
    missing = [name for name in _USUAL if name not in there]
    found = f"{len(there)} of the {len(_USUAL)} usual ones, FFmpeg {getattr(av, 'ffmpeg_version_info', '')}".rstrip()
    if missing:
        advice = (
            "Videos of these kinds will be skipped. The wheels of PyAV have them all: "
            f"{pip_install('--force-reinstall', 'av')}."
        )
        return Check("codecs", "note", f"{found}, not {', '.join(missing)}", advice)
    return Check("codecs", "ok", found)


def check_decoding() -> Check:
    """Videos written here, found, decoded in processes of their own, put into a store, and compared."""
    small = np.random.default_rng(0).integers(0, 256, (48, 6, 8, 3), dtype=np.uint8)
    frames_THWC = small.repeat(32, axis=1).repeat(32, axis=2)
    try:
        with tempfile.TemporaryDirectory(prefix="cacl-doctor-") as name:
            folder = Path(name, "videos")
            folder.mkdir()
            for file, codec in _ENCODERS.items():
                write_video(folder / file, frames_THWC, codec=codec)
            catalog = scan(folder)
            if len(catalog.videos) < len(_ENCODERS):
                reasons = "; ".join(f"{item.path}: {item.reason}" for item in catalog.skipped)
                return Check("decoding", "wrong", f"a video written here cannot be read ({reasons})", _REINSTALL)
            source, wanted = DecodedVideos(catalog, height=24, width=32), np.arange(1, 48, 3)
            start = time.perf_counter()
            read = [source.read(number, wanted) for number in range(len(_ENCODERS)) for _ in range(5)]
            seconds = (time.perf_counter() - start) / len(read)
            store = build_store(catalog, Path(name, "store"), height=24, width=32)
            read += [store.read(number, wanted) for number in range(len(_ENCODERS))]
    except (UserError, VideoError, RuntimeError) as error:
        return Check("decoding", "wrong", str(error), _REINSTALL)
    truth_THWC = frames_THWC[wanted].reshape(len(wanted), 24, 8, 32, 8, 3).mean(axis=(2, 4))
    difference = max(float(np.abs(frames - truth_THWC).mean()) for frames in read)
    if difference > _MOST_DIFFERENCE:
        return Check("decoding", "wrong", f"frames differ from what was written by {difference:.0f} of 255", _REINSTALL)
    return Check("decoding", "ok", f"H.264 and MPEG-4 right, {1 / seconds:.0f} clips of 16 frames at 256x192 a second")


_REINSTALL = "Reinstall the decoder (pip install --force-reinstall av simplejpeg), then report this."


def check_precisions(settings: Settings, networks: Networks) -> Iterator[Check]:
    """The convolutions of the networks that these settings train, in each precision, and what ``auto`` would take."""
    device = device_auto()[0] if settings.run.device == "auto" else settings.run.device
    try:
        choose_device(device)
        with device_errors():
            yield from _check_networks(networks(settings, device), device)
    except UserError as error:
        yield Check(f"computing on {device}", "wrong", str(error), "Until then: --set run.device=cpu.")


def _check_networks(models: list[tuple[nn.Module, Sequence[int]]], device: str) -> Iterator[Check]:
    dtypes = [torch.float32, torch.bfloat16, *([torch.float16] if device.startswith("cuda") else [])]
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        start = time.perf_counter()
        findings = [
            f for model, shape in models for f in checked_convolutions(model, shape, dtype, device=device, again=True)
        ]
        what = f"{name} on {device}"
        if not findings:
            seconds = time.perf_counter() - start
            found = f"outputs and gradients of every convolution agree with float64 ({seconds:.1f} s)"
            yield Check(what, "ok", found)
        elif dtype == torch.float32:
            advice = "Nothing can be trained with this installation: install another version of PyTorch."
            yield Check(what, "wrong", f"wrong: the {findings[0]}", advice)
        else:
            advice = f"Leave run.precision at auto or set float32; training refuses {name} here by itself."
            more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
            yield Check(what, "note", f"wrong: the {findings[0]}{more}", advice)
    yield Check("precision auto", "ok", choose_precision("auto", models, device=device).why)
