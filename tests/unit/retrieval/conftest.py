"""An empty database and an embedder without a model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.embedders import WordEmbedder

from turnout.database import Database


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = Database(home / "turnout.db")
    yield database
    database.close()


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()
