"""What is kept whole, and that units cover a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.compression.units import LONGEST_WHOLE, units_of

PAGE = """# Lamps

The lamp was mended in 1803. Mr. Berger paid 4.50 crowns for it.

- copper wire,
  two metres of it
- oil

| year | lamps |
|------|-------|
| 1803 | 4     |

```python
lamp = 1

def mend():
    return lamp
```
It burnt until dawn.
## Later
Nobody came.
"""


def texts(page: str) -> list[str]:
    return [page[unit.start : unit.end] for unit in units_of(page)]


def test_sentences_headings_lists_tables_and_code_are_units() -> None:
    assert texts(PAGE) == [
        "# Lamps",
        "The lamp was mended in 1803.",
        "Mr. Berger paid 4.50 crowns for it.",
        "- copper wire,\n  two metres of it\n- oil",
        "| year | lamps |\n|------|-------|\n| 1803 | 4     |",
        "```python\nlamp = 1\n\ndef mend():\n    return lamp\n```",
        "It burnt until dawn.",
        "## Later",
        "Nobody came.",
    ]
    assert [unit.level for unit in units_of(PAGE)] == [1, 0, 0, 0, 0, 0, 0, 2, 0]


def test_what_is_too_long_to_stay_whole_is_cut_at_its_lines() -> None:
    row = "| a row of a table | with numbers 1 2 3 |\n"
    assert len(units_of(row * 10)) == 1
    many = LONGEST_WHOLE // len(row) + 5
    assert texts(row * many) == [row.strip()] * many


def test_a_fence_that_is_never_closed_goes_to_the_end() -> None:
    assert texts("Before.\n~~~\n# no heading\nx = 1\n") == ["Before.", "~~~\n# no heading\nx = 1"]


def test_a_fence_ends_at_one_as_long_and_code_inside_a_line_is_none() -> None:
    inner = "````md\n```\nx = 1\n```\nstill inside. And here.\n````"
    assert texts(f"{inner}\nAfter it.\n") == [inner, "After it."]
    assert texts("```mend()``` is called. It returns.\n# Next\n") == [
        "```mend()``` is called.",
        "It returns.",
        "# Next",
    ]
    indented = "    ```\n    a = 1\n\n    b = 2\n    ```"
    assert texts(f"1. Run it:\n{indented}\nDone.\n") == ["1. Run it:", indented.strip(), "Done."]


def test_code_is_cut_into_lines() -> None:
    code = "def f():\n    return 1\n\n\nf()\n"
    assert [code[unit.start : unit.end] for unit in units_of(code, code=True)] == ["def f():", "return 1", "f()"]


@pytest.mark.parametrize("text", ["", "  \n\t\n", "\n" * 50])
def test_nothing_has_no_units(text: str) -> None:
    assert units_of(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 20_000,
        "`" * 100_000 + "x`",
        "one word after the other " * 2000,
        "日本語の文章です。" * 500,
        "a;b;c" * 5000,
    ],
)
def test_giants_are_cut_and_lose_nothing(text: str) -> None:
    found = texts(text)
    assert len(found) > 1
    assert "".join("".join(found).split()) == "".join(text.split())


LINES = st.sampled_from(
    [
        "# A heading",
        "A sentence. And one more!",
        "- an item",
        "  that goes on",
        "| a | b |",
        "```",
        "~~~",
        "",
        "   ",
        "x\ty\tz",
        "1. first",
    ]
)


@given(st.lists(LINES, max_size=20))
def test_units_are_in_order_and_only_blanks_lie_between_them(lines: list[str]) -> None:
    text = "\n".join(lines)
    at = 0
    for unit in units_of(text):
        assert text[at : unit.start].strip() == ""
        assert unit.start < unit.end
        assert text[unit.start : unit.end] == text[unit.start : unit.end].strip()
        at = unit.end
    assert text[at:].strip() == ""
