"""extract: the sentences that match the question, of whole documents or of many passages, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from turnout.compression.selection import Target
from turnout.contracts import Engine, Retriever
from turnout.documents import Span
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import joined, whole
from turnout.retrieval.segment import MAX_TOKENS, MIN_TOKENS
from turnout.router.cost import candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.questions import new_tokens
from turnout.router.signals import Signals
from turnout.router.strategies.rag import PASSAGE_TOKENS, SEGMENT_TOKENS
from turnout.router.strategies.scans import Scan
from turnout.types import Budget, Candidate, Context, Exclusion, Part, Question

KEPT_TOKENS = PASSAGE_TOKENS
"""Most tokens that are kept: what rag reads, but chosen by the sentence and from more text."""

KEPT_SHARE = 0.4
"""Most of the scanned text that is kept, where that is more than a segment."""

NO_CODE = "the documents hold no source code"


class Extract:
    """Scans documents, or where they are too long the passages that match, and keeps what the question wants.

    Args:
        scan: how it is chosen what is kept; `name` is the scan's.
    """

    def __init__(self, engine: Engine, retriever: Retriever, scan: Scan) -> None:
        self.name = scan.name
        self._engine = engine
        self._retriever = retriever
        self._scan = scan

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Reads the most that is kept of what is scanned, a single larger table apart, inside the window and
        `max_prompt_tokens`; how much of it a question wants is not known before. Scanning comes before the first
        word."""
        room = signals.window - signals.overhead_tokens - signals.max_new_tokens
        if budget.max_prompt_tokens is not None:
            room = min(room, budget.max_prompt_tokens - signals.overhead_tokens)
        scanned = min(signals.document_tokens, self._scan.tokens)
        # In a prompt a text may take more than its own tokens, by the numbers of its sentences.
        text = signals.full_tokens - signals.overhead_tokens
        least = -(-SEGMENT_TOKENS * text // max(signals.document_tokens, 1))
        read = min(text, max(min(room, most_kept(scanned)), least))
        reads = self._scan.reads(scanned, signals.question_tokens)
        reasons: tuple[str, ...] = (
            () if self.name in profile.outside_s else ("scanning time is a guess: not measured yet",)
        )
        if reads:
            reasons += (f"the model reads about {reads:,} tokens to choose what it is given",)
        found = candidate(
            self.name,
            estimate(self.name, signals, profile),
            signals.overhead_tokens + read,
            signals,
            profile,
            self._memory_bytes,
            reasons=reasons,
            before_s=reads * profile.per_token_s + scanned * self._scan.token_s,
            scanned_tokens=reads,
        )
        why = self._scan.why_not or (NO_CODE if self._scan.of_code and not signals.code else "")
        return replace(found, excluded_by=Exclusion("unsupported", None, None, why)) if why else found

    @property
    def quotable(self) -> bool:
        """Whether what is kept are whole sentences, lines or functions."""
        return self._scan.compressor is None or self._scan.compressor.quotable

    def warm(self, corpus: Corpus) -> None:
        """Loads the scorer, and indexes what is too long to be scanned whole."""
        self._scan.warm()
        if not self._is_scanned_whole(corpus):
            self._retriever.warm(corpus)

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """What is kept, in document order; no part at all where nothing is wanted. Never more prompt tokens than what
        was scanned would take.

        Raises:
            Cancelled: the watch said so in the middle of scanning; what was scored until then is cached.
        """

        def context(parts: Sequence[Part]) -> Context:
            return Context(tuple(parts), question.text, question.history, question.task)

        parts, uncut = self._scanned(question, corpus)
        most = self._engine.model.window - new_tokens(question)[0]
        if budget.max_prompt_tokens is not None:
            most = min(most, budget.max_prompt_tokens)
        empty = self._engine.count(context(()))
        usual = share = most_kept(self._text_tokens(parts))
        kept = self._kept(question.standalone, parts, share, most, context, watch)
        if self._scan.of_code:
            if not kept and usual < most - empty:  # the frame of a class may take more than the usual share
                kept = self._kept(question.standalone, parts, most - empty, most, context, watch)
        else:
            # In a prompt there are numbers of sentences too, and blank lines between parts.
            while (tokens := self._engine.count(context(kept)) - empty) > usual and self._text_tokens(kept) <= share:
                share = min(share - 1, share * usual // tokens)
                kept = self._kept(question.standalone, parts, share, most, context, watch)
        # Runs of sentences have blank lines between them, which can take more than was left out.
        saves = self._engine.count(context(kept)) < self._engine.count(context(uncut))
        return context(kept if saves else uncut)

    def _kept(
        self,
        asked: str,
        parts: Sequence[Part],
        share: int,
        most: int,
        context: Callable[[Sequence[Part]], Context],
        watch: Watch | None,
    ) -> tuple[Part, ...]:
        """What is kept in `share` tokens of text, or of one table alone in more, so that the prompt has at most `most`
        tokens."""
        if self._scan.compressor is None:
            raise ValueError(f"{self.name} {self._scan.why_not}")
        empty = self._engine.count(context(()))
        room = most - empty
        while room > 0:
            target = Target(self._scan.threshold, min(share, room), best_tokens=room)
            kept = self._scan.compressor.compress(asked, parts, target, watch)
            tokens = self._engine.count(context(kept))
            if tokens <= most:
                return kept
            room = min(room - 1, room * (most - empty) // (tokens - empty))
        return ()

    def _text_tokens(self, parts: Sequence[Part]) -> int:
        return sum(self._engine.count_text(part.text) for part in parts)

    def _scanned(self, question: Question, corpus: Corpus) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """What is scanned, in document order, as it is scored (by segments or by documents) and as it would be read."""
        spans = [segment.span for segment in corpus.segments]
        uncut = whole(corpus)
        if not self._is_scanned_whole(corpus):
            found = self._retriever.retrieve(question.standalone, corpus, self._scan.tokens // MIN_TOKENS)
            left, passages = self._scan.tokens, []
            for passage in found:
                left -= self._engine.count_text(passage.text)
                if left < 0:
                    break
                passages.append(passage)
            spans = sorted((passage.span for passage in passages), key=corpus.position)
            uncut = tuple(joined(passages, corpus))
        return (uncut if self._scan.of_documents else tuple(_part(span, corpus) for span in spans)), uncut

    def _is_scanned_whole(self, corpus: Corpus) -> bool:
        return sum(segment.tokens_estimate for segment in corpus.segments) <= self._scan.tokens

    def _memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        """The larger of what the answer takes and what the engine takes to scan."""
        answer = self._engine.memory_bytes(prompt_tokens, new_tokens)
        scan = self._engine.memory_bytes(self._scan.read_at_once, 0) if self._scan.read_at_once else None
        return answer if answer is None or scan is None else max(answer, scan)


def most_kept(scanned: int) -> int:
    """Tokens that are kept at most of so many that are scanned."""
    return max(MAX_TOKENS, min(KEPT_TOKENS, int(KEPT_SHARE * scanned)))


def _part(span: Span, corpus: Corpus) -> Part:
    return Part(corpus.text(span), span, corpus.document(span.document_id).title)
