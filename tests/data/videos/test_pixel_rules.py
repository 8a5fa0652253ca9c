"""Which values become black and white is decided once for a folder, and goes with store, run and encoder."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.videos.pixel_rules import Levels, choose_rules, rules_from_json, rules_to_json
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos, FrameStore
from cacl.data.videos.store import build_store
from cacl.errors import UserError


def write_deep(path: Path, values_TYX: NDArray[np.uint16], form: str = "gray16le") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *values_TYX.shape[1:3], form
        for number, values in enumerate(values_TYX):
            frame = av.VideoFrame.from_ndarray(values, format=form)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def thermal(tmp_path: Path) -> Path:
    """Three files whose values lie between 7 000 and 9 000 of 16 383, in 16 bits, and an ordinary video."""
    rng = np.random.default_rng(0)
    for name in "abc":
        write_deep(tmp_path / f"{name}.mkv", rng.integers(7000, 9001, (20, 32, 48)).astype(np.uint16))
    return tmp_path


@pytest.mark.parametrize(
    ("levels", "low", "high"), [("full", 0, 65535), ("auto", 0, 16383), ("percentiles", 7010, 8990)]
)
def test_levels_of_a_folder(thermal: Path, levels: Levels, low: int, high: int) -> None:
    said = list[str]()
    rules = choose_rules(scan(thermal), colours="shown", levels=levels, say=said.append)
    assert rules.colours == "shown"
    assert [65535 * level for level in rules.levels] == pytest.approx([low, high], abs=3)
    if levels != "full":
        assert said[0].startswith(f"Values of more than 8 bits (seen in 3 files): {65535 * rules.levels[0]:.0f} to ")
        assert said[0].endswith(f"(data.levels={levels}).")
    assert rules_from_json(json.loads(json.dumps(rules_to_json(rules)))) == rules


@pytest.mark.parametrize(
    ("form", "top"), [("gray16le", 4095), ("gray12le", 4095), ("rgb48le", 1023), ("gray10le", 700)]
)
def test_auto_finds_the_bits_in_use(tmp_path: Path, form: str, top: int) -> None:
    values = np.random.default_rng(0).integers(0, top + 1, (3, 32, 48, 3 if form == "rgb48le" else 1), dtype=np.uint16)
    values[0, 0, 0] = top
    write_deep(tmp_path / "v.mkv", values if form == "rgb48le" else values[..., 0], form)
    high = choose_rules(scan(tmp_path), colours="coded", levels="auto").levels[1] * 65535
    assert high == pytest.approx({"gray16le": 4095, "rgb48le": 1023, "gray12le": 65535, "gray10le": 65535}[form])


@pytest.mark.parametrize("kind", ["stack", "folder"])
def test_stacks_of_pages_and_folders_of_pictures_have_levels_too(tmp_path: Path, kind: str) -> None:
    """As microscopes write them: 12 bits in 16, of which the largest becomes white."""
    values = np.random.default_rng(0).integers(0, 4096, (20, 32, 48)).astype(np.uint16)
    values[0, 0, 0] = 4095
    pages = [Image.fromarray(page) for page in values]
    (tmp_path / "cells").mkdir()
    if kind == "stack":
        pages[0].save(tmp_path / "cells.tif", save_all=True, append_images=pages[1:])
    else:
        for number, page in enumerate(pages, 1):
            page.save(tmp_path / "cells" / f"img_{number:05}.png")
    catalog = scan(tmp_path)
    assert len(catalog.videos) == 1
    rules = choose_rules(catalog, colours="shown", levels="auto")
    assert rules.levels == (0, 4095 / 65535)
    seen = DecodedVideos(catalog, height=32, width=48, rules=rules).read(0, np.arange(20))
    np.testing.assert_allclose(seen[..., 0], values / 4095 * 255, atol=1)


def test_ordinary_video_has_no_levels(media: Path) -> None:
    for levels in ("auto", "percentiles"):
        assert choose_rules(scan(media / "ten_bit.mp4"), colours="coded", levels=levels) == AS_CODED


def test_files_and_store_follow_the_rules_and_a_store_keeps_them(thermal: Path, tmp_path: Path) -> None:
    catalog = scan(thermal)
    rules = choose_rules(catalog, colours="shown", levels="percentiles")
    files = DecodedVideos(catalog, height=32, width=48, rules=rules)
    seen = files.read(0, np.arange(20))
    assert (seen.min(), seen.max()) == (0, 255)
    assert 60 < seen.std() < 90  # even values: 73.6
    out = tmp_path.parent / f"{tmp_path.name}-store"
    store = build_store(catalog, out, height=32, width=48, kind="raw", rules=rules)
    assert store.rules == FrameStore(out).rules == rules
    assert np.array_equal(store.read(0, np.arange(20)), seen)
    with pytest.raises(UserError, match="holds a frame store made with other colours or levels"):
        build_store(catalog, out, height=32, width=48, kind="raw")
    assert DecodedVideos(catalog, height=32, width=48).read(0, np.arange(20)).max() < 40  # as it was


def test_a_store_of_before_is_as_coded(thermal: Path, tmp_path: Path) -> None:
    out = tmp_path.parent / f"{tmp_path.name}-old"
    assert build_store(scan(thermal), out, height=16, width=16).rules == AS_CODED
    assert "pixels" not in json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("found", [{}, {"colours": "x", "levels": [0, 1]}, {"colours": "shown", "levels": [1, 0]}])
def test_damaged_rules_are_refused(found: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        rules_from_json(found)
    assert rules_from_json(None) == PixelRules()
