"""Who asks, and what they may see: one collection a request, which the key allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from turnout.errors import TurnoutError
from turnout.server import errors
from turnout.server.errors import Refused
from turnout.server.options import is_loopback
from turnout.server.service import Service
from turnout.tokens import Token

LIBRARY = "library"

_bearer = HTTPBearer(auto_error=False, description="turnout token create NAME --in COLLECTION")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the holder of a token, or without one somebody on this machine."""

    token: Token | None

    def collection(self, named: str | None) -> str:
        """The collection that a request is about.

        Raises:
            Refused: the token is not for it, whether or not there is one of that name.
        """
        if self.token is None:
            return named or LIBRARY
        if named is None:
            return self.token.collections[0]
        if named not in self.token.collections:
            raise Refused(
                404,
                f"there is no collection {named!r} for this key",
                "unknown_name",
                param="collection",
                hint=f"it has {', '.join(self.token.collections)}",
            )
        return named

    def needs(self, right: str) -> None:
        """Raises Refused: this needs a token with that right. Without any, only reading is open."""
        if self.token is None and right != "read":
            raise Refused(
                401,
                "this needs a key",
                "missing_key",
                hint="turnout token create NAME --in COLLECTION; send it as a bearer token",
            )
        if self.token is not None and right not in self.token.rights:
            raise Refused(403, f"the key {self.token.name} has no right to {right}", "missing_right")


class Door:
    """Lets requests in by their key, before anything of their bodies is read.

    Args:
        guarded: beginnings of paths that are not for everybody.
    """

    def __init__(self, app: ASGIApp, held: Service, guarded: tuple[str, ...]) -> None:
        self._app, self._held, self._guarded = app, held, guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self._guarded):
            try:
                scope["state"]["caller"] = self._caller(Request(scope))
            except Refused as refused:
                await refused.response()(scope, receive, send)
                return
            except TurnoutError as error:
                await errors.of(error).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _caller(self, request: Request) -> Caller:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        given = secret.strip() if kind.lower() == "bearer" else ""
        # On the event loop: it is one look into an index, and a thread would take longer to come and go.
        token = self._held.tokens.find(given) if given else None
        if token is None:
            self._open(request, wrong=bool(given))
        else:
            request.state.key = token.id
        self._held.gate.request(token)
        return Caller(token)

    def _open(self, request: Request, *, wrong: bool) -> None:
        """Lets in who has no key, where none was ever made and this very machine asks.

        Clients of OpenAI always send some key, so a wrong one counts as none.

        Raises:
            Refused: there are keys, or the server is reached from elsewhere: over the net, or by a page of a browser
                whose address only seems to be here.
        """
        if not self._held.options.is_local or self._held.tokens.any():
            raise Refused(401, "this key is not known" if wrong else "there is no key", "invalid_api_key")
        said = [f"//{request.headers.get('host', '')}", *request.headers.getlist("origin")]
        if not all(is_loopback(_host(each)) for each in said):
            raise Refused(403, "without a key only this machine may ask", "not_local", hint="turnout token create NAME")


def _host(address: str) -> str:
    """The host of an address; "" for none, and where it is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


async def _caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def reader(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    """Who may read and ask."""
    caller.needs("read")
    return caller


async def writer(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    """Who may write."""
    caller.needs("write")
    return caller


async def observer(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    """Who may see what is measured of everybody."""
    if caller.token is not None:
        caller.needs("metrics")
    return caller


Reads = Annotated[Caller, Depends(reader)]
Writes = Annotated[Caller, Depends(writer)]
Observes = Annotated[Caller, Depends(observer)]
