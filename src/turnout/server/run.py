"""Runs a server until it is told to stop; answers that have begun may then end."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from turnout.client import Turnout
from turnout.errors import ConfigurationError, MissingExtraError
from turnout.server.options import Options
from turnout.tokens import Tokens

SWITCH_S = 0.0005


def serve(turnout: Turnout, options: Options, started: Callable[[str, int], None], **where: Any) -> None:
    """Serves until SIGTERM or Ctrl-C: nobody new is let in then, and answers have `options.drain_s` to end.

    Args:
        started: called with the address and the number of tokens, once it can be reached.
        where: as `Settings.load` takes it, for the tokens.

    Raises:
        MissingExtraError: the extra `server` is not installed.
        ConfigurationError: others could reach it and there is no token, or the port is taken.
    """
    try:
        import uvicorn

        from turnout.server.app import create_app
    except ImportError as error:
        raise MissingExtraError("turnout serve", "server") from error

    tokens = Tokens.open(**where)
    count = len(tokens.list())
    if not options.is_local and not count:
        tokens.close()
        raise ConfigurationError(
            f"{options.host} can be reached by others, and there is no token",
            hint="turnout token create NAME --in COLLECTION, or listen on 127.0.0.1",
        )
    logging.getLogger("turnout.server").setLevel(logging.INFO)
    # Many threads write answers, and the one that speaks to clients would wait for each of them so long.
    sys.setswitchinterval(SWITCH_S)
    listening = _listening(options, tokens)
    config = uvicorn.Config(
        create_app(turnout, tokens, options),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=options.drain_s,
        ws="none",
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listening.getsockname()[:2]
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}", count)

    with listening:
        Server(config).run([listening])


def _listening(options: Options, tokens: Tokens) -> socket.socket:
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((options.host, options.port), family=family, backlog=1024)
    except OSError as error:
        tokens.close()
        raise ConfigurationError(
            f"{options.host} port {options.port} can't be listened on: {error.strerror or error}",
            hint="use another --port, or 0 for any free one",
        ) from error
