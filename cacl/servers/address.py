"""Addresses of vector servers: which text is one, and how it may be printed."""

from __future__ import annotations

import re

_KINDS = ("postgresql://", "postgres://")
_USER = re.compile(r"^([a-z]+://)([^/@?:]*):(.*)@", re.DOTALL)  # a password may hold what should have been escaped
_SETTING = re.compile(r"([?&](?:ssl)?password=)([^&]*)", re.IGNORECASE)


def is_address(text: object) -> bool:
    """Whether this is meant to be a server, not a folder."""
    return isinstance(text, str) and text.startswith(_KINDS)


def shown(address: str) -> str:
    """The address without passwords."""
    return _SETTING.sub(r"\1…", _USER.sub(r"\1\2:…@", address))


def has_bare_signs(address: str) -> bool:
    """Whether name or password hold signs that end them for who reads addresses by the rules."""
    found = _USER.search(address)
    return found is not None and any(sign in found[3] for sign in "@:/?#")


def without_passwords(text: str, address: str) -> str:
    """What somebody else says of an address, without its passwords."""
    found = [match[3] for match in [_USER.search(address)] if match] + [m[2] for m in _SETTING.finditer(address)]
    for secret in sorted({*found, *map(_decoded, found)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _decoded(text: str) -> str:
    """With what is written as ``%40`` as it is meant."""
    plain = re.sub(rb"%([0-9a-fA-F]{2})", lambda code: bytes([int(code[1], 16)]), text.encode("utf-8", "replace"))
    return plain.decode("utf-8", "replace")
