"""Who may ask: on this machine alone everybody, from elsewhere those who have the token."""

from __future__ import annotations

import os
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost")
TOKEN, COOKIE, SHORTEST = "VIST3A_TOKEN", "vist3a-token", 16
NO_TOKEN = "no token, or a wrong one; allowed: the address that `vist3a serve` printed, or Authorization: Bearer TOKEN"
OPEN = ("/ping",)
"""What is answered without a token: whether the server is there."""


def token_for(host: str) -> str | None:
    """The token that a server at ``host`` asks for: that of VIST3A_TOKEN; else a new one, or none on this machine alone.

    Raises:
        ValueError: The given one is too short.
    """
    given = os.environ.get(TOKEN)
    if given is None:
        return None if host in LOOPBACK else secrets.token_urlsafe(SHORTEST)
    if (
        len(given) < SHORTEST
        or not given.isascii()
        or not given.isprintable()
        or any(sign in given for sign in ' ";,\\')
    ):
        raise ValueError(
            f"{TOKEN} has {len(given)} characters; allowed: at least {SHORTEST}, ASCII without spaces, quotes, commas, "
            "semicolons or backslashes, or no such variable for a new one"
        )
    return given


class TokenGuard:
    """Lets requests through that have the token: ``Authorization: Bearer TOKEN``, or the cookie that ``/?token=TOKEN`` sets.

    The cookie is not sent with what pages of others ask, and their scripts cannot read it.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        answer: ASGIApp = self._app
        headers = Headers(scope=scope)
        if scope["path"] == "/" and self._is_token(QueryParams(scope["query_string"]).get("token")):
            # To the page without its token, which would stay in the browser's history.
            answer = RedirectResponse("./", 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="lax")
        elif not self._is_token(headers.get("authorization", "").removeprefix("Bearer ")) and not self._is_token(
            _cookie(headers.get("cookie", ""))
        ):
            answer = JSONResponse({"error_code": "UNAUTHENTICATED", "message": NO_TOKEN}, 401)
        await answer(scope, receive, send)

    def _is_token(self, given: str | None) -> bool:
        # In a time that does not tell how much of it is right.
        return given is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value
