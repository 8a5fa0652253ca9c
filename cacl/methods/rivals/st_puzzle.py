"""Space-time cubic puzzles (Kim, Cho, Kweon, AAAI 2019): order four pieces of a clip, of four places or of four times.

The middle of a video is cut into 2 x 2 cells of space and 4 of time. A puzzle shows the four places of one time or the
four times of one place, in a random order; each piece is smaller than its cell, of one colour channel, and turned by
half a turn or not, which is a second question.

Shapes: B batch, C channels, T frames, S side of a clip, D features of a piece, H hidden, M = 24 orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, spaced_clips
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve
from cacl.methods.differences import log_difference
from cacl.methods.permute import formatted
from cacl.methods.vcop import order_curve
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Positive, Settings

PIECES = 4


class STPuzzleSettings(MethodSettings):
    """The paper's values as far as they are known."""

    name: Literal["st-puzzle"] = "st-puzzle"
    piece: Annotated[float, Field(gt=0, le=1)] = 80 / 112  # side of a piece as a share of its cell's
    hidden: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many orders and turns are right."""
        return [order_curve(PIECES), Curve("Turn accuracy", {"turn_accuracy": "training clips"}, percent=True)]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> STPuzzle:
        """Puzzles of clips of ``data.frames`` frames, ``data.stride`` apart."""
        puzzle = Puzzle(
            network.num_features,
            frames=settings.data.frames,
            stride=settings.data.stride,
            **self.model_dump(include={"piece", "hidden", "dropout"}),
        )
        return STPuzzle(network, puzzle, standardise=settings.model.standardise)


class Puzzle(nn.Module):
    """The head on the features of the four pieces as shown, and the task that it learns."""

    name, title, ordered, advice = "order", "Puzzle", False, "train for more epochs"

    def __init__(
        self,
        features: int,
        *,
        frames: int = 16,
        stride: int = 1,
        piece: float = 80 / 112,
        hidden: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.piece, self.dropout = frames, stride, piece, dropout
        self.orders = list(itertools.permutations(range(PIECES)))  # lexicographic
        self.values = tuple(range(len(self.orders)))
        self.together = nn.Linear(PIECES * features, hidden)
        self.order = nn.Linear(hidden, len(self.orders))
        self.turn = nn.Linear(hidden, 2)

    def forward(self, features: Sequence[Tensor], uniforms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits ``[B, M]`` of the order and ``[B, 2]`` of the turn; ``uniforms`` ``[B, H]`` drop hidden."""
        x = F.relu(self.together(torch.cat(list(features), dim=1)))
        if uniforms is not None and self.dropout > 0:
            x = x * (uniforms >= self.dropout) / (1 - self.dropout)
        return self.order(x), self.turn(x)

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A puzzle: of which kind, in which order, turned or not; then where. Piece j shows cell ``order[j]``."""
        in_time, rank, turned, cell = (int(rng.integers(n)) for n in (2, len(self.orders), 2, PIECES))
        times = spaced_clips(n_frames, rng, clips=PIECES, frames=self.frames, stride=self.stride, gap=0)
        order = np.array(self.orders[rank], dtype=np.int64)
        when, where = (order, np.full(PIECES, cell)) if in_time else (np.full(PIECES, cell), order)
        targets = {"order": np.array(rank), "turned": np.array(turned), "place": where.astype(np.int64)}
        return ClipPlan(tuple(times[i] for i in when), targets)

    def cut(
        self, clip_BCTSS: Tensor, place_B: Tensor, corner_B2: Tensor, channel_B: Tensor, turned_B: Tensor
    ) -> Tensor:
        """Pieces, as large as the clip they are cut from: ``[B, C, T, S, S]``, all channels alike.

        Args:
            place_B: the cell, 0 … 3, row by row.
            corner_B2: in [0, 1), where in its cell a piece lies; 0 at the cell's upper left.
            channel_B: which channel is shown.
            turned_B: 1 turns by half a turn.
        """
        side, device = clip_BCTSS.shape[-1], clip_BCTSS.device
        cell, size = side // 2, max(1, round(self.piece * (side // 2)))
        first_B2 = (corner_B2 * (cell - size + 1)).long() + cell * torch.stack([place_B // 2, place_B % 2], dim=1)
        steps_s = torch.arange(size, device=device)
        steps_Bs = torch.where(turned_B[:, None] > 0, steps_s.flip(0), steps_s)
        y_Bs1, x_B1s = (first_B2[:, :1] + steps_Bs)[:, :, None], (first_B2[:, 1:] + steps_Bs)[:, None, :]
        rows_B11 = torch.arange(len(clip_BCTSS), device=device)[:, None, None]
        piece_BssT = clip_BCTSS[rows_B11, channel_B[:, None, None], :, y_Bs1, x_B1s]
        large_BTSS = F.interpolate(
            piece_BssT.permute(0, 3, 1, 2), size=(side, side), mode="bilinear", align_corners=False
        )
        return formatted(large_BTSS[:, None].expand(-1, clip_BCTSS.shape[1], -1, -1, -1), like=clip_BCTSS)

    def middle(self, clip_BCTSS: Tensor, targets: Mapping[str, Tensor], number: int) -> Tensor:
        """Piece ``number`` from the middle of its cell, of the second channel."""
        place_B, one_B = targets["place"][:, number], torch.ones_like(targets["turned"])
        corner_B2 = torch.full((len(place_B), 2), 0.5, device=place_B.device)
        return self.cut(clip_BCTSS, place_B, corner_B2, one_B, targets["turned"])

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of the order, of clips as evaluation sees them."""
        features = [encoder(self.middle(clip, targets, i)) for i, clip in enumerate(clips)]
        logits: Tensor = self(features)[0]
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Of every two pieces, the log of the difference between the end of the one and the start of the other."""
        rows = {name: torch.from_numpy(np.asarray(value)[None]) for name, value in targets.items()}
        pieces = [self.middle(clip[None], rows, i)[0, 0] for i, clip in enumerate(clips)]
        pairs = itertools.permutations(range(PIECES), 2)
        return np.array([log_difference(pieces[i][-1], pieces[j][0]) for i, j in pairs])


class STPuzzle(Method):
    """Cross entropies of order and turn, summed."""

    views = tuple(View(clip=i, draw=0) for i in range(PIECES))  # one crop for all: cells lie side by side

    def __init__(self, network: CNN3D, puzzle: Puzzle, *, standardise: Standardise = "none") -> None:
        super().__init__()
        self.network, self.puzzle, self.standardise = network, puzzle, standardise
        self.uniforms = 2 * PIECES + 1 + puzzle.order.in_features  # corners, channel, dropout

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The clips of a puzzle's pieces."""
        return self.puzzle.draw(n_frames, rng)

    def pieces(self, batch: MethodBatch) -> list[Tensor]:
        """What the network sees, piece by piece."""
        place_B4, turned_B = batch.targets["place"], batch.targets["turned"]
        corner_B42 = batch.uniforms[:, : 2 * PIECES].view(-1, PIECES, 2)
        channel_B = (3 * batch.uniforms[:, 2 * PIECES]).long()
        clips = [standardised(view, self.standardise) for view in batch.views]
        return [
            self.puzzle.cut(clip, place_B4[:, i], corner_B42[:, i], channel_B, turned_B) for i, clip in enumerate(clips)
        ]

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode the pieces as shown, predict order and turn."""
        features = torch.stack([self.network(piece) for piece in self.pieces(batch)])
        with torch.autocast(features.device.type, enabled=False):
            dropped = batch.uniforms[:, 2 * PIECES + 1 :] if self.training else None
            logits = dict(zip(("order", "turn"), self.puzzle(tuple(features), dropped), strict=True))
            targets = {"order": batch.targets["order"], "turn": batch.targets["turned"]}
            terms = {f"{name}_loss": F.cross_entropy(logits[name], targets[name]) for name in logits}
        right = {
            f"{name}_accuracy": (logits[name].detach().argmax(dim=1) == targets[name]).float().mean() for name in logits
        }
        return StepOutput({MAIN: terms["order_loss"] + terms["turn_loss"]}, terms, right, features)

    def tasks(self) -> Sequence[Puzzle]:
        """The puzzle."""
        return [self.puzzle]
