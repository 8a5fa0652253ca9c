"""The fused encoder: its parts beside each other, nothing more; whole in its folder; the same in every export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import image_nets as nets
import numpy as np
import pytest
import torch

import cacl
from cacl.data.media.any_video import open_video
from cacl.data.media.encode import write_video
from cacl.errors import UserError
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.export import export_encoder
from cacl.models.fused import FusedEncoder, Mapped, looked_at
from cacl.models.image.encoder import ImageEncoder
from cacl.models.image.sources import Pixels, import_image_encoder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    file = nets.write_pt2(nets.small_cnn(), tmp_path_factory.mktemp("image") / "cnn.pt2")
    return import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT", frames=2)


@pytest.fixture(scope="module")
def fused(image: ImageEncoder) -> FusedEncoder:
    torch.manual_seed(0)
    clip = ClipSpec(frames=8, resize=(40, 52), size=32, standardise="motion")
    own = Encoder("r3d10", width=2, clip=clip).eval()
    mapped = (
        Mapped(0.1 * torch.randn(own.num_features), length=torch.tensor(2.5)),
        Mapped(torch.randn(12), torch.randn(12, 5), torch.tensor(0.8)),
    )
    return FusedEncoder(own, image, mapped=mapped, weight=0.7).eval()


def clips(count: int = 3, side: int = 52) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, side, side, 3), generator=torch.Generator().manual_seed(0)).byte()


@torch.no_grad()
def test_it_is_its_two_parts_embedded_separately(fused: FusedEncoder):
    """By hand: each minus its mean, the second one whitened, both divided by a length, the first one times .7."""
    own = fused.own(clips()) - fused.own_centre
    image = (fused.image(clips()[:, [2, 6]]) - fused.image_centre) @ fused.image_whitening
    both = torch.cat([0.7 * own / 2.5, image / 0.8], dim=1)
    torch.testing.assert_close(fused(clips()), both, atol=1e-6, rtol=1e-6)
    one_by_one = torch.cat([fused(clip[None]) for clip in clips()])
    torch.testing.assert_close(fused(clips()), one_by_one, atol=1e-6, rtol=1e-6)


def test_which_frames_the_image_encoder_looks_at():
    """The middles of equal stretches: of 16 frames the ninth; of 8, two: those from the quarters' ends on."""
    assert looked_at(16, 1) == (8,)
    assert looked_at(8, 2) == (2, 6)
    assert looked_at(2, 4) == (0, 0, 1, 1)


@torch.no_grad()
def test_its_clips_hold_what_either_part_needs(fused: FusedEncoder):
    assert (fused.clip.frames, fused.clip.stride, fused.clip.resize, fused.clip.size) == (8, 2, (40, 52), 40)
    pixels = clips().permute(0, 4, 1, 2, 3).float() / 255
    # the same frames as numbers: not rounded to whole ones on the way, so not quite the same
    torch.testing.assert_close(fused(pixels), fused(clips()), atol=5e-3, rtol=0)
    with pytest.raises(ValueError, match="uint8 clips must be"):
        fused(clips()[:, :4])


def test_the_folder_holds_everything(fused: FusedEncoder, tmp_path: Path):
    fused.save(tmp_path / "both")
    again = cacl.load(tmp_path / "both")
    assert isinstance(again, FusedEncoder)
    assert torch.equal(again(clips()), fused(clips()))
    assert torch.equal(cacl.load(tmp_path / "both" / "own")(clips()), fused.own(clips()))
    frames = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "v.mp4", frames)
    segments = again.embed_video(tmp_path / "v.mp4")
    assert segments.vector.shape == (2, fused.num_features)
    assert [float(found.length) for found in again.mapped] == pytest.approx([2.5, 0.8])


def test_a_length_is_one_number_above_zero(fused: FusedEncoder):
    for bad in (torch.zeros(()), torch.tensor(float("inf")), torch.ones(2)):
        with pytest.raises(ValueError, match="the length of own must be one number above 0"):
            FusedEncoder(
                fused.own, fused.image, mapped=(replace(fused.mapped[0], length=bad), fused.mapped[1]), weight=1
            )


@pytest.mark.parametrize("part", ["own", "image"])
def test_a_part_that_is_missing_or_another_is_said(part: str, fused: FusedEncoder, tmp_path: Path):
    fused.save(tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / part)
    with pytest.raises(UserError, match=rf"both is a fused encoder, but its part .*{part} is missing: fuse it again"):
        cacl.load(tmp_path / "both")
    other = Encoder("r3d10", width=3, clip=fused.own.clip)
    (other if part == "own" else fused.own).save(tmp_path / "both" / part)
    with pytest.raises(UserError, match=r"does not fit its parts|does not hold the image encoder"):
        cacl.load(tmp_path / "both")


@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_exports_give_the_same(to: str, fused: FusedEncoder, tmp_path: Path):
    file = tmp_path / ("both.pt2" if to == "torch" else "both.onnx")
    written = export_encoder(fused, file, to=to)
    assert written.difference <= 1e-4
    assert (written.clip, written.features) == ((3, 8, 40, 52), fused.num_features)
    with pytest.raises(UserError, match="3D CNN alone"):
        export_encoder(fused, tmp_path / "both.safetensors", to="safetensors")


def test_an_onnx_part_says_that_it_cannot_be_exported(fused: FusedEncoder, tmp_path: Path):
    file = nets.write_onnx(nets.small_cnn(), tmp_path / "cnn.onnx")
    image = import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT", frames=2)
    both = FusedEncoder(fused.own, image, mapped=fused.mapped, weight=0.7).eval()
    torch.testing.assert_close(both(clips()), fused(clips()), atol=1e-5, rtol=1e-5)
    both.save(tmp_path / "both")
    assert torch.equal(cacl.load(tmp_path / "both")(clips()), both(clips()))
    with pytest.raises(UserError, match=r"import the same network as a \.pt2"):
        export_encoder(both, tmp_path / "both.onnx", to="onnx")


@torch.no_grad()
def test_the_larger_part_sees_each_frame_stretched_once(fused: FusedEncoder, tmp_path: Path):
    """From a file, frames are as the image network wants them, not stretched to a square on the way."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 96, 128, 3), np.uint8)
    write_video(tmp_path / "v.mp4", pixels)
    own = Encoder("r3d10", width=2, clip=ClipSpec(frames=8, stride=2, resize=(20, 26), size=16)).eval()
    both = FusedEncoder(own, fused.image, mapped=(Mapped(torch.zeros(own.num_features)), fused.mapped[1]), weight=1)
    assert both.clip.resize == fused.image.clip.resize
    alone = fused.image
    with open_video(tmp_path / "v.mp4", rules=both.clip.rules) as decoder:
        frames = decoder.read(
            np.arange(16)[::2][list(both.looked_at)], height=alone.clip.resize[0], width=alone.clip.resize[1]
        )
    seen = fused.mapped[1](alone(torch.from_numpy(frames)[None]))
    vector = both.eval().embed_video(tmp_path / "v.mp4").vector[0, -5:]
    np.testing.assert_allclose(vector, seen[0].numpy(), atol=1e-6)


def test_its_frames_are_those_of_the_own_part(fused: FusedEncoder, tmp_path: Path):
    """Rate, colours, levels, black boxes and window are the run's, and are so again from the folder."""
    known = {"colours": "shown", "levels": (0.0, 0.5), "blank": ((0, 0, 8, 6),), "window": "padded", "frame_rate": 12.5}
    clip = ClipSpec(frames=8, resize=(40, 52), size=32, **known)
    own = Encoder("r3d10", width=2, clip=clip).eval()
    both = FusedEncoder(own, fused.image, mapped=fused.mapped, weight=1).eval()
    both.save(tmp_path / "both")
    again = cacl.load(tmp_path / "both")
    assert again.clip == both.clip
    assert {name: getattr(again.clip, name) for name in known} == known
    write_video(tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 256, (60, 40, 52, 3), np.uint8), fps=25)
    mine, theirs = again.embed_video(tmp_path / "v.mp4"), own.embed_video(tmp_path / "v.mp4")
    np.testing.assert_array_equal(mine.first_frame, theirs.first_frame)
    np.testing.assert_array_equal(mine.start_s, theirs.start_s)
