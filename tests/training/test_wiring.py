"""Settings reach what they name; initial weights and views are functions of the seed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cacl.config import Settings
from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader
from cacl.data.media.colours import PixelRules
from cacl.data.videos.frames import SampledFrames
from cacl.methods import cacl
from cacl.methods.cacl import CACL
from cacl.methods.frame_moco import FrameMoCo
from cacl.models import transformer as transformer_module
from cacl.models.cnn3d import channels_last_
from cacl.models.weights import save_frame_weights
from cacl.training.pretrain import resolve_settings
from cacl.training.progress import shown_of
from cacl.training.views import MakeViews, augmented_views
from cacl.training.wiring import build_frames_network, build_method, clip_spec, frame_augment, initial_network


def settings(tiny: Mapping[str, Any], **changes: Any) -> Settings:
    flags = {**tiny, **{key.replace("__", "."): value for key, value in changes.items()}}
    return resolve_settings(flags=flags).settings


def method_of(given: Settings) -> CACL:
    frame_encoder = build_frames_network(given, weights=None) if given.wants_frame_encoder else None
    method = build_method(given, network=initial_network(given), frame_encoder=frame_encoder, videos=8)
    assert isinstance(method, CACL)
    return method


def views_of(given: Settings) -> MakeViews:
    return augmented_views(method_of(given), given.augment, seed=given.run.seed, channels_last=False)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_initial_weights_are_a_function_of_the_seed_alone(tiny: dict[str, Any]) -> None:
    given = settings(tiny)
    first, first_method = initial_network(given), method_of(given)
    torch.manual_seed(99)
    torch.rand(7)
    assert same(first, initial_network(given))
    assert same(first_method, method_of(given))
    other = settings(tiny, run__seed=1)
    assert not same(first, initial_network(other))
    assert not same(first_method, method_of(other))


def test_the_network_that_is_trained_begins_as_the_untrained_one(tiny: dict[str, Any]) -> None:
    given = settings(tiny)
    assert same(method_of(given).encoder, initial_network(given))


@pytest.mark.parametrize("preset", ["small", "paper", "released"])
def test_each_argument_of_the_method_gets_the_setting_of_its_name(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = resolve_settings(
        preset=preset, method="cacl", flags={"method.queue_size": 8, "data.hold_out": 800}
    ).settings
    heard: dict[str, Any] = {}
    monkeypatch.setattr(cacl, "CACL", lambda *parts, **keywords: heard.update(keywords) or SimpleNamespace())
    monkeypatch.setattr(
        transformer_module, "VideoTransformer", lambda *parts, **keywords: heard.update(transformer=keywords)
    )
    build_method(given, network=object(), frame_encoder=build_frames_network(given, weights=None), videos=8)  # type: ignore[arg-type]
    transformer = heard.pop("transformer")
    names = set(inspect.signature(CACL.__init__).parameters) - {"self", "network", "transformer", "frame_encoder"}
    assert set(heard) == names
    by_name: dict[str, set[Any]] = {}
    for section in ("data", "augment", "model", "method"):
        for name, value in getattr(given, section).model_dump().items():
            by_name.setdefault(name, set()).add(str(value))
    assert heard.pop("validation_batches") == (13 if preset == "released" else 0)  # 800 videos of 64
    for name, value in heard.items():
        assert by_name[name] == {str(value)}, name
    assert transformer == {
        "frames": given.data.frames,
        "clips": 2,
        "width": given.model.token_width,
        "depth": given.model.depth,
        "heads": given.model.heads,
    }


def test_without_a_twin_the_transformer_sees_one_clip(tiny: dict[str, Any]) -> None:
    given = settings(tiny, method__twin=False, method__degree_weight=0.0)
    one, two = method_of(given).transformer, method_of(settings(tiny)).transformer
    assert one is not None
    assert two is not None
    lengths = [next(p.shape[1] for name, p in model.named_parameters() if "pos" in name) for model in (one, two)]
    assert lengths[1] - lengths[0] == 16


def test_without_a_transformer_pair_there_is_none(tiny: dict[str, Any]) -> None:
    method = method_of(settings(tiny, method__pairs=["gq_gk"]))
    assert method.transformer is None


def test_the_clip_that_the_encoder_expects_is_the_clip_of_training(tiny: dict[str, Any]) -> None:
    given = settings(tiny, augment__mean=[0.1, 0.2, 0.3], augment__std=[0.4, 0.5, 0.6])
    spec = clip_spec(given, PixelRules("shown", (0.0, 0.5)))
    assert (spec.frames, spec.stride, spec.resize, spec.size) == (16, 2, (32, 40), 32)
    assert (spec.pixel_mean, spec.pixel_std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert spec.standardise == given.model.standardise
    assert (spec.colours, spec.levels) == ("shown", (0.0, 0.5))


def test_frame_weights_from_a_file_are_the_ones_that_are_used(tiny: dict[str, Any], tmp_path: Any) -> None:
    other = build_frames_network(settings(tiny, run__seed=5), weights=None)
    save_frame_weights(tmp_path / "w", other)
    given = settings(tiny)
    assert same(build_frames_network(given, weights=tmp_path / "w"), other)
    assert not same(build_frames_network(given, weights=None), other)


def batch(samples: list[int], epoch: int = 0, moments: int = 2) -> ClipBatch:
    """Frames that depend on sample and moment, whatever the place in the batch."""
    frames = [
        [
            np.random.default_rng([sample, moment]).integers(0, 256, (4, 32, 40, 3), np.uint8)
            for moment in range(moments)
        ]
        for sample in samples
    ]
    index = torch.tensor(samples)
    clips = tuple(torch.from_numpy(np.stack(frames)).unbind(1))
    return ClipBatch(clips, {}, index, index, epoch)


def test_a_view_depends_on_the_sample_not_on_its_place_in_the_batch(tiny: dict[str, Any]) -> None:
    given = settings(tiny)
    make = views_of(given)
    together, alone = make(batch([5, 1, 8])), make(batch([8]))
    for a, b in zip(together.views, alone.views, strict=True):
        assert torch.allclose(a[2], b[0], atol=1e-6)
    assert torch.equal(together.uniforms[2], alone.uniforms[0])


def test_views_samples_and_epochs_are_drawn_apart(tiny: dict[str, Any]) -> None:
    given = settings(tiny, data__moments=1)
    make = views_of(given)
    one = batch([3], moments=1)
    first = make(one)
    assert len(first.views) == 2
    assert first.views[0].shape == (1, 3, 4, 32, 32)
    assert not torch.allclose(first.views[0], first.views[1])
    later = make(ClipBatch(one.clips, {}, one.video, one.sample, 1))
    assert not torch.allclose(first.views[0], later.views[0])
    repeated = make(one)
    assert all(torch.equal(a, b) for a, b in zip(first.views, repeated.views, strict=True))


def test_view_k_shows_the_second_moment_where_there_are_two(tiny: dict[str, Any]) -> None:
    plain = {"augment__flip": 0.0, "augment__jitter_p": 0.0, "augment__gray_p": 0.0, "model__standardise": "none"}
    given = settings(tiny, augment__crop="fixed", **plain)
    make = views_of(given)
    given_batch = batch([2])
    views = make(given_batch).views
    for view, moment in zip(views, given_batch.clips, strict=True):
        values = (moment[0].float() / 255).permute(3, 0, 1, 2)  # 32 of 40 columns are cut out
        assert any(torch.allclose(view[0], values[..., x : x + 32], atol=1e-6) for x in range(9))


@pytest.mark.parametrize(("crop", "narrow"), [("area", True), ("fixed", False)])
def test_the_frame_stage_has_crops_of_its_own_and_names_videos_not_frames(
    crop: str, narrow: bool, tiny: dict[str, Any]
) -> None:
    plain = {"augment__jitter_p": 0.0, "augment__gray_p": 0.0, "model__standardise": "none"}
    other = "fixed" if narrow else "area"
    given = settings(tiny, augment__crop=other, frames__crop=crop, frames__area=[0.05, 0.1], **plain)
    moco = given.method.build_frames(given, frame_encoder=build_frames_network(given, weights=None))
    assert isinstance(moco, FrameMoCo)
    source = SampledFrames(_Ramp(), [4, 9], [20, 11], every=10)
    video_of = torch.from_numpy(source.video)
    make = augmented_views(moco, frame_augment(given), seed=0, channels_last=False, purpose="frame", video_of=video_of)
    loader = ClipLoader(source, [1] * len(source), moco.plan, seed=0, batch_size=4)
    made = make(next(iter(loader.epoch(0))))
    assert sorted(made.video.tolist()) == [4, 4, 9, 9]
    assert made.views[0].shape[-2:] == (32, 32)
    ranges = (made.views[0].amax(dim=(1, 2, 3, 4)) - made.views[0].amin(dim=(1, 2, 3, 4))).tolist()
    assert all((value < 0.4) == narrow for value in ranges)  # at most 14 columns, or 32, of 6/255 each


class _Ramp:
    height, width = 32, 40

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None] * 6, (len(indices), 32, 40, 3))
        return np.ascontiguousarray(ramp)


def test_channels_last_changes_no_number(tiny: dict[str, Any]) -> None:
    method = method_of(settings(tiny))
    before = {key: value.clone() for key, value in method.state_dict().items()}
    channels_last_(method)
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())
    weight = next(p for p in method.parameters() if p.ndim == 5 and min(p.shape[:2]) > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_what_is_shown_of_a_method_is_what_its_settings_say(tiny: dict[str, Any]) -> None:
    for given in (settings(tiny), settings(tiny, method__pairs=["gq_gk"])):
        curves = method_of(given).curves
        assert curves == given.method.curves(given.data.frames)
        assert {"loss", "nce", "degree_loss", "degree_accuracy"} == set(shown_of(curves))
