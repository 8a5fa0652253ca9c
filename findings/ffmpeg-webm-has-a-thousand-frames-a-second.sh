#!/usr/bin/env bash
# WebM as browsers record it (no stated frame duration) has 1000 frames a second, says FFmpeg.
#
# Seen: average rate 1000 and a millisecond for each frame of a recording of 8 s with 12 frames a second.
# Expected: an average near 12, or that it is unknown. Who divides frames by this rate makes 8 s into 0.1 s.
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
from fractions import Fraction

times = np.cumsum(np.random.default_rng(0).integers(14, 152, 100)).tolist()
with av.open("recording.webm", "w") as container:
    stream = container.add_stream("libvpx", rate=1000)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(np.full((72, 64), 2 * number, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = time, Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
with av.open("recording.webm") as container:
    stream = container.streams.video[0]
    frames = list(container.decode(stream))
    rate, guess, unit = float(stream.average_rate), float(stream.guessed_rate), float(stream.time_base)
span = (frames[-1].pts - frames[0].pts) * unit
stated = sum(frame.duration for frame in frames) * unit
print(f"PyAV {av.__version__}: average {rate:.0f}, guessed {guess:.0f}; {len(frames)} frames in {span:.1f} s; durations {stated:.1f} s")
assert len(frames) / span < 13
assert rate == guess == 1000 and stated < 0.2, "FFmpeg's behaviour has changed"
END
