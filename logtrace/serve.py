"""The live report in a browser: what a browser may ask for, and who may ask.

Nothing can be changed through it. What is not on this machine needs a token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from logtrace.errors import LogtraceError, ServeError

try:
    import anyio
    import uvicorn
    from sse_starlette.sse import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.datastructures import MutableHeaders
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise ServeError(
        f"serving needs {error.name}, which is not installed", "pip install 'logtrace[serve]'"
    ) from error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from logtrace.board import Board

T = TypeVar("T")

_LOOK_APART_S = 1.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
# The page's own policy, inside it, says what it may load.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def serve(board: Board, address: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the live report until SIGINT or SIGTERM.

    Parameters
    ----------
    board
        Makes the report.
    address
        Where to listen, an address or a name. Where that is not this machine alone, a token is
        made that everybody must have.
    port
        The port, 0 for any that is free.
    tell
        Called with the URL to open, with the token in it.

    Raises
    ------
    ServeError
        If there can't be listened.
    """
    with _listening(address, port) as listener:
        bound = listener.getsockname()
        token = None if _is_loopback(bound[0]) else secrets.token_urlsafe(24)
        pool = ThreadPoolExecutor(1, thread_name_prefix="report")
        config = uvicorn.Config(
            application(board, pool, token, cookie=f"logtrace-{bound[1]}"),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        tell(_url(bound[0], bound[1], token))
        # uvicorn raises the signal that has ended it once more
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
            board.stop()
            pool.shutdown(cancel_futures=True)
            board.close()


def application(
    board: Board, pool: ThreadPoolExecutor, token: str | None, cookie: str = "logtrace"
) -> Starlette:
    """Make the ASGI application.

    Parameters
    ----------
    board
        Makes the report.
    pool
        A thread to make it in.
    token
        What everybody must have; None to let in whoever is on this machine.
    cookie
        The name of the cookie that keeps the token.

    Returns
    -------
    starlette.applications.Starlette
        ``/`` the page, ``/events`` what is new, ``/runs/ID.html`` the page of a run, ``/NAME.csv``
        the tables.
    """

    async def made(make: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, make)

    async def index(_request: Request) -> Response:
        return HTMLResponse((await made(board.snapshot)).page)

    async def run(request: Request) -> Response:
        page = await made(lambda: board.run_page(request.path_params["run_id"]))
        return _missing() if page is None else HTMLResponse(page)

    async def table(request: Request) -> Response:
        path = await made(lambda: board.table(f"{request.path_params['name']}.csv"))
        return _missing() if path is None else FileResponse(path, filename=path.name)

    async def news(ended: anyio.Event) -> AsyncIterator[dict[str, str]]:
        told = None
        while not ended.is_set():
            try:
                snapshot = await made(board.snapshot)
                state: dict[str, object] = {"version": snapshot.version, "runs": snapshot.runs}
            except LogtraceError as error:
                state = {"trouble": str(error)}
            if state != told:
                yield {"data": json.dumps(state)}
            told = state
            with anyio.move_on_after(_LOOK_APART_S):
                await ended.wait()

    async def events(_request: Request) -> Response:
        ended = anyio.Event()
        return EventSourceResponse(news(ended), shutdown_event=ended, shutdown_grace_period=0.5)

    guard = (
        Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK, www_redirect=False)
        if token is None
        else Middleware(_TokenGuard, token=token, cookie=cookie)
    )
    return Starlette(
        routes=[
            Route("/", index),
            Route("/index.html", index),
            Route("/events", events),
            Route("/runs/{run_id}.html", run),
            Route("/{name}.csv", table),
        ],
        middleware=[Middleware(_SafeHeaders), guard],
        exception_handlers={LogtraceError: _failed},
    )


def _missing() -> Response:
    return PlainTextResponse("there is no such page\n", 404)


async def _failed(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 503)


class _SafeHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_safely)


class _TokenGuard:
    """Let through who has the token: in a cookie, in a header, or at first in the address."""

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        asked = request.query_params.get("token")
        if asked is not None:
            await self._let_in(asked)(scope, receive, send)
        elif self._fits(request.cookies.get(self._cookie)) or (
            scheme.lower() == "bearer" and self._fits(bearer)
        ):
            await self._app(scope, receive, send)
        else:
            await _forbidden()(scope, receive, send)

    def _fits(self, token: str | None) -> bool:
        return token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    # A redirection would come without the strict cookie for whoever followed a link in a chat: to
    # the browser it is still the other site's doing. A page's own refresh is not.
    def _let_in(self, asked: str) -> Response:
        if not self._fits(asked):
            return _forbidden()
        page = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>logtrace</title>'
        response = HTMLResponse(page)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return response


def _forbidden() -> Response:
    return PlainTextResponse("open the address that logtrace serve printed\n", 403)


def _listening(address: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise ServeError(
            f"{_joined(address, port)} can't be listened on: {error.strerror}",
            "name another with --listen or --port",
        ) from None


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _url(address: str, port: int, token: str | None) -> str:
    name = socket.gethostname() if ipaddress.ip_address(address).is_unspecified else address
    query = "" if token is None else f"?token={token}"
    return f"http://{_joined(name, port)}/{query}"


def _joined(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
