"""Looks at frozen features: which moments stay, what is dropped, and that everything is a function of the draws."""

from __future__ import annotations

import pytest
import torch

from cacl.models.image.frozen_frames import FrozenFrames, with_gaps


def test_the_table_is_centred_and_of_variance_one() -> None:
    torch.manual_seed(0)
    raw = 5 + 3 * torch.randn(7, 4, 6)
    table = FrozenFrames(raw.half())
    assert (table.moments, table.num_features) == (4, 6)
    seen = table(torch.tensor([2, 2, 0]))
    expected = raw.half().float() - raw.half().float().mean(dim=(0, 1))
    torch.testing.assert_close(seen, (expected / expected.std())[[2, 2, 0]])
    assert not list(table.parameters())
    assert not table.state_dict()  # it lies in the run's folder, not in its checkpoints


def test_every_moment_stays_equally_often_and_in_order() -> None:
    L, n = 5, 4000
    features = torch.arange(L).float().view(1, L, 1).expand(n, L, 1)
    torch.manual_seed(1)
    seen = with_gaps(features, torch.rand(n, L + 1), kept=2, dropout=0.0)[..., 0]
    assert (seen[:, 1] > seen[:, 0]).all()
    shares = torch.stack([(seen == moment).any(dim=1).double().mean() for moment in range(L)])
    assert (shares - 2 / L).abs().max() < 5 * (0.4 * 0.6 / n) ** 0.5


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.9])
def test_dropped_features_are_dropped_in_the_whole_look(dropout: float) -> None:
    torch.manual_seed(2)
    features, uniforms = 1 + torch.rand(3000, 3, 8), torch.rand(3000, 11)
    seen = with_gaps(features, uniforms, kept=3, dropout=dropout)
    gone = seen == 0
    assert (gone == gone[:, :1]).all()
    assert abs(gone.double().mean().item() - dropout) < 0.02
    torch.testing.assert_close(seen[~gone] * (1 - dropout), features[~gone])
    assert torch.equal(seen, with_gaps(features, uniforms, kept=3, dropout=dropout))
