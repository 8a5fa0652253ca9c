"""An index by each kind of encoder: a 3D CNN at one frame rate, a frozen image encoder, both fused."""

from __future__ import annotations

import shutil
from pathlib import Path

import image_nets as nets
import pytest
import torch
from indexing.made import add, facts, make_encoder, make_folder, make_index

import cacl
from cacl.models.encoder import Encoder
from cacl.models.fused import FusedEncoder, Mapped
from cacl.models.image.encoder import ImageEncoder
from cacl.models.image.sources import Pixels, import_image_encoder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    file = nets.write_pt2(nets.small_cnn(), tmp_path_factory.mktemp("image") / "cnn.pt2")
    return import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT", frames=2)


@pytest.fixture(scope="module")
def encoders(image: ImageEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    make_encoder(folder / "rate", frame_rate=8.0)
    image.save(folder / "frozen")
    own = Encoder.load(make_encoder(folder / "own"))
    torch.manual_seed(0)
    mapped = Mapped(0.1 * torch.randn(own.num_features)), Mapped(torch.randn(12), torch.randn(12, 5))
    FusedEncoder(own, image, mapped=mapped, weight=0.7).save(folder / "fused")
    return folder


@pytest.mark.parametrize("kind", ["rate", "frozen", "fused"])
def test_grown_is_made_at_once_and_a_copy_finds_itself(kind: str, encoders: Path, tmp_path: Path):
    videos = make_folder(tmp_path / "videos", 2)
    make_index(videos, tmp_path / "index", model=encoders / kind).close()
    add(videos, 2)
    grown = make_index(videos, tmp_path / "index")
    assert facts(grown) == facts(make_index(videos, tmp_path / "at once", model=encoders / kind))
    shutil.copy(videos / "a" / "v2.mp4", tmp_path / "query.mp4")
    vectors, _ = grown.examples(tmp_path / "query.mp4")
    assert vectors.astype("f4").tobytes() == grown.vectors[grown.rows("a/v2.mp4")].tobytes()
    hit = grown.search(tmp_path / "query.mp4", k=1)[0]
    assert (hit.path, hit.score) == ("a/v2.mp4", pytest.approx(1, abs=1e-6))
    assert cacl.Index(tmp_path / "index").about["features"] == grown.vectors.shape[1]
