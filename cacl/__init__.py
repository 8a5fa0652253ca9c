"""Self-supervised video representation learning after CACL (Guo et al., CVPR 2022).

``cacl.pretrain("videos/", out="runs/gulls")`` learns an encoder from a folder of videos; ``cacl.load("runs/gulls")``
gives it back; ``cacl.evaluate("runs/gulls")`` measures it.
``cacl.index("videos/", model="runs/gulls", out="gulls.index")`` makes a folder searchable, and
``cacl.Index("gulls.index").search("query.mp4@12.5-15")`` asks it. Everything else is in the modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cacl.errors import UserError

if TYPE_CHECKING:
    from cacl.evaluation.embedding import Embedding
    from cacl.experiments.analyse import analyse
    from cacl.experiments.compare.compare import compare
    from cacl.experiments.demo import demo
    from cacl.experiments.embed import embed
    from cacl.experiments.evaluate import evaluate, load
    from cacl.experiments.fuse import fuse
    from cacl.experiments.recognition.classify import classify
    from cacl.experiments.recognition.finetune import finetune, resume_finetune
    from cacl.experiments.report import report
    from cacl.experiments.reproduce.reproduce import reproduce
    from cacl.indexing.build import index
    from cacl.indexing.hits import Hit
    from cacl.indexing.reader import Index
    from cacl.models.encoder import ClipSpec, Encoder
    from cacl.run import Run
    from cacl.training.pretrain import pretrain, resume

__version__ = "0.1.0"
__all__ = [
    "ClipSpec",
    "Embedding",
    "Encoder",
    "Hit",
    "Index",
    "Run",
    "UserError",
    "analyse",
    "classify",
    "compare",
    "demo",
    "embed",
    "evaluate",
    "finetune",
    "fuse",
    "index",
    "load",
    "pretrain",
    "report",
    "reproduce",
    "resume",
    "resume_finetune",
]

_WHERE = {
    "ClipSpec": "cacl.models.encoder",
    "Embedding": "cacl.evaluation.embedding",
    "Encoder": "cacl.models.encoder",
    "Hit": "cacl.indexing.hits",
    "Index": "cacl.indexing.reader",
    "Run": "cacl.run",
    "analyse": "cacl.experiments.analyse",
    "classify": "cacl.experiments.recognition.classify",
    "compare": "cacl.experiments.compare.compare",
    "demo": "cacl.experiments.demo",
    "embed": "cacl.experiments.embed",
    "evaluate": "cacl.experiments.evaluate",
    "finetune": "cacl.experiments.recognition.finetune",
    "fuse": "cacl.experiments.fuse",
    "index": "cacl.indexing.build",
    "load": "cacl.experiments.evaluate",
    "pretrain": "cacl.training.pretrain",
    "report": "cacl.experiments.report",
    "reproduce": "cacl.experiments.reproduce.reproduce",
    "resume": "cacl.training.pretrain",
    "resume_finetune": "cacl.experiments.recognition.finetune",
}


def __getattr__(name: str) -> Any:
    """Import on first use: ``import cacl`` alone loads neither PyTorch nor a video decoder."""
    if name not in _WHERE:
        raise AttributeError(f"module 'cacl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
