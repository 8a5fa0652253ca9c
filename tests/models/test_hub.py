"""Encoders to and from a model hub, a small one on loopback; every way in which it can go wrong is one sentence."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from models.hub_server import TOKEN, Hub, serving
from pages import run_command
from safetensors.torch import save

import cacl
from cacl.errors import UserError
from cacl.experiments.push import hub_card, push
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.hub import names_repository


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub of these tests, with a cache of its own and mia's token; and a folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name in ("HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Encoder("r3d10", width=4, clip=ClipSpec(4, 2, (36, 40), 32)).save(tmp_path / "encoder")
    return tmp_path / "encoder"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_is_pushed_is_what_is_loaded(hub: Hub, encoder: Path) -> None:
    (encoder / "notes.txt").write_text("for me alone")
    pushed = push(encoder, "mia/gulls", licence="apache-2.0")
    there = hub.repositories["mia/gulls"]
    assert not there.private
    assert set(there.commits[-1][1]) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    assert len(there.commits) == 2  # made, and one commit
    assert pushed.commit == there.commits[-1][0]
    for name in ("config.json", "model.safetensors"):
        assert there.commits[-1][1][name] == (encoder / name).read_bytes()
    card = there.commits[-1][1]["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: cacl\n")
    assert 'cacl.load("mia/gulls")' in card
    assert "PATH/OF" not in card
    loaded, own = cacl.load("mia/gulls"), cacl.load(encoder)
    assert not loaded.training
    clips = torch.randint(0, 255, (2, 4, 40, 50, 3), dtype=torch.uint8)
    torch.testing.assert_close(loaded(clips), own(clips), rtol=0, atol=0)


def test_a_revision_is_a_tag_or_a_commit_and_main_is_the_newest(hub: Hub, encoder: Path) -> None:
    first = push(encoder, "mia/gulls").commit
    old = cacl.load("mia/gulls").tensors()
    torch.manual_seed(1)
    Encoder("r3d10", width=4, clip=ClipSpec(4, 2, (36, 40), 32)).save(encoder)
    push(encoder, "mia/gulls")
    hub.repositories["mia/gulls"].tags["v1"] = first
    name = next(key for key, value in old.items() if value.ndim == 5)
    for revision, same in ((first, True), ("v1", True), (None, False)):
        found = cacl.load("mia/gulls", revision=revision).tensors()
        assert torch.equal(found[name], old[name]) is same, revision
    with pytest.raises(UserError, match=r"^mia/gulls@v9: the repository has no such revision; give a branch"):
        cacl.load("mia/gulls", revision="v9")


def test_what_was_loaded_once_needs_no_network(hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = push(encoder, "mia/gulls").commit
    cacl.load("mia/gulls")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    cacl.load("mia/gulls")
    cacl.load("mia/gulls", revision=commit)
    assert hub.asked == []
    with pytest.raises(UserError, match=r"^mia/terns is not in the cache, and the hub is not reached: check"):
        cacl.load("mia/terns")


@pytest.mark.parametrize("verb", ["load", "push"])
def test_no_network(hub: Hub, encoder: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    push(encoder, "mia/gulls")
    cacl.load("mia/gulls")
    with serving() as gone:
        nowhere = gone.endpoint
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/resolve/{revision}/{filename}")
    cacl.load("mia/gulls")  # of the cache
    with pytest.raises(UserError, match=r"^mia/terns .*the hub is not reached: check the connection"):
        cacl.load("mia/terns") if verb == "load" else push(encoder, "mia/terns")


def test_no_token(hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"^mia/gulls can be written with a token alone, and none is set: log in"):
        push(encoder, "mia/gulls")
    assert hub.asked == []


@pytest.mark.parametrize(("token", "name"), [("hf_of_nobody", "mia/gulls"), (TOKEN, "tom/gulls")])
def test_a_token_that_may_not_write(
    hub: Hub, encoder: Path, token: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=rf"^{name}: the hub refuses the token \(40[13]\); take one") as refused:
        push(encoder, name)
    assert token not in str(refused.value)
    assert hub.repositories == {}


def test_a_private_repository(hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(encoder, "mia/gulls", private=True)
    assert hub.repositories["mia/gulls"].private
    cacl.load("mia/gulls")
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(UserError, match=r"^mia/gulls is neither here nor on the hub, or your token may not read it"):
        cacl.load("mia/gulls")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"^mia/gulls is neither here nor on the hub, or it is private: .*log in"):
        cacl.load("mia/gulls")
    hub.add("eve/gulls", contents(encoder), gated=True)
    with pytest.raises(UserError, match=r"^eve/gulls asks for its owner's consent: ask for it on its page"):
        cacl.load("eve/gulls")


def test_a_repository_of_something_else(hub: Hub, encoder: Path) -> None:
    config = json.dumps({"model_type": "dinov2"}).encode()
    weights = save({"a": torch.zeros(2)})
    hub.add("meta/net", {"config.json": config, "model.safetensors": weights})
    hub.add("mia/pickled", {**contents(encoder), "pytorch_model.bin": b"never read", "run.py": b"never read"})
    del hub.repositories["mia/pickled"].commits[-1][1]["model.safetensors"]
    hub.add("mia/empty", {"README.md": b""})
    with pytest.raises(UserError, match=r"^meta/net holds 'something else', not an encoder .*--image-encoder meta/net"):
        cacl.load("meta/net")
    for name in ("mia/pickled", "mia/empty"):
        with pytest.raises(
            UserError, match=rf"^{name} is no encoder of cacl, it lacks config.json or model.safetensor"
        ):
            cacl.load(name)
    hub.add("mia/damaged", {**contents(encoder), "model.safetensors": b"no tensors"})
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        cacl.load("mia/damaged")
    assert not [line for line in hub.asked if line.endswith((".bin", ".py"))]


def test_a_repository_with_other_things_is_left_alone(hub: Hub, encoder: Path) -> None:
    hub.add("mia/data", {"README.md": b"mine", "thesis.pdf": b"years of work"})
    hub.add("mia/net", {"config.json": b'{"model_type": "dinov2"}'})
    for name, what in (("mia/data", "thesis.pdf"), ("mia/net", "config.json of something else")):
        with pytest.raises(UserError, match=rf"^{name} exists and holds {what}, which no encoder has"):
            push(encoder, name)
        assert len(hub.repositories[name].commits) == 1


def test_a_file_that_the_new_encoder_lacks_goes(hub: Hub, encoder: Path) -> None:
    hub.add("mia/gulls", {**contents(encoder), "own/config.json": b"{}", "image/model.onnx": b"x"})
    push(encoder, "mia/gulls")
    assert set(hub.repositories["mia/gulls"].commits[-1][1]) == {"config.json", "model.safetensors", "README.md"}


@pytest.mark.parametrize("name", ["gulls", "mia/gulls/more", "mia/", "/gulls", "../gulls", "mia/gu lls", "-m/g"])
def test_names_that_no_repository_has(hub: Hub, encoder: Path, name: str) -> None:
    with pytest.raises(UserError, match="is no repository's name"):
        push(encoder, name)
    assert not names_repository(name)
    assert hub.asked == []


def test_a_path_here_never_asks_the_hub(hub: Hub, encoder: Path) -> None:
    Path("runs").mkdir()
    with pytest.raises(UserError, match=r"^runs/gull does not exist: give a run folder"):
        cacl.load("runs/gull")  # a misspelt run: there is a folder runs
    shutil.copytree(encoder, "runs/gulls")
    cacl.load("runs/gulls")
    with pytest.raises(UserError, match=r"^runs/gulls is a folder here and has no revisions"):
        cacl.load("runs/gulls", revision="main")
    assert hub.asked == []


def test_without_the_package(hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    calls: list[Callable[[], object]] = [lambda: push(encoder, "mia/gulls"), lambda: cacl.load("mia/gulls")]
    for call in calls:
        with pytest.raises(
            UserError, match=r'^mia/gulls needs huggingface_hub, .*pip install "huggingface_hub>=.*"\.$'
        ):
            call()


def test_the_command(
    hub: Hub, encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["push", str(encoder), "mia/gulls"], monkeypatch) == 0
    out = capsys.readouterr().out
    commit = hub.repositories["mia/gulls"].commits[-1][0]
    assert out.splitlines() == [
        f"mia/gulls, commit {commit}: README.md, config.json, model.safetensors.",
        f"To load it: cacl.load('mia/gulls', revision='{commit}')",
    ]
    for words, sentence in (
        ([str(encoder), "gulls"], "gulls is no repository's name"),
        ([str(encoder), "mia/gulls", "--licence", "a: b"], "--licence is 'a: b'"),
        (["nowhere", "mia/gulls"], "nowhere does not exist"),
        ([".", "mia/gulls"], "holds no encoder"),
    ):
        assert run_command(["push", *words], monkeypatch) == 2
        assert sentence in capsys.readouterr().err


def test_the_card_of_a_run_has_what_was_measured(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    rows = {"chance": {"R@1": 12.5, "R@5": 50}, "cacl": {"R@1": 61.257, "R@5": None}}
    (run / "results.json").write_text(json.dumps({"retrieval": rows}))
    (run / "retrieval.json").write_text(json.dumps({"videos": "/home/mia", "queries": 8, "gallery": 16}))
    card = hub_card((run / "encoder" / "README.md").read_text(), run, repository="mia/gulls", licence=None)
    assert "| % | R@1 | R@5 |\n|---|---|---|\n| chance | 12.5 | 50.0 |\n| cacl | 61.3 |  |\n" in card
    assert "8 videos query 16" in card
    assert card.index("## Training") < card.index("## Retrieval") < card.index("## Limits")
    assert "## Data\n\nvideos: 12, " in card
    assert "/home" not in card
    assert str(tmp_path) not in card
    assert "Without cacl" in hub_card("# Bare\n", tmp_path, repository="mia/gulls", licence="mit")
