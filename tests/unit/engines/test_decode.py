"""Text comes out in whole characters and never holds a stop string."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.engines.decode import Detokenizer, StopFilter


@given(text=st.text(alphabet="aé灯🗼 \n", max_size=20))
def test_bytes_as_tokens_come_out_as_the_text_and_never_half_a_character(text: str):
    detokenizer = Detokenizer(lambda ids: bytes(ids).decode("utf-8", errors="replace"))
    shown = [detokenizer.push(byte) for byte in text.encode()]
    assert "".join(shown) + detokenizer.finish() == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in shown)


def test_an_unfinished_character_at_the_end_is_not_lost():
    detokenizer = Detokenizer(lambda ids: bytes(ids).decode("utf-8", errors="replace"))
    assert [detokenizer.push(byte) for byte in b"a\xf0\x9f"] == ["a", "", ""]
    assert detokenizer.finish() == "\N{REPLACEMENT CHARACTER}"


def test_a_tokenizer_that_drops_the_first_space_keeps_the_others():
    words = {1: " the", 2: " sea"}
    detokenizer = Detokenizer(lambda ids: "".join(words[i] for i in ids).removeprefix(" "))
    assert [detokenizer.push(1), detokenizer.push(2)] == ["the", " sea"]


pieces = st.lists(st.text(alphabet="ab#\n", max_size=4), max_size=10)
stops = st.lists(st.text(alphabet="ab#\n", min_size=1, max_size=3), max_size=3)


@given(pieces=pieces, stops=stops)
def test_the_same_text_is_shown_however_it_was_cut(pieces: list[str], stops: list[str]):
    text = "".join(pieces)
    stop_filter, shown = StopFilter(stops), ""
    for piece in pieces:
        shown += stop_filter.push(piece)
        assert not any(stop in shown for stop in stops)
        if stop_filter.stopped:
            break
    else:
        shown += stop_filter.finish()
    assert stop_filter.stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    if not stop_filter.stopped:
        assert shown == text
    else:
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


def test_text_is_held_back_only_while_it_may_become_a_stop_string():
    stop_filter = StopFilter(["\nQuestion:"])
    assert stop_filter.push("the sea\nQues") == "the sea"
    assert stop_filter.push("t") == ""
    assert stop_filter.push("s") == "\nQuests"
