#!/usr/bin/env bash
# After a seek in AVI with a palette that changes, the right picture comes in the wrong colours.
#
# Seen: frame 15, found exactly and marked as a keyframe, has a palette that is not its own.
# Expected: the colours of a decode from the beginning: every frame of raw video is a keyframe.
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

SIZE = 64, 48
picture = (np.arange(SIZE[0] * SIZE[1]) % 8).astype(np.uint8)
with av.open("palette.avi", "w") as container:
    stream = container.add_stream("rawvideo", rate=25)
    stream.width, stream.height, stream.pix_fmt = *SIZE, "pal8"
    for number in range(30):
        colours = np.random.default_rng(number // 10).integers(64, 256, (256, 4), dtype=np.uint8)
        frame = av.VideoFrame(*SIZE, "pal8")
        frame.planes[0].update(picture.tobytes())
        frame.planes[1].update(colours.tobytes())
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
with av.open("palette.avi") as container:
    linear = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

with av.open("palette.avi") as container:
    stream = container.streams.video[0]
    container.seek(15, stream=stream)
    frame = next(container.decode(stream))
    found = frame.to_ndarray(format="rgb24")
wrong = int(np.abs(found.astype(int) - linear[15]).max())
print(f"PyAV {av.__version__}: frame {frame.pts}, keyframe {bool(frame.key_frame)}, off by up to {wrong} of 255")
assert frame.pts == 15 and frame.key_frame
assert wrong > 50, "FFmpeg's behaviour has changed"
END
