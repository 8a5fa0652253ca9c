#!/usr/bin/env bash
# OpenCV reads interlaced video as black frames and says that it has read them.
#
# Seen: read() gives True and a frame near 0 for H.264 and MPEG-2; the frame holds 200 of 255. Its log names an invalid argument.
# Expected: the picture, or False.
# With: opencv-python-headless 5.0.0.93; made by av 18.1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
venv/bin/python - <<'END'
import av
import cv2
import numpy as np

for name, codec in (("i.mp4", "libx264"), ("i.mpg", "mpeg2video")):
    with av.open(name, "w") as container:
        stream = container.add_stream(codec, rate=25, options={"flags": "+ildct+ilme"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        planes = np.full((144, 128), 128, np.uint8)
        planes[:96] = 200
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(name) as container:
        frame = next(container.decode(video=0))
    shown = frame.to_ndarray(format="gray").mean()
    good, picture = cv2.VideoCapture(name).read()
    seen = picture.mean()
    print(f"{name}: interlaced {bool(frame.interlaced_frame)}, PyAV {shown:.0f}, OpenCV {cv2.__version__} read() {good}, {seen:.0f}")
    assert frame.interlaced_frame and shown > 190
    assert good and seen < 10, "OpenCV's behaviour has changed"
END
