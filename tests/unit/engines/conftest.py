from pathlib import Path

import pytest
from support import tiny_models

from turnout.config import Settings
from turnout.engines.local import LocalEngine


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait for each other far longer than a tiny model computes."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def engine(tiny_folder: Path) -> LocalEngine:
    engine = LocalEngine(tiny_folder, device="cpu", chunk_tokens=16, dtype="float32")
    engine.open()
    return engine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")
