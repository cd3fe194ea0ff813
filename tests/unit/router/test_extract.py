"""The strategy extract and its variants: what is scanned, what is kept, and that nothing unmeasured is a default."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.able import AbleEngine
from support.embedders import WordEmbedder
from support.library import BOOK, corpus_of
from support.routing import PROFILE, candidate, signals

from turnout.compression.choice import best_scorer
from turnout.compression.file_cache import FileCache
from turnout.contracts import Strategy
from turnout.documents import Passage
from turnout.engines.fake import FakeEngine
from turnout.errors import BudgetError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router import policy
from turnout.router.calibration.quality import Observed, fit
from turnout.router.feedback import with_feedback
from turnout.router.quality import prior
from turnout.router.questions import read
from turnout.router.strategies import STRATEGIES, UNPROVEN, build
from turnout.router.strategies.extract import KEPT_TOKENS, most_kept
from turnout.router.strategies.scans import SCAN_TOKENS
from turnout.sentences import units
from turnout.types import Budget, Context

QUESTION = "Who repaired the lighthouse lamp?"
ANSWER = "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal."
VARIANTS = ["extract", "extract:exit", "extract:code", "extract:draft"]
CODE = (
    "import os\n\n\ndef mend(lamp):\n    '''The lighthouse lamp is repaired.'''\n    return os.listdir(lamp)\n\n\n"
    + ("\n\n".join(f"def other{n}(x):\n    y = x * {n}\n    return y\n" for n in range(60)))
)


class Watched(HybridRetriever):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.limits: list[int] = []

    def warm(self, corpus: Corpus) -> None:
        self.limits.append(0)
        super().warm(corpus)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        self.limits.append(limit)
        return super().retrieve(question, corpus, limit)


def made(name: str = "extract", engine: FakeEngine | None = None, **options: object) -> Strategy:
    retriever = options.pop("retriever", None) or HybridRetriever(None)
    built = build(engine or AbleEngine(), retriever, **options)  # type: ignore[arg-type]
    return {strategy.name: strategy for strategy in built}[name]


def prepared(strategy: Strategy, corpus: Corpus, question: str = QUESTION, budget: Budget | None = None) -> Context:
    return strategy.prepare(read(question, [], len), corpus, budget or Budget())


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["extract", "extract:exit"])
@pytest.mark.parametrize("embedder", [None, WordEmbedder()])
def test_the_sentence_is_kept_word_for_word_and_most_else_is_not(name: str, embedder: object, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, BOOK)
    engine = AbleEngine()
    context = prepared(made(name, engine, scorer=best_scorer(embedder)), corpus)
    assert any(ANSWER in part.text for part in context.parts)
    assert engine.count(context) < engine.count_text(BOOK) / 2
    for part in context.parts:
        assert part.text == BOOK[part.span.start : part.span.end]
    assert prepared(made(name, scorer=best_scorer(embedder)), corpus) == context


def test_code_is_kept_by_functions(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, CODE)
    engine = AbleEngine()
    context = prepared(made("extract:code", engine), corpus)
    assert any("def mend(lamp)" in part.text for part in context.parts)
    assert engine.count(context) < engine.count_text(CODE) / 2


def test_where_nothing_is_wanted_nothing_is_read(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, BOOK)
    for embedder in (None, WordEmbedder(dimension=4096)):
        assert prepared(made(scorer=best_scorer(embedder)), corpus, "zebra quagga okapi?").parts == ()
    assert prepared(made("extract:exit"), corpus, "zebra quagga okapi?").parts == ()


def test_a_table_that_is_wanted_is_kept_whole_though_segments_cut_it(tmp_path: Path) -> None:
    rows = "".join(f"| lamp {n} | {1800 + n} | brass and glass of the north tower, polished |\n" for n in range(30))
    text = f"{'Rain fell on the roofs. ' * 40}\n\n| lamp | year | made of |\n|---|---|---|\n{rows}\n\nThe dog slept.\n"
    corpus = corpus_of(tmp_path, text)
    table = text.index("| lamp |"), text.index("The dog")
    assert any(table[0] < segment.span.start < table[1] for segment in corpus.segments)
    (part,) = prepared(made(), corpus, "What is lamp 17 made of?").parts
    assert part.text.startswith("| lamp |")
    assert part.text.endswith(rows.splitlines()[-1])


def test_of_tables_that_are_larger_than_the_share_the_best_alone_is_kept(tmp_path: Path) -> None:
    def rows(name: str) -> str:
        return "".join(f"| lamp {n} {name} | {18000 + n} | {'1 2 3 4 5 6 7 8 9 ' * 2}|\n" for n in range(40))

    text = "\n\n".join(f"{rows(name)}\n\nFog fell." for name in ("oak", "ash", "elm", "fir"))
    engine = AbleEngine(window=100_000)
    assert engine.count_text(rows("oak")) > most_kept(engine.count_text(text)) == KEPT_TOKENS
    (part,) = prepared(made(engine=engine), corpus_of(tmp_path, text), "What is lamp 17 elm made of?").parts
    assert part.text == rows("elm").strip()


class Numbering(AbleEngine):
    """Its prompts have the numbers of sentences in them, and blank lines between parts."""

    def count(self, context: Context) -> int:
        return super().count(context) + sum(4 * len(units(part.text)) + 1 for part in context.parts)


def test_numbers_of_sentences_are_of_what_the_estimate_allows(tmp_path: Path) -> None:
    engine = Numbering(window=100_000)
    # Too long for its prompt to be counted with the numbers before anything is chosen.
    at = signals(document_tokens=40_000, full_tokens=40_030, overhead_tokens=30, window=100_000)
    corpus = corpus_of(tmp_path, *("The lamp was lit. It rained. Oil ran out of the lamp. " * 200 for _ in range(3)))
    for name in ("extract", "extract:exit"):
        strategy = made(name, engine)
        found = strategy.estimate(at, PROFILE, Budget())
        assert 700 < engine.count(prepared(strategy, corpus, "Was the lamp lit with oil?")) <= found.prompt_tokens


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                "# Lamps\n\n",
                "Marta repaired the lamp. ",
                "Rain fell. ",
                "- coal\n- oil\n",
                "| a | b |\n| 1 | 2 |\n",
                "\n\n",
            ]
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(60, 900),
)
def test_what_is_kept_stands_in_the_source_and_never_costs_more(tmp_path: Path, pieces: list[str], most: int) -> None:
    text = "".join(pieces)
    if not text.strip():
        return
    corpus = corpus_of(tmp_path, text)
    source = corpus.documents[0].text
    engine = AbleEngine()
    strategy, full = made(engine=engine), made("full", engine)
    budget = Budget(max_prompt_tokens=most)
    context = prepared(strategy, corpus, budget=budget)
    assert engine.count(context) <= min(most, engine.count(prepared(full, corpus)))
    at = 0
    for part in context.parts:
        assert part.span.start >= at
        assert part.text == source[part.span.start : part.span.end]
        at = part.span.end
    assert prepared(strategy, corpus, budget=budget) == context


def test_pieces_of_sentences_are_cited_as_the_sentences_of_the_source(tmp_path: Path) -> None:
    from turnout import Text, Turnout

    with Turnout(engine=AbleEngine(), home=tmp_path / "home") as t:
        answer = t.ask(QUESTION, [Text(BOOK)], strategy="extract:draft")
        assert answer.usage.scanned_tokens
        (cited,) = answer.citations
        assert cited.quote == ANSWER == BOOK[cited.start : cited.end]
        assert any("pieces of sentences" in note for note in answer.notes)
        whole = t.ask(QUESTION, [Text(f"Rain fell. {ANSWER}")], strategy="extract:draft")
        assert whole.notes == () and not whole.abstained
        missing = t.ask("Where did the lighthouse zebra sleep?", [Text(BOOK)], strategy="extract:draft")
        if missing.nearest is not None:
            assert missing.nearest.quote in [BOOK[start:end] for start, end in units(BOOK)]


# --- what is scanned -------------------------------------------------------------------------------------------------


def test_documents_that_fit_are_scanned_whole_without_a_search(tmp_path: Path) -> None:
    retriever = Watched()
    strategy, corpus = made(retriever=retriever), corpus_of(tmp_path, BOOK)
    strategy.warm(corpus)
    assert prepared(strategy, corpus).parts
    assert retriever.limits == []


def test_of_longer_ones_many_passages_are_scanned_and_little_is_kept(tmp_path: Path) -> None:
    retriever, engine = Watched(), AbleEngine(window=100_000)
    strategy = made(engine=engine, retriever=retriever)
    corpus = corpus_of(tmp_path, *(BOOK.replace("Marta", f"Marta{n}") * 3 for n in range(8)))
    strategy.warm(corpus)
    context = prepared(strategy, corpus)
    assert retriever.limits[0] == 0
    assert retriever.limits[1] > 24  # more than rag asks for
    assert 0 < sum(engine.count_text(part.text) for part in context.parts) <= KEPT_TOKENS
    assert len({part.span.document_id for part in context.parts}) > 1


def test_scores_are_kept_by_segment_and_question(tmp_path: Path) -> None:
    embedder, corpus = WordEmbedder(), corpus_of(tmp_path, BOOK)
    cache = FileCache(tmp_path / "scores")
    first = prepared(made(scorer=best_scorer(embedder), cache=cache), corpus)
    scored = len(embedder.embedded)
    assert scored > len(corpus.segments)
    assert prepared(made(scorer=best_scorer(embedder), cache=FileCache(tmp_path / "scores")), corpus) == first
    assert len(embedder.embedded) == scored
    prepared(made(scorer=best_scorer(embedder), cache=cache), corpus, "What does the ferry cost?")
    assert len(embedder.embedded) > scored
    assert cache.statistics().entries == 2 * len(corpus.segments)
    # In memory where no place is given.
    strategy = made(scorer=best_scorer(embedder))
    prepared(strategy, corpus)
    scored = len(embedder.embedded)
    prepared(strategy, corpus)
    assert len(embedder.embedded) == scored


def test_the_readers_own_scores_are_kept_too(tmp_path: Path) -> None:
    engine, corpus = AbleEngine(), corpus_of(tmp_path, BOOK)
    strategy = made("extract:exit", engine)
    prepared(strategy, corpus)
    was_read = engine.read
    assert was_read > 0
    prepared(strategy, corpus)
    assert engine.read == was_read


# --- estimates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_the_estimate_bounds_the_prompt_and_grows_with_the_scan(name: str, tmp_path: Path) -> None:
    engine = AbleEngine()
    strategy, corpus = made(name, engine), corpus_of(tmp_path, CODE if name == "extract:code" else BOOK)
    text = sum(engine.count_text(document.text) for document in corpus.documents)
    at = signals(document_tokens=text, overhead_tokens=30, code=1.0)
    found = strategy.estimate(at, PROFILE, Budget())
    assert engine.count(prepared(strategy, corpus)) <= found.prompt_tokens == 30 + most_kept(text)
    longer = strategy.estimate(replace(at, document_tokens=4 * text, full_tokens=30 + 4 * text), PROFILE, Budget())
    assert longer.ttft_s > found.ttft_s
    assert any("a guess" in reason for reason in found.reasons)


def test_what_the_ledger_measured_replaces_the_guess() -> None:
    measured = replace(PROFILE, outside_s={"extract": 2.5})
    guess, known = (made().estimate(signals(), profile, Budget()) for profile in (PROFILE, measured))
    assert known.ttft_s == pytest.approx(2.5 + PROFILE.prefill_seconds(known.prompt_tokens))
    assert guess.ttft_s < known.ttft_s
    assert not any("a guess" in reason for reason in known.reasons)


def test_memory_counts_what_the_reader_takes_to_scan() -> None:
    small = signals(document_tokens=100, code=1.0)
    plain, code = (made(name).estimate(small, PROFILE, Budget()).memory_bytes for name in ("extract", "extract:code"))
    assert code > plain


@pytest.mark.parametrize(
    ("scanned", "most"), [(0, 300), (600, 300), (1000, 400), (SCAN_TOKENS, KEPT_TOKENS), (10**6, KEPT_TOKENS)]
)
def test_most_that_is_kept(scanned: int, most: int) -> None:
    assert most_kept(scanned) == most


# --- who may choose it -----------------------------------------------------------------------------------------------


def cheap(name: str) -> Sequence[object]:
    """rag, and beside it what would be better and cheaper in every respect, if its estimate could be believed."""
    better = candidate(name, quality=0.9, ttft_s=0.01, total_s=0.02, prompt_tokens=10, memory_bytes=10, cost=0.01)
    return [candidate("rag"), better]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("optimize", policy.OPTIMIZE)
def test_what_was_never_measured_is_never_taken_unasked(name: str, optimize: str) -> None:
    budget = Budget(optimize=optimize)  # type: ignore[arg-type]
    decision = policy.decide(cheap(name), budget, signals(), PROFILE)  # type: ignore[arg-type]
    assert decision.chosen == "rag"
    assert decision[name].excluded_by.limit == policy.TIER
    assert decision[name].ttft_s == 0.01
    assert policy.decide(cheap(name), budget, signals(), PROFILE, name).chosen == name  # type: ignore[arg-type]


def test_not_even_where_nothing_else_keeps_the_limits() -> None:
    with pytest.raises(BudgetError, match="extract: not measured with this model"):
        policy.decide(cheap("extract"), Budget(max_ttft_s=0.5), signals(), PROFILE)  # type: ignore[arg-type]


def test_what_was_measured_and_is_better_is_taken() -> None:
    known = replace(PROFILE, quality=calibrated("extract", "extract:exit"))
    assert policy.decide(cheap("extract"), Budget(), signals(), known).chosen == "extract"  # type: ignore[arg-type]
    strategies = build(AbleEngine(), HybridRetriever())
    names = [s.name for s in policy.considered(strategies, signals(), PROFILE)]
    assert names == ["full", "rag", "extract", "soft", "rapid"]
    assert "extract:exit" in [s.name for s in policy.considered(strategies, signals(), known)]
    assert "extract:code" in [s.name for s in policy.considered(strategies, signals(), PROFILE, "extract:code")]


def test_of_what_was_never_measured_no_gain_is_told() -> None:
    pair = [candidate("full", quality=0.7, prompt_tokens=5000), candidate("extract", quality=0.5)]
    at = signals(kinds=(0.1, 0.1, 0.1, 0.6, 0.1))
    assert policy.decide(pair, Budget(), at, PROFILE, "extract").because == ()
    known = replace(PROFILE, quality=calibrated("extract", "full"))
    assert "extract against full" in policy.decide(pair, Budget(), at, known, "extract").because[0]


def calibrated(*names: str):
    observed = [
        Observed(f"q{n}", "a", f"d{n}", signals(), {"rag": 0.4, **dict.fromkeys(names, 0.8)}, same_text=False)
        for n in range(60)
    ]
    return fit(prior(135_000_000), observed)


def test_a_word_of_feedback_makes_nothing_measured_and_says_nothing_of_rag() -> None:
    recorded = {"signals": signals().record(), "candidates": [{"strategy": "extract", "chosen": True}]}
    assert with_feedback(None, None, [(recorded, True)]) is None
    learned = with_feedback(calibrated("extract"), None, [({**recorded, "candidates": [
        {"strategy": "extract", "chosen": True, "prompt_tokens": 90}]}, True)])  # fmt: skip
    assert learned is not None and "1 answers that you judged" in learned.basis


def test_an_engine_that_can_not_do_it_says_so() -> None:
    for name in VARIANTS[1:]:
        found = made(name, FakeEngine()).estimate(signals(code=1.0), PROFILE, Budget())
        assert found.excluded_by.why == "needs a model that this machine runs"
        with pytest.raises(BudgetError, match=f"{name}: needs a model that this machine runs"):
            policy.decide([found], Budget(), signals(), PROFILE, name)
    found = made("extract:code").estimate(signals(), PROFILE, Budget())
    assert found.excluded_by.why == "the documents hold no source code"


def test_each_is_in_preview_with_its_evidence() -> None:
    entries = {entry.name: entry for entry in STRATEGIES}
    assert set(VARIANTS) <= UNPROVEN
    for name in VARIANTS:
        assert entries[name].tier == "preview"
        assert "arXiv" in entries[name].evidence and "not measured" in entries[name].evidence
