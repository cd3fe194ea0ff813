"""What a Turnout holds open: database, library, engine, embedder, ledger, put together in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.contracts import Embedder, Engine, Strategy
from turnout.database import Database
from turnout.engines import open_engine
from turnout.engines.models import model_folder
from turnout.engines.probe import CostSamples, measure
from turnout.errors import MissingExtraError, ModelError
from turnout.progress import Progress
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.library import Library
from turnout.router import strategies
from turnout.router.ledger import Ledger
from turnout.router.pipeline import Machinery
from turnout.router.profile import ModelProfile, load_or_measure
from turnout.types import Document

CORPORA = 4
"""Corpora kept in memory between questions; one of a 300-page document takes a few megabytes."""


@dataclass
class Parts:
    """Built by `at`; the model's weights are loaded when first needed."""

    settings: Settings
    database: Database
    library: Library
    engine: Engine
    embedder: Embedder | None
    strategies: Sequence[Strategy]
    ledger: Ledger
    progress: Progress
    _profile: ModelProfile | None = field(default=None, repr=False)
    _corpora: dict[tuple[str, ...], Corpus] = field(default_factory=dict, repr=False)

    @classmethod
    def at(cls, settings: Settings, engine: Engine | None, embedder: Embedder | None, progress: Progress) -> Parts:
        database = Database.at(settings)
        embedder = embedder or default_embedder(settings)
        engine = engine or open_engine(settings)
        return cls(
            settings=settings,
            database=database,
            library=Library(database, settings.home, embedder),
            engine=engine,
            embedder=embedder,
            strategies=strategies.build(engine, HybridRetriever(embedder)),
            ledger=Ledger(database, settings.log),
            progress=progress,
        )

    def close(self) -> None:
        self.forget()
        self.engine.close()
        self.database.close()

    def tokens(self, document: Document) -> int:
        """Tokens of a document in the reader's tokenizer; counted once and kept."""
        fingerprint = self.engine.model.fingerprint
        known = self.library.token_count(document.id, fingerprint)
        if known is None:
            known = self.engine.count_text(document.text)
            self.library.set_token_count(document.id, fingerprint, known)
        return known

    def corpus(self, documents: Sequence[Document]) -> Corpus:
        """The corpus of these documents; the last few are kept, with their word index and vectors."""
        key = tuple(document.id for document in documents)
        corpus = self._corpora.pop(key, None)
        if corpus is None:
            corpus = self.library.corpus(
                documents, progress=lambda done, total: self.progress("embedding", done, total)
            )
        self._corpora[key] = corpus
        while len(self._corpora) > CORPORA:
            self._corpora.pop(next(iter(self._corpora)), None)
        return corpus

    def forget(self) -> None:
        """Lets go of document text held in memory."""
        self._corpora.clear()

    def _probe(self) -> Callable[[], CostSamples] | None:
        """How to measure the engine, or None where measuring would cost the user money or mean nothing."""
        from turnout.engines.local import LocalEngine

        engine = self.engine
        if not isinstance(engine, LocalEngine):
            return None
        self.progress("measuring", 0, 2)
        return lambda: measure(engine)

    def machinery(self) -> Machinery:
        """What the pipeline needs. The first call for a model on this machine loads and measures it."""
        if self._profile is None:
            self._profile = load_or_measure(self.database, self.engine.model, self._probe())
        return Machinery(
            engine=self.engine,
            strategies=self.strategies,
            profile=self.ledger.corrected(self._profile, self.engine.model.fingerprint),
            ledger=self.ledger,
        )


def default_embedder(settings: Settings) -> Embedder | None:
    """The packaged embedder, or None where its files or libraries are missing: then words alone are searched."""
    from turnout.retrieval.embed import SentenceEmbedder

    try:
        return SentenceEmbedder(model_folder(DEFAULT_EMBEDDER, settings, role="embedder"), settings.device)
    except (ModelError, MissingExtraError):
        return None
