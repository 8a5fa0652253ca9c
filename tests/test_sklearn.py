"""The scikit-learn transformer: its rows are those of the encoder, and scikit-learn's own checks pass."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

from cacl.data.media.encode import write_video
from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.models.encoder import ClipSpec, Encoder
from cacl.sklearn import CaclFeatures


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "encoder"
    torch.manual_seed(0)
    clip = ClipSpec(frames=4, stride=1, resize=(20, 20), size=16, layer="mean")
    Encoder("r3d10", width=2, clip=clip).save(folder)
    return folder


def video(path: Path, level: int, *, frames: int = 10) -> str:
    """A grey square that grows, of some brightness."""
    pixels = np.full((frames, 32, 32, 3), 40, np.uint8)
    for t in range(frames):
        pixels[t, 4 : 8 + 2 * t, 4 : 8 + 2 * t] = level
    write_video(path, pixels)
    return str(path)


@pytest.fixture
def videos(tmp_path: Path) -> list[str]:
    return [video(tmp_path / f"{i}.mp4", 60 + 45 * i) for i in range(4)]


def test_a_row_is_the_mean_of_the_unit_vectors_of_the_segments(model: Path, videos: list[str]) -> None:
    found = CaclFeatures(model, device="cpu").fit(videos).transform(videos)
    encoder = Encoder.load(model)
    for row, path in zip(found, videos, strict=True):
        segments = [v.astype(np.float64) for v in encoder.embed_video(path).vector]
        assert len(segments) == 3  # 10 frames: 4, 4 and the last 4
        expected = sum(v / np.sqrt((v * v).sum()) for v in segments) / 3
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (4, encoder.num_features)
    assert found.dtype == np.float32


def test_paths_may_be_paths_and_arrays_and_steps_overlap(model: Path, videos: list[str]) -> None:
    features = CaclFeatures(model, device="cpu").fit(videos)
    whole = features.transform(videos)
    np.testing.assert_array_equal(features.transform([Path(path) for path in videos]), whole)
    np.testing.assert_array_equal(features.transform(np.array(videos)), whole)
    np.testing.assert_array_equal(features.transform(np.array(videos).reshape(-1, 1)), whole)
    dense = clone(features).set_params(step=1).fit(videos).transform(videos)
    assert np.abs(dense - whole).max() > 1e-6


def test_it_stands_in_a_pipeline(model: Path, videos: list[str]) -> None:
    line = make_pipeline(CaclFeatures(model, device="cpu"), LogisticRegression(C=1e4, max_iter=1000))
    assert (
        line.fit(videos, ["dark", "dark", "bright", "bright"]).score(videos, ["dark", "dark", "bright", "bright"]) == 1
    )
    names = line[:-1].get_feature_names_out()
    assert names[:2].tolist() == ["caclfeatures0", "caclfeatures1"]
    assert len(names) == line[0].encoder_.num_features
    again = pickle.loads(pickle.dumps(line))
    assert again.predict(videos).tolist() == line.predict(videos).tolist()


def test_what_cannot_be_read_keeps_its_row_and_is_named(model: Path, videos: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "no\nvideo.mp4"
    broken.write_text("text")
    features = CaclFeatures(model, device="cpu").fit(videos)
    with pytest.warns(UserWarning, match=r"1 video of 3 could not be read.*no\\nvideo.mp4 \("):
        found = features.transform([videos[0], broken, videos[1]])
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], features.transform(videos[:2]))
    with pytest.raises(UserError, match="None of 1 video could be read"):
        features.transform([broken])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("videos/", "takes a list of video files, found the one path videos/; for a folder: sorted"),
        ([1.5], "takes paths of video files, found 1.5 of type float"),
        ([], "was given no video at all"),
    ],
)
def test_what_is_no_list_of_paths_is_refused(model: Path, given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        CaclFeatures(model).fit(given)


def test_before_it_is_fitted_it_says_so(model: Path, videos: list[str]) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        CaclFeatures(model).transform(videos)


class OfNumbers(CaclFeatures):
    """The same behind an adapter that makes a video of each row of numbers, as scikit-learn's checks give them."""

    folder: Path

    def fit(self, X: Any, y: object = None) -> OfNumbers:
        super().fit(self._videos(validate_data(self, X)), y)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        if not self.__sklearn_is_fitted__():
            return super().transform(X)
        return super().transform(self._videos(validate_data(self, X, reset=False)))

    def _videos(self, rows: NDArray[Any]) -> list[str]:
        paths = []
        for row in np.asarray(rows, np.float32):
            path = self.folder / f"{hashlib.sha256(row.tobytes()).hexdigest()}.mp4"
            if not path.exists():
                video(path, int(np.abs(row).sum() * 16) % 200 + 50, frames=4)
            paths.append(str(path))
        return paths

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = False, True, False
        tags.no_validation = False
        return tags


def test_scikit_learn_knows_what_it_takes(model: Path) -> None:
    with pytest.warns(SkipTestWarning, match="requires input  *of type .*string=True"):
        assert [one["status"] for one in check_estimator(CaclFeatures(model))] == ["passed"]


@pytest.mark.slow
def test_the_checks_of_scikit_learn_pass(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the class itself most are left out, since its samples are texts; so they are run on it through numbers."""
    monkeypatch.setattr(OfNumbers, "folder", tmp_path, raising=False)
    found = check_estimator(OfNumbers(model, device="cpu"), on_skip=None, on_fail=None)
    wrong = [(one["check_name"], one["status"], repr(one["exception"])) for one in found if one["status"] != "passed"]
    # The one that is left out: CaclFeatures takes paths, which no other array library holds.
    assert [(name, status) for name, status, _ in wrong] == [("check_array_api_input", "skipped")], wrong
    assert len(found) > 40


def test_without_scikit_learn_it_says_what_to_type() -> None:
    code = "import sys; sys.modules['sklearn'] = None\nimport cacl.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"cacl.sklearn needs scikit-learn, which is missing: {install_extra('sklearn')}." in done.stderr
