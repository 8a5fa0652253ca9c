"""The presets of methods of others: equal under ``small``, as their authors ran them under ``published``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cacl.config import load_resolved, resolve
from cacl.errors import UserError
from cacl.experiments.compare.plan import Budget, Plan, check_plan_words
from cacl.presets import ABLATIONS, PRESETS
from cacl.settings import METHODS, method_settings
from cacl.training.resolve import resolve_settings
from cacl.training.wiring import build_method, initial_network

PUBLISHED = [name for name in METHODS if method_settings(name).published is not None]
QUEUED = ("temperature", "momentum", "momentum_schedule", "queue_size", "mask_own_keys", "batch_negatives")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_builds_and_is_read_back(name: str, tmp_path: Path) -> None:
    flags = {"model.width": 4}
    resolved = resolve_settings(preset="published", method=name, flags=flags)
    settings = resolved.settings
    assert settings.preset == "published"
    assert settings.method.name == name
    method = build_method(settings, network=initial_network(settings), videos=32)
    plan = method.plan(400, np.random.default_rng(0))
    assert all(len(clip) % settings.data.frames == 0 for clip in plan.clips)
    assert {view.clip for view in method.views} <= set(range(len(plan.clips)))
    (tmp_path / "config.yaml").write_text(resolved.to_yaml(), encoding="utf-8")
    again = load_resolved(tmp_path / "config.yaml")
    assert again.settings == settings
    assert (
        resolve(again.settings.model_dump(mode="json"), assignments=("optim.epochs=999",)).settings.optim.epochs == 999
    )


def test_published_is_what_the_sources_say() -> None:
    """Some of each kind, typed once more."""
    vcop, iic = (resolve_settings(preset="published", method=name).settings for name in ("vcop", "iic"))
    assert (vcop.data.stride, vcop.augment.flip, vcop.optim.batch_size, vcop.optim.epochs) == (1, 0, 8, 300)
    assert (vcop.optim.schedule, vcop.optim.milestones, vcop.optim.lr) == ("step", (), 1e-3)
    assert (iic.optim.lr, iic.optim.milestones, iic.optim.milestone_factor) == (0.01, (45, 90, 125, 160), 0.2)
    assert not iic.method.normalise
    mocobe, dsm = (resolve_settings(preset="published", method=name).settings for name in ("moco+be", "dsm"))
    assert (mocobe.method.queue_size, dsm.method.queue_size) == (3569, 16384)
    assert (dsm.data.frames, dsm.data.stride, dsm.augment.size) == (32, 4, 224)
    assert resolve_settings(preset="published", method="videomoco").settings.method.queue_size == 65536


def test_what_is_given_wins_and_says_so() -> None:
    found = resolve_settings(preset="published", method="vcop", assignments=("optim.lr=0.5",))
    assert found.settings.optim.lr == 0.5
    assert found.origins["optim.lr"] == "--set"
    assert found.origins["data.stride"] == "preset published"
    assert resolve_settings(preset="published", assignments=("method.name=prp",)).settings.optim.lr == 0.01


@pytest.mark.parametrize("name", [*ABLATIONS, *(name for name in METHODS if name not in PUBLISHED)])
def test_methods_without_one_say_which_to_take(name: str) -> None:
    with pytest.raises(UserError, match=r"has no preset published: take --preset paper or released\. .*vcop"):
        resolve_settings(preset="published", method=name)


def test_it_is_of_one_method() -> None:
    with pytest.raises(UserError, match="name the method"):
        resolve_settings(preset="published")
    plan = Plan(Path("v"), Path("out"), ("vcop",), ("r3d10",), 1, Budget("passes", 100), preset="published")
    with pytest.raises(UserError, match="under equal ones: give paper, released, small"):
        check_plan_words(plan)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("cacl", "assisted")])
def test_under_small_all_but_the_method_is_equal(name: str) -> None:
    own, cacl = (resolve_settings(method=one).settings for one in (name, "v-moco"))
    assert own.model_dump(exclude={"method"}) == cacl.model_dump(exclude={"method"})
    if "queue_size" in type(own.method).model_fields:
        assert [getattr(own.method, key) for key in QUEUED] == [getattr(cacl.method, key) for key in QUEUED]
        autos = (one.method.auto_values(videos=1000) for one in (own, cacl))
        assert next(autos)["method.queue_size"][0] == next(autos)["method.queue_size"][0] == 500
    assert PRESETS["small"]["method"]["queue_size"] == "auto"
