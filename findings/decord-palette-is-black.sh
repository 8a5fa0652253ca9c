#!/usr/bin/env bash
# decord gives black frames for a video of palette colours (pal8), without an error.
#
# Seen: all values 0 in every frame, where the palette stands in the header alone.
# Expected: the colours, between 64 and 255, as PyAV and OpenCV give them.
# With: decord 0.6.0; the same file by av 18.1.0 (FFmpeg 8.1)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 decord==0.6.0 numpy==2.4.6
venv/bin/python - <<'END'
import av
import numpy as np

SIZE = 64, 48
picture = (np.arange(SIZE[0] * SIZE[1]) % 8).astype(np.uint8)
with av.open("palette.avi", "w") as container:
    stream = container.add_stream("rawvideo", rate=25)
    stream.width, stream.height, stream.pix_fmt = *SIZE, "pal8"
    for number in range(30):
        colours = np.random.default_rng(0).integers(64, 256, (256, 4), dtype=np.uint8)
        frame = av.VideoFrame(*SIZE, "pal8")
        frame.planes[0].update(picture.tobytes())
        frame.planes[1].update(colours.tobytes())
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
with av.open("palette.avi") as container:
    linear = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

import decord

reader = decord.VideoReader("palette.avi")
seen = [reader[number].asnumpy() for number in range(len(reader))]
print(f"decord {decord.__version__}: {len(seen)} frames, values {np.min(seen)} to {np.max(seen)}")
print(f"PyAV {av.__version__}: {len(linear)} frames, values {np.min(linear)} to {np.max(linear)}")
assert np.min(linear) >= 64
assert len(seen) == 30 and np.max(seen) == 0, "decord's behaviour has changed"
END
