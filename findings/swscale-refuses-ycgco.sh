#!/usr/bin/env bash
# Video whose stream names the matrix YCgCo decodes, but swscale of FFmpeg 8 refuses to convert it: errno 95, as of a disk.
#
# Seen: OSError(95, 'Operation not supported') from VideoFrame.to_ndarray(format='rgb24'), of a class that programs take for trouble with files.
# Expected: a conversion, as the older sws_scale gave it by another matrix, or an error that names the matrix. A matrix given as an argument is taken.
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

with av.open("ycgco.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
    stream.codec_context.colorspace = 8
    for number in range(5):
        frame = av.VideoFrame.from_ndarray(np.full((144, 128), 100, np.uint8), format="yuv420p")
        frame.pts, frame.colorspace = number, 8
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
with av.open("ycgco.mp4") as container:
    frame = next(container.decode(video=0))
assert int(frame.colorspace) == 8
other = frame.reformat(format="rgb24", src_colorspace="ITU709", dst_colorspace="ITU709").to_ndarray()
try:
    frame.to_ndarray(format="rgb24")
    seen = "converted"
except OSError as error:
    seen = f"{type(error).__name__}({error.errno}, {error.strerror!r})"
print(f"PyAV {av.__version__}: decoded; to RGB: {seen}; by BT.709: {other[0, 0].tolist()}")
assert seen == "OSError(95, 'Operation not supported')", "FFmpeg's behaviour has changed"
END
