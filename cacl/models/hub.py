"""An encoder folder as a repository of a model hub: what is there is had once and kept, what is here is put there.

Everything of the hub's protocol is ``huggingface_hub``'s: addresses (``HF_ENDPOINT``), the cache (``HF_HOME``), working
without a network (``HF_HUB_OFFLINE``) and tokens, which are never printed. Of a repository nothing is read but what an
encoder folder has, by its name: JSON, safetensors, and the ONNX file of a frozen network; nothing can run code.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cacl.errors import UserError, quoted
from cacl.extras import install_extra
from cacl.files import read_object

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAMES = ("config.json", "model.safetensors", "README.md", "graph.json", "model.onnx")
_PARTS = ("own", "image")  # of a fused encoder, a folder each
_OWN = {*_NAMES, *(f"{part}/{name}" for part in _PARTS for name in _NAMES)}
_HUBS = {".gitattributes"}  # a hub makes it
_FORMAT = "cacl encoder"


def names_repository(source: str | Path) -> bool:
    """Whether it can only be ``USER/NAME`` of a hub: it is not here, and neither is a folder ``USER``."""
    return isinstance(source, str) and _ID.fullmatch(source) is not None and not Path(source).parent.exists()


def fetch_encoder(repository: str, *, revision: str | None = None) -> Path:
    """The folder in the hub's cache that holds an encoder, downloaded where it is not there yet.

    Args:
        repository: ``USER/NAME``.
        revision: a branch, tag or commit; ``None``: the newest of ``main``. What is in the cache is taken where the hub
            is not reached, and a commit always.

    Raises:
        UserError: ``huggingface_hub`` is missing, the repository or the revision is not there or not for this user, the
            hub is not reached and the cache has nothing, or what is there is no encoder of cacl.
    """
    _check_id(repository)
    hub = _hub(repository)
    where = repository if revision is None else f"{repository}@{revision}"
    try:
        api = hub.HfApi()
        config = Path(api.hf_hub_download(repository, "config.json", revision=revision))
        if (found := read_object(config).get("format")) != _FORMAT:
            raise UserError(
                f"{where} holds {found or 'something else'!r}, not an encoder of cacl; an image network is had with "
                f"cacl import --image-encoder {quoted(repository)}."
            )
        commit = config.parent.name
        api.hf_hub_download(repository, "model.safetensors", revision=commit)
        return Path(api.snapshot_download(repository, revision=commit, allow_patterns=sorted(_OWN)))
    except UserError:
        raise
    except Exception as error:  # of the hub, of the network, of the disk
        raise UserError(_sentence(hub, error, where)) from error


def push_files(repository: str, files: Mapping[str, bytes], *, message: str, private: bool) -> str:
    """Put an encoder's files into a repository, in one commit; it is made when missing.

    Args:
        repository: ``USER/NAME``.
        files: content by name, as ``encoder_files`` gives it.
        message: of the commit.
        private: what the repository becomes when it is made; one that is there stays what it is.

    Returns:
        The commit.

    Raises:
        UserError: ``huggingface_hub`` or a token is missing, the token may not write there, the hub is not reached, or
            the repository holds something else.
    """
    _check_id(repository)
    hub = _hub(repository)
    if hub.get_token() is None:
        raise UserError(
            f"{repository} can be written with a token alone, and none is set: log in (hf auth login, or HF_TOKEN)."
        )
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        there = set(api.list_repo_files(repository))
        _check_replaceable(api, repository, there)
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        operations += [hub.CommitOperationDelete(name) for name in sorted((there & _OWN) - set(files))]
        return str(api.create_commit(repository, operations, commit_message=message).oid)
    except UserError:
        raise
    except Exception as error:  # of the hub, or of the network
        raise UserError(_sentence(hub, error, repository)) from error


def own_files(folder: Path) -> dict[str, bytes]:
    """What an encoder folder has, by its name; anything else that lies there is left out."""
    return {name: (folder / name).read_bytes() for name in sorted(_OWN) if (folder / name).is_file()}


def _check_replaceable(api: Any, repository: str, there: set[str]) -> None:
    """Raise UserError where a repository holds what no push of an encoder has put there."""
    strange = sorted(there - _OWN - _HUBS)
    config = "config.json" in there and read_object(Path(api.hf_hub_download(repository, "config.json")))
    if config and config.get("format") != _FORMAT:
        strange = ["config.json of something else"]
    if strange:
        raise UserError(
            f"{repository} exists and holds {strange[0]}, which no encoder has: choose another name, or empty it."
        )


def _check_id(repository: str) -> None:
    if _ID.fullmatch(repository) is None:
        raise UserError(f"{repository} is no repository's name: it must be USER/NAME, for example mia/gulls.")


def _hub(repository: str) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{repository} needs huggingface_hub, which is missing: {install_extra('hub')}.") from error


def _sentence(hub: Any, error: Exception, where: str) -> str:
    """What went wrong with the hub and what to do, for its errors as they nest: the narrow ones first."""
    errors = importlib.import_module(f"{hub.__name__}.errors")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return f"{where} is no repository's name ({_first_line(error)}): it must be USER/NAME, for example mia/gulls."
    if isinstance(error, errors.GatedRepoError):
        return f"{where} asks for its owner's consent: ask for it on its page, then log in (hf auth login)."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{where}: the repository has no such revision; give a branch, a tag or a commit of it."
    if isinstance(error, errors.RepositoryNotFoundError) and hub.get_token() is None:
        return (
            f"{where} is neither here nor on the hub, or it is private: check the name, or log in (hf auth login, or "
            "HF_TOKEN)."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{where} is neither here nor on the hub, or your token may not read it: check the name and the token."
    if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError) or "Connect" in type(error).__name__:
        return f"{where} is not in the cache, and the hub is not reached: check the connection, and HF_HUB_OFFLINE."
    if isinstance(error, errors.EntryNotFoundError):
        return f"{where} is no encoder of cacl, it lacks config.json or model.safetensors; nothing else is read."
    if status in (401, 403):
        return f"{where}: the hub refuses the token ({status}); take one that may do this (hf auth login, or HF_TOKEN)."
    return f"{where}: the hub's answer cannot be used ({_first_line(error)}); try again later."


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
