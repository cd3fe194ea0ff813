"""What is kept: byte for byte, in order, with headings, within the target."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout.compression.extractive import Extractive
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.compression.selection import PassageScores, Target, select
from turnout.compression.units import units_of
from turnout.documents import Span
from turnout.errors import Cancelled, ConfigurationError
from turnout.progress import Watch
from turnout.types import Part

PAGE = """# Lamps

The lamp was mended by Marta. It rained all day.

## Ferries

The ferry costs four crowns. It leaves at noon.
"""


def count(text: str) -> int:
    return len(text.split())


def part(text: str = PAGE, start: int = 100) -> Part:
    return Part(text, Span("doc", start, start + len(text)), "Lamps")


class Given:
    """Scores as they are given, unit by unit, headings among them."""

    name = fingerprint = "given"

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked = 0

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        for text in passages:
            self.asked += 1
            yield PassageScores(0.5, units_of(text), self.scores[: len(units_of(text))])


class ByPassage(Given):
    """Scores as they are given for each passage, 0 for others."""

    def __init__(self, scores: dict[str, tuple[float, ...]]) -> None:
        super().__init__()
        self.of = scores

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        for text in passages:
            units = units_of(text)
            yield PassageScores(0.5, units, self.of.get(text, (0.0,) * len(units)))


def kept(scorer: Given, target: Target, *parts: Part) -> list[str]:
    return [each.text for each in Extractive(scorer, count).compress("?", parts or (part(),), target)]


def test_units_over_the_threshold_are_kept_with_their_headings() -> None:
    scores = Given(0, 0.9, 0.1, 0, 0.2, 0.8)
    assert kept(scores, Target(0.5)) == ["# Lamps\n\nThe lamp was mended by Marta.", "## Ferries", "It leaves at noon."]
    assert kept(scores, Target(0.95)) == []


def test_neighbours_stay_one_part_and_spans_point_into_the_document() -> None:
    (first, second, third) = Extractive(Given(0, 0.9, 0.1, 0, 0.2, 0.8), count).compress("?", [part()], Target(0.5))
    for each in (first, second, third):
        assert PAGE[each.span.start - 100 : each.span.end - 100] == each.text
        assert (each.span.document_id, each.title) == ("doc", "Lamps")


def test_of_what_is_too_much_the_best_is_kept() -> None:
    scores = Given(0, 0.6, 0.7, 0, 0.9, 0.8)
    # Both headings count: "## Ferries" is two words, "# Lamps" two more.
    assert kept(scores, Target(0.5, max_tokens=9)) == ["# Lamps", "## Ferries\n\nThe ferry costs four crowns."]
    assert kept(scores, Target(0.5, max_tokens=0)) == []


def test_filling_takes_what_fits_whatever_its_score() -> None:
    scores = Given(0, 0.01, 0.02, 0, 0.03, 0.04)
    assert kept(scores, Target(0.5, max_tokens=100)) == []
    assert kept(scores, Target(0.5, max_tokens=100, fill=True)) == [PAGE]


def test_a_part_that_is_kept_whole_is_the_part_itself() -> None:
    given = part()
    assert Extractive(Given(*[1.0] * 6), count).compress("?", [given], Target(0.5)) == (given,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"fill": True}, "needs max_tokens"),
    ],
)
def test_a_target_that_can_not_be_meant_is_refused(options: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Target(**options)


def test_scores_are_kept_by_text_question_and_scorer() -> None:
    scorer, cache = Given(0, 0.9, 0.1, 0, 0.2, 0.8), MemoryCache()
    extract = Extractive(scorer, count, cache)
    first = extract.compress("?", [part(), part()], Target(0.5))
    assert scorer.asked == 2
    assert extract.compress("?", [part(start=7)], Target(0.5))[0].text == first[0].text
    assert scorer.asked == 2
    extract.compress("another?", [part()], Target(0.5))
    assert scorer.asked == 3
    assert cache.statistics().hits == 1


def test_nothing_to_compress() -> None:
    assert Extractive(Given(), count, MemoryCache()).compress("?", [], Target()) == ()
    assert Extractive(ByWords(), count).compress("?", [part("   ")], Target()) == (part("   "),)


def test_baselines_prefer_what_shares_words_or_meaning() -> None:
    from support.embedders import WordEmbedder

    for scorer in (ByWords(), ByMeaning(WordEmbedder())):
        (scored,) = scorer.score("What does the ferry cost, how many crowns?", [PAGE])
        assert max(zip(scored.scores, scored.units, strict=True), key=lambda pair: pair[0])[1].start == PAGE.index(
            "The ferry"
        )
        assert scored.relevance == max(scored.scores)
        assert list(scorer.score("?", [])) == []


@given(
    st.lists(st.floats(0, 1), min_size=6, max_size=6), st.floats(0, 1), st.none() | st.integers(0, 30), st.booleans()
)
def test_what_is_kept_stands_in_the_source_in_order_and_never_costs_more(
    scores: list[float], threshold: float, most: int | None, fill: bool
) -> None:
    target = Target(threshold, most, fill and most is not None)
    found = select([part()], [PassageScores(1.0, units_of(PAGE), tuple(scores))], target, count)
    at = 100
    for each in found:
        assert each.span.start >= at
        assert each.text == PAGE[each.span.start - 100 : each.span.end - 100]
        at = each.span.end
    assert sum(count(each.text) for each in found) <= min(count(PAGE), most if most is not None else count(PAGE))
    again = select([part()], [PassageScores(1.0, units_of(PAGE), tuple(scores))], target, count)
    assert again == found


WORDS = st.sampled_from(["Marta", "not", "never", "no", "12,345.67", "3.5%", "Mr. Berger", "-4 °C", "灯", "didn't"])
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map(lambda words: f"The {' '.join(words)} ended.")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SENTENCES, min_size=1, max_size=8), st.randoms(use_true_random=False), st.integers(0, 60))
def test_numbers_names_and_negations_are_never_cut_out_of_a_sentence(
    sentences: list[str], draws: Random, most: int
) -> None:
    text = " ".join(sentences)
    ends = list(accumulate((len(sentence) + 1 for sentence in sentences), initial=100))
    scorer = Given(*(draws.random() for _ in units_of(text)))
    for target in (Target(0.5), Target(0.0, most, fill=True)):
        found = Extractive(scorer, count).compress("?", [part(text)], target)
        assert sum(count(each.text) for each in found) <= count(text)
        for each in found:
            assert each.text == text[each.span.start - 100 : each.span.end - 100]
            for start, end in pairwise(ends):
                outside = end - 1 <= each.span.start or each.span.end <= start
                assert outside or each.span.start <= start < end - 1 <= each.span.end, "a sentence is cut"
        assert Extractive(scorer, count).compress("?", [part(text)], target) == found


def test_blanks_between_what_is_kept_are_of_the_tokens_that_it_may_have() -> None:
    def with_blanks(text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]|\n\n", text))

    text = "".join(f"Lamp {n} is lit.\n\n" for n in range(40))
    given = Part(text, Span("doc", 0, len(text)), "Lamps")
    scorer = Given(*(0.9 - n / 100 for n in range(40)))
    for most in (5, 50, 100):
        found = Extractive(scorer, with_blanks).compress("?", [given], Target(0.0, most))
        assert most - 6 < sum(with_blanks(each.text) for each in found) <= most
        assert found[0].text.startswith("Lamp 0 is lit.")


def test_the_best_may_be_larger_than_the_rest_may_be_together_and_is_then_alone() -> None:
    table = "| a | b |\n" + "| x | y |\n" * 8
    text = f"# Lamps\n\nThe lamp is lit.\n\n{table}\nIt rained.\n"
    given = Part(text, Span("doc", 0, len(text)), "Lamps")
    scorer = Given(0.0, 0.6, 0.9, 0.1)

    def found(**target: int) -> list[str]:
        return [each.text for each in Extractive(scorer, count).compress("?", [given], Target(0.5, **target))]

    assert found(max_tokens=count(table) - 1) == ["# Lamps\n\nThe lamp is lit."]
    assert found(max_tokens=count(table) - 1, best_tokens=count(text)) == ["# Lamps", table.strip()]
    assert found(max_tokens=count(text) - 1, best_tokens=count(text)) == [text[: text.index("\nIt rained")].strip()]


def test_parts_that_follow_each_other_are_one_with_headings_and_tables_across_them() -> None:
    text = "# Lamps\n\nIt rained. The lamp was mended.\n\n| a | b |\n| 1 | 2 |\n| 3 | 4 |\n\nNobody came.\n"
    cuts = [0, text.index("The lamp"), text.index("| 3"), len(text)]
    pieces = [Part(text[start:end], Span("doc", start, end), "Lamps") for start, end in pairwise(cuts)]
    scores = ByPassage({pieces[1].text: (0.9, 0.0), pieces[2].text: (0.7, 0.0)})
    found = Extractive(scores, count).compress("?", pieces, Target(0.5))
    assert [each.text for each in found] == [
        "# Lamps",
        "The lamp was mended.\n\n| a | b |\n| 1 | 2 |\n| 3 | 4 |",
    ]
    assert all(text[each.span.start : each.span.end] == each.text for each in found)
    # Those that do not follow each other stay apart.
    assert len(Extractive(scores, count).compress("?", [pieces[1], pieces[1]], Target(0.5))) == 2


def test_what_was_scored_before_somebody_gave_up_is_kept() -> None:
    class Slow(Given):
        def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
            for scored in super().score(question, passages, watch):
                (watch or Watch()).go_on()
                yield scored

    scorer, cache, told = Slow(0, 0.9, 0.1, 0, 0.2, 0.8), MemoryCache(), []
    parts = [part(PAGE.replace("Marta", f"Marta{n}")) for n in range(5)]
    watch = Watch(lambda: scorer.asked > 3, lambda stage, done, total: told.append((stage, done, total)))
    with pytest.raises(Cancelled):
        Extractive(scorer, count, cache).compress("?", parts, Target(0.5), watch)
    assert told == [("scanning", n, 5) for n in (1, 2, 3)]
    again = Given(*scorer.scores)
    Extractive(again, count, cache).compress("?", parts, Target(0.5))
    assert again.asked == 2
