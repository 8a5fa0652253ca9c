#!/usr/bin/env bash
# Where MPEG-TS recordings are joined (cat a.ts b.ts), a packet that is whole is marked as damaged: the one before the last.
#
# Seen: packet 48 of 50 of the first recording has is_corrupt, and both recordings come out to the last frame, pixel by pixel. The mark stands one packet early, because a picture's end is seen when the next begins.
# Expected: no mark, or one on the last packet, where the counter of the container jumps. Who stops at the mark loses the second recording.
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
from pathlib import Path


def decoded(name):
    marked, frames, number = [], [], 0
    with av.open(name) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            marked += [number] if packet.size and packet.is_corrupt else []
            number += bool(packet.size)
            frames += [frame.to_ndarray() for frame in stream.decode(packet)]
    return marked, frames


for name, first in (("a.ts", 0), ("b.ts", 50)):
    with av.open(name, "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(50):
            planes = np.full((144, 128), 128, np.uint8)
            planes[:96] = 20 + 2 * (first + number)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
Path("joined.ts").write_bytes(Path("a.ts").read_bytes() + Path("b.ts").read_bytes())
marked, joined = decoded("joined.ts")
alone = decoded("a.ts")[1] + decoded("b.ts")[1]
same = len(joined) == len(alone) == 100 and all(map(np.array_equal, joined, alone))
print(f"PyAV {av.__version__}: marked packets {marked}, all 100 frames as in the two files: {same}")
assert decoded("a.ts")[0] == decoded("b.ts")[0] == []
assert marked == [48] and same, "FFmpeg's behaviour has changed"
END
