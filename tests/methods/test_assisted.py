"""``assisted`` against literal sums, and as a whole run beside a frozen image encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import image_nets as nets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from methods.rivals.harness import InProcesses, same_in_two_processes
from safetensors.torch import load_file
from training.rows import timeless

from cacl.data.clips.sampling import evaluation_clips
from cacl.data.media.decode import VideoDecoder
from cacl.errors import UserError
from cacl.experiments.analyse import analyse
from cacl.methods.assisted import Assisted
from cacl.methods.contract import MethodBatch
from cacl.methods.cvrl import among_other_videos
from cacl.models.cnn3d import build_cnn3d
from cacl.models.image.frozen_frames import FrozenFrames, with_gaps
from cacl.models.image.sources import Pixels, import_image_encoder
from cacl.models.load import load_encoder
from cacl.models.transformer import VideoTransformer
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain
from cacl.training.rebuild import trained_method
from cacl.training.videos import open_run_data


def literal(query: torch.Tensor, own: torch.Tensor, others: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """-log of the share of one key."""
    positive = torch.exp(query @ own / temperature)
    return -torch.log(positive / (positive + sum(torch.exp(query @ key / temperature) for key in others)))


@pytest.mark.parametrize("video", [[0, 1, 2], [4, 4, 1]])
def test_g_is_compared_with_the_looks_of_other_videos(video: list[int]) -> None:
    torch.manual_seed(0)
    query, key = (F.normalize(torch.randn(6, 5, dtype=torch.float64), dim=1).requires_grad_() for _ in range(2))
    target = torch.tensor([3, 4, 5, 0, 1, 2])
    loss, _ = among_other_videos(query, key, target, torch.tensor(video).repeat(2), temperature=0.2)
    expected = torch.stack(
        [
            literal(query[i], key[target[i]], [key[j] for j in range(6) if video[j % 3] != video[i % 3]], 0.2)
            for i in range(6)
        ]
    ).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for a, b in zip(torch.autograd.grad(loss, [query, key]), torch.autograd.grad(expected, [query, key]), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_the_step_is_the_mean_of_its_four_contrasts() -> None:
    torch.manual_seed(3)
    table = FrozenFrames(torch.randn(5, 4, 6))
    transformer = VideoTransformer(6, frames=2, clips=1, width=12, depth=1, heads=3)
    made = Assisted(build_cnn3d("r3d10", width=4), transformer, table, frames=8, stride=1, temperature=0.2)
    views = tuple(torch.rand(3, 3, 8, 16, 16) for _ in range(2))
    video, uniforms = torch.tensor([3, 0, 4]), torch.rand(3, 2 * 10)
    output = made(MethodBatch(views, {}, video, uniforms))

    g = F.normalize(made.contrast(made.network(torch.cat(views))), dim=1)
    t = torch.cat(
        [
            F.normalize(transformer(transformer.embed(with_gaps(table(video), u, kept=2, dropout=0.3))), dim=1)
            for u in (uniforms[:, :10], uniforms[:, 10:])
        ]
    )
    names = video.repeat(2).tolist()

    def of(query: torch.Tensor, key: torch.Tensor, move: int) -> torch.Tensor:
        return torch.stack(
            [
                literal(query[i], key[(i + move) % 6], [key[j] for j in range(6) if names[j] != names[i]], 0.2)
                for i in range(6)
            ]
        ).mean()

    expected = (of(g, g, 3) + of(g, t, 0) + of(g, t, 3) + of(t, t, 3)) / 4
    assert output.losses["main"].item() == pytest.approx(expected.item(), rel=1e-5)
    output.losses["main"].backward()
    assert all(p.grad is not None for p in transformer.parameters())


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    file = nets.write_pt2(nets.small_cnn(), folder / "cnn.pt2")
    import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT").save(folder / "encoder", imported_from="cnn")
    return folder / "encoder"


def of_any_method(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not key.startswith("method.")}


def test_a_run_looks_once_and_ends_with_both(
    squares: Path, tiny: dict[str, Any], image_folder: Path, tmp_path: Path
) -> None:
    settings = {**of_any_method(tiny), "optim.epochs": 2}
    run = pretrain(squares, out=tmp_path / "a", method="assisted", settings=settings, with_frozen=image_folder)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"train"}  # no stage of frames
    assert all({"similarity_gt", "similarity_tt"} <= row.keys() for row in rows)
    assert (run.path / "fused").is_dir()

    table = load_file(run.path / "frozen.safetensors")["features"]
    video = next(v for v in open_run_data(RunFolder(run.path)).catalog.videos if v.split == "train")
    image = load_encoder(image_folder)
    with VideoDecoder(squares / video.path) as decoder:  # by hand: the middles of four clips, frame by frame
        data = run.settings.data
        span = (data.frames - 1) * data.stride
        middles = evaluation_clips(decoder.frames, frames=3, stride=max(1, span // 2), clips=4)[:, 1]
        frames = decoder.read(middles, height=image.clip.resize[0], width=image.clip.resize[1])
    with torch.inference_mode():
        expected = image(frames[:, None])
    assert table.shape[1:] == expected.shape
    torch.testing.assert_close(table[0].float(), expected, atol=2e-3, rtol=2e-3)

    method, steps = trained_method(Run(run.path))  # as analyse takes it
    assert steps == rows[-1]["step"]
    assert all(torch.equal(a, b) for a, b in zip(
        method.encoder.state_dict().values(), run.encoder.network.state_dict().values(), strict=True
    ))  # fmt: skip
    found = analyse(run.path, parts=["similarity"])
    assert list(found["similarity"]["pairs"]) == ["first_second"]
    (run.path / "frozen.safetensors").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"frozen\.safetensors, .* is gone or damaged"):
        trained_method(Run(run.path))

    again = pretrain(squares, out=tmp_path / "b", method="assisted", settings=settings, with_frozen=image_folder)
    assert timeless(again.path) == timeless(run.path)
    for name in ("encoder", "fused"):
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                load_encoder(again.path / name).state_dict().values(),
                load_encoder(run.path / name).state_dict().values(),
                strict=True,
            )
        )


def test_without_a_frozen_encoder_it_says_what_to_do(squares: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--with-frozen"):
        pretrain(squares, out=tmp_path / "run", method="assisted", settings=of_any_method(tiny))
    assert not (tmp_path / "run").exists()


def test_more_moments_than_the_table_has_are_refused() -> None:
    with pytest.raises(ValueError, match="T reads 5 moments, the table has 4"):
        Assisted(
            build_cnn3d("r3d10", width=4),
            VideoTransformer(6, frames=5, clips=1, width=12, depth=1, heads=3),
            FrozenFrames(torch.from_numpy(np.zeros((2, 4, 6), np.float32))),
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cvrl", "assisted"])
def test_two_processes_learn_the_same(method: str, in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes(method, tmp_path, in_processes)
