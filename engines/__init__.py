"""Engines run a model: local (transformers), remote (any OpenAI-compatible server), and fake (tests)."""

from __future__ import annotations

from pathlib import Path

from turnout.config import NO_ADAPTER, Settings
from turnout.contracts import Engine
from turnout.errors import ConfigurationError

__all__ = ["open_engine", "window_of"]

FAKE = "fake"


def open_engine(settings: Settings) -> Engine:
    """The engine for `settings.model`: a URL is remote, "fake" is fake, anything else a local folder or name.

    Nothing is loaded yet: counting works at once, `open()` loads.

    Raises:
        ModelError: a local model is not here; the hint names every way to get it.
    """
    if settings.is_remote:
        from turnout.engines.remote import RemoteEngine

        if settings.adapter not in (None, NO_ADAPTER):
            raise ConfigurationError(
                f"the adapter {settings.adapter} is for a model on this machine, not for {settings.model}",
                hint="leave it out, or load it in the server",
            )
        return RemoteEngine(
            settings.model,
            settings.model_name,
            settings.api_key,
            settings.server_window,
            settings.server_takes,
            settings.server_retries,
            settings.server_timeout_s,
        )
    if settings.model == FAKE:
        from turnout.engines.fake import FakeEngine

        return FakeEngine()
    from turnout.engines import calibrated
    from turnout.engines.local import LocalEngine
    from turnout.engines.models import model_folder

    folder = model_folder(settings.model, settings, role="generator")
    name = folder.name if Path(settings.model).expanduser().is_dir() else settings.model
    return LocalEngine(
        folder,
        name=name,
        device=settings.device,
        adapter=adapter_folder(settings),
        disk=settings.kv if settings.kv_disk_mb else None,
        disk_bytes=int(settings.kv_disk_mb * 2**20),
        yarn=settings.yarn,
        int8=settings.int8,
        attention=calibrated.chosen(settings),
        soft=settings.soft,
        chunkfree=settings.chunkfree,
    )


def window_of(settings: Settings) -> int | None:
    """Tokens of prompt and answer together, from the model's configuration alone; None where a server knows.

    Raises:
        ModelError: a local model is not here, or its configuration does not say.
    """
    if settings.is_remote:
        return None
    if settings.model == FAKE:
        return open_engine(settings).model.window
    from turnout.engines import folder
    from turnout.engines.models import model_folder

    return folder.window(model_folder(settings.model, settings, role="generator"), settings.yarn)


def adapter_folder(settings: Settings) -> Path | None:
    """The adapter that a local model is used with: the one asked for, or the one that comes with a packaged model."""
    from turnout.engines import adapter

    if settings.adapter == NO_ADAPTER:
        return None
    if settings.adapter is not None:
        return Path(settings.adapter).expanduser().absolute()
    is_path = Path(settings.model).expanduser().is_dir()
    return None if is_path else adapter.shipped(settings.model)
