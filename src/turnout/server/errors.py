"""Errors as OpenAI's clients know them, and what each of ours becomes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from turnout.errors import (
    BudgetError,
    Cancelled,
    ConfigurationError,
    DocumentError,
    EngineBusyError,
    EngineTimeoutError,
    MemoryLimitError,
    MissingExtraError,
    NoDocumentsError,
    TurnoutError,
    UnknownNameError,
)

_log = logging.getLogger("turnout.server")

_INVALID, _REFUSED, _LIMITED, _OURS = "invalid_request_error", "permission_error", "rate_limit_error", "server_error"
_TYPES = {401: "authentication_error", 403: _REFUSED, 404: "not_found_error", 429: _LIMITED}


class ErrorDetail(BaseModel):
    """What is wrong; `param` is the field, `code` is for programs, `hint` says what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    hint: str | None = None


class ErrorBody(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: for programs.
        param: the field that is wrong.
        retry_after_s: when to come again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str = "",
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.hint = status, message, code, param, hint
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """As JSON."""
        kind = _TYPES.get(self.status, _INVALID if self.status < 500 else _OURS)
        detail = ErrorDetail(
            message=f"{self.message}; {self.hint}" if self.hint else self.message,
            type=kind,
            param=self.param or None,
            code=self.code,
            hint=self.hint or None,
        )
        return {"error": detail.model_dump()}

    def response(self) -> JSONResponse:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def unsupported(param: str, what: str, hint: str = "") -> Refused:
    """What is raised for a field of OpenAI's that can't be done here."""
    return Refused(400, what, "unsupported_parameter", param=param, hint=hint)


def of(error: TurnoutError) -> Refused:
    """What an error of ours is outside. Those of the machine name no path or address: they are in the log."""
    if isinstance(error, EngineBusyError):
        return Refused(429, error.message, "engine_busy", hint=error.hint, retry_after_s=error.retry_after_s)
    for kind, status, code in _OUTSIDE:
        if isinstance(error, kind):
            return Refused(status, error.message, code, hint=error.hint)
    _log.error("%s: %s", type(error).__name__, error.message)
    status = 503 if error.retryable or isinstance(error, MemoryLimitError) else 500
    name = type(error).__name__
    return Refused(status, f"this can't be done now ({name})", "failed", hint="the server's log says more")


_OUTSIDE: tuple[tuple[type[TurnoutError], int, str], ...] = (
    (MissingExtraError, 501, "missing_extra"),
    (UnknownNameError, 400, "unknown_name"),
    (ConfigurationError, 400, "invalid_value"),
    (BudgetError, 400, "budget_impossible"),
    (NoDocumentsError, 400, "no_documents"),
    (DocumentError, 400, "document_unreadable"),
    (EngineTimeoutError, 504, "timeout"),
    (Cancelled, 503, "cancelled"),
)


def install(app: FastAPI) -> None:
    """Answers every failure in this shape."""

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> JSONResponse:
        return error.response()

    @app.exception_handler(TurnoutError)
    async def _ours(_: Request, error: TurnoutError) -> JSONResponse:
        return of(error).response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return invalid(error.errors()[0]).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}
        response = Refused(error.status_code, str(error.detail), codes.get(error.status_code, "refused")).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> JSONResponse:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
        return Refused(500, "an unexpected error", "internal", hint="the server's log says more").response()


def invalid(first: Mapping[str, Any]) -> Refused:
    """What is wrong with a request, by the first of pydantic's findings. Its input is not repeated: it may be large."""
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return Refused(400, f"{place or 'the request'}: {first['msg']}", "invalid_value", param=place)
