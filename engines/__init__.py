"""Engines run a model: local (transformers), remote (any OpenAI-compatible server), and fake (tests)."""

from __future__ import annotations

from pathlib import Path

from turnout.config import Settings
from turnout.contracts import Engine

__all__ = ["open_engine"]

FAKE = "fake"


def open_engine(settings: Settings) -> Engine:
    """The engine for `settings.model`: a URL is remote, "fake" is fake, anything else a local folder or name.

    Nothing is loaded yet: counting works at once, `open()` loads.

    Raises:
        ModelError: a local model is not here; the hint names every way to get it.
    """
    if settings.model.startswith(("http://", "https://")):
        from turnout.engines.remote import RemoteEngine

        return RemoteEngine(settings.model, settings.model_name, settings.api_key)
    if settings.model == FAKE:
        from turnout.engines.fake import FakeEngine

        return FakeEngine()
    from turnout.engines.local import LocalEngine
    from turnout.engines.models import model_folder

    folder = model_folder(settings.model, settings, role="generator")
    is_path = Path(settings.model).expanduser().is_dir()
    return LocalEngine(folder, name=folder.name if is_path else settings.model, device=settings.device)
