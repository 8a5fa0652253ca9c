"""Work that is measured on a sample, where the sample is not all good."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cacl.data.media.colours import AS_CODED
from cacl.data.media.isolated import LostVideo
from cacl.data.videos.scan import scan
from cacl.errors import UserError
from cacl.experiments.plan import works
from cacl.training.resolve import resolve_settings


@pytest.mark.parametrize("lost", ["first", "all"])
def test_a_decoder_that_dies_keeps_nobody_waiting(
    squares: Path, tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls, lock = works.isolated, [], threading.Lock()

    def dying(path: str, seconds: float, work: Any, *parts: Any) -> Any:
        with lock:
            calls.append(path)
            number = len(calls)
        if lost == "all" or number == 1:
            raise LostVideo(path, "died")
        return real(path, seconds, work, *parts)

    monkeypatch.setattr(works, "isolated", dying)
    monkeypatch.setattr(works, "_SECONDS", 0.1)
    settings = resolve_settings(preset="small").settings
    if lost == "all":
        with pytest.raises(UserError, match="no video of the sample can be decoded"):
            works.decoding(scan(squares), settings, AS_CODED, tmp_path, 2)
    else:
        seconds, packed = works.decoding(scan(squares), settings, AS_CODED, tmp_path, 2)
        assert seconds > 0
        assert packed > 0
