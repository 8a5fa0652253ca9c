"""A cell's network fine-tuned with all labels: on request, since it costs more than all other measures together."""

from __future__ import annotations

from typing import Any

from cacl.experiments.compare.plan import Cell, Plan
from cacl.experiments.compare.shared import store_of
from cacl.experiments.plan_folder import kept
from cacl.experiments.recognition.finetune import finetune, resume_finetune
from cacl.run_folder import RunFolder


def finetuned(plan: Plan, run: RunFolder, cell: Cell) -> dict[str, Any]:
    """``{"top-1": percent}`` of the test videos, from ``cells/NAME/finetuned.json`` where that is there.

    As ``cacl finetune`` with the comparison's preset does it, on the same frames; its run is ``cells/NAME/finetune``.

    Raises:
        UserError, Stopped: as ``finetune``.
    """

    def make() -> dict[str, Any]:
        path = run.path / "cells" / cell.name / "finetune"
        run.log(f"Fine-tuning {cell} …")
        if (path / "config.yaml").exists():
            results = resume_finetune(path)
        else:
            store = store_of(plan)
            shared = store == str((plan.out / "store").resolve())
            results = finetune(
                store if shared else plan.videos,
                model=run.path / "cells" / cell.name / "run",
                out=path,
                preset=plan.preset,
                lists=None if shared else plan.lists,
                splits=(1 if shared else plan.split,),
                seed=cell.seed,
                settings={key: value for key, value in plan.settings.items() if key in ("run.threads", "data.workers")},
            )
        return {"top-1": round(results["recognition"]["fine-tuned"]["all"]["top-1"], 3)}

    return kept(run, f"cells/{cell.name}/finetuned.json", make)
