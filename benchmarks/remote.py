"""Videos on a server behind 50 ms of latency, beside the same files on the disk: speed, and bytes fetched.

A server on loopback (a process of its own) waits 50 ms before each answer. ``sparse``: clips of 31 frames, a frame in
two, in random order, of videos of 25 s (H.264 in MP4, with sound): what a training reads. ``whole``: every frame of
every video, as an embedding reads them. Both through decode processes, as ``cacl`` itself reads; the clock is the
wall's, for waiting is what is measured. Bytes needed are those of the video packets from the keyframe to the clip's
last frame, once each, and of the files' indexes.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
from harness import agree, arguments, header, in_turns, table, target, targets

from cacl.data.media.isolated import end_idle
from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos

LATENCY = 0.05
HEIGHT, WIDTH, CLIP = 128, 171, 31
Clip = tuple[int, int]  # video, first frame


def main() -> None:
    chosen = arguments(__doc__, videos=3, clips=40, readers=8, rounds=2)
    seconds = 25
    if chosen.quick:
        chosen.videos, chosen.clips, chosen.rounds, seconds = 2, 4, 1, 8
    header("Videos on a server", chosen, clock="wall clock")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_video(folder / "v0.mp4", seconds, seed=chosen.seed)
        for number in range(1, chosen.videos):
            shutil.copy(folder / "v0.mp4", folder / f"v{number}.mp4")  # another file to both
        server = subprocess.Popen([sys.executable, __file__, "serve", made], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            measure(folder, server.stdout.readline().strip(), chosen)
        finally:
            server.kill()
            server.wait()


def measure(folder: Path, url: str, chosen: argparse.Namespace) -> None:
    here = scan(folder)
    names = folder / "list" / "list.csv"
    names.parent.mkdir()
    names.write_text("path\n" + "".join(f"{url}/{video.path}\n" for video in here.videos))
    began = sent(folder)
    there = scan(place(names))
    looked = (sent(folder) - began) / sum(file.stat().st_size for file in folder.glob("*.mp4"))
    draw = random.Random(chosen.seed)
    numbers = [draw.randrange(len(here.videos)) for _ in range(chosen.clips)]
    clips = [(number, draw.randrange(here.videos[number].frames - CLIP)) for number in numbers]
    pairs = zip(read(here, clips[:4], 2), read(there, clips[:4], 2), strict=True)
    difference = max(np.abs(ours.astype(int) - theirs).max() for ours, theirs in pairs)
    agree("frames of the disk and of the server", float(difference), 0)
    end_idle()
    began = sent(folder)
    read(there, clips, 1)
    fetched, needed = sent(folder) - began, bytes_needed(folder, here, clips)
    end_idle()
    works: dict[str, Callable[[], object]] = {"sparse, disk": lambda: read(here, clips, 2)}
    readers = (2, chosen.readers)
    works |= {f"sparse, server, {count}": lambda count=count: read(there, clips, count) for count in readers}
    whole = [(v, -1) for v in range(len(here.videos))]
    works |= {"whole, disk": lambda: read(here, whole, 2)}
    works[f"whole, server, {chosen.readers}"] = lambda: read(there, whole, chosen.readers)
    timings = in_turns(works, rounds=chosen.rounds, clock=time.monotonic)
    rows = []
    for name, timing in timings.items():
        kind, _, rest = name.partition(", ")
        local = timings[f"{kind}, disk"].median
        label = name if "disk" in rest else f"{name} readers"
        rows.append([label, timing.median, timing.spread, local / timing.median])
    table("Reading, 2 readers on the disk", ("what", "seconds", "spread", "speed of the disk's"), rows)
    table(
        "Bytes",
        ("what", "MB", "of what is needed"),
        [["needed by the clips and to open", needed / 1e6, 1.0], ["fetched for them", fetched / 1e6, fetched / needed],
         ["looking at the files, of all their bytes", looked, float("nan")]],
    )  # fmt: skip
    best = max(timings["sparse, disk"].median / timings[f"sparse, server, {count}"].median for count in readers)
    whole_best = timings["whole, disk"].median / timings[f"whole, server, {chosen.readers}"].median
    targets(
        [
            target("sparse reading, server over disk", best, 0.7),
            target("whole videos, server over disk", whole_best, 0.7),
            target("bytes fetched over needed", fetched / needed, 1.15, most=True),
        ],
        chosen,
    )


def read(catalog: Catalog, clips: Sequence[Clip], readers: int) -> list[np.ndarray]:
    """Clips, or whole videos a hundred frames at a time, in several threads; every reader is a decode process."""
    source = DecodedVideos(catalog, height=HEIGHT, width=WIDTH)

    def one(clip: Clip) -> np.ndarray:
        number, first = clip
        if first >= 0:
            return source.read(number, np.arange(first, first + CLIP, 2))
        for start in range(0, catalog.videos[number].frames, 100):
            found = source.read(number, np.arange(start, min(start + 100, catalog.videos[number].frames)))
        return found

    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(one, clips))


def bytes_needed(folder: Path, catalog: Catalog, clips: Sequence[Clip]) -> int:
    """Of the packets from the keyframe to the last frame of each clip, each byte once; of the index and what begins."""
    total = 0
    for number in {number for number, _ in clips}:
        file, needed = folder / catalog.videos[number].path, set[int]()
        with av.open(str(file)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        shown = sorted(range(len(packets)), key=lambda i: packets[i].pts)
        for first in (first for other, first in clips if other == number):
            last, entry = max(shown[first : first + CLIP]), shown[first]
            key = max(i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= packets[entry].pts)
            needed |= set(range(key, last + 1))
        total += sum(packets[i].size for i in needed | {0}) + packets[0].pos  # the index lies in front
    return total


def write_video(path: Path, seconds: int, *, seed: int) -> None:
    """Moving noise at 1.5 megabits a second, 320x240, with a sound of 96 kilobits."""
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    grain = rng.integers(-20, 20, (50, 240, 320, 1))
    options = {"preset": "veryfast", "g": "50", "b": "1500000"}
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        video, sound = out.add_stream("libx264", rate=25, options=options), out.add_stream("aac", rate=44_100)
        video.width, video.height, video.pix_fmt, video.bit_rate = 320, 240, "yuv420p", 1_500_000
        sound.bit_rate = 96_000
        for number in range(seconds * 25):
            x, y = number % 300, number % 200
            frame = np.clip(scene[y : y + 240, x : x + 320].astype(np.int16) + grain[number % 50], 0, 255).astype(
                np.uint8
            )
            for packet in video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                out.mux(packet)
            noise = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 1764)).astype(np.float32), "fltp", "mono")
            noise.sample_rate = 44_100
            for packet in sound.encode(noise):
                out.mux(packet)
        for stream in (video, sound):
            for packet in stream.encode(None):
                out.mux(packet)


def sent(folder: Path) -> int:
    """Bytes that the server has sent."""
    note = folder / "sent"
    return int(note.read_text() or 0) if note.exists() else 0


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    total = 0

    def do_GET(self) -> None:
        time.sleep(LATENCY)
        file = Path(sys.argv[2]) / self.path.lstrip("/")
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found is not None
        size = file.stat().st_size
        first, last = int(found[1]), min(int(found[2]), size - 1)
        with file.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last + 1 - first)
        Answers.total += len(data)
        (file.parent / "sent").write_text(str(Answers.total))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        served = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        print(f"http://127.0.0.1:{served.server_address[1]}", flush=True)
        served.serve_forever()
    main()
