"""No file that a user might be sent can run code."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sent_files import FORMS, LOADERS, Evil, as_numpy, as_pickle

from cacl.config import read_yaml, resolve
from cacl.data.videos.scan import scan
from cacl.errors import UserError
from cacl.presets import PRESETS


@pytest.fixture(params=FORMS)
def evil(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bytes]:
    """Bytes that run code where they are unpickled; fails the test when they were."""
    mark = tmp_path / "executed"
    yield FORMS[request.param](Evil(mark))
    assert not mark.exists(), "a pickle was executed"


def test_the_evil_files_are_evil(tmp_path: Path) -> None:
    for number, make in enumerate(FORMS.values()):
        mark = tmp_path / f"executed{number}"
        content = io.BytesIO(make(Evil(mark)))
        if make is as_numpy:
            np.load(content, allow_pickle=True)
        elif make is as_pickle:
            pickle.load(content)
        else:
            torch.load(content, weights_only=False)
        assert mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_executes_a_pickle(loader: str, evil: bytes, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    with pytest.raises(UserError):
        LOADERS[loader](tmp_path / "sent", evil)


def test_a_pickle_among_the_videos_is_skipped(evil: bytes, media: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v.mp4").write_bytes(evil)
    shutil.copy(media / "one_frame.mp4", tmp_path / "videos" / "w.mp4")
    assert [item.path for item in scan(tmp_path / "videos").skipped] == ["v.mp4"]


@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir", "python/name:os.mkdir"])
def test_yaml_makes_no_objects(tag: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    text = f"!!{tag} ['{mark}']"
    (tmp_path / "s.yaml").write_text(f"data: {text}\n")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_yaml(tmp_path / "s.yaml")
    with pytest.raises(UserError, match="the value is not YAML"):
        resolve(PRESETS["small"], assignments=(f"run.seed={text}",))
    assert not mark.exists()
