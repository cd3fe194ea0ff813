"""Evidence by attention: only where it is wanted, possible and needed, and always a sentence of what was read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.able import AbleEngine

from turnout import Budget, Done, Text, Turnout
from turnout.cli.render import citation_line
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ModelError
from turnout.progress import Watch
from turnout.types import Answer, Context

BOOK = (
    "The harbour office was quiet.\n\nThe lighthouse lamp was repaired by Marta Lindqvist in spring. Nobody else came. "
    "The lighthouse lamp went out again before the ferry left for the islands."
)
QUESTION = "Who repaired the lighthouse lamp?"
REPAIRED = "The lighthouse lamp was repaired by Marta Lindqvist in spring."


class Reader(AbleEngine):
    """Answers with one thing, and looks at the tokens of one word; `looks` are the questions that it looked for."""

    def __init__(self, answer: str, at: str = "Marta", **options: object) -> None:
        super().__init__(lambda context: answer, **options)  # type: ignore[arg-type]
        self._at = at
        self.looks: list[str] = []

    def attend(
        self, texts: Sequence[str], question: str, layer: int | None = None, watch: Watch | None = None
    ) -> list[list[float]]:
        self.looks.append(question)
        assert layer is None, "the layer that was found best"
        self._reads([*texts, question], watch)
        return [[5.0 * (self._at in text) + 0.1] * self.count_text(text) for text in texts]


def ask(engine: FakeEngine, cite: str | None = "attention", text: str = BOOK, **options: object) -> Answer:
    with Turnout(engine=engine, cite=cite) as t:
        return t.ask(QUESTION, Text(text, "book.txt"), **{"strategy": "full", **options})  # type: ignore[arg-type]


def test_the_sentence_that_is_looked_at_is_cited_in_the_place_of_a_matched_one() -> None:
    engine = Reader("Marta Lindqvist")
    answer = ask(engine)
    (cited,) = answer.citations
    assert (cited.origin, cited.quote, cited.found) == ("attended", REPAIRED, "exact")
    assert BOOK[cited.start : cited.end] == REPAIRED
    assert citation_line(cited).endswith("attended")
    assert engine.looks == [f"{QUESTION}\nMarta Lindqvist"]
    assert answer.usage.scanned_tokens == engine.read > 0
    assert any(step.startswith("point ") for step in answer.trace)


def test_it_finds_what_words_do_not() -> None:
    said = "Lindqvist mended that old thing alone, without anybody's help"
    words, looked = (ask(Reader(said), cite) for cite in (None, "attention"))
    assert (words.abstained, words.citations) == (False, ())
    assert [(c.origin, c.quote) for c in looked.citations] == [("attended", REPAIRED)]


@pytest.mark.parametrize("cite", [None, "words"])
def test_it_costs_nothing_where_it_is_not_wanted(cite: str | None) -> None:
    engine = Reader("Marta Lindqvist")
    answer = ask(engine, cite)
    assert engine.looks == [] and answer.usage.scanned_tokens == 0
    assert [c.origin for c in answer.citations] == ["matched"]
    assert not any(step.startswith("point ") for step in answer.trace)


def test_a_quote_of_the_models_own_stays_and_one_that_is_not_found_stands_beside() -> None:
    engine = Reader('Marta Lindqvist\nQuote: "repaired by Marta Lindqvist in spring"')
    assert [c.origin for c in ask(engine).citations] == ["quoted"]
    assert engine.looks == []
    lost = Reader('Marta Lindqvist\nQuote: "mended by Marta in the summer of that year"')
    found = ask(lost).citations
    assert [(c.origin, c.found) for c in found] == [("quoted", None), ("attended", "exact")]


def test_abstentions_limits_of_cost_and_engines_without_attention_are_left_alone() -> None:
    silent = Reader("Not in the text.")
    assert ask(silent).abstained and silent.looks == []
    dear = Reader("Marta Lindqvist")
    assert ask(dear, budget=Budget(max_cost=1e6)).citations[0].origin == "matched"
    assert dear.looks == []
    assert ask(FakeEngine(lambda context: "Marta Lindqvist")).citations[0].origin == "matched"


def test_a_failure_never_costs_the_answer() -> None:
    class Broken(Reader):
        def attend(self, *given: object, **options: object) -> list[list[float]]:
            raise ModelError("no pages")

    answer = ask(Broken("Marta Lindqvist"))
    assert answer.citations[0].origin == "matched"
    assert "no sentence was pointed at: no pages" in answer.notes

    class NoNumbers(Reader):
        def attend(self, texts: Sequence[str], *given: object, **options: object) -> list[list[float]]:
            return [[float("nan")] * self.count_text(text) for text in texts]

    assert any("no number" in note for note in ask(NoNumbers("Marta Lindqvist")).notes)


def test_giving_up_while_it_looks_ends_it() -> None:
    engine, events = Reader("Marta Lindqvist"), []
    with Turnout(engine=engine, cite="attention") as t, pytest.raises(Cancelled):
        for event in t.stream(QUESTION, Text(BOOK), strategy="full", stopped=lambda: bool(engine.looks)):
            events.append(event)
    assert engine.looks and not any(isinstance(event, Done) for event in events)


def test_what_is_cited_is_of_the_source_in_any_script_and_with_sentences_twice() -> None:
    text = "灯台は島に立つ。鍵は三段目の下にある。\n\nمفتاح تحت الدرجة. " + REPAIRED + " 🏮 " + REPAIRED
    for at in ("鍵", "مفتاح", "Marta"):
        (cited,) = ask(Reader("Marta Lindqvist", at), text=text).citations
        assert cited.origin == "attended"
        assert text[cited.start : cited.end] == cited.quote == cited.quote.strip()
        assert at in cited.quote


def test_passages_are_pointed_at_in_their_documents() -> None:
    filler = "The clerk writes the names of ships in blue ink on wet days. " * 200
    engine = Reader("Marta Lindqvist")
    answer = ask(engine, text=filler + REPAIRED + " " + filler, strategy="rag")
    (cited,) = answer.citations
    assert (cited.origin, cited.quote, cited.start) == ("attended", REPAIRED, len(filler))
    read: Context = engine.contexts[-1]
    assert all(part.text in filler + REPAIRED + " " + filler for part in read.parts)
