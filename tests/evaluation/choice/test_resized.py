"""The same videos with frames of another size: at the same rate, by the same rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cacl.data.media.colours import PixelRules
from cacl.data.media.encode import write_video
from cacl.data.videos.dataset import open_videos
from cacl.data.videos.resampled import resampled
from cacl.evaluation.choice.fuse import resized
from cacl.models.clip_encoder import ClipSpec


def test_rate_and_rules_stay(tmp_path: Path):
    frames = np.zeros((50, 16, 16, 3), np.uint8)
    frames += (20 + 4 * np.arange(50, dtype=np.uint8))[:, None, None, None]
    write_video(tmp_path / "a.mp4", frames, fps=25, options={"crf": "4"})
    rules, rate, box = PixelRules("shown", (0.0, 0.5)), 5.0, ((0, 0, 8, 8),)
    before = resampled(open_videos(tmp_path, resize=(16, 16), rules=rules, blank=box), rate)
    after = resized(before, ClipSpec(resize=(24, 24), size=24))
    wanted = resampled(open_videos(tmp_path, resize=(24, 24), rules=rules, blank=box), rate)
    assert after.rules == before.rules == rules
    assert after.catalog == before.catalog
    order = np.arange(before.catalog.videos[0].frames)
    np.testing.assert_array_equal(after.source.read(0, order), wanted.source.read(0, order))
    assert resized(before, ClipSpec(resize=(16, 16), size=16)) is before
