"""Rows of pictures as videos: numbered files, pages of one file, and what is a still image nevertheless."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cacl.data.media.any_video import open_video
from cacl.data.media.encode import write_video
from cacl.data.media.open_files import frame_seconds
from cacl.data.media.picture_video import PictureVideo
from cacl.data.media.pictures import Sequence, decode_picture, sequences
from cacl.errors import VideoError

H, W = 24, 40


def pictures(count: int) -> NDArray[np.uint8]:
    """Blocks of 8 pixels, new in each: what JPEG keeps nearly as it is."""
    small = np.random.default_rng(0).integers(0, 256, (count, H // 8, W // 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def save(frames: NDArray[np.uint8], folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(i + 1), **({"quality": 95} if "jpg" in name else {}))
    return folder


@pytest.mark.parametrize(
    "name", ["img_{:05}.jpg", "{}.png", "x-{:03}.bmp", "a.b{}.tif", "f{:07}.webp", "p{}.ppm", "u{}.JPG"]
)
def test_frames_are_the_pictures_in_the_order_of_their_numbers(name: str, tmp_path: Path) -> None:
    frames = pictures(12)
    with open_video(save(frames, tmp_path / "v", name)) as video:
        assert isinstance(video, PictureVideo)
        assert (video.frames, video.info.width, video.info.height, video.info.fps) == (12, W, H, 0.0)
        order = [11, 0, 9, 1, 9, 10]
        found = video.read(order, height=H, width=W)
        lossless = name.rpartition(".")[2] in ("png", "bmp", "tif", "ppm")
        assert np.abs(found.astype(int) - frames[order]).mean() <= (0 if lossless else 12)
        np.testing.assert_array_equal(np.stack(list(video.iterate(height=H, width=W)))[order], found)
        assert video.verify().frames == 12
        assert video.span(0.08, 0.2) == (2, 3)  # 25 a second, where nobody says


def test_a_broken_picture_ends_the_video(tmp_path: Path) -> None:
    folder = save(pictures(12), tmp_path, "{:02}.png")
    (folder / "08.png").write_bytes((folder / "08.png").read_bytes()[:60])
    (folder / "10.png").unlink()
    with open_video(folder) as video:
        with pytest.raises(VideoError, match=r"08\.png cannot be decoded"):
            video.read([7], height=H, width=W)
        assert video.verify().broken.startswith("breaks at frame 7 of 11 (08.png cannot be decoded")
        assert video.frames == 7


def test_a_folder_of_several_rows_asks_for_one(tmp_path: Path) -> None:
    frames = pictures(6)
    save(frames[:3], tmp_path, "flow_x_{:05}.png")
    save(frames[3:], tmp_path, "img_{:05}.png")
    with pytest.raises(VideoError, match=r"several names \(flow_x_\*\.png, img_\*\.png\)"):
        open_video(tmp_path)
    with open_video(tmp_path / "img_*.png") as video:
        np.testing.assert_array_equal(video.read([2, 0], height=H, width=W), frames[[5, 3]])
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="a folder without numbered pictures"):
        open_video(tmp_path / "none")


def test_gaps_are_said() -> None:
    def gaps(*numbers: int) -> str:
        return sequences([f"img_{n:04}.jpg" for n in numbers])[0].gaps

    assert gaps(1, 2, 3, 4) == gaps(0, 5, 10, 15) == gaps(7) == ""
    assert gaps(1, 2, 3, 6, 7, 9) == "3 numbers missing, the first after 3"
    assert gaps(0, 10, 20, 40) == "1 number missing, the first after 20"
    assert gaps(100, 133, 167, 201, 233) == ""  # times
    assert sequences(["1.png", "01.png", "2.png", "3.png", "4.png"])[0].gaps == "1 number twice"


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(1, 9))
def test_any_padding_is_sorted_by_number(numbers: set[int], digits: int) -> None:
    names = [f"img_{number:0{digits}}.jpg" for number in numbers]
    assert sequences(names) == [
        Sequence("img_", "jpg", tuple(f"img_{n:0{digits}}.jpg" for n in sorted(numbers)), tuple(sorted(numbers)))
    ]


def test_what_is_no_numbered_picture() -> None:
    assert sequences([".img_1.jpg", "img.jpg", "1.mp4", "2.txt", "img_1_left.jpg", "1" * 40 + ".jpg"]) == []


@pytest.mark.parametrize("data", [b"", b"words", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + bytes(40), b"BM" + bytes(80)])
def test_what_is_no_picture_says_so(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_picture(data)


def test_animated_webp_and_stacks_of_tiff_are_videos(tmp_path: Path) -> None:
    frames = pictures(9)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], lossless=True, duration=40)
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "big.tif", save_all=True, append_images=pages[1:], big_tiff=True)
    for name, fps in (("a.webp", 25.0), ("a.tif", 0.0), ("big.tif", 0.0)):
        with open_video(tmp_path / name) as video:
            assert (video.frames, video.info.fps) == (9, fps), name
            np.testing.assert_array_equal(video.read([8, 2, 2], height=H, width=W), frames[[8, 2, 2]])
            assert not video.verify().broken


@pytest.mark.parametrize("lossless", [True, False])
def test_each_frame_of_an_animated_webp_has_its_own_time(tmp_path: Path, lossless: bool) -> None:
    pages = [Image.fromarray(frame) for frame in pictures(9)]
    durations = [40, 40, 1000, 17, 40, 500, 120, 40, 250]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=durations, lossless=lossless)
    with Image.open(tmp_path / "a.webp") as image:
        said = []
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            said.append(image.info["duration"])
    assert said == durations
    ends = np.cumsum([0, *durations]) / 1000
    with open_video(tmp_path / "a.webp", rate=5.0) as video:  # a rate is for those that say none
        assert video.seconds == pytest.approx(ends)
        assert video.info.fps == video.rate(0, 9) == pytest.approx(9 / 2.047)
        assert video.rate(3, 4) == pytest.approx(4 / 0.677)
        assert video.span(0.08, 1.2) == (2, 4)
        assert video.span(1.09, None) == (4, 5)
    assert frame_seconds(str(tmp_path / "a.webp")) == pytest.approx(ends)


def test_an_animation_that_does_not_say_how_long_has_the_rate_that_is_given(tmp_path: Path) -> None:
    pages = [Image.fromarray(frame) for frame in pictures(4)]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=[40, 0, 40, 40])
    with open_video(tmp_path / "a.webp", rate=5.0) as video:
        assert video.info.fps == 5.0
        assert video.seconds == pytest.approx(np.arange(5) / 5)
    with open_video(tmp_path / "a.webp") as video:
        assert video.info.fps == 0.0
        assert video.span(0.04, 0.12) == (1, 2)  # counted at 25 a second


def test_grey_stacks_and_depths_that_nobody_can_read(tmp_path: Path) -> None:
    grey = pictures(3)[..., 0]
    pages = [Image.fromarray(page) for page in grey]
    pages[0].save(tmp_path / "8.tif", save_all=True, append_images=pages[1:])
    with open_video(tmp_path / "8.tif") as video:
        np.testing.assert_array_equal(video.read([1], height=H, width=W)[0], grey[1, ..., None].repeat(3, axis=2))
    pages = [Image.fromarray(page.astype(np.uint16) * 257) for page in grey]
    pages[0].save(tmp_path / "16.tif", save_all=True, append_images=pages[1:])
    with open_video(tmp_path / "16.tif") as video:
        assert video.frames == 3
        assert np.abs(video.read([2], height=H, width=W)[0, ..., 0].astype(int) - grey[2]).max() <= 1
    pages = [Image.fromarray(page.astype(np.float32)) for page in grey]
    pages[0].save(tmp_path / "32.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(VideoError, match="32 bits a pixel"):
        open_video(tmp_path / "32.tif")


def test_a_stack_that_breaks_is_used_up_to_there(tmp_path: Path) -> None:
    pages = [Image.fromarray(frame) for frame in pictures(6)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(4)
        place = int(image.tag_v2[273][0])  # of the page's first strip
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[place : place + 20] = bytes(20)
    (tmp_path / "a.tif").write_bytes(data)
    with open_video(tmp_path / "a.tif") as video:
        assert video.verify().frames == video.frames == 4
        assert video.timeline.broken.startswith("breaks at frame 4 of 6 (page 4 of 6 cannot be decoded")
        assert video.read([3], height=H, width=W).shape == (1, H, W, 3)


def jpeg(frame: NDArray[np.uint8], **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", **options)
    return data.getvalue()


def test_raw_mjpeg_is_a_video_whatever_it_is_called(tmp_path: Path) -> None:
    frames = pictures(8)
    rows = b"".join(jpeg(frame, quality=95) for frame in frames)
    for name in ("a.mjpeg", "a.jpg"):
        (tmp_path / name).write_bytes(rows)
        with open_video(tmp_path / name) as video:
            assert video.frames == 8
            assert np.abs(video.read([7, 1], height=H, width=W).astype(int) - frames[[7, 1]]).mean() < 12


def heic(path: Path, stills: int) -> None:
    """A HEIC with so many pictures: an HEVC frame each, and the boxes of ISO/IEC 23008-12 that say where it is."""
    large = pictures(1).repeat(2, 1).repeat(2, 2)
    write_video(path.with_suffix(".mkv"), large, codec="libx265", options={"x265-params": "log-level=0:bframes=0"})
    with av.open(str(path.with_suffix(".mkv"))) as video:
        description = bytes(video.streams.video[0].codec_context.extradata or b"")
        sample = bytes(next(video.demux(video=0)))

    def box(name: bytes, *parts: bytes, full: int | None = None) -> bytes:
        content = (b"" if full is None else struct.pack(">I", full)) + b"".join(parts)
        return struct.pack(">I", len(content) + 8) + name + content

    entries = [box(b"infe", struct.pack(">HH", n, 0), b"hvc1", b"\0", full=2 << 24) for n in range(1, stills + 1)]
    size = box(b"ispe", struct.pack(">II", W * 2, H * 2), full=0)
    uses = b"".join(struct.pack(">HBBB", n, 2, 0x81, 2) for n in range(1, stills + 1))

    def meta(place: int) -> bytes:
        where = b"".join(struct.pack(">HHHII", n, 0, 1, place, len(sample)) for n in range(1, stills + 1))
        return box(
            b"meta",
            box(b"hdlr", struct.pack(">I4s12x", 0, b"pict"), b"\0", full=0),
            box(b"pitm", struct.pack(">H", 1), full=0),
            box(b"iloc", b"\x44\0", struct.pack(">H", stills), where, full=0),
            box(b"iinf", struct.pack(">H", stills), *entries, full=0),
            box(
                b"iprp",
                box(b"ipco", box(b"hvcC", description), size),
                box(b"ipma", struct.pack(">I", stills), uses, full=0),
            ),
            full=0,
        )

    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    place = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(place) + box(b"mdat", sample))


@pytest.mark.parametrize("stills", [1, 3])
def test_heic_is_a_still_image(stills: int, tmp_path: Path) -> None:
    heic(tmp_path / "IMG_0001.HEIC", stills)
    with pytest.raises(VideoError, match="a still image, not a video"):
        open_video(tmp_path / "IMG_0001.HEIC")


def test_a_phones_heic_with_exif_is_a_still_image(tmp_path: Path) -> None:
    """As a phone writes it: PyAV 18 does not know the kind of side data that EXIF is."""
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "IMG_0002.HEIC"
    pillow_heif.from_pillow(Image.fromarray(pictures(1)[0])).save(file, exif=exif.tobytes())
    with av.open(str(file)) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
    with pytest.raises(VideoError, match="a still image, not a video"):
        open_video(file)


def test_avif_is_what_the_number_of_its_pictures_says(tmp_path: Path) -> None:
    frames = pictures(12)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "one.avif")
    pages[0].save(tmp_path / "burst.avif", save_all=True, append_images=pages[1:], duration=100, quality=95)
    with pytest.raises(VideoError, match="a still image, not a video"):
        open_video(tmp_path / "one.avif")
    with open_video(tmp_path / "burst.avif") as video:
        assert video.frames == 12


def test_photos_with_a_second_picture_in_them_are_still_images(tmp_path: Path) -> None:
    """A thumbnail in the Exif data; a picture behind the picture, as depth and brightness are stored."""
    frames = pictures(3)
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    thumbnail = jpeg(frames[1])
    photo = jpeg(frames[0], exif=exif)
    (tmp_path / "thumbnail.jpg").write_bytes(
        photo[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + photo[2:]
    )
    marked = photo[:2] + b"\xff\xe2" + struct.pack(">H", 10) + b"MPF\0" + bytes(4) + photo[2:]
    (tmp_path / "depth.jpg").write_bytes(marked + thumbnail + jpeg(frames[2]))
    (tmp_path / "two.jpg").write_bytes(photo + thumbnail)
    for name, page in (("one.tif", frames[0]), ("one.webp", frames[0]), ("one.png", frames[0])):
        Image.fromarray(page).save(tmp_path / name)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(VideoError, match="a still image, not a video"):
            open_video(path)
