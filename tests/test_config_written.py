"""Settings of a run: what is written is what is read, with its origins; what was damaged or changed is told."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cacl.config import Resolved, load_resolved, resolve
from cacl.errors import UserError
from cacl.presets import PAPER, PRESETS, SMALL


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("preset", PRESETS)
def test_written_settings_are_read_again_with_their_origins(preset, tmp_path):
    resolved = resolve(PRESETS[preset], assignments=("optim.lr=3e-7",))
    file = write(tmp_path, resolved.to_yaml())
    again = load_resolved(file)
    assert again == resolved
    assert again.to_yaml() == resolved.to_yaml()


words = st.text(st.characters(codec="utf-8"), min_size=0, max_size=70) | st.sampled_from(
    ["1e-3", "null", "true", "12", "a  # b", "#", "…", "x...", "'", '"', "a: b", "- a", "a\nb", "/long/" * 20 + "x", ""]
)


@hypothesis.settings(max_examples=40, deadline=None)
@given(
    store=words,
    weights=words | st.none(),
    lr=st.floats(1e-30, 1e30, allow_nan=False),
    area=st.tuples(st.floats(1e-9, 1), st.floats(1e-9, 1)),
    seed=st.integers(0, 2**63 - 1),
    origin=st.text(max_size=30),
)
def test_any_value_survives_writing(store, weights, lr, area, seed, origin, tmp_path_factory):
    resolved = resolve(
        PAPER,
        flags={
            "data.store": store,
            "model.frame_weights": weights,
            "optim.lr": lr,
            "augment.area": sorted(area),
            "run.seed": seed,
        },
    )
    origins = {**resolved.origins, "data.store": f"file {origin}  # {origin}.yaml"}
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(Resolved(resolved.settings, origins).to_yaml(), encoding="utf-8")
    again = load_resolved(file)
    assert again.settings == resolved.settings
    assert again.origins["run.seed"] == "flag"
    assert again.origins["optim.weight_decay"] == "preset paper"
    assert again.to_yaml() == file.read_text(encoding="utf-8")


def test_plain_yaml_reads_what_is_written_too():
    """Other tools' readers of YAML see the same tree."""
    resolved = resolve(SMALL)
    assert yaml.safe_load(resolved.to_yaml()) == resolved.settings.model_dump(mode="json")


def test_each_line_ends_with_its_origin():
    for line in resolve(PAPER, assignments=("run.seed=3",)).to_yaml().splitlines():
        if not line.endswith(":"):
            assert line.endswith("  # --set" if "seed" in line else "  # preset paper")


def test_auto_values_come_with_their_reason(tmp_path):
    resolved = resolve(SMALL).with_auto({"optim.epochs": (12, "about 3000 steps"), "run.device": ("cpu", "no GPU")})
    assert resolved.settings.optim.epochs == 12
    assert resolved.origins["optim.epochs"] == "auto: about 3000 steps"
    assert resolved.origins["optim.lr"] == "preset small"
    assert load_resolved(write(tmp_path, resolved.to_yaml())) == resolved


def test_a_damaged_settings_file_of_a_run_is_a_user_error(tmp_path):
    text = resolve(PAPER).to_yaml()
    with pytest.raises(UserError, match=r"optim\.lr must be a number"):
        load_resolved(write(tmp_path, text.replace("lr: 0.001", "lr: fast ")))
    with pytest.raises(UserError):
        load_resolved(write(tmp_path, text[: len(text) // 2]))


def test_a_run_of_another_version_says_which_settings_differ(tmp_path):
    text = resolve(SMALL).to_yaml()
    lines = [line for line in text.splitlines() if not line.strip().startswith("temperature:")]
    lines.insert(lines.index("run:") + 1, "  colour: red")
    file = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(UserError, match="another version of cacl") as error:
        load_resolved(file)
    assert str(error.value) == (
        f"{file} was written by another version of cacl, or changed since (method.temperature is missing; "
        "frames.temperature is missing; run.colour is not a setting of this version of cacl): put it back, or begin a "
        "new run."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "changed since (preset is missing; data is missing; augment is missing; and 5 more): put it back"),
        ("optim: [\n a: b: c", "cannot be read as YAML (expected ',' or ']', but got ':', line 2); put it back"),
        ("words", "found str where settings as 'section: …' are expected; put it back as cacl wrote it"),
    ],
)
def test_settings_of_a_run_that_are_damaged_are_told_in_one_sentence(text, words, tmp_path):
    file = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_resolved(file)
    assert str(file) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).count(". ") == 0
