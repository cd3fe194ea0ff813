"""Sentences tile the text, segments are whole sentences of 150 to 300 tokens, and an edit changes only nearby ones."""

from __future__ import annotations

import hashlib
import random
import time
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.documents import Document
from turnout.retrieval import segment as module
from turnout.retrieval.segment import MAX_TOKENS, MIN_TOKENS, boundaries, estimate_tokens, primary, segment
from turnout.sentences import LONGEST_BYTES, lines, sentences

WORDS = "the ship left harbour with coal for a mill near river while its master wrote letters to an agent".split()

TEXTS = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["One. ", "Two? Yes! ", "\n\n", "# Title\n\n", "é日本語。", "a b ", "x" * 900, "\r\n", "😀 ", "word " * 700]
        ),
        max_size=40,
    ).map("".join),
)


def document(text: str, kind: str = "text") -> Document:
    return Document(hashlib.sha256(text.encode()).hexdigest(), "t", text, "t", kind)


def hashes(text: str) -> list[str]:
    return [s.hash for s in segment(document(text))]


def prose(sentence_count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    made = [
        " ".join(rng.choices(WORDS, k=rng.randint(5, 28))).capitalize() + f" {rng.random():.6f}."
        for _ in range(sentence_count)
    ]
    return [s + ("\n\n" if rng.random() < 0.15 else " ") for s in made]


def tiles(spans: list[tuple[int, int]], text: str) -> bool:
    ends = [0, *(end for _, end in spans)]
    return all(start == before < end for before, (start, end) in zip(ends, spans, strict=False)) and ends[-1] == len(
        text
    )


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_sentences_and_lines_tile_any_text(text: str) -> None:
    for spans in (sentences(text), lines(text)):
        assert tiles(spans, text)
        if text.strip():
            assert all(text[start:end].strip() for start, end in spans)


def test_sentence_offsets_are_characters() -> None:
    text = "Das für Mr. Ünal. 日本語の文です。もう一つ。😀 Yes. Last one"
    assert [text[a:b].strip() for a, b in sentences(text)] == [
        "Das für Mr. Ünal.",
        "日本語の文です。",
        "もう一つ。",
        "😀 Yes.",
        "Last one",
    ]


@pytest.mark.parametrize("text", ["x" * 50_000, "lorem " * 9_000, "|a|b|\n" * 9_000, "日本" * 20_000, '"' * 9_000])
def test_text_without_sentence_ends_is_cut(text: str) -> None:
    spans = sentences(text)
    assert tiles(spans, text)
    assert max(len(text[a:b].encode()) for a, b in spans) <= LONGEST_BYTES


def test_a_long_line_is_cut_between_words_and_an_edit_does_not_move_later_cuts() -> None:
    text = " ".join(random.Random(1).choices(WORDS, k=5_000))
    spans = sentences(text)
    assert all(text[b - 1].isspace() or text[b].isspace() for _, b in spans[:-1])
    before = {text[a:b] for a, b in spans}
    edited = text[:9_000] + " quay" + text[9_000:]
    after = {edited[a:b] for a, b in sentences(edited)}
    assert len(after - before) <= 2


def test_lines_are_the_units_of_code() -> None:
    text = "".join(f"def f{i}(a, b):\n    return a.b + {i}. # e.g. this\n\n" for i in range(300))
    cuts = segment(document(text, "code"))
    assert len(cuts) > 10
    assert all(text[s.span.end - 1] == "\n" for s in cuts)


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_segments_tile_the_text_verbatim(text: str) -> None:
    cuts = segment(document(text))
    if not text.strip():
        assert cuts == []
        return
    assert "".join(text[s.span.start : s.span.end] for s in cuts) == text
    for s in cuts:
        piece = text[s.span.start : s.span.end]
        assert s.hash == hashlib.sha256(piece.encode()).hexdigest()
        assert s.tokens_estimate == estimate_tokens(piece) <= MAX_TOKENS
    assert segment(document(text)) == cuts


def test_segments_are_whole_sentences_of_the_right_size() -> None:
    text = "".join(prose(3_000, seed=2))
    cuts = segment(document(text))
    assert {s.span.end for s in cuts} <= {end for _, end in sentences(text)}
    sizes = [s.tokens_estimate for s in cuts]
    assert sum(MIN_TOKENS <= size <= MAX_TOKENS for size in sizes) / len(sizes) > 0.85


def test_a_short_text_is_one_segment() -> None:
    assert len(hashes("Only this. And that.")) == 1


@pytest.mark.parametrize("text", ["Same again. " * 5_000, "Ja. " * 30_000, "a\n\n" * 20_000])
def test_repeated_text_keeps_the_limits_and_is_quick(text: str) -> None:
    started = time.perf_counter()
    sizes = [s.tokens_estimate for s in segment(document(text))]
    assert time.perf_counter() - started < 5
    assert all(MIN_TOKENS <= size <= MAX_TOKENS for size in sizes)


def test_a_heading_starts_a_segment_and_never_ends_one() -> None:
    rng = random.Random(3)
    sections = [f"## Part {i}\n\n" + "".join(prose(rng.randint(18, 30), seed=i)).strip() + "\n\n" for i in range(60)]
    text = "".join(sections)
    cuts = segment(document(text))
    pieces = [text[s.span.start : s.span.end] for s in cuts]
    # A section has 300 to 600 tokens here, so that nearly every heading has room before it.
    assert sum(piece.startswith("## ") for piece in pieces) > 50
    assert not any(piece.rstrip().splitlines()[-1].startswith("## ") for piece in pieces)


@pytest.mark.parametrize("seed", range(12))
def test_an_inserted_sentence_changes_at_most_four_segments_of_a_book(seed: int) -> None:
    parts = prose(6_000, seed)
    before = set(hashes("".join(parts)))
    at = random.Random(seed).randrange(len(parts))
    after = hashes("".join([*parts[:at], "A clause was added here in 1912. ", *parts[at:]]))
    changed = set(after) - before
    assert 1 <= len(changed) <= 4
    assert len(before - set(after)) <= 4


UNITS = st.lists(st.tuples(st.integers(1, 700), st.integers(0, 40)), min_size=1, max_size=120)


@given(UNITS, st.tuples(st.integers(1, 700), st.integers(0, 40)), st.data())
@settings(max_examples=400, deadline=None)
def test_an_edit_never_reaches_beyond_its_bound(
    units: list[tuple[int, int]], new: tuple[int, int], data: st.DataObject
) -> None:
    """Few distinct ranks, so that ties (repeated sentences) are common."""
    at = data.draw(st.integers(0, len(units)))
    edited = [*units[:at], new, *units[at:]]

    def ends_and_cuts(rows: list[tuple[int, int]]) -> tuple[list[int], list[int], set[tuple[int, int]]]:
        sizes, order = [size for size, _ in rows], [rank for _, rank in rows]
        ends = [0, *accumulate(sizes)]
        cuts = [0, *boundaries(sizes, order)]
        firsts = [ends[cut] for cut in [0, *primary(ends[1:], order)]]
        return ends, firsts, {(ends[a], ends[b]) for a, b in pairwise(cuts)}

    ends, old_primary, old = ends_and_cuts(units)
    _, new_primary, fresh = ends_and_cuts(edited)
    place, size, reach = ends[at], new[0], module._MIN

    def far_before(end: int) -> bool:
        return end < place - reach

    assert [e for e in old_primary if far_before(e)] == [e for e in new_primary if far_before(e)]
    assert [e + size for e in old_primary if e > place + reach] == [e for e in new_primary if e > place + size + reach]
    # What lies between two boundaries that both stay is cut alike.
    low = max((e for e in old_primary if far_before(e)), default=0)
    high = min((e for e in old_primary if e > place + reach), default=ends[-1])
    assert {s for s in old if s[1] <= low} == {s for s in fresh if s[1] <= low}
    assert {(a + size, b + size) for a, b in old if a >= high} == {s for s in fresh if s[0] >= high + size}


def test_a_million_characters_take_under_a_second() -> None:
    text = "".join(prose(11_000, seed=4))
    assert len(text) > 1_000_000
    started = time.process_time()
    segment(document(text))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("most", [40, 120, 300, 900])
def test_other_sizes_tile_the_text_too(most: int) -> None:
    text = "".join(prose(400, 5))
    found = segment(document(text), most)
    assert tiles([(each.span.start, each.span.end) for each in found], text)
    sizes = [estimate_tokens(text[each.span.start : each.span.end]) for each in found]
    assert max(sizes) <= max(most, 60) + 1, "a sentence may be longer"
    assert most / 2 < sum(sizes) / len(sizes) <= most
    assert (found == segment(document(text))) is (most == 300)
