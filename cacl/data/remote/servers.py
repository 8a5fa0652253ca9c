"""What is asked of a server: what there is, and ranges of bytes; tried again a few times, and never from elsewhere.

fsspec speaks with the servers. What it would do of its own accord is bounded here: a range that a server does not keep
to is no answer (fsspec would take the whole file into memory), and a redirect leads to the same host or nowhere.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from cacl.errors import UserError
from cacl.extras import install_extra

SCHEMES = ("s3", "gs", "https", "http")
FETCH = "cannot be fetched"  # how the reason of every failure begins: another command tries again
_TRIES = 5
_PAUSE = 0.25  # seconds before the second try, doubled before each further one
_CONNECT, _SILENT = 10.0, 30.0  # seconds in which a server must be reached, and send something
_URL = re.compile(rf"(?:{'|'.join(SCHEMES)})://[^/]")
_CONTENT_RANGE = re.compile(r"bytes \S+/(\d+)")
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP: try again
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket",
    "gs": "give those of gcloud auth application-default login, or FSSPEC_GS_TOKEN=anon for a public bucket",
}
T = TypeVar("T")


class Unfetched(Exception):
    """A server gave not what was asked for.

    Attributes:
        reason: a short phrase, as of a VideoError.
        passing: whether the next try may go well.
        missing: whether it has nothing of this name.
    """

    def __init__(self, reason: str, *, passing: bool = False, missing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.passing, self.missing = reason, passing, missing


class Facts(NamedTuple):
    """What a server says of a place.

    Attributes:
        size: bytes.
        changed: nanoseconds since 1970, 0 where it does not say.
        tag: a number made of the ETag, 0 where there is none.
        folder: whether it is a prefix of others.
        page: whether it is said to be a web page.
    """

    size: int
    changed: int
    tag: int
    folder: bool = False
    page: bool = False

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Another one where the content is another."""
        return self.size, self.changed, self.tag


def is_url(text: object) -> bool:
    """Whether a text or path is an address of a server that can be read."""
    return _URL.match(str(text)) is not None


def facts_of(url: str) -> Facts:
    """Ask what there is at an address. Raises Unfetched, UserError (a package is missing)."""
    system = system_of(url)
    if url.startswith("http"):
        return tried(lambda: _http_facts(system, url), url)
    return tried(lambda: facts_from(system.info(url)), url)


def facts_from(info: dict[str, Any]) -> Facts:
    """What fsspec says of an object or prefix."""
    changed = info.get("LastModified") or info.get("mtime") or info.get("updated") or ""
    if isinstance(changed, str) and changed:
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    when = round(changed.timestamp() * 1000) * 10**6 if isinstance(changed, datetime) else 0
    return Facts(int(info.get("size") or 0), when, _tag(info.get("ETag") or info.get("etag")), info["type"] != "file")


def fetch(url: str, start: int, stop: int) -> bytes:
    """Bytes ``start`` to before ``stop``, all of them. Raises Unfetched, UserError."""
    system = system_of(url)

    def once() -> bytes:
        http = url.startswith("http")
        found = _http_range(system, url, start, stop)[0] if http else system.cat_file(url, start=start, end=stop)
        if len(found) != stop - start:
            raise Unfetched(f"ends early: {len(found)} bytes came of {stop - start}", passing=True)
        return bytes(found)

    return tried(once, url)


def tried(once: Callable[[], T], url: str) -> T:
    """Do what may go wrong for a moment, up to five times with growing pauses. Raises Unfetched, UserError."""
    for turn in range(_TRIES):
        try:
            return once()
        except UserError:
            raise
        except Exception as error:  # of three libraries, each with errors of its own
            problem = _problem(error, url)
            if not problem.passing or turn == _TRIES - 1:
                times = f", {_TRIES} times" if problem.passing else ""
                raise Unfetched(f"{problem.reason}{times}", passing=problem.passing, missing=problem.missing) from None
        time.sleep(_PAUSE * 2**turn)
    raise AssertionError


def system_of(url: str) -> Any:
    """fsspec's file system for an address. Raises UserError: a package is missing."""
    with _starting:
        return _started("http" if url.startswith("http") else url.partition(":")[0])


_starting = threading.Lock()


@lru_cache(None)
def _started(scheme: str) -> Any:
    try:
        import aiohttp
        import fsspec

        if scheme == "http":
            patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENT)
            return fsspec.filesystem("http", get_client=_client, client_kwargs={"timeout": patience, "trust_env": True})
        if scheme == "s3":
            waits = {"connect_timeout": _CONNECT, "read_timeout": _SILENT, "retries": {"total_max_attempts": 1}}
            system = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=waits)
            system.retries = 1  # we try again
            return system
        return _google(aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENT))
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs packages that are not installed ({error}): {install_extra('remote')}."
        ) from None


def _google(patience: Any) -> Any:
    """Google's storage by its JSON interface alone, each request made once.

    What fsspec takes for ``gs`` asks over gRPC for the kind of each bucket first, for a minute where nobody answers;
    and it makes a request six times, with pauses of half a minute, and prints errors with their tracebacks.
    """
    from gcsfs.core import GCSFileSystem

    class Once(GCSFileSystem):  # type: ignore[misc]
        _request = getattr(GCSFileSystem._request, "__wrapped__", GCSFileSystem._request)  # we try again

    return Once(use_listings_cache=False, requests_timeout=patience, skip_instance_cache=True)


async def _client(**options: Any) -> Any:
    """A session that goes nowhere but to the host that was named."""
    import aiohttp
    from yarl import URL

    async def look(session: object, context: object, told: Any) -> None:
        to = told.url.join(URL(told.response.headers.get("Location", "")))
        if to.host != told.url.host:
            raise Unfetched(f"the server sends to another host ({to.scheme}://{to.host}/…): name that address itself")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(look)
    return aiohttp.ClientSession(trace_configs=[trace], **options)


def _http_facts(system: Any, url: str) -> Facts:
    """By the first byte, not by HEAD: many addresses are signed for GET alone, and this shows whether ranges go."""
    try:
        _, headers = _http_range(system, url, 0, 1)
    except Unfetched as error:
        if error.reason != _EMPTY:
            raise
        return Facts(0, 0, 0)
    size = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if size is None:
        raise Unfetched("the server does not say how long it is")
    changed = 0
    if said := headers.get("Last-Modified"):
        try:
            changed = round(parsedate_to_datetime(said).timestamp()) * 10**9
        except ValueError:
            changed = 0
    page = headers.get("Content-Type", "").startswith("text/html")
    return Facts(int(size[1]), changed, _tag(headers.get("ETag")), page=page)


_EMPTY = "an empty file"


def _http_range(system: Any, url: str, start: int, stop: int) -> tuple[bytes, Any]:
    """A range and the answer's headers. Raises what aiohttp raises, and Unfetched."""
    from fsspec.asyn import sync

    async def get() -> tuple[bytes, Any]:
        session = await system.set_session()
        asked = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        async with session.get(system.encode_url(url), headers=asked) as answer:
            if answer.status == 416 and start == 0:
                raise Unfetched(_EMPTY)
            if answer.status >= 400:
                words = f"the server says {answer.status} {answer.reason or ''}".rstrip()
                raise Unfetched(words, passing=answer.status in _PASSING, missing=answer.status == 404)
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise Unfetched("a web page, not a video")
            if answer.status != 206:
                raise Unfetched("the server gives no ranges of files")
            return await answer.read(), answer.headers

    found: tuple[bytes, Any] = sync(system.loop, get)
    return found


def _tag(text: object) -> int:
    """53 bits, so that JSON of other programs keeps them."""
    return int.from_bytes(hashlib.blake2b(str(text).encode(), digest_size=8).digest()) >> 11 if text else 0


def _problem(error: Exception, url: str) -> Unfetched:
    """What went wrong, in words, and whether it may pass."""
    if isinstance(error, Unfetched):
        return error
    name, text = type(error).__name__, " ".join(str(error).split())[:200]
    scheme = url.partition(":")[0]
    if "Credential" in name or "anonymous caller" in text.lower() or name == "NoAuthTokenError":
        return Unfetched(f"no credentials for {scheme}:// were found: {_CREDENTIALS.get(scheme, 'give some')}")
    if isinstance(error, FileNotFoundError):
        bucket = "bucket does not exist" in text
        return Unfetched("there is no such bucket" if bucket else "there is nothing of this name", missing=not bucket)
    if isinstance(code := getattr(error, "code", None), int) and name == "HttpError":  # of Google
        return Unfetched(f"the server says {code} ({text})", passing=code in _PASSING, missing=code == 404)
    if isinstance(error, PermissionError) or text.startswith("Forbidden"):
        return Unfetched("access is denied: check the credentials and the name")
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return Unfetched("the server does not answer", passing=True)
    if "Connector" in name or "EndpointConnection" in name or isinstance(error, ConnectionRefusedError):
        return Unfetched(f"the server cannot be reached ({text})", passing=True)
    if isinstance(error, (OSError, ConnectionError)) or "Payload" in name or "Stream" in name or "Disconnected" in name:
        return Unfetched(f"the connection broke ({text or name})", passing=True)
    return Unfetched(f"{name}: {text}" if text else name)
