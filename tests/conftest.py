"""Every test has a data directory of its own, no TURNOUT_* variables and no network beyond this machine."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from hypothesis import HealthCheck, settings

# How fast this machine is says nothing of what is tested.
settings.register_profile("turnout", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("turnout")

# Triton decides when it is first imported, which torch may do, whether kernels run on a GPU or in its interpreter.
# Tests are for the latter everywhere; benchmarks/gpu checks the former.
os.environ["TRITON_INTERPRET"] = "1"

# Tests that run side by side share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Found before the fixture below moves the data directory away.
MODELS = Path(os.environ.get("TURNOUT_HOME") or Path.home() / ".local/share/turnout") / "models"
SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_report_header() -> str:
    names = ("torch", "transformers", "faiss-cpu", "langchain-core", "sqlalchemy", "click")
    found = {name: _version(name) for name in names}
    return "turnout with " + ", ".join(f"{name} {version}" for name, version in found.items())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_models = pytest.mark.skip(reason="the default model files are not here: turnout models pull")
    no_data = pytest.mark.skip(reason="the evaluation data is not beside the project")
    for item in items:
        if item.get_closest_marker("real") and not (MODELS / "smollm2-135m").is_dir():
            item.add_marker(no_models)
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(no_data)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory, already in TURNOUT_HOME."""
    for name in list(os.environ):
        if name.startswith("TURNOUT_") or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TURNOUT_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def real_home(home: Path) -> Path:
    """A data directory that has the default model files."""
    (home / "models").symlink_to(MODELS, target_is_directory=True)
    return home


@pytest.fixture(autouse=True)
def _only_this_machine() -> Iterator[None]:
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
