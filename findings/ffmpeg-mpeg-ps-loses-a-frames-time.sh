#!/usr/bin/env bash
# Times in MPEG-PS of small pictures are not those that were written: from some frame on all are a frame late, or go back.
#
# Seen: of 20 short videos, each written with a frame every 40 ms, some come back with times that jump by 80 ms or go back.
# Expected: a frame every 40 ms, as the same packets have in MPEG-TS. (In MPEG-PS, pictures that share a pack share one stated
# time, and the others have to be worked out.)
# With: av 18.1.0 (FFmpeg 8.1)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
venv/bin/python - <<'END'
import av
import numpy as np


def uneven(path, seed):
    """Steps from one frame's time to the next that are not 40 ms, of a video written with one every 40 ms."""
    blocks = np.random.default_rng(seed).integers(0, 256, (75, 3, 4, 3), dtype=np.uint8)
    pictures = blocks.repeat(16, axis=1).repeat(16, axis=2)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"g": "8", "bf": str(seed % 3)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        times = [round(1000 * frame.time) for frame in container.decode(video=0)]
    assert len(times) == 75
    return [step for step in np.diff(times).tolist() if step != 40]


found = {kind: [uneven(f"v.{kind}", seed) for seed in range(20)] for kind in ("ts", "mpg")}
wrong = {kind: sum(bool(steps) for steps in all_steps) for kind, all_steps in found.items()}
seen = sorted({step for steps in found["mpg"] for step in steps})
print(f"PyAV {av.__version__}: uneven times in {wrong['mpg']} of 20 MPEG-PS (steps of {seen} ms), {wrong['ts']} of 20 MPEG-TS")
assert wrong["ts"] == 0
assert wrong["mpg"] > 0, "FFmpeg's behaviour has changed"
END
