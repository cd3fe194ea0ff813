"""Synthetic documents: their sizes, what is planted in them, how it is asked, and how answers are graded."""

import gzip
import itertools
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, DocumentError, UnknownNameError
from turnout.router.calibration.filler import Filler, default_texts, read_texts
from turnout.router.calibration.grading import grade, numbers
from turnout.router.calibration.synthetic import SyntheticDocument, filler_of, make_document
from turnout.router.calibration.tasks import BUYERS, GOODS, KEYWORDS, KINDS, NUMBERS, check_kinds
from turnout.router.words import content_words

count = FakeEngine().count_text
FACT = re.compile(r"The (\w+) purchased (\d+) (\w+)\.")
NEEDLE = re.compile(r"The (\w+) (?:has|employs|yields|carries|treats|rents|guards) (\d+) (\w+)\.")
ANY = re.compile(f"{FACT.pattern}|{NEEDLE.pattern}")


def prose(sentences: int) -> str:
    """Sentences that are all different, some with words and numbers of the facts in them."""
    source = random.Random(5)
    words = "wind river paper cloud winter window letter garden evening market bridge valley".split()
    lines = []
    for i in range(sentences):
        line = " ".join(source.choice(words) for _ in range(source.randrange(6, 18)))
        if i % 7 == 0:
            line += source.choice(
                [" and the doctor", " beside two lamps", " for 14 days", " in fourteen days", " under stones"]
            )
        lines.append(f"Number {1000 + i} is {line}.")
    return " ".join(lines)


FILLER = filler_of([prose(300), prose(400)[9000:]])


def made(size: int = 512, seed: int = 1, index: int = 0, **options) -> SyntheticDocument:
    return make_document(
        FILLER, count, size=size, seed=seed, index=index, **{"kinds": KINDS, "questions": 5, **options}
    )


DOCUMENTS = [made(size, seed, index) for size in (256, 1024) for seed in (1, 2) for index in range(5)]


# --- documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [256, 300, 512, 1000, 2048, 4096])
@pytest.mark.parametrize("tokens_of", [count, lambda text: len(text.split()), lambda text: len(text.encode()) // 4])
def test_a_document_has_the_size_asked_for_within_2_percent(size: int, tokens_of) -> None:
    for index in range(4):
        document = make_document(FILLER, tokens_of, size=size, seed=1, index=index, kinds=("needle",), questions=1)
        assert document.tokens == tokens_of(document.text)
        assert 0.98 * size <= document.tokens <= size


def test_text_without_spaces_is_cut_to_size_too() -> None:
    filler = filler_of(["".join(chr(0x4E00 + i % 900) for i in range(4000))])

    def characters(text: str) -> int:
        return len(text)

    document = make_document(filler, characters, size=2000, seed=1, index=0, kinds=KINDS, questions=1)
    assert 1960 <= document.tokens <= 2000


def test_the_same_draw_gives_the_same_document_and_another_seed_another() -> None:
    assert made() == made()
    assert len({made(seed=seed, index=index).text for seed in (1, 2) for index in (0, 1)}) == 4


def test_leaving_kinds_out_changes_nothing_in_the_others() -> None:
    alone = made(kinds=("comparison",))
    assert alone.text == made().text
    assert list(alone.trials) == [trial for trial in made().trials if trial.kind == "comparison"]


def test_every_fact_is_planted_once_and_nothing_else_has_its_words_or_numbers() -> None:
    for document in DOCUMENTS:
        assert [match.group() for match in ANY.finditer(document.text)] == list(document.facts)
        assert len(FACT.findall(document.text)) == 12 and len(NEEDLE.findall(document.text)) == 4
        rest = ANY.sub("", document.text)
        assert not KEYWORDS & content_words(rest)
        assert not NUMBERS & {int(number) for number in re.findall(r"\b\d{1,3}\b", rest)}
        assert not NUMBERS & {int(number) for number in numbers(rest) if number.isdigit()}


def test_only_the_filler_changes_with_the_size() -> None:
    for small, large in itertools.product((made(256), made(512)), (made(1024), made(2048))):
        assert small.facts == large.facts
        for before, after in zip(small.trials, large.trials, strict=True):
            assert (before.question, before.expected, before.beside) == (after.question, after.expected, after.beside)
    for before, after in zip(made(1024).trials, made(4096).trials, strict=True):
        # As near as sentences of up to 30 tokens, and the facts themselves, let them stand.
        assert before.depth == pytest.approx(after.depth, abs=0.06)
    assert made(1024).text[:200] not in made(2048).text


def test_no_passage_comes_twice() -> None:
    for document in DOCUMENTS:
        numbers = re.findall(r"Number (\d+)", document.text)
        # The two source texts overlap by design; within one of them every sentence has its own number.
        assert max(Counter(numbers).values()) <= 2
        assert len(numbers) > 3
    one = filler_of([prose(300)])
    whole = make_document(one, count, size=4000, seed=1, index=0, kinds=KINDS, questions=1)
    assert max(Counter(re.findall(r"Number (\d+)", whole.text)).values()) == 1


def test_facts_stand_at_all_depths_and_depth_says_where() -> None:
    needles = [trial for document in DOCUMENTS for trial in document.trials if trial.kind == "needle"]
    for document in DOCUMENTS:
        for trial in (trial for trial in document.trials if trial.kind == "needle"):
            assert trial.depth == pytest.approx(document.text.index(trial.facts[0]) / len(document.text), abs=1e-3)
    thirds = Counter(int(trial.depth * 3) for trial in needles)
    assert min(thirds[i] for i in range(3)) >= len(needles) // 6, thirds


def test_a_needle_is_like_no_other_fact() -> None:
    for document in DOCUMENTS:
        whose = [whose for whose, _, _ in NEEDLE.findall(document.text)]
        assert len(set(whose)) == 4
        others = content_words(" ".join(FACT.findall(document.text)[0]))
        assert not others & content_words(" ".join(whose))


def test_a_comparison_is_between_facts_that_stand_far_apart() -> None:
    for document in DOCUMENTS:
        for trial in (trial for trial in document.trials if trial.kind == "comparison"):
            first, second = (document.text.index(fact) for fact in trial.facts)
            # Four of the twelve facts, each in its own twelfth, stand between them.
            assert abs(first - second) > 0.2 * len(document.text)


def test_a_size_too_small_or_texts_too_short_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="100 tokens has no room"):
        made(100)
    with pytest.raises(ConfigurationError, match="filler texts hold"):
        made(100_000)
    with pytest.raises(ConfigurationError, match="9 questions"):
        made(questions=9)


# --- questions -------------------------------------------------------------------------------------------------------


def test_a_paraphrase_shares_no_content_word_with_its_facts_and_a_lexical_question_does() -> None:
    seen = Counter()
    for document in DOCUMENTS:
        for trial in document.trials:
            shared = content_words(trial.question) & content_words(" ".join(trial.facts))
            seen[trial.kind, trial.phrasing] += 1
            assert (not shared) if trial.phrasing == "paraphrase" else len(shared) >= 2, trial.question
    # A document asks 2 and 3 of its 5 questions in a phrasing, by turns: of 20 documents here, 12 with an even index.
    assert seen == {(kind, p): n for kind in KINDS for p, n in (("lexical", 48), ("paraphrase", 52))}


def test_no_word_of_the_pools_stands_for_two_things() -> None:
    words = [content_words(word) for pair in (*BUYERS, *GOODS) for word in pair]
    assert all(len(word) == 1 for word in words)
    assert not [pair for pair in itertools.combinations(words, 2) if pair[0] & pair[1]]


def test_answers_follow_from_the_facts() -> None:
    canonical = {word: pair[0] for pair in (*BUYERS, *GOODS) for word in pair}
    for document in DOCUMENTS:
        bought = {(who, what): int(value) for who, value, what in FACT.findall(document.text)}
        for trial in document.trials:
            if trial.kind == "needle":
                ((_, value, _),) = NEEDLE.findall(trial.facts[0])
                assert (trial.expected, trial.beside) == ((value,), ())
                continue
            named = [canonical[word] for word in re.findall(r"\w+", trial.question) if word in canonical]
            good = next(word for word in named if word in {pair[0] for pair in GOODS})
            buyers = [word for word in named if word != good]
            if trial.kind == "comparison":
                more, less = sorted(buyers, key=lambda who: -bought[who, good])
                assert (trial.expected, trial.beside) == ((more,), (less,))
            elif trial.kind == "aggregation":
                values = [value for (_, what), value in bought.items() if what == good]
                assert trial.expected == (str(sum(values)),)
                assert sorted(trial.beside) == sorted(map(str, values))
            else:
                assert trial.expected == tuple(str(bought[who, good]) for who in buyers)
                assert trial.beside == tuple(buyers)


def test_grabbing_any_other_number_or_name_fails() -> None:
    for document in DOCUMENTS:
        values = [value for _, value, _ in [*FACT.findall(document.text), *NEEDLE.findall(document.text)]]
        for trial in document.trials:
            right = ", ".join(trial.expected)
            assert graded(right, trial) == (True, 1.0)
            if trial.kind == "comparison":
                others = {who for who, _, _ in FACT.findall(document.text)} - {*trial.expected}
                assert all(not graded(who, trial)[0] for who in others)
            else:
                assert all(graded(value, trial)[0] is ((value,) == trial.expected) for value in values)
                assert graded(" ".join([*values, right]), trial)[0] is False


def graded(answer: str, trial) -> tuple[bool, float]:
    return grade(answer, trial.kind, trial.expected, trial.beside)


def test_kinds_are_checked_and_ordered() -> None:
    assert check_kinds(["comparison", "needle"]) == ("needle", "comparison")
    with pytest.raises(UnknownNameError, match="neddle"):
        check_kinds(["neddle"])
    with pytest.raises(ConfigurationError, match="no kind"):
        check_kinds([])


# --- filler ----------------------------------------------------------------------------------------------------------


def test_texts_are_read_from_json_lines_text_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n\n{"text": "two", "title": "x"}\n'))
    (tmp_path / "b.txt").write_text("three", encoding="utf-8")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    assert read_texts(tmp_path / "a.jsonl.gz") == ["one", "two"]
    assert read_texts(tmp_path) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"title": 1}\n', "a.jsonl:2"),
        ("a.jsonl", b'{"text": "one"}\n{', "a.jsonl:2"),
        ("a.jsonl", b'{"text": "one"}\n[]\n', "a.jsonl:2"),
        ("a.jsonl.gz", b"not gzip", "a.jsonl.gz"),
        ("a.txt", b"\xff\xfe\xfa", "a.txt"),
        ("a.txt", b"  \n", "holds no text"),
    ],
)
def test_texts_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes, where: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=where):
        read_texts(tmp_path / name)
    with pytest.raises(DocumentError, match="not found"):
        read_texts(tmp_path / "none")


def test_a_draw_starts_anywhere_and_goes_round_once() -> None:
    filler = Filler([prose(200), prose(260)])
    starts = {filler.draw(random.Random(seed), count, 50)[0] for seed in range(20)}
    assert len(starts) >= 4
    total = filler.capacity(count, 10**9)
    drawn = filler.draw(random.Random(3), count, total)
    assert sum(map(count, drawn)) == total
    with pytest.raises(ConfigurationError, match="--texts"):
        filler.draw(random.Random(3), count, total + 1)


def test_the_shipped_texts_hold_2_000_tokens() -> None:
    assert filler_of(default_texts()).capacity(count, 2000) >= 2000
