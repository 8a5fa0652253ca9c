"""What PostgreSQL says, as one sentence that tells what to do; never a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from cacl.errors import UserError, printable
from cacl.servers.address import has_bare_signs, shown, without_passwords

_WHO = re.compile(r"password|authentication|role \".*\" does not exist|no pg_hba.conf entry|peer", re.IGNORECASE)


def checked_address(address: str) -> None:
    """Raise UserError where PostgreSQL cannot read an address, or would take it for another."""
    if has_bare_signs(address):  # a piece of a password would be the name of a host, and printed
        raise UserError(
            f"{shown(address)} cannot be read as an address: write @ : / ? # in a name or password as %40 %3A %2F "
            "%3F %23, or give the password in PGPASSWORD or in ~/.pgpass."
        )
    try:
        psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise UserError(
            f"{shown(address)} cannot be read as an address ({_first(error, address)}): write "
            "postgresql://USER@HOST/DATABASE, signs such as @ and / in a name or password as %40 and %2F."
        ) from None


@contextmanager
def said(address: str) -> Iterator[None]:
    """Raises UserError where the server refuses or goes away; other errors are bugs."""
    try:
        yield
    except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
        if "extension" not in str(error):
            raise
        raise UserError(
            f"{shown(address)} has no pgvector ({_first(error, address)}): install it on that server "
            "(https://github.com/pgvector/pgvector), then give the command again."
        ) from None
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        raise UserError(
            f"{shown(address)}: {_first(error, address)}; name a user and a schema that may be written, or have the "
            "owner of the database do CREATE EXTENSION vector."
        ) from None
    except errors.ConnectionTimeout as error:
        raise UserError(f"{shown(address)} does not answer ({_first(error, address)}): check the host.") from None
    except psycopg.OperationalError as error:
        text = _first(error, address)
        if _WHO.search(str(error)) and error.sqlstate in (None, "28000", "28P01"):
            raise UserError(
                f"{shown(address)} let nobody in ({text}): name the user in the address, and give the password in "
                "PGPASSWORD or in ~/.pgpass."
            ) from None
        raise UserError(
            f"{shown(address)} cannot be reached, or went away ({text}): check that it runs, then give the command "
            "again; what was pushed is kept."
        ) from None


def _first(error: BaseException, address: str) -> str:
    """The first line of what was said."""
    lines = without_passwords(str(error), address).strip().splitlines()
    return printable(" ".join(lines[0].split())).rstrip(".") if lines else type(error).__name__
