"""What the command line asks of the installation: models, hardware, settings. No question is answered here."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turnout import __version__
from turnout.config import DEFAULT_EMBEDDER, DEFAULT_MODEL, Settings
from turnout.errors import TurnoutError


def default_models() -> tuple[str, str]:
    """Names of the default generator and embedder."""
    return DEFAULT_MODEL, DEFAULT_EMBEDDER


def missing_defaults(**options: Any) -> list[str]:
    """The packaged models that a question with these settings would miss: generator and embedder."""
    wanted = {Settings.load(**options).model, DEFAULT_EMBEDDER}
    return [
        model["name"]
        for model in models(home=options.get("home"))
        if model["name"] in wanted and model["state"] != "present"
    ]


def models(**options: Any) -> list[dict[str, Any]]:
    """Known models and their state; sizes in bytes."""
    from turnout.engines import models as files

    return [_plain(status) for status in files.list_models(Settings.load(**options))]


def verify(**options: Any) -> list[dict[str, Any]]:
    """As `models`, with every file that is here checked against its SHA-256."""
    from turnout.engines import models as files

    return [_plain(status) for status in files.verify(Settings.load(**options))]


def pull(name: str, progress: Callable[[str, int, int], None], **options: Any) -> Path:
    """Fetches a model; see turnout.engines.models.pull."""
    from turnout.engines import models as files

    settings = Settings.load(**options)
    settings.ensure_home()
    return files.pull(name, settings, progress)


def strategies() -> list[dict[str, Any]]:
    """The table of strategies with tiers and evidence."""
    from turnout.router.strategies import STRATEGIES

    return [dataclasses.asdict(entry) for entry in STRATEGIES]


def doctor(**options: Any) -> dict[str, Any]:
    """{"lines": what stands, "problems": what needs mending}."""
    settings = Settings.load(**options)
    problems: list[str] = []
    lines = [
        f"turnout {__version__}  python {platform.python_version()}  {_hardware()}",
        _model_line(settings, problems),
        *_server_lines(settings, problems),
        *_trained_lines(settings, problems),
        f"network  only for models pull and --model URL        home  {_tilde(settings.home)}"
        f" ({_mode(settings.home)}), log {settings.log}",
    ]
    if _version("faiss-cpu") and _version("faiss-gpu"):
        problems.append("faiss-cpu and faiss-gpu are both installed and overwrite each other: pip uninstall one")
    if not importlib.util.find_spec("torch") and not settings.model.startswith(("http://", "https://")):
        problems.append("no local models without torch: pip install 'turnout[local]', or --model URL")
    try:
        if settings.database.exists():
            from turnout.database import Database

            Database.at(settings).close()
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
    try:
        if settings.prices:
            from turnout.router import price_file

            price_file.read(settings.prices)
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
    if settings.home.exists() and settings.home.stat().st_mode & 0o077:
        problems.append(f"others can look into {_tilde(settings.home)}: chmod 700 {_tilde(settings.home)}")
    return {"lines": lines, "problems": problems}


def device() -> str:
    """Processor, cores, memory and GPUs, as far as the system tells."""
    import psutil

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    gpus = _gpus() if importlib.util.find_spec("torch") else []
    size = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    return ", ".join([model, size, *gpus])


def versions() -> dict[str, str]:
    """Versions of what a measurement may depend on."""
    names = "turnout torch transformers tokenizers sentence-transformers faiss-cpu bm25s pypdfium2 sqlalchemy numpy"
    found = {name: _version(name) for name in names.split()}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _hardware() -> str:
    import psutil

    faiss = "gpu" if _version("faiss-gpu") else "cpu" if _version("faiss-cpu") else "none"
    redis = "on" if os.environ.get("TURNOUT_CACHE_URL") else "off"
    gib = psutil.virtual_memory().total / 2**30
    return f"{_torch()}  {psutil.cpu_count()} cores  {gib:.0f} GiB  faiss {faiss}  redis {redis}"


def _torch() -> str:
    """torch's version, what it runs on, and the GPUs it sees; importing it takes a second or two."""
    if not importlib.util.find_spec("torch"):
        return "torch none  gpu none"
    import torch

    from turnout.engines.device import has_fast_bf16

    version = torch.__version__.partition("+")[0]
    build = f"cuda {torch.version.cuda}" if torch.version.cuda else "cpu"
    bf16 = "fast bf16" if has_fast_bf16() else "no fast bf16"
    return f"torch {version} {build} ({bf16})  gpu {', '.join(_gpus()) or 'none'}"


def _model_line(settings: Settings, problems: list[str]) -> str:
    known = {model["name"]: model for model in models(home=settings.home)}
    embedder = known[DEFAULT_EMBEDDER]
    if embedder["state"] != "present":
        what = embedder["problem"] or "not here, so documents are searched by words alone"
        problems.append(f"{DEFAULT_EMBEDDER}: {what} (turnout models pull {DEFAULT_EMBEDDER})")
    if settings.model.startswith(("http://", "https://")):
        return f"model    {settings.model_name or 'first of the server'} at {settings.model}"
    model = known.get(settings.model)
    if model is not None and model["state"] == "present":
        size = f"{model['disk_bytes'] / 1e6:.0f} MB on disk"
        return f"model    {_adapted(settings, problems)}  {model['licence']}  {size}"
    if model is None and Path(settings.model).expanduser().is_dir():
        return f"model    {_adapted(settings, problems)}  a folder"
    size = f" ({model['download_bytes'] / 1e6:.0f} MB)" if model else ""
    licence = f"  {model['licence']}" if model else ""
    problem = model["problem"] if model else ""
    problems.append(f"{settings.model}: {problem or 'not here'}")
    return f"model    {settings.model}{licence}  not here: turnout models pull{size}, or --model URL|PATH|HF-ID"


def _server_lines(settings: Settings, problems: list[str]) -> list[str]:
    """What is asked of a server and how, and what it says of itself; nothing of a local model."""
    if not settings.is_remote:
        return []
    told = ["does not answer"]
    try:
        told = _told(settings)
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
    kept = [
        f"given up after {settings.server_timeout_s:g} s of silence",
        f"{settings.server_retries} retries",
        f"API key {'given' if settings.api_key else 'none'}",
        *(["prompts under a cache namespace"] if settings.cache_namespace else []),
    ]
    return [f"server   {'  '.join(told)}", f"         {'  '.join(kept)}"]


def _told(settings: Settings) -> list[str]:
    """What is known of a server that answers, asked once and no more."""
    from turnout.engines.remote import RemoteEngine

    window, takes, timeout_s = settings.server_window, settings.server_takes, settings.server_timeout_s
    engine = RemoteEngine(settings.model, settings.model_name, settings.api_key, window, takes, 0, timeout_s)
    with contextlib.closing(engine):
        used, told = engine.model.window, engine.told_window
        says = "as it says" if told == used else "the server does not say" if told is None else f"it says {told:,}"
        known = sorted(takes | ({"cache_salt"} if engine.keeps_apart else set()))
        return [
            engine.model.name,
            f"window {used:,} ({says if window is None else f'as it is set; {says}'})",
            f"tokens {'exact' if engine.count_is_exact else 'estimated'}",
            f"takes {', '.join(known) or 'no other fields'}",
        ]


def _adapted(settings: Settings, problems: list[str]) -> str:
    """The model with its adapter: "smollm2-135m+reader1"."""
    from turnout.engines import adapter, adapter_folder

    folder = adapter_folder(settings)
    try:
        return f"{settings.model}+{adapter.read(folder).name}" if folder else settings.model
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
        return settings.model


def _trained_lines(settings: Settings, problems: list[str]) -> list[str]:
    """What was trained for strategies and is set; nothing is loaded."""
    from turnout.engines import adapter

    found = []
    try:
        if settings.chunkfree is not None:
            trained = adapter.read(settings.chunkfree, adapter.CHUNKFREE)
            found.append(f"rag:chunkfree with {trained.name}, for {trained.base}")
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
    try:
        if settings.ldar is not None:
            from turnout.retrieval.learned_band import LearnedBand

            found.append(f"rag:ldar with a policy, for {LearnedBand(settings.ldar).reader or 'any model'}")
    except TurnoutError as error:
        problems.append(f"{error.message} ({error.hint})")
    return [f"trained  {'  '.join(found)}"] if found else []


def _plain(status: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(status)
    return {key: str(value) if isinstance(value, Path) else value for key, value in fields.items()}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tilde(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:04o}" if path.exists() else "not made yet"
