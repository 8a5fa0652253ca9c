"""The training loop: its steps are those of a loop written out, and its rows say what happened in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training.linear_stage import BATCH, EPOCHS, VIDEOS, Linear, Noise, plan, rate, stage, views
from training.rows import rows

from cacl.data.clips.loader import ClipLoader
from cacl.methods.contract import MAIN
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.loop import train
from cacl.training.stop import StopRequest


def test_the_steps_are_those_of_a_loop_written_out(tmp_path: Path) -> None:
    trained = stage(tmp_path)
    train(trained, StopRequest())
    slow = Linear()
    optimizer = torch.optim.SGD(slow.parameters(), lr=1.0, momentum=0.9, fused=True)
    batches = ClipLoader(Noise(), [20] * VIDEOS, plan, seed=3, batch_size=BATCH)
    step, losses = 0, []
    for epoch in range(EPOCHS):
        for batch in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            output = slow(views(batch))
            optimizer.zero_grad()
            output.losses[MAIN].backward()
            optimizer.step()
            slow.after_step(output.state, batch.video, 0)
            losses.append(output.losses[MAIN].item())
            step += 1
    assert step == 12
    for ours, theirs in zip(trained.step.method.state_dict().values(), slow.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert [row["loss"] for row in rows(tmp_path)] == losses


def test_after_step_follows_each_step_and_hears_how_far_it_is(tmp_path: Path) -> None:
    trained = stage(tmp_path)
    train(trained, StopRequest())
    expected = [call for n in range(12) for call in ("forward", ("after", round((n + 1) / 12, 6)))]
    assert trained.step.method.calls == expected


def test_rows_have_the_learning_rate_the_epoch_and_every_so_often_the_gradients(tmp_path: Path) -> None:
    train(stage(tmp_path), StopRequest())
    found = rows(tmp_path)
    assert [row["step"] for row in found] == list(range(1, 13))
    assert [row["epoch"] for row in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [row["lr"] for row in found] == [rate(step) for step in range(12)]
    assert {row["kind"] for row in found} == {"train"}
    assert [row["step"] for row in found if "grad_nce" in row] == [1, 6, 11]
    assert [row["step"] for row in found if "grad_degree" in row] == [1, 6, 11]
    assert [row["step"] for row in found if "feature_std" in row] == [1, 6, 11]
    for row in found:
        assert row["loss"] == pytest.approx(row["nce"] + row["degree_loss"], abs=1e-6)
        assert row["similarity"] == row["nce"]


def test_the_gradients_that_reach_the_features_are_those_of_each_term(tmp_path: Path) -> None:
    train(stage(tmp_path, epochs=1), StopRequest())
    batch = next(iter(stage(tmp_path / "other").loader.epoch(0)))
    features = Linear()(views(batch)).features.detach()
    row = rows(tmp_path)[0]
    assert row["grad_nce"] == pytest.approx((2 * features / features.numel()).norm().item(), rel=1e-5)
    assert row["grad_degree"] == pytest.approx(((features - 1) / features.numel()).norm().item(), rel=1e-5)
    assert row["feature_std"] > 0
    assert 1 <= row["feature_rank"] <= BATCH


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    free, clipped = stage(tmp_path / "a", epochs=1), stage(tmp_path / "b", epochs=1, clip_gradient=1e-9)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = Linear().layer.weight
    train(free, StopRequest())
    train(clipped, StopRequest())
    assert not torch.allclose(free.step.method.layer.weight, before, atol=1e-6)
    assert torch.allclose(clipped.step.method.layer.weight, before, atol=1e-8)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_batch(tmp_path: Path, parts: int) -> None:
    folders, told = [tmp_path / "whole", tmp_path / "parts"], []
    for folder, accumulate in zip(folders, (1, parts), strict=True):
        folder.mkdir()
        trained = stage(folder, accumulate=accumulate)
        train(trained, StopRequest())
        told.append(trained.step.method.told)
    whole, cut = rows(folders[0]), rows(folders[1])
    assert len(whole) == len(cut) == 12
    for one, other in zip(whole, cut, strict=True):
        assert set(one) == set(other)
        for key in set(one) - {"clips_per_second", "kind"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4), key
    weights = [load_checkpoint(newest_checkpoint(f / "checkpoints") or f)[1]["method"]["layer.weight"] for f in folders]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(told[0], told[1], rtol=1e-5, atol=1e-6)  # of the whole batch, in its order
    calls = trained.step.method.calls
    assert calls[: parts + 1] == ["forward"] * parts + [("after", round(1 / 12, 6))]
