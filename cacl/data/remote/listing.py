"""What lies below a prefix of an object store, page by page: of each object little more than its name is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cacl.data.remote.servers import Facts, Unfetched, facts_from, system_of, tried
from cacl.errors import UserError

_Page = list[tuple[str, Facts]]


def objects(url: str) -> Iterator[tuple[str, Facts]]:
    """Names below a prefix, relative to it, in no order, and what the server says of them.

    Raises:
        UserError: it cannot be listed.
    """
    system = system_of(url)
    try:
        for page in _pages_of_s3(system, url) if url.startswith("s3:") else _all_of(system, url):
            yield from page
    except Unfetched as error:
        raise UserError(f"{url} cannot be listed: {error.reason}.") from None


def _pages_of_s3(system: Any, url: str) -> Iterator[_Page]:
    """A thousand at a time: fsspec itself would gather a bucket of millions before it gives the first."""
    bucket, _, below = url.removeprefix("s3://").partition("/")
    prefix, more = f"{below.rstrip('/')}/" if below else "", dict[str, str]()
    while True:
        asked = {"Bucket": bucket, "Prefix": prefix, **more}
        page = tried(lambda asked=asked: system.call_s3("list_objects_v2", **asked), url)  # type: ignore[misc]
        yield [
            (one["Key"][len(prefix) :], facts_from({**one, "size": one["Size"], "type": "file"}))
            for one in page.get("Contents", ())
        ]
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _all_of(system: Any, url: str) -> Iterator[_Page]:
    above = url.partition("://")[2].rstrip("/") + "/"
    found = tried(lambda: system.find(url, detail=True), url)
    yield [(name.removeprefix(above), facts_from(info)) for name, info in found.items()]
