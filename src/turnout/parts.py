"""What a Turnout holds open: database, library, engine, embedder, ledger, put together in one place."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from turnout.compression.caches import Caches
from turnout.compression.choice import best_scorer, is_pruner, ranker
from turnout.compression.pruner import SHIPPED
from turnout.compression.sat import SatCuts
from turnout.compression.units import BY_RULES, Cuts
from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.contracts import AsksInWords, Embedder, Engine, Remembers, SegmentCache, Strategy, UnitScorer
from turnout.database import Database
from turnout.documents import Document, DocumentInfo
from turnout.engines import open_engine
from turnout.engines.models import model_folder
from turnout.engines.probe import CostSamples, measure
from turnout.errors import MissingExtraError, ModelError
from turnout.progress import Progress
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.late import LateVectors
from turnout.retrieval.ldar import LdarRetriever
from turnout.retrieval.learned_band import LearnedBand
from turnout.retrieval.library import Library
from turnout.retrieval.vectors import name_of
from turnout.router import price_file, strategies
from turnout.router.calibration import quality_store
from turnout.router.calibration.store import windows
from turnout.router.counterfactuals import Counterfactuals
from turnout.router.ledger import Ledger
from turnout.router.losers import Caps
from turnout.router.losers import check as check_caps
from turnout.router.prices import Prices, Pricing, pricing_of
from turnout.router.profile import ModelProfile, load_or_measure
from turnout.router.quality import QualityModel
from turnout.router.request import Machinery
from turnout.router.support_model import SupportModel
from turnout.sentences import units

CORPORA = 4
"""Corpora kept in memory between questions; one of a 300-page document takes a few megabytes."""


class Parts:
    """Made when a `Turnout` opens. The engine is made when a question needs it, and its weights are loaded later
    still: listing, adding and removing documents work without any model."""

    def __init__(
        self, settings: Settings, engine: Engine | None, embedder: Embedder | None, progress: Progress
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.database = Database.at(settings)
        self.embedder = embedder or default_embedder(settings)
        self.library = Library(self.database, settings.home, self.embedder, shared=settings.share_collections)
        self.ledger = Ledger(self.database, settings.log)
        self.counterfactuals = Counterfactuals(self.database, settings.log)
        self.lasting = True
        self.caches = Caches(settings)
        self._given_engine = engine
        self._corpora: dict[tuple[DocumentInfo | str, ...], _Made] = {}
        self._making = threading.Lock()

    @cached_property
    def engine(self) -> Engine:
        """The engine of the settings.

        Raises:
            ModelError: the model is not here; the hint names every way to get it.
        """
        return self._given_engine or open_engine(self.settings)

    @cached_property
    def strategies(self) -> Sequence[Strategy]:
        """The strategies over this engine and embedder."""
        tokens = self.settings.passage_tokens
        kept = self.caches
        return strategies.build(
            self.engine,
            self.retriever,
            self.scorer,
            kept.scores,
            segments=kept.segments,
            passage_tokens=tokens,
            ldar=self.ldar,
            cuts=self.cuts,
        )

    @cached_property
    def cuts(self) -> Cuts:
        """What cuts texts into sentences for compressors."""
        return BY_RULES if self.settings.sat is None else SatCuts(self.settings.sat, self.settings.device)

    @cached_property
    def scorer(self) -> UnitScorer:
        """The best one that is here, for sentences: a pruner that is the reranker, else the one that comes along."""
        folder = self.settings.reranker
        weights = folder if folder is not None and is_pruner(folder) else SHIPPED
        return best_scorer(self.embedder, weights, self.cuts)

    @property
    def scores(self) -> SegmentCache:
        """What was said of sentences for a question; no text is in it."""
        return self.caches.scores

    @cached_property
    def retriever(self) -> HybridRetriever:
        """What finds passages by words and, with an embedder, by meaning.

        Raises:
            ConfigurationError: the embedder can't do late chunking, which was asked for, or the reranker is a pruner of
                another embedder.
        """
        late = None
        if self.settings.late_chunking and self.embedder is not None:
            late = LateVectors(self.embedder, self.caches.segments, self.progress)
        folder = self.settings.reranker
        by = None if folder is None else ranker(folder, self.embedder, self.settings.device, self.scores, self.cuts)
        return HybridRetriever(self.embedder, late=late, ranker=by)

    @cached_property
    def ldar(self) -> LdarRetriever | None:
        """What finds passages by a learned band; None without a policy, or without an embedder.

        Raises:
            ModelError: the policy's folder is damaged.
            ConfigurationError: it was trained with another embedder.
        """
        if self.settings.ldar is None or self.embedder is None:
            return None
        policy = LearnedBand(self.settings.ldar)
        policy.check(self.embedder)
        return LdarRetriever(self.embedder, policy)

    def close(self) -> None:
        """Frees the model and the connections."""
        self.forget()
        if "engine" in self.__dict__:
            self.engine.close()
        self.caches.close()
        self.database.close()

    def tokens(self, document: Document) -> int:
        """Tokens of a document in the reader's tokenizer; counted once and kept."""
        fingerprint = self.engine.model.fingerprint
        known = self.library.token_count(document.id, fingerprint)
        if known is None:
            known = self.engine.count_text(document.text)
            self.library.set_token_count(document.id, fingerprint, known)
        return known

    def corpus(self, documents: Sequence[Document], collection: str | None = None) -> Corpus:
        """The corpus of these documents; the last few are kept, with their word index and vectors.

        Args:
            collection: what belongs there that is not stored.
        """
        return self._kept(tuple(document.info() for document in documents), lambda: documents, collection)

    def namespace(self, documents: Sequence[Document], given: str | None) -> str | None:
        """Whose prompts and scores a question over documents may find again: none but those of the collections that
        they belong to, where these are kept apart.

        Args:
            given: the caller's own name for it; by default that of the settings.
        """
        named = given or self.settings.cache_namespace
        salts = self.library.salts(document.id for document in documents)
        return "/".join([*salts, *([named] if named else [])]) or None

    def collection(self, name: str) -> Corpus:
        """The corpus of a collection. Its texts are read only where what it holds has changed; they bear the titles
        that they were first given, wherever that was."""
        ids = self.library.members(name)
        return self._kept(ids, lambda: self.library.stored(ids))

    def _kept(
        self,
        key: tuple[DocumentInfo | str, ...],
        documents: Callable[[], Sequence[Document]],
        collection: str | None = None,
    ) -> Corpus:
        with self._making:
            made = self._corpora.pop(key, None) or _Made()
            self._corpora[key] = made
            while len(self._corpora) > CORPORA:
                self._corpora.pop(next(iter(self._corpora)), None)
        return made.corpus(
            lambda: self.library.corpus(
                documents(),
                progress=lambda done, total: self.progress("embedding", done, total),
                collection=collection,
            )
        )

    def forget(self) -> None:
        """Lets go of document text held in memory."""
        with self._making:
            self._corpora.clear()
        units.cache_clear()

    def erase(self, segments: Collection[str]) -> None:
        """Erases what is left of documents that are gone from the library: texts and prompts, which may be of them, and
        what is kept of their segments, unless other documents have them.

        Args:
            segments: the hashes of those that they had.

        Raises:
            StoreError: there is a server for what is kept of segments, and it can't be used.
        """
        self.forget()
        self._erase_prompts()
        self.caches.drop(segments, self.library.has_segments)

    def _erase_prompts(self) -> None:
        """Erases the keys and values of prompts: in this process, and on disk those of all models."""
        if isinstance(engine := self.__dict__.get("engine"), Remembers):
            engine.forget()
        gone = self.settings.kv.with_name(f"kv.{uuid.uuid4().hex}.gone")
        with contextlib.suppress(FileNotFoundError):
            # Moved first: other processes may be writing there.
            self.settings.kv.rename(gone)
            shutil.rmtree(gone)
        for left in self.settings.home.glob("kv.*.gone"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def _probe(self) -> Callable[[], CostSamples] | None:
        """How to measure the engine, or None where measuring would cost the user money or mean nothing."""
        from turnout.engines.local import LocalEngine

        engine = self.engine
        if not isinstance(engine, LocalEngine):
            return None

        def probe() -> CostSamples:
            self.progress("measuring", 1, 2)
            samples = measure(engine)
            self.progress("measuring", 2, 2)
            return samples

        return probe

    def preload(self) -> None:
        """Lets a local engine import its libraries while documents are read."""
        from turnout.engines.local import LocalEngine

        if isinstance(self.engine, LocalEngine):
            self.engine.preload()

    @cached_property
    def profile(self) -> ModelProfile:
        """What was measured of the model, without the ledger's corrections. The first use of a model on this machine
        loads and measures it."""
        costs = load_or_measure(self.database, self.engine.model, self._probe())
        return dataclasses.replace(
            costs,
            windows=windows(self.database, self.engine.model),
            quality=self.quality,
        )

    @cached_property
    def quality(self) -> QualityModel | None:
        """What was measured of the strategies with this model; None where nothing was."""
        return quality_store.load(self.database, self.engine.model.fingerprint, self.prompt_format, self.embedding)

    @cached_property
    def support(self) -> SupportModel | None:
        """What was measured of how well the text bears this model's answers; None where nothing was."""
        return quality_store.load_support(
            self.database, self.engine.model.fingerprint, self.prompt_format, self.embedding
        )

    @cached_property
    def prices(self) -> Prices | None:
        """What the price file holds; None without one.

        Raises:
            ConfigurationError: it can't be read, or something in it is wrong.
        """
        return price_file.read(self.settings.prices) if self.settings.prices else None

    @property
    def pricing(self) -> Pricing:
        """What the model's tokens cost."""
        return pricing_of(self.engine.model.name, self.prices)

    @property
    def regret_caps(self) -> Caps:
        """What strategies that were not chosen may take in a day."""
        return Caps(self.settings.regret_max_s, self.settings.regret_max_cost)

    def check_regret(self) -> None:
        """Refuses to measure regret where that costs money without a limit."""
        check_caps(self.regret_caps, self.prices.currency if self.prices else "")

    @property
    def prompt_format(self) -> str:
        """Name of the reader's prompt format, "" where the engine's wording is not known."""
        return self.engine.prompt_format.name if isinstance(self.engine, AsksInWords) else ""

    @property
    def embedding(self) -> str | None:
        """Fingerprint of the embedder, None without one; and what a search does besides, so that what was measured with
        it is told from what was measured without."""
        found = [] if self.embedder is None else [self.embedder.fingerprint]
        if found and self.settings.late_chunking:
            found.append("late")
        if self.settings.reranker is not None:
            found.append(f"rerank {self.settings.reranker.name}")
        return "+".join(found) or None

    @property
    def embedder_name(self) -> str | None:
        """What people call the embedder; None without one."""
        return None if self.embedder is None else name_of(self.embedder)

    def machinery(self, collection: str = "") -> Machinery:
        """What the pipeline needs, with what is learned from feedback in a collection."""
        return Machinery(
            engine=self.engine,
            strategies=self.strategies,
            profile=self.ledger.corrected(self.profile, self.engine.model, collection),
            ledger=self.ledger,
            search=self.retriever,
            pricing=self.pricing,
            progress=self.progress,
            cite=self.settings.cite,
            support=self.support,
            lasting=self.lasting or self.settings.kv_disk_mb > 0,
        )


class _Made:
    """A corpus that one thread makes while others wait for it, and for no other."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._corpus: Corpus | None = None

    def corpus(self, make: Callable[[], Corpus]) -> Corpus:
        with self._making:
            if self._corpus is None:
                self._corpus = make()
            return self._corpus


def default_embedder(settings: Settings) -> Embedder | None:
    """The packaged embedder, or None where its files or libraries are missing: then words alone are searched."""
    from turnout.retrieval.embed import SentenceEmbedder

    try:
        return SentenceEmbedder(model_folder(DEFAULT_EMBEDDER, settings, role="embedder"), settings.device)
    except (ModelError, MissingExtraError):
        return None
