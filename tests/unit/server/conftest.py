"""One server for the tests of a module, on the fake engine, with a key for each of two tenants."""

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI
from support.embedders import WordEmbedder
from support.library import BOOK
from support.served import PLAIN, Served, served

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine

SECRET = "The vault of Brask opens with the word heron."


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[Served]:
    """`acme` holds the book, `brask` a secret; the key is that of acme, which may see `acme` and `acme-drafts`."""
    home = tmp_path_factory.mktemp("served")
    turnout = Turnout(engine=engine, embedder=WordEmbedder(), home=home, log="full")
    turnout.add(Text(BOOK, "book.md"), collection="acme")
    turnout.add(Text(SECRET, "secret.md"), collection="brask")
    with served(turnout, home, max_request_mb=1) as running:
        running.key = running.token("acme", "acme", "acme-drafts")
        yield running


@pytest.fixture(scope="module")
def brask(server: Served) -> str:
    """The key of the other tenant."""
    return server.token("brask", "brask")


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    http = httpx.Client(**PLAIN)
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0, http_client=http) as made:
        yield made
