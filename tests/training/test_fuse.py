"""``cacl fuse`` and ``pretrain --with-frozen``: both parts beside each other, a verdict, rows in the tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import image_nets as nets
import numpy as np
import pytest
import torch

import cacl as library
from cacl.errors import UserError
from cacl.evaluation.choice.fuse import kept_fused
from cacl.experiments.fuse import fuse
from cacl.models.fused import FusedEncoder
from cacl.models.image.sources import Pixels, import_image_encoder
from cacl.training.pretrain import pretrain, resume
from cacl.training.videos import open_run_data


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    file = nets.write_pt2(nets.small_cnn(), folder / "cnn.pt2")
    import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT").save(folder / "encoder", imported_from="cnn")
    return folder / "encoder"


@pytest.fixture(scope="module")
def with_frozen(
    squares: Path, tiny: dict[str, Any], image_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run beside a frozen encoder. Only for reading."""
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = {**tiny, "optim.epochs": 1}
    return pretrain(squares, out=out, method="v-moco", settings=settings, with_frozen=image_folder).path


def test_a_run_ends_with_both_and_a_verdict(with_frozen: Path):
    both = library.load(with_frozen / "fused")
    assert isinstance(both, FusedEncoder)
    own = library.load(with_frozen)
    assert all(torch.equal(a, b) for a, b in zip(own.tensors().values(), both.own.tensors().values(), strict=True))
    found = json.loads((with_frozen / "finished.json").read_text())["verdict"]
    assert found["by"] == "R@1"  # the videos have labels
    assert (found["videos"], set(found["scores"])) == (4, {"own", "frozen", "fused"})
    page = (with_frozen / "report.html").read_text()
    lead = page.index(found["sentence"].split(":")[0])
    assert lead < page.index("r3d10 of width")
    assert both.chosen["how"] == "by other moments of the same video, without labels"


def test_the_means_are_those_of_the_training_videos(with_frozen: Path):
    """By hand: four moments of each training video, whole frames at the fused size."""
    from cacl.data.clips.sampling import evaluation_clips
    from cacl.data.media.decode import VideoDecoder
    from cacl.run_folder import RunFolder

    both = library.load(with_frozen / "fused")
    assert isinstance(both, FusedEncoder)
    data = open_run_data(RunFolder(with_frozen))
    found = []
    for video in data.videos(data.numbers("train")):
        with VideoDecoder(data.catalog.root / video.path) as decoder, torch.no_grad():
            plan = evaluation_clips(video.frames, frames=16, stride=2, clips=4)
            height, width = both.clip.resize
            frames = decoder.read(plan.ravel(), height=height, width=width).reshape(4, 16, height, width, 3)
            found.append(both.own(frames).numpy())
    vectors = np.concatenate(found)
    np.testing.assert_allclose(both.own_centre, vectors.mean(axis=0), atol=1e-5)
    if both.chosen["own"] == "centred":
        length = np.sqrt(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean())
        assert float(both.own_length) == pytest.approx(length, rel=1e-3)


def test_evaluate_has_both_rows_and_the_verdict(with_frozen: Path, image_folder: Path, tmp_path: Path, cacl):
    run = Path(shutil.copytree(with_frozen, tmp_path / "run"))
    ended = cacl("evaluate", run, "--json")
    assert ended.status == 0, ended
    results = json.loads(ended.out)
    rows = list(results["retrieval"])
    assert [rows.index(name) for name in ("thumbnail", "frozen", "v-moco", "fused")] == sorted(
        rows.index(name) for name in ("thumbnail", "frozen", "v-moco", "fused")
    )
    assert results["verdict"]["scores"]["fused"] == results["retrieval"]["fused"]["R@1"]
    assert results["verdict"]["scores"]["own"] == results["retrieval"]["v-moco"]["R@1"]
    assert results["verdict"]["sentence"] in (run / "report.html").read_text().replace("&#39;", "'")
    both = cacl("evaluate", run, "--beside", image_folder, "--beside", image_folder)
    both.refused("One frozen encoder fits beside a run")


def test_a_fused_encoder_that_cannot_be_read_is_left_out_with_a_word(with_frozen: Path, tmp_path: Path):
    run = Path(shutil.copytree(with_frozen, tmp_path / "run"))
    own, told = cacl_load(run), list[str]()
    assert kept_fused(run, own, say=told.append) is not None
    assert not told
    (run / "fused" / "model.safetensors").write_bytes(b"of another version")
    assert kept_fused(run, own, say=told.append) is None
    assert len(told) == 1
    assert f"left out: {run / 'fused'}" in told[0]


def test_a_frozen_encoder_given_later_is_kept_in_the_run(run: Path, image_folder: Path, cacl):
    assert kept_fused(run, cacl_load(run), say=print) is None
    ended = cacl("evaluate", run, "--beside", image_folder)
    assert ended.status == 0, ended
    assert "for these videos: R@1" in ended.out
    before = (run / "fused" / "config.json").stat().st_mtime_ns
    again = cacl("evaluate", run, "--beside", image_folder)
    assert again.status == 0
    assert (run / "fused" / "config.json").stat().st_mtime_ns == before
    assert kept_fused(run, cacl_load(run), say=print) is not None
    other = cacl_load(run)
    with torch.no_grad():
        next(iter(other.parameters())).add_(1)
    assert kept_fused(run, other, say=print) is None  # the run has learned more since


def cacl_load(run: Path) -> Any:
    return library.load(run)


def test_fuse_on_the_command_line(finished: Path, image_folder: Path, tmp_path: Path, cacl):
    ended = cacl("fuse", finished, image_folder, "--out", tmp_path / "both")
    assert ended.status == 0, ended
    assert "without labels (8 training videos)" in ended.out
    assert "Labels would have chosen weight" in ended.out
    assert "beside" in cacl("info", tmp_path / "both").out
    given = cacl("fuse", finished, image_folder, "--out", tmp_path / "both", "--weight", "0.5")
    assert given.status == 0
    assert given.out.startswith(f"{tmp_path / 'both'}: 0.5 x the own part")
    cacl("fuse", finished, image_folder, "--out", tmp_path / "c", "--weight", "much").refused("--weight is much")
    cacl("fuse", finished, image_folder, "--out", tmp_path / "c", "--weight", "-1").refused("0 or more")
    cacl("fuse", finished, finished, "--out", tmp_path / "c").refused("holds no image encoder")
    exported = cacl("export", tmp_path / "both", "--to", "torch", "--out", tmp_path / "both.pt2")
    assert exported.status == 0, exported


def test_without_labels_the_verdict_says_what_it_is_worth(
    squares: Path, tiny: dict[str, Any], image_folder: Path, tmp_path: Path
):
    (tmp_path / "videos").mkdir()
    for number, file in enumerate(sorted(squares.rglob("*.mp4"))[:8]):
        shutil.copy(file, tmp_path / "videos" / f"{number}.mp4")
    settings = {**tiny, "optim.epochs": 1}
    run = pretrain(
        tmp_path / "videos", out=tmp_path / "run", method="v-moco", settings=settings, with_frozen=image_folder
    )
    assert run.finished is not None
    verdict = run.finished["verdict"]
    assert (verdict["by"], verdict["videos"]) == ("other moments", 8)
    assert "without labels" in verdict["sentence"]
    (run.path / "finished.json").unlink()
    shutil.rmtree(run.path / "fused")
    again = resume(run.path)
    assert again.finished is not None
    assert again.finished["verdict"]["scores"] == verdict["scores"]


def test_what_is_no_image_encoder_is_said_before_anything_is_made(squares: Path, finished: Path, tmp_path: Path):
    with pytest.raises(UserError, match="holds no image encoder"):
        pretrain(squares, out=tmp_path / "run", with_frozen=finished)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="--weight is -2"):
        fuse(finished, finished, out=tmp_path / "both", weight=-2)


def test_few_labels_and_k_nn_have_the_rows(with_frozen: Path, squares: Path, tmp_path: Path):
    """Those of the fused encoder that the run keeps, from one pass; they are those of the folders by themselves."""
    results = library.finetune(
        squares, model=with_frozen, out=tmp_path / "few", linear=True, labels_per_class=[1, None], draws=2,
        settings={"run.device": "cpu", "run.precision": "float32", "data.store": "none", "test.clips": 3},
    )  # fmt: skip
    names = ["linear probe", "k-NN", "linear probe, frozen", "k-NN, frozen", "linear probe, fused", "k-NN, fused"]
    assert list(results["recognition"]) == names
    assert all(set(rows) == {"1", "all"} for rows in results["recognition"].values())
    alone = library.finetune(
        squares, model=with_frozen, out=tmp_path / "alone", linear=True, beside=with_frozen / "fused" / "image",
        settings={"run.device": "cpu", "run.precision": "float32", "data.store": "none", "test.clips": 3},
    )  # fmt: skip
    assert list(alone["recognition"]) == names[:4]
    with pytest.raises(UserError, match="neither a frozen image encoder nor a fused one"):
        library.finetune(squares, model=with_frozen, out=tmp_path / "x", linear=True, beside=with_frozen / "encoder")


def test_an_encoder_folder_is_evaluated_by_itself(with_frozen: Path, image_folder: Path, squares: Path, cacl):
    both = json.loads(cacl("evaluate", with_frozen / "fused", squares, "--json").out)["retrieval"]
    assert list(both) == ["chance", "colour histogram", "thumbnail", "frozen", "fused"]
    image = json.loads(cacl("evaluate", image_folder, squares, "--json").out)["retrieval"]
    assert list(image)[3:] == ["encoder", "encoder, centred"]
    cacl("evaluate", image_folder).refused("an encoder, not a run with videos of its own")
    cacl("evaluate", image_folder, squares, "--videos", squares).refused("for a run's own videos")


def test_without_labels_everything_stands_beside(with_frozen: Path, image_folder: Path, squares: Path, tmp_path, cacl):
    """Frozen and fused as the run keeps them, others as given; a moment's changes are the same for all."""
    run = Path(shutil.copytree(with_frozen, tmp_path / "run"))
    ended = cacl("evaluate", run, "--protocol", "self", "--beside", image_folder, "--json")
    assert ended.status == 0, ended
    results = json.loads(ended.out)
    assert results == json.loads((run / "self.json").read_text())
    rows = results["self"]
    names = ["colour histogram", "thumbnail", "untrained", "v-moco", str(image_folder), "frozen", "fused"]
    assert (list(rows), results["videos"]) == (names, 4)
    assert rows["frozen"] == rows[str(image_folder)]
    assert "random numbers have the highest" in cacl("evaluate", run, squares, "--protocol", "self").out
    cacl("evaluate", run, "--protocol", "self", "--split", 2).refused("needs no labels")


def test_videos_of_several_labels_have_the_rows(with_frozen: Path, squares: Path, tmp_path: Path, cacl):
    """Any shared class is right; mAP stands beside it, in the frozen rows as in the others."""
    folder = Path(shutil.copytree(squares, tmp_path / "squares"))
    rows = ["path,labels,split"]
    for number, file in enumerate(sorted(folder.rglob("*.mp4"))):
        name = file.relative_to(folder)
        rows.append(f"{name},{file.parent.name}{';slow' if number % 2 else ''},{name.parts[0]}")
    (folder / "videos.csv").write_text("\n".join(rows) + "\n")
    run = Path(shutil.copytree(with_frozen, tmp_path / "run"))
    ended = cacl("evaluate", run, folder, "--json")
    assert ended.status == 0, ended
    results = json.loads(ended.out)
    assert all("mAP" in row for row in results["retrieval"].values())
    assert results["verdict"]["scores"]["fused"] == results["retrieval"]["fused"]["R@1"]
    assert results["verdict"]["scores"]["own"] == results["retrieval"]["v-moco"]["R@1"]
    alone = json.loads(cacl("evaluate", with_frozen / "fused", folder, "--json").out)["retrieval"]
    assert alone["fused"] == results["retrieval"]["fused"]
