"""The encoder: equal to evaluation's features, safe on disk, and right in time over whole videos."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.media.colours import PixelRules
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.errors import UserError, VideoError
from cacl.models import encoder_folder
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder, pool_map
from cacl.models.encoder_card import encoder_card
from cacl.models.encoder_folder import read_encoder_folder
from cacl.models.segments import Segments, even_seconds, segment_windows

SMALL = ClipSpec(resize=(40, 52), size=32)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("r3d10", width=2, clip=SMALL).eval()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# ---------------------------------------------------------------------------------------------------- features


def test_uint8_frames_are_cropped_and_scaled_as_in_evaluation(encoder: Encoder):
    """Frames at the stored size: centre 32x32 of 40x52 begins at (4, 10); pixels / 255; the map pooled by hand."""
    frames = noise(2, 16, 40, 52, 3)
    x_BCTHW = torch.from_numpy(frames[:, :, 4:36, 10:42]).permute(0, 4, 1, 2, 3).float() / 255
    map_BDTHW = encoder.network.forward_features(x_BCTHW)
    B, D, T, H, W = map_BDTHW.shape
    expected = map_BDTHW.view(B, D, T, H // 2, 2, W // 2, 2).amax((4, 6)).flatten(1)
    torch.testing.assert_close(encoder(frames), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder(torch.from_numpy(frames)), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder(x_BCTHW), expected, rtol=1e-6, atol=1e-6)


def test_pixel_normalisation(encoder: Encoder):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    clip = ClipSpec(resize=(40, 52), size=32, pixel_mean=mean, pixel_std=std)
    normalising = Encoder("r3d10", width=2, clip=clip, network=encoder.network).eval()
    frames = noise(1, 16, 40, 52, 3)
    x = torch.from_numpy(frames[:, :, 4:36, 10:42]).permute(0, 4, 1, 2, 3).float() / 255
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(normalising(frames), encoder(by_hand), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(normalising(x), encoder(by_hand), rtol=1e-5, atol=1e-6)


def test_frames_of_another_size_are_stretched(encoder: Encoder):
    """Twice the size, each pixel doubled: shrinking gives the small frames back, up to the smoothing at edges."""
    flat = np.repeat(noise(1, 16, 1, 1, 3), 40, axis=2).repeat(52, axis=3)
    large = flat.repeat(2, axis=2).repeat(3, axis=3)
    torch.testing.assert_close(encoder(large), encoder(flat))


@pytest.mark.parametrize("layer", ["max", "mean"])
@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
def test_num_features_is_what_comes_out(name, layer):
    encoder = Encoder(name, width=2, clip=ClipSpec(resize=(56, 72), size=56, layer=layer)).eval()
    assert encoder(noise(1, 16, 56, 72, 3)).shape == (1, encoder.num_features)


def test_the_paper_s_feature_has_9216_numbers():
    with torch.device("meta"):
        assert [Encoder(name).num_features for name in ("c3d", "r3d10", "r2plus1d10")] == [9216] * 3


def test_pool_map_by_hand():
    map_BDTHW = torch.arange(2.0 * 1 * 2 * 3 * 5).view(2, 1, 2, 3, 5)
    pooled = pool_map(map_BDTHW, "max")
    assert pooled.tolist() == [[6.0, 8.0, 21.0, 23.0], [36.0, 38.0, 51.0, 53.0]]
    assert pool_map(map_BDTHW[..., :1, :1], "max").shape == (2, 2)
    assert pool_map(map_BDTHW, "mean").tolist() == [[14.5], [44.5]]


def test_wrong_clips_are_refused(encoder: Encoder):
    for clips in (noise(1, 8, 40, 52, 3), noise(16, 40, 52, 3), noise(1, 16, 3, 40, 52)):
        with pytest.raises(ValueError, match="uint8 clips must be"):
            encoder(clips)
    for clips in (torch.zeros(1, 3, 8, 32, 32), torch.zeros(1, 16, 3, 32, 32), torch.zeros(1, 3, 16, 32, 32).long()):
        with pytest.raises(ValueError, match="clips must be"):
            encoder(clips)


def test_a_clip_spec_checks_itself():
    for wrong in (
        {"frames": 0},
        {"stride": 1.5},
        {"resize": (128,)},
        {"size": 129},
        {"layer": "median"},
        {"pixel_mean": (0.5, 0.5, 0.5)},
        {"pixel_mean": (0.5, 0.5, 0.5), "pixel_std": (1.0, 0.0, 1.0)},
        {"pixel_mean": (0.5, 0.5), "pixel_std": (1.0, 1.0)},
    ):
        with pytest.raises(ValueError, match=r"must be|fit|go together|three"):
            ClipSpec(**wrong)


def test_a_network_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="no r3d10 of width 2"):
        Encoder("r3d10", width=2, network=build_cnn3d("r3d10", width=3))


# ---------------------------------------------------------------------------------------------------- folder


def test_there_and_back(encoder: Encoder, tmp_path: Path):
    encoder.save(tmp_path / "run" / "encoder")
    assert sorted(p.name for p in (tmp_path / "run" / "encoder").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    frames = noise(2, 16, 40, 52, 3)
    for path in (tmp_path / "run", tmp_path / "run" / "encoder", str(tmp_path / "run")):
        again = Encoder.load(path)
        assert again.clip == encoder.clip
        assert not again.training
        assert torch.equal(again(frames), encoder(frames))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["encoder"]  # nothing left lying about


def test_config_and_card_say_what_was_saved(encoder: Encoder, tmp_path: Path):
    encoder.save(tmp_path / "e")
    config = json.loads((tmp_path / "e" / "config.json").read_text())
    assert config["network"] == {"name": "r3d10", "width": 2}
    assert config["clip"]["resize"] == [40, 52]
    assert config["num_features"] == encoder.num_features
    card = (tmp_path / "e" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: cacl\n")
    assert "stretched to 40x52" in card
    encoder.save(tmp_path / "e", card="my own")
    assert (tmp_path / "e" / "README.md").read_text() == "my own"
    card = encoder_card(config, trained_on="843 videos", measured="| R@1 | 40 |")
    assert "## Training\n\n843 videos" in card
    assert "| R@1 | 40 |" in card


def test_a_network_in_channels_last_is_saved_alike(encoder: Encoder, tmp_path: Path):
    frames = noise(1, 16, 40, 52, 3)
    expected = encoder(frames)
    encoder.to(memory_format=torch.channels_last_3d)
    encoder.save(tmp_path / "e")
    assert torch.equal(Encoder.load(tmp_path / "e")(frames), expected)


@pytest.mark.parametrize("failing", ["write_synced", "sync_folder", "rename"])
def test_a_failed_save_leaves_the_old_encoder(encoder: Encoder, tmp_path: Path, monkeypatch, failing: str):
    encoder.save(tmp_path / "e")
    before = {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "rename":
        real = Path.rename
        monkeypatch.setattr(Path, "rename", lambda p, to: fail() if p.suffix == ".new" else real(p, to))
    else:
        monkeypatch.setattr(encoder_folder, failing, fail)
    other = Encoder("r3d10", width=2, clip=SMALL)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
        other.save(tmp_path / "e")
    assert {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_killed_between_the_two_renames_the_old_one_is_found(encoder: Encoder, tmp_path: Path):
    encoder.save(tmp_path / "run" / "encoder")
    (tmp_path / "run" / "encoder").rename(tmp_path / "run" / ".encoder.old")
    frames = noise(1, 16, 40, 52, 3)
    for path in (tmp_path / "run", tmp_path / "run" / "encoder"):
        assert torch.equal(Encoder.load(path)(frames), encoder(frames))
    Encoder("c3d", width=1, clip=SMALL).save(tmp_path / "run" / "encoder")
    assert Encoder.load(tmp_path / "run").name == "c3d"
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["encoder"]


def test_a_folder_with_other_things_is_not_replaced(encoder: Encoder, tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("work of years")
    for place in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.tex"):
        with pytest.raises(UserError, match="is no encoder folder"):
            encoder.save(place)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "work of years"
    (tmp_path / "empty").mkdir()
    encoder.save(tmp_path / "empty")
    assert torch.equal(Encoder.load(tmp_path / "empty").network.bn1.weight, encoder.network.bn1.weight)


def damage(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_what_is_no_encoder_is_refused_in_a_sentence(encoder: Encoder, tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        Encoder.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no encoder"):
        Encoder.load(tmp_path)
    folder = tmp_path / "e"
    clip = {"frames": 16, "stride": 2, "resize": [40, 52], "size": 32, "layer": "max"}
    for changes, words in (
        ({"format": "cacl frame encoder"}, "describes 'cacl frame encoder', not a cacl encoder"),
        ({"version": 99}, "format version 99"),
        ({"network": {"name": "r3d11", "width": 2}}, "does not describe an encoder"),
        ({"network": {"name": "r3d10"}}, "does not fit"),
        ({"network": {"name": "r3d10", "width": -2}}, "does not describe an encoder"),
        ({"clip": clip | {"size": 99}}, "does not describe an encoder"),
        ({"clip": clip | {"unknown": 1}}, "does not describe an encoder"),
        ({"clip": 3}, "does not describe an encoder"),
    ):
        encoder.save(folder)
        damage(folder, **changes)
        with pytest.raises(UserError, match=words) as caught:
            Encoder.load(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
        damage(folder, format="cacl encoder")  # so that it may be replaced
    for file, words in (("config.json", "is damaged"), ("model.safetensors", "is damaged")):
        encoder.save(tmp_path / file)
        path = tmp_path / file / file
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(UserError, match=words):
            Encoder.load(tmp_path / file)
    encoder.save(folder)
    os.remove(folder / "model.safetensors")
    with pytest.raises(UserError, match="is missing"):
        read_encoder_folder(folder)


# ---------------------------------------------------------------------------------------------------- whole videos


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 4))
def test_windows_cover_the_video(n_frames: int, frames: int, stride: int):
    read, starts, stops = segment_windows(n_frames, frames=frames, stride=stride)
    assert starts[0] == 0
    assert stops[-1] == n_frames
    assert np.all(starts[1:] <= stops[:-1])  # no gap
    assert np.all(np.diff(starts) > 0)
    assert read.min() >= 0
    assert read.max() < n_frames
    assert np.all(read[:, 0] == starts)


def test_windows_by_hand():
    read, starts, stops = segment_windows(70, frames=16, stride=2)
    assert starts.tolist() == [0, 32, 39]  # 70 - 31 = 39 is the last start that fits
    assert stops.tolist() == [32, 64, 70]
    assert read[2].tolist() == list(range(39, 70, 2))
    assert segment_windows(70, frames=16, stride=2, step=13)[1].tolist() == [0, 13, 26, 39]
    assert segment_windows(5, frames=16, stride=2)[0].tolist() == [[i % 5 for i in range(16)]]
    with pytest.raises(ValueError, match="step must be"):
        segment_windows(70, frames=16, stride=2, step=0)


def test_seconds():
    assert even_seconds(3, 10.0).tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert np.isnan(even_seconds(3, 0.0)).all()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "seventy.mp4"
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (70, 6, 8, 3), dtype=np.uint8)
    write_video(path, small.repeat(16, axis=1).repeat(16, axis=2), fps=10.0)
    return path


def test_a_whole_video(encoder: Encoder, video: Path):
    segments = encoder.embed_video(video)
    assert segments.path == [str(video)] * 3
    assert [(row.first_frame, row.frames) for row in segments] == [(0, 32), (32, 32), (39, 31)]
    assert segments[1].path == str(video)
    assert segments.start_s.tolist() == pytest.approx([0, 3.2, 3.9])
    assert segments.end_s.tolist() == pytest.approx([3.2, 6.4, 7.0])
    assert segments.vector.shape == (3, encoder.num_features)
    assert segments.vector.dtype == np.float32
    with VideoDecoder(video) as decoder:
        every = np.stack(list(decoder.iterate(height=40, width=52)))
    for start, vector in zip((0, 32, 39), segments.vector, strict=True):
        with torch.no_grad():
            expected = encoder(every[None, start : start + 31 : 2])[0].numpy()
        np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)
    one = encoder.embed_video(video, batch_size=1)
    np.testing.assert_allclose(one.vector, segments.vector, rtol=1e-5, atol=1e-6)
    assert "3 segments of 7.0 s" in repr(segments)


def test_embedding_does_not_touch_the_training_mode_or_the_statistics(encoder: Encoder, video: Path):
    expected = encoder.embed_video(video).vector
    encoder.train()
    before = encoder.network.bn1.running_mean.clone()
    np.testing.assert_array_equal(encoder.embed_video(video).vector, expected)
    assert encoder.training
    assert torch.equal(encoder.network.bn1.running_mean, before)


def test_a_file_that_is_no_video(encoder: Encoder, tmp_path: Path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError):
        encoder.embed_video(tmp_path / "text.mp4")


def test_segments_check_themselves():
    with pytest.raises(ValueError, match="do not belong"):
        Segments("vv", np.zeros(2), np.zeros(3), *np.zeros((2, 2), np.int64), np.zeros((2, 4), np.float32))


def test_an_encoder_keeps_how_pixels_became_rgb_and_one_of_before_has_the_old_rules(tmp_path: Path) -> None:
    clip = replace(SMALL, colours="shown", levels=(0.0, 0.0625))
    encoder = Encoder("r3d10", width=2, clip=clip)
    encoder.save(tmp_path / "e")
    assert Encoder.load(tmp_path / "e").clip.rules == PixelRules("shown", (0.0, 0.0625))
    file = tmp_path / "e" / "config.json"
    config = json.loads(file.read_text())
    del config["clip"]["colours"], config["clip"]["levels"]
    file.write_text(json.dumps(config))
    old = Encoder.load(tmp_path / "e")
    assert old.clip.rules == PixelRules("coded", (0.0, 1.0))
    assert old.clip == SMALL
    for wrong in ({"colours": "bright"}, {"levels": (1.0, 0.5)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(SMALL, **wrong)
