"""Searches by SQL: a scan that says of every stretch what it scores at most, and HNSW.

**Exact.** A stretch scores s = (z·v - z·m) / ‖v - m‖, with z the direction and m the centre. The server computes
both parts in float32. With u = 2⁻²⁴, the product is wrong by at most (d + 2)u‖z‖‖v‖, summed in any order and z rounded
first (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §3.1), the length by (d + 8)u of itself and by
u‖m‖ as m is rounded. As |s| ≤ 1, s is at most

    (z·v - z·m + e) / ‖v - m‖ + 4(d + 8)u,  e = (d + 16)u(L + ‖m‖),

of what the server computes, L the greatest ‖v‖; where ‖v - m‖ is no more than 4u‖m‖ or 10⁻¹⁵, nothing is promised.
The rows are in that order; whoever is not among them scores at most what the last one may.

**Approximate.** HNSW over halves of (v - c) / ‖v - c‖, with c the centre at the time: an expression, so that what is
stored is not stored twice. pgvector takes up to 4 000 halves.

Legend: c stretches, d numbers of a vector.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.servers.server import Candidates

_U = 2.0**-24
_HALVES = 4000  # numbers that HNSW takes
_WIDTH = 100  # least number of stretches that HNSW keeps in view; pgvector's own 40 finds fewer
_WIDEST = 1000  # pgvector takes no more
_MOVED = 0.05  # of the mean distance from the centre: then HNSW is made anew
Connection = psycopg.Connection[tuple[Any, ...]]


def exact(
    connection: Connection,
    direction: NDArray[np.float64],
    centre: NDArray[np.float64],
    k: int,
    keys: Collection[str] | None,
    shown: str,
) -> Candidates:
    """See ``VectorServer.search``."""
    width, length = len(centre), float(np.linalg.norm(centre))
    least = max(4 * _U * length, 1e-15)
    query = f"""
        SELECT a.state, f.video, f.part, f.vector, f.most FROM cacl_about a LEFT JOIN LATERAL (
            SELECT n.video, n.part, n.vector,
                CASE WHEN n.far > {least!r} THEN (n.product + {(width + 16) * _U!r} * (a.longest + {length!r})) / n.far
                ELSE 'Infinity' END AS most
            FROM (
                SELECT video, part, vector, vector <-> %(centre)s::vector AS far,
                    -(vector <#> %(z)s::vector) - {float(direction @ centre)!r}::float8 AS product
                FROM cacl_vectors {_of(keys)} OFFSET 0
            ) n ORDER BY most DESC LIMIT %(k)s
        ) f ON true ORDER BY f.most DESC
    """
    values = {"z": _text(direction), "centre": _text(centre), "k": k, "keys": _uuids(keys)}
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(query, values).fetchall()
    most = [row[4] for row in rows if row[1] is not None]
    rest = most[-1] + 4 * (width + 8) * _U if len(most) == k else -np.inf
    return _found(rows, rest, shown)


def approximate(
    connection: Connection,
    direction: NDArray[np.float64],
    centre: NDArray[np.float64],
    k: int,
    keys: Collection[str] | None,
    shown: str,
) -> Candidates:
    """See ``VectorServer.search``. Raises UserError: nothing was made for it."""
    near = _near(connection)
    if near is None:
        raise UserError(
            f"{shown} has nothing for approximate searches: push the index with --approximate, or search without it."
        )
    width = len(centre)
    query = f"""
        SELECT a.state, f.video, f.part, f.vector FROM cacl_about a LEFT JOIN LATERAL (
            SELECT video, part, vector FROM cacl_vectors {_of(keys)}
            ORDER BY {_from(near, width)} <#> %(z)s::halfvec({width}) LIMIT %(k)s
        ) f ON true
    """
    values = {"z": _text(direction), "k": k, "keys": _uuids(keys)}
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        connection.execute(f"SET LOCAL hnsw.ef_search = {min(max(k, _WIDTH), _WIDEST)}")
        connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        connection.execute("SET LOCAL enable_seqscan = off")
        rows = cursor.execute(query, values).fetchall()
    return _found(rows, np.inf, shown)


def make_near(connection: Connection, centre: NDArray[np.float64], shown: str) -> None:
    """Make what approximate searches need, unless it is there and the centre has hardly moved. Raises UserError."""
    width = len(centre)
    if width > _HALVES:
        raise UserError(
            f"{shown}: approximate searches take vectors of up to {_HALVES} numbers, these have {width}: leave out "
            "--approximate, or index with an encoder of fewer."
        )
    near = _near(connection)
    if near is not None:
        old = np.array(near.strip("[]").split(","), np.float64)
        sample = "(SELECT vector FROM cacl_vectors LIMIT 1000) some"
        far = connection.execute(f"SELECT avg(vector <-> %s::vector) FROM {sample}", [_text(centre)]).fetchone()
        if far is None or far[0] is None or np.linalg.norm(old - centre) <= _MOVED * far[0]:
            return
    rows = connection.execute("SELECT count(*) FROM cacl_vectors").fetchone()
    memory = min(max(64, (rows[0] if rows else 0) * (2 * width + 500) // 2**20), 4096)
    with connection.transaction():
        drop_near(connection)
        connection.execute(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
        where = _from(_text(centre), width)
        connection.execute(f"CREATE INDEX cacl_near ON cacl_vectors USING hnsw ({where} halfvec_ip_ops)")
        connection.execute("UPDATE cacl_about SET near = %s::vector", [_text(centre)])


def drop_near(connection: Connection) -> None:
    """Remove what approximate searches need; that they were wanted is not forgotten."""
    row = connection.execute(f"SELECT {place('cacl_near')}::text, quote_ident(current_schema())").fetchone()
    if row is not None and row[0] is not None:
        connection.execute(f"DROP INDEX {row[1]}.cacl_near")


def place(name: str) -> str:
    """SQL for what has a name in the index's own schema; NULL where nothing has."""
    return f"to_regclass(quote_ident(current_schema()) || '.{name}')"


def _near(connection: Connection) -> str | None:
    """The centre that HNSW was made from, as pgvector writes it; None where there is no HNSW."""
    row = connection.execute(f"SELECT near::text FROM cacl_about WHERE {place('cacl_near')} IS NOT NULL").fetchone()
    return None if row is None else row[0]


def _from(centre: str, width: int) -> str:
    """SQL for where a vector lies from a centre, on the sphere; the same words in the index and in a query."""
    return f"(l2_normalize(vector - '{centre}'::vector({width}))::halfvec({width}))"


def _of(keys: Collection[str] | None) -> str:
    return "" if keys is None else "WHERE video = ANY(%(keys)s)"


def _uuids(keys: Collection[str] | None) -> list[uuid.UUID]:
    return [uuid.UUID(key) for key in keys or ()]


def _text(vector: NDArray[np.float64]) -> str:
    """As pgvector reads it, the very float32."""
    return "[" + ",".join(map(str, vector.astype(np.float32).tolist())) + "]"


def _found(rows: list[tuple[Any, ...]], rest: float, shown: str) -> Candidates:
    if not rows:
        raise UserError(f"{shown} holds no index any more: push it again with cacl index … --to.")
    rows, state = [row for row in rows if row[1] is not None], str(rows[0][0])
    width = (len(rows[0][3]) - 4) // 4 if rows else 0  # after two numbers of two bytes
    sent = np.frombuffer(b"".join(row[3] for row in rows), np.dtype([("head", ">i4"), ("vector", ">f4", width)]))
    table = sent["vector"].astype(np.float32)
    return Candidates([row[1].hex for row in rows], np.array([row[2] for row in rows], np.int64), table, rest, state)
