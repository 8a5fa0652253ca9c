"""PostgreSQL with pgvector: three tables, written by COPY, searched by a scan that misses nothing or by HNSW.

The tables lie in the schema that a connection finds first, so that one database may hold several indexes
(``?options=-csearch_path%3DNAME``); ``cacl_vectors`` holds vectors as they were embedded, whose centre can move.

Legend: c stretches, d numbers of a vector.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.servers import postgres_copy, postgres_search
from cacl.servers.address import shown
from cacl.servers.postgres_errors import checked_address, said
from cacl.servers.server import Candidates, Held, Pushed

_OLDEST = (0, 8)  # of pgvector: before, a filtered approximate search finds fewer than asked for
_INLINE = 1900  # numbers: a longer vector does not fit into a page of 8 KiB with the rest of its row
_MOST = 16_000  # numbers of pgvector's type
_LOCK = 0x6361636C  # "cacl", of advisory locks, with the schema's number
_WAIT = 10.0  # seconds for the lock: the server may not know yet that its last holder is dead
_FACTS = ("folder", "request", "features", "state")


class Postgres:
    """See ``VectorServer``. May be used by several threads; a broken connection is made anew."""

    def __init__(self, address: str) -> None:
        """Raises UserError: it cannot be reached, or has no pgvector."""
        self.shown, self._address = shown(address), address
        checked_address(address)
        self._turn = threading.RLock()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        with said(address):
            self._open()

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            patience = {} if "connect_timeout" in self._address else {"connect_timeout": 10}
            info = psycopg.conninfo.make_conninfo(self._address, application_name="cacl", **patience)
            self._connection = psycopg.connect(info, autocommit=True, prepare_threshold=None)
            self._connection.execute(_SEE_TYPES)
        return self._connection

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._turn, said(self._address):
            found = self._open().execute(query, values)
            return found.fetchall() if found.description else []

    def held(self) -> Held | None:
        """See ``VectorServer``."""
        if self._rows(f"SELECT {postgres_search.place('cacl_about')}") == [(None,)]:
            return None
        rows = self._rows(f"SELECT {', '.join(_FACTS)} FROM cacl_about")
        return Held(*rows[0]) if rows else None

    def begin(self, held: Held, *, many: bool) -> None:
        """See ``VectorServer``."""
        if held.features > _MOST:
            raise UserError(
                f"{self.shown}: pgvector holds vectors of up to {_MOST} numbers, these have {held.features}."
            )
        if self._rows("SELECT current_schema()") == [(None,)]:
            raise UserError(
                f"{self.shown}: the schema of this address is not there: CREATE SCHEMA first, or name another."
            )
        self._check_extension()
        self._be_alone()
        kept = "PLAIN" if held.features <= _INLINE else "EXTERNAL"
        for statement in _TABLES.format(features=held.features, storage=kept).split(";"):
            self._rows(statement)
        facts = [getattr(held, name) for name in _FACTS]
        changed = ", ".join(f"{name} = excluded.{name}" for name in _FACTS)
        self._rows(
            f"INSERT INTO cacl_about ({', '.join(_FACTS)}) VALUES (%s, %s, %s, %s) "
            f"ON CONFLICT (one) DO UPDATE SET {changed}",
            facts,
        )
        if many:  # far faster to make anew than to keep up to date
            with self._turn, said(self._address):
                postgres_search.drop_near(self._open())

    def _check_extension(self) -> None:
        found = self._rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        if not found:
            self._rows("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
            self._rows(_SEE_TYPES)
            found = self._rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        version = str(found[0][0])
        if tuple(map(int, version.split(".")[:2])) < _OLDEST:
            raise UserError(
                f"{self.shown} has pgvector {version}; cacl needs 0.8 or later: install it there, then ALTER EXTENSION "
                "vector UPDATE."
            )

    def _be_alone(self) -> None:
        until = time.monotonic() + _WAIT
        place = "hashtext(current_database() || '.' || current_schema())"
        while not self._rows(f"SELECT pg_try_advisory_lock({_LOCK}, {place})")[0][0]:
            if time.monotonic() > until:
                raise UserError(f"{self.shown} is being pushed to by another process; wait until it is done.")
            time.sleep(0.2)

    def digests(self) -> dict[str, str]:
        """See ``VectorServer``."""
        return {video.hex: digest.hex for video, digest in self._rows("SELECT video, digest FROM cacl_videos")}

    def push(self, videos: Sequence[Pushed]) -> None:
        """See ``VectorServer``."""
        held = self.held()
        if held is None:
            raise ValueError("push before begin")
        with self._turn, said(self._address), self._open().transaction():
            self._delete([video.key for video in videos])
            with self._open().cursor() as cursor:
                with cursor.copy("COPY cacl_videos (video, digest, path, labels) FROM STDIN") as copy:
                    for video in videos:
                        copy.write_row((uuid.UUID(video.key), uuid.UUID(video.digest), video.path, list(video.labels)))
                with cursor.copy(f"COPY cacl_vectors ({postgres_copy.COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                    for block in postgres_copy.written(videos, held.request):
                        copy.write(block)

    def delete(self, keys: Collection[str]) -> None:
        """See ``VectorServer``."""
        with self._turn, said(self._address), self._open().transaction():
            self._delete(keys)

    def _delete(self, keys: Collection[str]) -> None:
        for table in ("cacl_vectors", "cacl_videos"):
            self._rows(f"DELETE FROM {table} WHERE video = ANY(%s)", [[uuid.UUID(key) for key in keys]])

    def finish(self, state: str, centre: NDArray[np.float64], *, approximate: bool) -> bool:
        """See ``VectorServer``."""
        self._rows("VACUUM ANALYZE cacl_vectors")
        self._rows("UPDATE cacl_about SET longest = (SELECT COALESCE(max(vector_norm(vector)), 0) FROM cacl_vectors)")
        wanted = approximate or self._rows("SELECT near IS NOT NULL FROM cacl_about") == [(True,)]
        if wanted:
            with self._turn, said(self._address):
                postgres_search.make_near(self._open(), centre, self.shown)
        self._rows("UPDATE cacl_about SET state = %s", [state])
        return wanted

    def count(self) -> int:
        """See ``VectorServer``."""
        return int(self._rows("SELECT count(*) FROM cacl_vectors")[0][0])

    def search(
        self,
        direction: NDArray[np.float64],
        centre: NDArray[np.float64],
        k: int,
        *,
        keys: Collection[str] | None = None,
        approximate: bool = False,
    ) -> Candidates:
        """See ``VectorServer``."""
        with self._turn, said(self._address):
            way = postgres_search.approximate if approximate else postgres_search.exact
            return way(self._open(), direction, centre, k, keys, self.shown)

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """See ``VectorServer``."""
        with self._turn, said(self._address), self._open().cursor() as cursor:
            query = (
                "COPY (SELECT video, part, vector FROM cacl_vectors WHERE video = ANY(%s)) TO STDOUT (FORMAT BINARY)"
            )
            with cursor.copy(query, [[uuid.UUID(key) for key in keys]]) as copy:
                yield from postgres_copy.read(copy)


# The first schema is the index's; types and operators may lie in another.
_SEE_TYPES = """
SELECT set_config(
    'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(nspname)), false
) FROM pg_extension JOIN pg_namespace ON extnamespace = pg_namespace.oid
WHERE extname = 'vector' AND current_schema() IS NOT NULL AND nspname <> ALL (current_schemas(true))
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS cacl_about (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), folder text NOT NULL, request text NOT NULL,
    features integer NOT NULL, state text NOT NULL, longest float8 NOT NULL DEFAULT 0, near vector({features})
);
CREATE TABLE IF NOT EXISTS cacl_videos (
    video uuid PRIMARY KEY, digest uuid NOT NULL, path text NOT NULL, labels text[] NOT NULL
);
CREATE TABLE IF NOT EXISTS cacl_vectors (
    id uuid PRIMARY KEY, video uuid NOT NULL, part integer NOT NULL, first_frame bigint NOT NULL,
    stop_frame bigint NOT NULL, start_s float8 NOT NULL, end_s float8 NOT NULL, vector vector({features}) NOT NULL
);
ALTER TABLE cacl_vectors ALTER COLUMN vector SET STORAGE {storage};
CREATE INDEX IF NOT EXISTS cacl_parts ON cacl_vectors (video, part)
"""
