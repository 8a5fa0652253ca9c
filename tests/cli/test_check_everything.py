"""``cacl check --deep`` on a folder of all that people have: every file with its reason or note, and no traceback."""

from __future__ import annotations

import csv
import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fuzz.unusual import UNUSUAL
from numpy.typing import NDArray
from odd_media import mux
from PIL import Image

from cacl.data.media.encode import write_video

Command = Callable[..., Any]
STILL = "a still image, not a video"


def pictures(count: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def jpeg(frame: NDArray[np.uint8], **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", **options)
    return data.getvalue()


def fill_with_videos(root: Path) -> None:
    """What FFmpeg and cameras make of it: fields, matrices, palettes, depths, other clocks, damage, photographs."""
    frames = pictures(60).repeat(2, axis=1)[:, :, :32]
    for name in ("exif.avi", "joined.ts", "cut.ts", "matrix.mp4", "palette.avi", "bits.nut", "deep.mkv", "fields.mpg"):
        UNUSUAL[name](root / name, frames)
    for part in root.glob("joined.[0-9]*"):
        part.unlink()
    starts = [i * 0.04 if i < 40 else 1.6 + i - 40 for i in range(60)]
    write_video(root / "slow.mkv", frames, timestamps=starts, options={"bf": "0", "preset": "ultrafast"})
    write_video(root / "short.mp4", frames[:20], options={"preset": "ultrafast"})
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 128, 3), dtype=np.uint8)
    write_video(root / "lost.ts", noise, codec="mpeg2video", options={"g": "8", "bf": "0"})
    sent = (root / "lost.ts").read_bytes()
    middle = len(sent) // 376 * 188
    (root / "lost.ts").write_bytes(sent[:middle] + sent[middle + 4 * 188 :])
    hdr = [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p10le") for frame in frames]
    with av.open(str(root / "hdr.mkv"), "w") as container:
        signalled = "log-level=0:transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"
        stream = container.add_stream("libx265", rate=25, options={"x265-params": signalled, "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 48, "yuv420p10le"
        for number, frame in enumerate(hdr):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    tiff = []
    for frame in frames:
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "TIFF")
        tiff.append(data.getvalue())
    mux(root / "tiff.mov", tiff, "tiff", width=32, height=48, form="rgb24")


def fill(root: Path, media: Path, bad_media: Path) -> None:
    frames = pictures(40)
    pages = [Image.fromarray(frame) for frame in frames]
    for folder, name in (("frames", "img_{:05}.jpg"), ("gaps", "{}.png"), ("broken", "f{}.bmp")):
        (root / folder).mkdir(parents=True)
        for i, page in enumerate(pages):
            if folder != "gaps" or i not in (10, 11):
                page.save(root / folder / name.format(i + 1))
    (root / "broken" / "f35.bmp").write_bytes(b"BM")
    (root / "photos").mkdir()
    for i, page in enumerate(pages[:9]):
        page.resize((40, 24 + 2 * (i % 2))).save(root / "photos" / f"IMG_{i:04}.jpg")
    pages[0].save(root / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(root / "animated.webp", save_all=True, append_images=pages[1:], duration=40)
    pages[0].save(root / "burst.avif", save_all=True, append_images=pages[1:], duration=40)
    (root / "raw.mjpeg").write_bytes(b"".join(map(jpeg, frames)))
    deep = [Image.fromarray(frame[..., 0].astype(np.float32)) for frame in frames]
    deep[0].save(root / "float.tif", save_all=True, append_images=deep[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "photo.jpg").write_bytes(jpeg(frames[0], exif=exif))
    for name in ("one.avif", "one.webp", "one.tif", "one.png", "one.gif"):
        pages[0].save(root / name)
    small = jpeg(frames[0])
    (root / "exif.jpg").write_bytes(small[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + small[2:])
    shutil.copy(media / "h264.mp4", root / "clip.mp4")
    shutil.copy(bad_media / "empty.mp4", root / "empty.mp4")
    shutil.copy(bad_media / "breaks_early.mp4", root / "breaks.mp4")
    (root / "labels.csv").write_text("path;label\nclip.mp4;wave\n", encoding="utf-16")


def test_every_file_has_its_reason(cacl: Command, media: Path, bad_media: Path, tmp_path: Path) -> None:
    root = tmp_path / "all"
    root.mkdir()
    fill(root, media, bad_media)
    fill_with_videos(root)
    checked = cacl("check", root, "--deep", "--csv", "found.csv")
    assert checked.status == 0, checked.err
    assert "Traceback" not in checked.err + checked.out
    rows = {row["path"]: row for row in csv.DictReader(Path("found.csv").read_text(encoding="utf-8").splitlines())}
    used = {path: int(row["frames"]) for path, row in rows.items() if row["status"] == "used"}
    notes = {path: rows[path]["reason"] for path in used if rows[path]["reason"]}
    lost = used.pop("lost.ts")
    assert 50 < lost < 60
    assert "damaged frame left out of the file, before frame" in notes.pop("lost.ts")
    pages = {"frames": 40, "gaps": 38, "broken": 34, "stack.tif": 40, "animated.webp": 40, "burst.avif": 40}
    videos = {"clip.mp4": 60, "cut.ts": 52, "fields.mpg": 60, "hdr.mkv": 60, "joined.ts": 46, "matrix.mp4": 60}
    videos |= {"raw.mjpeg": 40, "short.mp4": 20, "slow.mkv": 60, "tiff.mov": 60}
    assert used == pages | videos | dict.fromkeys(("bits.nut", "deep.mkv", "exif.avi", "palette.avi"), 34)
    assert float(rows["slow.mkv"]["fps"]) == pytest.approx(60 / (1.6 + 20), rel=0.05)
    assert notes.pop("gaps").endswith("2 numbers missing, the first after 10")
    assert "breaks at frame 34 of 40 (f35.bmp cannot be decoded" in notes.pop("broken")
    assert notes.pop("frames") == "40 pictures img_*.jpg, frames a second not known"
    assert "interlaced: one field of each frame" in notes.pop("fields.mpg")
    assert notes.pop("joined.ts") == "timestamps go back: taken for joined recordings, one after the other"
    assert notes.pop("matrix.mp4") == "colour matrix YCgCo read as BT.709"
    assert notes.pop("hdr.mkv") == "HDR (PQ)"
    assert notes.pop("deep.mkv") == "16 bits a value"
    assert notes.pop("short.mp4") == "20 frames, too short for stride 2"
    assert notes.pop("stack.tif") == "40 pages, frames a second not known"
    assert notes == {}
    reasons = {path: row["reason"] for path, row in rows.items() if row["status"] == "skipped"}
    assert reasons.pop("photos").startswith("9 photos IMG_*.jpg, not the frames of a video (40×24 and 40×26 pixels)")
    assert reasons.pop("breaks.mp4").endswith("fewer than 31 frames are good")
    assert "32 bits a pixel" in reasons.pop("float.tif")
    assert reasons.pop("labels.csv").startswith("looks like a list, not used")
    assert reasons.pop("empty.mp4") == "empty file"
    stills = ("photo.jpg", "exif.jpg", "one.avif", "one.webp", "one.tif", "one.png", "one.gif")
    assert reasons == dict.fromkeys(stills, STILL)
    assert "labels.csv looks like a list, not used" in checked.out
