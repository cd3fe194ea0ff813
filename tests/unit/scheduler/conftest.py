from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tiny_models

from turnout.engines.local import LocalEngine


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait for each other far longer than a tiny model computes."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", num_hidden_layers=1)


@pytest.fixture(scope="session")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "long"
    return tiny_models.build(folder, num_hidden_layers=1, max_position_embeddings=8192)


@pytest.fixture
def engine(tiny_folder: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine(tiny_folder, device="cpu", chunk_tokens=64, dtype="float32", lookup=False)
    engine.open()
    yield engine
    engine.close()
