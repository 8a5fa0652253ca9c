"""An encoder as a scikit-learn transformer: videos in, one row of features each out.

    make_pipeline(CaclFeatures("runs/mine"), StandardScaler(), LogisticRegression()).fit(files, labels)

It needs the extra ``cacl[sklearn]``, and nothing else of the package needs this module.

Shapes: N videos, S segments, D features.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError, VideoError, counted, printable
from cacl.experiments.evaluate import load
from cacl.extras import install_extra
from cacl.machine.device import choose_device

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.exceptions import NotFittedError
except ImportError as error:
    raise UserError(f"cacl.sklearn needs scikit-learn, which is missing: {install_extra('sklearn')}.") from error

if TYPE_CHECKING:
    from cacl.models.clip_encoder import ClipEncoder

_NAMED = 3  # files in a warning


class CaclFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One vector a video: the mean of the vectors of its segments, each of length 1.

    Nothing is learned from the videos that it is fitted to: ``fit`` opens the encoder. Labels play no part.

    Args:
        model: a run, an encoder folder, or ``USER/NAME`` of a model hub.
        step: frames from one segment of a video to the next; ``None``: one after the other.
        device: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``.

    Attributes:
        encoder_: the encoder.
    """

    def __init__(self, model: str | Path, *, step: int | None = None, device: str = "auto") -> None:
        self.model = model
        self.step = step
        self.device = device

    def fit(self, videos: Iterable[str | Path], y: object = None) -> CaclFeatures:
        """Open the encoder; no video is read.

        Args:
            videos: N paths of video files.
            y: anything; it is not looked at.

        Raises:
            UserError: no encoder at ``model``, no such device, or what is given are no paths.
        """
        _paths(videos)
        self.encoder_: ClipEncoder = load(self.model).to(choose_device(self.device)[0])
        return self

    def transform(self, videos: Iterable[str | Path]) -> NDArray[np.float32]:
        """The features of videos, a row each in their order.

        A video that cannot be read has a row of NaN, so that rows and labels stay together, and is named in a warning.

        Args:
            videos: N paths of video files.

        Returns:
            float32 ``[N, D]``.

        Raises:
            NotFittedError: ``fit`` was not called before.
            UserError: what is given are no paths, or none of the files can be read.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("This CaclFeatures is not fitted yet: call fit, which opens the encoder.")
        paths = _paths(videos)
        rows_ND = np.full((len(paths), self.encoder_.num_features), np.nan, np.float32)
        failed = []
        for row, path in zip(rows_ND, paths, strict=True):
            try:
                vector_SD = self.encoder_.embed_video(path, step=self.step).vector
            except VideoError as error:
                failed.append(f"{path} ({error.reason})")
                continue
            row[:] = (vector_SD / np.maximum(np.linalg.norm(vector_SD, axis=1, keepdims=True), 1e-12)).mean(axis=0)
        if failed:
            named = printable(", ".join(failed[:_NAMED]) + (" …" if len(failed) > _NAMED else ""))
            if len(failed) == len(paths):
                raise UserError(f"None of {counted(len(paths), 'video')} could be read: {named}.")
            what = f"{counted(len(failed), 'video')} of {len(paths)} could not be read and have rows of NaN: {named}"
            warnings.warn(what, stacklevel=2)
        return rows_ND

    @property
    def _n_features_out(self) -> int:
        """For the names of the features."""
        return self.encoder_.num_features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        tags.transformer_tags.preserves_dtype = []  # float32 always
        tags.no_validation = True  # what paths hold, only reading them tells
        return tags


def _paths(videos: Iterable[str | Path]) -> list[str | Path]:
    """The paths as a list. Raises UserError: one text, or things that are no paths."""
    if isinstance(videos, str | os.PathLike):
        raise UserError(
            f"CaclFeatures takes a list of video files, found the one path {videos}; "
            "for a folder: sorted(Path(FOLDER).rglob('*.mp4'))."
        )
    paths: list[Any] = np.asarray(videos, dtype=object).ravel().tolist() if hasattr(videos, "shape") else list(videos)
    if wrong := [path for path in paths if not isinstance(path, str | os.PathLike)]:
        raise UserError(
            f"CaclFeatures takes paths of video files, found {wrong[0]!r} of type {type(wrong[0]).__name__}."
        )
    if not paths:
        raise UserError("CaclFeatures was given no video at all.")
    return paths
