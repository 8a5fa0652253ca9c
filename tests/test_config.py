"""Settings: layers and their origins, and every problem listed at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from cacl.config import differences, read_yaml, resolve
from cacl.errors import UserError
from cacl.presets import ABLATIONS, PAPER, RELEASED, SMALL


def problems(*assignments, preset=PAPER, **rest):
    with pytest.raises(UserError) as error:
        resolve(preset, assignments=assignments, **rest)
    return str(error.value).splitlines()


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


# Layers --------------------------------------------------------------------------------------------------------------


def test_later_layers_win_and_say_where_a_value_is_from(tmp_path):
    file = write(tmp_path, "optim:\n  lr: 0.5\n  batch_size: 8\nmethod:\n  pairs: [gq_gk, gq_tq]\n")
    resolved = resolve(
        PAPER,
        file=file,
        ablation=ABLATIONS["v-moco+t"],
        assignments=("optim.batch_size=16", "method.temperature=.2"),
        flags={"optim.epochs": 3, "method.temperature": 0.3},
    )
    settings, origins = resolved.settings, resolved.origins
    assert (settings.optim.lr, origins["optim.lr"]) == (0.5, "file mine.yaml")
    assert (settings.method.pairs, origins["method.pairs"]) == (("gq_gk", "gq_tq"), "file mine.yaml")
    assert (settings.method.degree_weight, origins["method.degree_weight"]) == (0.0, "method")
    assert (settings.optim.batch_size, origins["optim.batch_size"]) == (16, "--set")
    assert (settings.method.temperature, origins["method.temperature"]) == (0.3, "flag")
    assert (settings.optim.epochs, origins["optim.epochs"]) == (3, "flag")
    assert (settings.run.seed, origins["run.seed"]) == (0, "preset paper")


def test_a_size_that_evaluation_cannot_cut_out_is_refused():
    with pytest.raises(UserError, match=r"augment.size 65 does not fit in data.resize \[64, 86\] \(evaluation cuts"):
        resolve(SMALL, assignments=("augment.size=65", "augment.crop=area"))
    assert resolve(SMALL, assignments=("augment.size=64",)).settings.augment.size == 64
    assert resolve(PAPER, assignments=("augment.size=113",)).settings.augment.size == 113


def test_none_is_a_value_of_a_flag():
    resolved = resolve(RELEASED, flags={"data.start_window": None})
    assert (resolved.settings.data.start_window, resolved.origins["data.start_window"]) == (None, "flag")
    with pytest.raises(UserError, match=r"run\.seed must be"):
        resolve(PAPER, flags={"run.seed": None})


def test_every_setting_has_an_origin():
    resolved = resolve(SMALL)
    assert set(resolved.origins.values()) == {"preset small"}
    assert set(resolved.origins) == set(differences_of_all(resolved))


def differences_of_all(resolved):
    return [line.split(":")[0] for line in flat(resolved.settings.model_dump())]


def flat(tree, prefix=""):
    for name, value in tree.items():
        yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}:"]


def test_flags_may_be_a_tree():
    assert resolve(PAPER, flags={"method": {"loss": "outside"}}).settings.method.loss == "outside"


def test_settings_are_frozen_and_the_preset_is_untouched():
    before = yaml.safe_dump(PAPER)
    resolved = resolve(PAPER, assignments=("augment.area=[.5, 1]", "frames.optim.lr=1"))
    assert yaml.safe_dump(PAPER) == before
    with pytest.raises(ValidationError):
        resolved.settings.optim.lr = 1.0


def test_an_empty_file_and_an_empty_section_change_nothing(tmp_path):
    for text in ("", "# nothing\n", "optim:\n  # lr: 1\ndata: {}\n"):
        assert resolve(PAPER, file=write(tmp_path, text)).settings == resolve(PAPER).settings


def test_the_preset_is_no_ordinary_setting(tmp_path):
    """Its name alone would change no value."""
    assert problems("preset=small") == ["preset is paper, but --set says small: choose it with --preset."]
    same = write(tmp_path, resolve(PAPER).to_yaml())  # a run's config.yaml is a settings file
    assert resolve(PAPER, file=same).settings == resolve(PAPER).settings


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("1e-3", 1e-3), ("1E-3", 1e-3), ("2e3", 2000.0), ("1.e-2", 0.01), (".5", 0.5), ("+1e+1", 10.0)],
)
def test_numbers_as_people_write_them(text, value, tmp_path):
    """YAML 1.1 takes 1e-3 for text."""
    for resolved in (
        resolve(PAPER, assignments=(f"optim.lr={text}",)),
        resolve(PAPER, file=write(tmp_path, f"optim:\n  lr: {text}\n")),
    ):
        assert resolved.settings.optim.lr == value
        assert isinstance(resolved.settings.optim.lr, float)


def test_assignments_are_yaml():
    settings = resolve(
        PAPER,
        assignments=(
            "method.pairs=[gq_gk]",
            "data.resize=[64, 86]",
            "augment.size=56",
            "data.start_window=null",
            "model.frame_weights=a=b.pt",
            " method.tq_negatives = true",
            "augment.mean=[0, .5, 1]",
            "augment.std=[1, 1, 1]",
        ),
    ).settings
    assert settings.method.pairs == ("gq_gk",)
    assert settings.data.resize == (64, 86)
    assert settings.model.frame_weights == "a=b.pt"
    assert settings.method.tq_negatives is True
    assert settings.augment.mean == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("optim.lr=soon", "optim.lr must be a number (found 'soon')."),
        ("optim.lr=true", "optim.lr must be a number (found True)."),
        ("optim.lr=0", "optim.lr must be above 0 (found 0)."),
        ("optim.lr=nan", "optim.lr must be a finite number (found 'nan')."),
        ("optim.lr=-inf", "optim.lr must be a finite number (found '-inf')."),
        ("optim.lr=.inf", "optim.lr must be a finite number (found inf)."),
        ("optim.lr=.nan", "optim.lr must be a finite number (found nan)."),
        ("optim.epochs=0", "optim.epochs must be 'auto' or 1 or more (found 0)."),
        ("optim.epochs=soon", "optim.epochs must be 'auto' or a whole number (found 'soon')."),
        ("optim.batch_size=1", "optim.batch_size must be 2 or more (found 1)."),
        ("data.frames=16.0", "data.frames must be a whole number (found 16.0)."),
        ("data.frames=33", "data.frames must be 32 or less (found 33)."),
        ("data.frames=4", "model.network c3d needs data.frames of 8 or more (found 4)."),
        ("data.moments=true", "data.moments must be a whole number (found True)."),
        ("data.resize=[128]", "data.resize must be a longer list (found [128])."),
        ("data.resize=[1, 2, 3]", "data.resize must be a shorter list (found [1, 2, 3])."),
        ("data.resize=128", "data.resize must be a list (found 128)."),
        ("data.start_window=30", "data.start_window 30 is shorter than the 31 frames that a clip spans."),
        ("method.twin=1", "method.twin must be true or false (found 1)."),
        ("method.pairs=[gq_gk, tq]", "method.pairs must be 'gq_gk', 'gq_tq', 'gq_tk' or 'tq_tk' (found 'tq')."),
        ("model.network=c3", "'r3d10-tclr', 'r3d18-tclr' or 'r2plus1d18-torchvision' (found 'c3')."),
        ("model.width=2", "model.width must be 4 or more (found 2)."),
        ("model.heads=5", "model.token_width 768 must be a multiple of model.heads 5."),
        ("model.frame_mean=[0, 0, 0]", "model.frame_mean and model.frame_std are given together or not at all."),
        ("augment.flip=1.5", "augment.flip must be 1 or less (found 1.5)."),
        ("augment.jitter=[1, 1, 1, 1]", "augment.jitter must be 0.5 or less (found 1)."),
        ("augment.blur_sigma=[2, 1]", "augment.blur_sigma must go from low to high (found [2.0, 1.0])."),
        ("augment.size=150", "augment.size 150 does not fit in data.resize [128, 171] with augment.crop fixed."),
        ("frames.area=[.9, .1]", "frames.area must be shares of the frame, 0 < low <= high <= 1 (found [0.9, 0.1])."),
        ("method.twin=false", "the degree loss needs the twin; set method.twin: true or method.degree_weight: 0."),
        ("run.seed=-1", "run.seed must be 0 or more (found -1)."),
        ("run.device=gpu", "run.device must be auto, cpu, mps, cuda or cuda:0, cuda:1 … (found 'gpu')."),
        ("optim=3", "optim is a group of settings, not one: set optim.accumulate and so on. (--set)"),
        ("optim.lrr=3", "optim.lrr is not a setting. Did you mean 'optim.lr'? (--set)"),
        ("temprature=3", "temprature is not a setting. Did you mean 'method.temperature'? (--set)"),
        ("optim.lr", "--set optim.lr: expected KEY=VALUE, for example --set method.temperature=0.1."),
        ("=3", "--set =3: expected KEY=VALUE, for example --set method.temperature=0.1."),
        ("optim.lr=[1", "--set optim.lr=[1: the value is not YAML"),
    ],
)
def test_each_problem_is_a_sentence_that_names_the_setting(assignment, sentence):
    (found,) = problems(assignment)
    assert sentence in found
    assert "Input" not in found


def test_all_problems_are_listed_at_once(tmp_path):
    file = write(tmp_path, "optim:\n  lr: -1\n  wieght_decay: 0\naugment:\n  mean: [0, 0, 0]\n  area: [.9, .2]\n")
    found = problems("method.pairs=[gq_gk, gq_gk]", "method.degree_weight=0", "data.frames=no", "oops", file=file)
    keys = ["wieght_decay", "optim.lr ", "augment.mean", "augment.area", "method.pairs", "data.frames", "oops"]
    assert len(found) == len(keys)
    for key in keys:
        assert sum(key in line for line in found) == 1, key
    assert any("Did you mean 'optim.weight_decay'? (file mine.yaml)" in line for line in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim: {lr: 1", "cannot be read as YAML"),
        ("- 1\n- 2\n", "found list where settings"),
        ("just words", "found str where settings"),
        ("optim:\n  lr: 1\n  lr: 2\n", "lr is given twice"),
        ("optim: !!python/object/apply:os.system [echo]\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_settings_file(text, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        read_yaml(write(tmp_path, text))
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_yaml(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optim.lr_rate", "Did you mean 'optim.lr'?"),
        ("optim.epoch", "Did you mean 'optim.epochs'?"),
        ("optm.lr", "Did you mean 'optim.lr'?"),
        ("data.lr", "Did you mean 'optim.lr' or 'frames.optim.lr'?"),
        ("seed", "Did you mean 'run.seed'?"),
        ("run.foo", "In run there are seed, device, precision"),
        ("run.", "In run there are seed, device, precision"),
        ("a.b", "The groups of settings are data, augment, model, method, optim, frames, run."),
    ],
)
def test_an_unknown_setting_is_answered_with_what_is_near_or_with_what_there_is(key, hint):
    with pytest.raises(UserError) as error:
        resolve(SMALL, assignments=(f"{key}=1",))
    assert str(error.value).startswith(f"{key} is not a setting. {hint}")
    assert str(error.value).endswith("(--set)")


def test_differences():
    old, new = resolve(PAPER).settings, resolve(PAPER, assignments=("optim.lr=1", "method.pairs=[gq_gk]")).settings
    assert differences(old, old) == {}
    assert differences(old, new) == {
        "optim.lr": (0.001, 1.0),
        "method.pairs": (("gq_gk", "gq_tq", "gq_tk", "tq_tk"), ("gq_gk",)),
    }
