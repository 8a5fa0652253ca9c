"""``cacl check --deep`` on a folder of all that people have: every file with its reason or note, and no traceback."""

from __future__ import annotations

import csv
import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Command = Callable[..., Any]
STILL = "a still image, not a video"


def pictures(count: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def jpeg(frame: NDArray[np.uint8], **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", **options)
    return data.getvalue()


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
    for name in ("one.avif", "one.webp", "one.tif", "one.png"):
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
    checked = cacl("check", root, "--deep", "--csv", "found.csv")
    assert checked.status == 0, checked.err
    assert "Traceback" not in checked.err + checked.out
    rows = {row["path"]: row for row in csv.DictReader(Path("found.csv").read_text(encoding="utf-8").splitlines())}
    used = {path: int(row["frames"]) for path, row in rows.items() if row["status"] == "used"}
    everything = {"frames": 40, "gaps": 38, "broken": 34, "stack.tif": 40, "animated.webp": 40}
    assert used == {**everything, "burst.avif": 40, "raw.mjpeg": 40, "clip.mp4": 60}
    assert rows["gaps"]["reason"].endswith("2 numbers missing, the first after 10")
    assert "breaks at frame 34 of 40 (f35.bmp cannot be decoded" in rows["broken"]["reason"]
    reasons = {path: row["reason"] for path, row in rows.items() if row["status"] == "skipped"}
    assert reasons.pop("photos").startswith("9 photos IMG_*.jpg, not the frames of a video (40×24 and 40×26 pixels)")
    assert reasons.pop("breaks.mp4").endswith("fewer than 31 frames are good")
    assert "32 bits a pixel" in reasons.pop("float.tif")
    assert reasons.pop("labels.csv").startswith("looks like a list, not used")
    assert reasons.pop("empty.mp4") == "empty file"
    stills = ("photo.jpg", "exif.jpg", "one.avif", "one.webp", "one.tif", "one.png")
    assert reasons == dict.fromkeys(stills, STILL)
    assert "labels.csv looks like a list, not used" in checked.out
