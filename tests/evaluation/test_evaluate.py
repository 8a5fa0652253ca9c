from __future__ import annotations

import numpy as np
import torch
from array_videos import clip_of, data_of

from cacl.evaluation.evaluate import with_statistics
from cacl.models.encoder import Encoder


def test_the_untrained_network_gets_the_statistics_of_training_clips(make_videos):
    source, videos = make_videos(count=6, frames=31, broken=(2,))  # of 31 frames: one clip of 16 at stride 2 fits
    encoder = Encoder("r3d10", width=2, clip=clip_of(16)).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = with_statistics(encoder, data_of(source, videos), [0, 1, 2, 3, 5], 0, "cpu")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(module.training for module in found.modules())

    clips = torch.from_numpy(np.stack([source.videos[i][::2] for i in (0, 1, 3, 5)]))
    maps = []
    first = next(m for m in found.network.modules() if isinstance(m, torch.nn.BatchNorm3d))
    first.register_forward_pre_hook(lambda module, inputs: maps.append(inputs[0].transpose(0, 1).flatten(1)))
    with torch.no_grad():
        found.network(encoder.clip.pixels(clips))
    torch.testing.assert_close(first.running_mean, maps[0].mean(1))
    torch.testing.assert_close(first.running_var, maps[0].var(1))
    assert first.momentum == 0.1
    for name, value in found.state_dict().items():
        assert torch.equal(value, before[name]) == ("running" not in name and "tracked" not in name)
