"""The campaign, short in every test run and long in the slow one; and that it notices a loss."""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fuzz import campaign, folders, mutate
from fuzz.unusual import UNUSUAL

from cacl.data.media.decode import VideoDecoder
from cacl.data.videos import scan


def test_sixty_damaged_files_are_used_or_reported(tmp_path: Path) -> None:
    counts = campaign.campaign(60, 0, tmp_path)
    assert counts.used + counts.reported == counts.tried == 60
    assert counts.used >= 10
    assert counts.reported >= 10


@pytest.mark.slow
def test_thousands_of_damaged_files_are_used_or_reported(tmp_path: Path) -> None:
    counts = campaign.campaign(2000, 1, tmp_path)
    print(counts)
    assert counts.used + counts.reported == counts.tried == 2000


INSANE = {
    # file: where the field is (bytes after a name), its new content
    "mpeg4.avi": [
        (b"avih", 4, struct.pack("<I", 0)),  # microseconds a frame
        (b"avih", 20, struct.pack("<I", 10**9)),  # frames in all
        (b"avih", 36, struct.pack("<II", 65535, 65535)),
        (b"strh", 24, struct.pack("<II", 0, 0)),  # 0 / 0 frames a second
        (b"strh", 28, struct.pack("<I", 0)),
        (b"strh", 36, struct.pack("<I", 10**9)),  # length
        (b"strf", 8, struct.pack("<II", 65535, 65535)),
    ],
    "raw.avi": [(b"strf", 8, struct.pack("<II", 16000, 16000)), (b"strf", 8, struct.pack("<II", 65535, 65535))],
    "h264.mp4": [
        (b"stts", 8, struct.pack(">II", 10**9, 512)),  # frames
        (b"stsz", 8, struct.pack(">I", 10**9)),
        (b"stsz", 4, struct.pack(">II", 1, 10**9)),
        (b"stco", 4, struct.pack(">I", 10**9)),
        (b"mdhd", 12, struct.pack(">I", 0)),  # ticks a second
        (b"mdhd", 12, struct.pack(">II", 1, 2**32 - 1)),
        (b"tkhd", 76, struct.pack(">II", 65535 << 16, 65535 << 16)),
        (b"avc1", 24, struct.pack(">HH", 65535, 65535)),
    ],
    "h264.mkv": [
        (b"\xb0\x81", 0, b"\xff"),  # pixels across
        (b"\x23\xe3\x83", 0, b"\x84\0\0\0\0"),  # nanoseconds a frame
    ],
    "animated.gif": [(b"GIF89a", 0, struct.pack("<HH", 65535, 65535))],
}


@pytest.mark.parametrize("name", INSANE)
def test_insane_headers(name: str, tmp_path: Path) -> None:
    """65 535 x 65 535 pixels, 10^9 frames, 0 frames a second: used as far as it decodes, or reported, at once."""
    whole = mutate.make_seeds(tmp_path)[name]
    folder = tmp_path / "insane"
    folder.mkdir()
    (folder / f"whole.{name}").write_bytes(whole)
    for number, (field, offset, content) in enumerate(INSANE[name]):
        place = whole.index(field) + len(field) + offset
        changed = whole[:place] + content + whole[place + len(content) :]
        assert changed != whole
        (folder / f"{number}.{name}").write_bytes(changed)
    counts = campaign.Counts()
    campaign.try_files(folder, dict.fromkeys((p.name for p in folder.iterdir()), "header"), counts, deep=True, seed=0)
    assert counts.used + counts.reported == len(INSANE[name]) + 1
    assert counts.crashes == counts.hangs == counts.memory == 0


def test_a_stream_that_comes_up_late_is_no_end(tmp_path: Path) -> None:
    """PyAV fails with IndexError at the end of such a file."""
    whole = mutate.make_seeds(tmp_path)["h264.ts"]
    for number in range(len(whole) // 188 // 2, len(whole) // 188):
        changed = bytearray(whole)
        changed[188 * number + 1 : 188 * number + 3] = b"\x41\x77"  # a program that no table names
        (tmp_path / "late.ts").write_bytes(changed)
        with VideoDecoder(tmp_path / "late.ts") as decoder:
            assert decoder.verify().frames >= 10
            decoder.read([0, 5], height=6, width=8)


def test_damage_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    seeds = mutate.make_seeds(tmp_path)
    for place in ("a", "b"):
        ways = [folders.write_folder(tmp_path / place / str(n), 5, n, b"video") for n in range(9)]
    assert len(set(ways)) == len(folders.DAMAGES)
    first, second = (
        {p.relative_to(tmp_path / place): p.read_bytes() for p in (tmp_path / place).rglob("*.*") if p.is_file()}
        for place in ("a", "b")
    )
    assert first == second
    one, again = ([mutate.mutated(seeds, 5, n) for n in range(30)] for _ in range(2))
    other = [mutate.mutated(seeds, 6, n) for n in range(30)]
    assert one == again
    assert sum(a[2] != b[2] for a, b in zip(one, other, strict=True)) > 20
    pairs = {(n % (len(mutate.KINDS) + len(UNUSUAL)), n % len(mutate.MUTATIONS)) for n in range(350)}
    assert len(pairs) == 350, "every damage meets every kind"


def test_a_loss_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, asked = scan.look, list[str]()

    def forgetful(root: Path, path: str, entries: object, **rest: Any) -> object:
        asked.append(path)
        return [] if len(asked) == 3 else inner(root, path, entries, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(campaign, "scan", partial(scan.scan, look=forgetful))
    with pytest.raises(campaign.LossError) as lost:
        campaign.campaign(20, 0, tmp_path)
    assert f"not accounted for: ['{asked[2]}']" in str(lost.value)


def test_what_is_lost_of_a_folder_is_noticed(tmp_path: Path) -> None:
    folders.write_folder(tmp_path / "a", 0, 6, b"video")  # other files among them
    names = sorted(path.name for path in (tmp_path / "a").iterdir() if path.is_file())
    others = {f"a/{name}" for name in names if not re.search(r"\d\.", name)} | {"a/deeper/1.png"}
    assert folders.unaccounted(tmp_path, {"a", *others}) == set()
    assert folders.unaccounted(tmp_path, {"a", *others, "b"}) == {"b"}
    assert folders.unaccounted(tmp_path, {"a", *others} - {"a/notes.txt"}) == {"a/notes.txt"}
    assert len(folders.unaccounted(tmp_path, others)) == len(names) - len(others) + 1


def test_growth_is_measured_between_the_beginning_and_the_end() -> None:
    counts = campaign.Counts(resident=[(100.0 + i, 50.0) for i in range(100)])
    assert counts.growth() == (60.0, 0.0)
