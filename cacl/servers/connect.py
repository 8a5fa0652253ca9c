"""Who answers at the address of a vector server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.servers.address import is_address, shown

if TYPE_CHECKING:
    from cacl.servers.server import VectorServer


def connect(address: str) -> VectorServer:
    """Reach the server at an address.

    Raises:
        UserError: it is no address of a known kind, its package is not installed, or nobody answers or lets us in.
    """
    if not is_address(address):
        raise UserError(f"{shown(address)} is no address of a vector server; write postgresql://USER@HOST/DATABASE.")
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{shown(address)} needs psycopg, which is not installed ({error}): {install_extra('postgres')}."
        ) from None
    from cacl.servers.postgres import Postgres

    return Postgres(address)
