"""``cacl prepare --engine ray``: the parts of a store, made by the tasks of a cluster, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cacl.cluster.batches import Job
from cacl.cluster.on_ray import Cluster
from cacl.data.videos.store_parts import PartPlan, make
from cacl.data.videos.store_shares import make_here


def make_on_ray(cluster: Cluster, plans: Sequence[PartPlan], made: Callable[[int], None]) -> None:
    """As ``make_here``, by a cluster; a part that ended three processes is made here, where a video ends none.

    Raises:
        UserError, OSError: what ``Cluster.do`` raises.
    """
    if not plans:
        return
    jobs = [Job(f"{plan.number:06d}", _cost(plan), replace(plan, folder=plan.folder.absolute())) for plan in plans]
    videos = {job.key: len(job.what.videos) for job in jobs}
    left = cluster.do(
        make_parts,
        jobs,
        sees=[plans[0].root, plans[0].folder.absolute()],
        kept=lambda: {job.key for job in jobs if job.what.facts.exists()},
        done=lambda keys: made(sum(videos[key] for key in keys)),
    )
    make_here([job.what for job in left], made, workers=0)


def make_parts(plans: Sequence[PartPlan]) -> None:
    """What a task does: some parts."""
    for plan in plans:
        if not plan.facts.exists():
            make(plan)


def _cost(plan: PartPlan) -> int:
    return sum(video.frames * video.width * video.height for video in plan.videos)
