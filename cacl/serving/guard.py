"""Who may ask, and what every answer says to the browser about what the page may do.

Other pages in the same browser can send requests to this machine, too. So on this machine only its own names are
answered (a foreign name that was pointed here is not), changes need a header that foreign pages cannot send, and
nothing may be embedded by them. Beyond this machine a token is needed.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "::1")
HEADER = "x-cacl"  # of all that changes something
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets through who may ask."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        """``token``: what has to be known; ``None``: only the names of this machine are answered."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        answer = self._refused(Request(scope)) or self._app
        await answer(scope, receive, with_headers)

    def _refused(self, request: Request) -> Response | None:
        if self._token is None:
            if _host(request.headers.get("host", "")) not in LOCAL:
                return PlainTextResponse("This page answers only to localhost and 127.0.0.1.\n", 421)
        elif (answer := self._without_token(request, self._token)) is not None:
            return answer
        if request.method not in ("GET", "HEAD") and HEADER not in request.headers:
            return PlainTextResponse("This is asked by the page only.\n", 403)
        return None

    def _without_token(self, request: Request, token: str) -> Response | None:
        """Whoever opens the address with the token gets it as a cookie and the address without it."""
        cookie = f"cacl-{(request.scope.get('server') or ('', 0))[1]}"
        if _same(request.cookies.get(cookie, ""), token):
            if "token" not in request.query_params:
                return None
        elif not _same(request.query_params.get("token", ""), token):
            return PlainTextResponse("Open the address that cacl serve printed: it has a token in it.\n", 403)
        answer = RedirectResponse(f"/?{request.url.remove_query_params('token').query}".rstrip("?"), 303)
        answer.set_cookie(cookie, token, httponly=True, samesite="strict")
        return answer


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _host(header: str) -> str:
    """The name without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
