"""The strategy rapid: when it is a candidate, what it expects, and what it does where retrieval finds nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.able import AbleEngine
from support.library import BOOK, corpus_of
from support.routing import PROFILE, signals

from turnout import Text, Turnout
from turnout.documents import Passage
from turnout.engines.fake import FakeEngine
from turnout.engines.speculative.plan import Counts, DraftedContext, Speculation
from turnout.errors import BudgetError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router import policy
from turnout.router.questions import read
from turnout.router.signals import Signals
from turnout.router.strategies import STRATEGIES, UNPROVEN
from turnout.router.strategies import rapid as module
from turnout.router.strategies.full import Full
from turnout.router.strategies.rapid import STEERED, Rapid, speedup
from turnout.types import Budget

QUESTION = "Who repaired the lighthouse lamp?"


class Nothing(HybridRetriever):
    """Finds nothing."""

    def __init__(self) -> None:
        super().__init__(None)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        return []


def long(**changes: object) -> Signals:
    figures = {"document_tokens": 100_000, "window": 131_072, "expected_new_tokens": 160, "max_new_tokens": 256}
    return signals(**{**figures, **changes})


def made(how: Speculation | None = None, engine: FakeEngine | None = None) -> Rapid:
    return Rapid(engine or AbleEngine(), HybridRetriever(None), how)


def test_it_is_a_candidate_for_long_answers_over_long_documents_alone() -> None:
    assert made().estimate(long(), PROFILE, Budget()).excluded_by is None
    short = made().estimate(long(document_tokens=31_000), PROFILE, Budget()).excluded_by
    assert short is not None and short.why == "for long documents: 31,000 tokens, from 32,000 on it pays"
    brief = made().estimate(long(expected_new_tokens=24), PROFILE, Budget()).excluded_by
    assert brief is not None and brief.why == "for long answers: 24 tokens are expected, from 64 on it pays"


def test_an_engine_that_can_not_draft_leaves_it_out_with_the_reason() -> None:
    found = made(engine=FakeEngine()).estimate(long(), PROFILE, Budget())
    assert found.excluded_by is not None and found.excluded_by.why == "needs a model that this machine runs"
    with pytest.raises(BudgetError, match="rapid: needs a model that this machine runs"):
        policy.decide([found], Budget(), long(), PROFILE, "rapid")

    class Elsewhere(AbleEngine):
        def can_draft(self) -> bool:
            return False

    found = made(engine=Elsewhere()).estimate(long(), PROFILE, Budget())
    assert found.excluded_by is not None and "pages" in found.excluded_by.why


def test_it_reads_as_full_does_and_a_second_prompt_and_writes_faster() -> None:
    engine = AbleEngine()
    full = Full(engine).estimate(long(), PROFILE, Budget())
    found = made(engine=engine).estimate(long(), PROFILE, Budget())
    assert found.prompt_tokens == full.prompt_tokens
    assert (found.quality, found.quality_low) == (full.quality, full.quality_low), "lossless is as good"
    assert found.ttft_s > full.ttft_s + PROFILE.prefill_seconds(4096)
    assert found.total_s - found.ttft_s < full.total_s - full.ttft_s
    assert found.memory_bytes > full.memory_bytes
    assert any("not measured yet" in reason for reason in found.reasons)
    steered = made(STEERED, engine).estimate(long(), PROFILE, Budget())
    assert steered.strategy == "rapid:steered" and steered.quality != full.quality


def test_the_longer_the_context_the_more_it_gains() -> None:
    gains = [speedup(Speculation(), tokens, 4096, PROFILE) for tokens in (4096, 32_000, 128_000, 512_000)]
    assert gains == sorted(gains) and gains[-1] > 1.5
    assert gains[0] == 1.0, "where a draft costs as much as a token nothing is drafted"
    assert speedup(STEERED, 4096, 4096, PROFILE) < 1, "steered, the drafter is asked all the same"


def test_the_drafter_gets_passages_and_the_target_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAFT_TOKENS", (500, 600))
    corpus = corpus_of(tmp_path, BOOK)
    engine = AbleEngine()
    context = made(engine=engine).prepare(read(QUESTION, [], len), corpus, Budget())
    assert isinstance(context, DraftedContext) and context.how == Speculation()
    assert [part.text for part in context.parts] == [document.text for document in corpus.documents]
    assert context.draft and sum(engine.count_text(part.text) for part in context.draft) <= 600
    for part in context.draft:
        assert part.text == corpus.text(part.span)


@pytest.mark.parametrize("finds", [True, False])
def test_where_nothing_is_found_it_is_full_and_says_so(
    finds: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AbleEngine()
    retriever = HybridRetriever(None) if finds else Nothing()
    monkeypatch.setattr(
        "turnout.router.strategies.build",
        lambda *_, **options: [Full(engine), Rapid(engine, retriever, least_context=0, least_answer=0)],
    )
    with Turnout(engine=engine) as t:
        answer = t.ask(QUESTION, [Text(BOOK, "book.txt")], strategy="rapid")
    assert answer.decision.chosen == "rapid" and not answer.abstained
    asked = engine.contexts[-1]
    assert isinstance(asked, DraftedContext) and bool(asked.draft) is finds
    assert (module.NOTHING_FOUND in answer.decision["rapid"].reasons) is not finds
    assert answer.usage.acceptance_rate == 0.5


def test_drafts_that_came_true_before_say_what_drafting_gains() -> None:
    engine = AbleEngine()
    full = Full(engine).estimate(long(), PROFILE, Budget())
    found = {rate: made(engine=engine).estimate(long(agreement=rate), PROFILE, Budget()) for rate in (0.01, 0.5, 0.9)}
    seconds = [found[rate].total_s - found[rate].ttft_s for rate in found]
    assert seconds == sorted(seconds, reverse=True) and seconds[-1] < seconds[0]
    assert found[0.01].total_s > full.total_s, "where both disagree it is not taken for its speed"
    assert any("1% of what was drafted before came true" in reason for reason in found[0.01].reasons)
    profile = replace(PROFILE, agreement={"rapid": 0.9, "rapid:steered": 0.2})
    assert made(engine=engine).estimate(long(), profile, Budget()).total_s == found[0.9].total_s
    here = made(engine=engine).estimate(long(agreement=0.01), profile, Budget())
    assert here.total_s == found[0.01].total_s, "these documents count before all others"
    steered = [made(STEERED, engine).estimate(long(agreement=rate), profile, Budget()) for rate in (0.1, 0.9)]
    assert steered[0].total_s == steered[1].total_s, "lossless drafts say nothing of steered ones"


def rapid_alone(engine: AbleEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        Full(engine),
        *(Rapid(engine, HybridRetriever(None), how, least_context=0, least_answer=0) for how in (None, STEERED)),
    ]
    monkeypatch.setattr("turnout.router.strategies.build", lambda *_, **options: made)


def test_a_disagreement_is_noted_and_known_when_the_documents_are_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AbleEngine()
    rapid_alone(engine, monkeypatch)
    engine.counts = Counts(rounds=40, drafted=90, accepted=10, refused=30)
    book, other = Text(BOOK, "book.txt"), Text(f"{BOOK} The end.", "other.txt")
    with Turnout(engine=engine) as t:
        first = t.ask(QUESTION, [book], strategy="rapid")
        assert first.decision.signals["agreement"] is None
        assert first.notes == (
            "retrieval and full context disagree: at 30 of 40 tokens the whole text says something else than its best "
            "passages",
        )
        again = t.plan("Where does the ferry land?", [book])
        assert again.signals["agreement"] == 0.25
        assert again.because[-1].startswith("over these documents retrieval and full context disagree: 25%")
        assert t.plan(QUESTION, [other]).signals["agreement"] is None
        assert t.plan(QUESTION, [other, book]).signals["agreement"] == 0.25
        engine.counts = Counts(rounds=40, drafted=90, accepted=70, refused=10)
        assert t.ask(QUESTION, [book], strategy="rapid:steered").notes == ()
        assert t.plan(QUESTION, [book]).signals["agreement"] == 0.25, "steered answers agree by design"
        t.ask(QUESTION, [book], strategy="rapid")
        assert t.plan(QUESTION, [book]).signals["agreement"] == 80 / 120
        assert not any("disagree" in line for line in t.plan(QUESTION, [book]).because)
        steered = t.plan(QUESTION, [book], strategy="rapid:steered")["rapid:steered"]
        assert any("88% of what was drafted before came true" in reason for reason in steered.reasons)


def test_too_few_drafts_and_answers_that_nobody_drafted_say_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AbleEngine()
    rapid_alone(engine, monkeypatch)
    book = Text(BOOK, "book.txt")
    with Turnout(engine=engine) as t:
        engine.counts = Counts(rounds=31, drafted=31, accepted=0, refused=31)
        assert t.ask(QUESTION, [book], strategy="rapid").notes == ()
        assert t.plan(QUESTION, [book]).signals["agreement"] is None
        engine.counts = Counts(rounds=99, drafted=99, accepted=0, refused=99)  # looked up, not drafted by passages
        assert t.ask(QUESTION, [book], strategy="full").notes == ()
        assert t.plan(QUESTION, [book]).signals["agreement"] is None


def test_it_is_in_preview_with_its_evidence() -> None:
    entries = {entry.name: entry for entry in STRATEGIES}
    for name in ("rapid", "rapid:steered"):
        assert name in UNPROVEN and entries[name].tier == "preview"
        assert "arXiv" in entries[name].evidence and "not measured" in entries[name].evidence
