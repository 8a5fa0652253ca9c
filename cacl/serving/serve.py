"""``cacl serve``: the page on an index, until it is stopped."""

from __future__ import annotations

import errno
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from cacl.errors import UserError
from cacl.extras import install_extra

PORT = 8420


def serve(
    index: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    videos: Path | None = None,
    labels: Path | None = None,
    approximate: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Answer browsers until the process is stopped (Ctrl-C).

    Args:
        index: made by ``cacl index``, or the address of the vector server that it was pushed to.
        host: the address to answer at. At any that is not of this machine alone the page's address holds a token, and
            nobody without it is answered.
        port: 0: any that is free.
        videos: the folder that the videos were moved to.
        labels: the table of labels, by default ``labels.csv`` beside the index.
        approximate: as of ``Index``.
        ready: told the page's address, when it can be opened.

    Raises:
        UserError: the packages are not installed, no index, the port is in use, or the address is not of this machine.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        raise UserError(
            f"cacl serve needs starlette and uvicorn, which are not installed: {install_extra('serve')}."
        ) from None
    from cacl.exploring.labels import Labels, labels_of
    from cacl.serving.app import Site, make_app
    from cacl.serving.current import Current
    from cacl.serving.guard import LOCAL
    from cacl.serving.queries import Queries

    current = Current(index, videos=videos, approximate=approximate)
    kept = Labels(labels or labels_of(current.folder))
    local = host in LOCAL
    token = None if local else secrets.token_urlsafe(24)
    with listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="cacl-serve-") as folder:
        site = Site(current, kept, Queries(Path(folder)), local=local)
        port = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{port}/" + ("" if token is None else f"?token={token}"))
        settings = uvicorn.Config(
            make_app(site, token=token), log_level="error", access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        try:
            uvicorn.Server(settings).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            site.twice.stop()
            site.maps.stop()


def listening(host: str, port: int) -> socket.socket:
    """A socket that browsers can connect to. Raises UserError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except UnicodeError:  # a piece between dots that is empty, or longer than 63 signs
        raise UserError(f"--host is {host}, which is no name of a machine: leave it out, or name one.") from None
    except OverflowError:
        raise UserError(f"--port is {port}; it must be 0 to 65535.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {port} is in use: give another with --port, or --port 0 for any that is free."
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(
                f"Port {port} may not be used ({error.strerror}): give one above 1023 with --port."
            ) from None
        raise UserError(
            f"--host is {host}, which this machine cannot answer at ({error.strerror or error}): leave it out, or give "
            "an address of this machine."
        ) from None
