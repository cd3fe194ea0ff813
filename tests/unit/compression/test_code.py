"""What is kept of source code: by the question, in order, byte for byte, within the budget."""

import ast
import re
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout.compression.code import CodeCompressor
from turnout.compression.code_blocks import blocks_of
from turnout.compression.selection import Target
from turnout.contracts import Surprises
from turnout.documents import Span
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.types import ModelInfo, Part

pytest.importorskip("tree_sitter")

PYTHON = '''"""Of lamps and ferries."""

import math


def mend_lamp(lamp):
    lamp.wick = "new"
    return lamp


class Ferry:
    """Crosses the sound."""

    def fare(self, crowns):
        return crowns * 4

    def sail(self, wind, passengers):
        boat = self.harbour.pop()
        boat.board(passengers)
        sails = boat.hoist(wind)
        # new: the storm
        storm = wind.storm()
        sails.reef(storm)
        # new: the log
        log = self.book.open()
        log.write(boat)
        return boat


def count_birds(island):
    return sum(bird.count for bird in island)
'''

SCRIPT = """const lamp = 4;

export class Ferry {
  fare(crowns) {
    return crowns * 4;
  }

  sail(wind) {
    const boat = this.harbour.pop();
    boat.hoist(wind);
    return boat;
  }
}

function birds(island) {
  return island.length;
}
"""

JAVA = """package sound;

class Ferry {
    int fare(int crowns) {
        return crowns * 4;
    }

    static class Bird {
        int count() { return 1; }
        void fly() { }
    }
}
"""

FILES = {"sound.py": PYTHON, "sound.ts": SCRIPT, "Sound.java": JAVA}


def count(text: str) -> int:
    return len(text.split())


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


class Scripted:
    """A question is the less surprising the more of its words came before; lines with "new" surprise."""

    def __init__(self, window: int = 4000) -> None:
        self.model = ModelInfo("scripted", window, "scripted")
        self.longest = 0

    def surprise(self, texts: Sequence[str], continuation: str, watch: Watch | None = None) -> list[float]:
        self.longest = max([self.longest, *map(count, texts)])
        return [10.0 - len(words(continuation) & words(text)) for text in texts]

    def line_surprises(self, text: str, lines: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[float]:
        self.longest = max(self.longest, count(text))
        return [5.0 if "new" in text[start:end] else 1.0 for start, end in lines]


def part(text: str, title: str = "sound.py", start: int = 0) -> Part:
    return Part(text, Span("doc", start, start + len(text)), title)


def kept(question: str, most: int | None, *parts: Part, fine: bool = True) -> list[str]:
    compressor = CodeCompressor(Scripted(), count, fine=fine)
    return [each.text for each in compressor.compress(question, parts or (part(PYTHON),), Target(max_tokens=most))]


def test_the_functions_that_the_question_asks_for_are_kept() -> None:
    (lamp,) = kept("who may mend a lamp and its wick?", 8, fine=False)
    (birds,) = kept("count each bird on the island", 8, fine=False)
    assert lamp.startswith("def mend_lamp") and birds.startswith("def count_birds")


def test_the_best_file_is_found_among_several() -> None:
    files = (part("def tide():\n    return moon\n", "tide.py"), part(SCRIPT, "sound.ts"), part(JAVA, "Sound.java"))
    assert kept("where is the tide made of the moon?", 4, *files, fine=False) == [files[0].text]


def test_a_method_is_kept_with_its_class_and_counts_so() -> None:
    fare = "    def fare(self, crowns):\n        return crowns * 4\n\n"
    assert kept("what fare, in crowns?", 9, fine=False) == ["class Ferry:\n", fare]
    assert fare not in kept("what fare, in crowns?", 8, fine=False)
    assert kept("what fare, in crowns?", 12, part(SCRIPT, "sound.ts"), fine=False)[-1].strip() == "}"


def test_a_long_function_keeps_its_signature_and_the_blocks_that_help() -> None:
    sail = PYTHON[PYTHON.index("    def sail") : PYTHON.index("def count_birds")]
    storm, log = (
        "".join(kept(question, 14, part(sail)))
        for question in ("does the storm reef its sails, wind?", "does it open the log, its book, and write to it?")
    )
    assert storm == (
        "    def sail(self, wind, passengers):\n"
        "        # new: the storm\n        storm = wind.storm()\n        sails.reef(storm)\n"
    )
    assert log.startswith("    def sail(self, wind, passengers):\n        # new: the log\n") and "storm" not in log


def test_short_functions_are_never_cut() -> None:
    whole = {PYTHON[block.start : block.end] for block in blocks_of(PYTHON, "sound.py")}
    for most in range(60):
        for text in kept("mend the lamp, count birds", most):
            for name in ("mend_lamp", "count_birds", "def fare"):
                if name in text:
                    assert any(name in each and each in text for each in whole)


@pytest.mark.parametrize("title", FILES)
def test_whole_functions_parse(title: str) -> None:
    text = FILES[title]
    for question in ("what fare in crowns", "which bird, does it count or fly", "sail"):
        for most in range(count(text)):
            found = "".join(kept(question, most, part(text, title), fine=False))
            if title.endswith(".py"):
                ast.parse(found)
            assert parses(found, title)


@st.composite
def definitions(draw: st.DrawFn, depth: int = 0) -> str:
    """Lines of Python: functions, classes in each other, statements, comments and decorators between them."""
    pad = "    " * depth
    made: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["def", "class", "async", "plain", "if", "string"] if depth < 3 else ["def", "plain"])
        )
        lead = draw(
            st.sampled_from(["", f"{pad}# lamp\n", f"{pad}@mend\n" if kind in ("def", "class", "async") else "", "\n"])
        )
        match kind:
            case "class":
                made.append(f"{lead}{pad}class Lamp{number}(Base):\n{draw(definitions(depth + 1))}")
            case "if":
                made.append(f"{lead}{pad}if lamp:\n{draw(definitions(depth + 1))}")
            case "string":
                made.append(f'{lead}{pad}text = """\nclass x:\n  lamp"""\n')
            case "plain":
                made.append(f"{lead}{pad}lamp = {number}\n")
            case _:
                begin = "async def" if kind == "async" else "def"
                body = draw(st.sampled_from([f"\n{pad}    return lamp\n", " pass\n", f'\n{pad}    """Mends."""\n']))
                made.append(f"{lead}{pad}{begin} mend{number}(\n{pad}  a,\n{pad}):{body}")
    return "".join(made)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(definitions(), st.integers(0, 60), st.sampled_from(["mend the lamp", "text", "class"]))
def test_whole_functions_of_any_python_parse(text: str, most: int, question: str) -> None:
    ast.parse(text)
    ast.parse("".join(kept(question, most, part(text), fine=False)))


def parses(text: str, title: str) -> bool:
    from tree_sitter import Parser

    from turnout.compression.code_blocks import _GRAMMARS, _language

    return not Parser(_language(*_GRAMMARS[title[title.index(".") :]])).parse(text.encode()).root_node.has_error


def test_what_fits_is_left_as_it_is() -> None:
    given = (part(PYTHON), part("", "empty.py"))
    compressor = CodeCompressor(Scripted(), count)
    assert compressor.compress("?", given, Target(max_tokens=count(PYTHON))) == given
    assert compressor.compress("?", given[1:], Target()) == given[1:]
    assert compressor.compress("?", (), Target()) == ()
    assert compressor.compress("?", given, Target(max_tokens=0)) == ()


def test_a_part_that_is_kept_whole_is_the_part_itself() -> None:
    given = (part("def tide():\n    return moon\n", "tide.py", 7), part(PYTHON))
    assert CodeCompressor(Scripted(), count).compress("tide of the moon", given, Target(max_tokens=4))[0] is given[0]


def test_half_is_kept_by_default() -> None:
    total = sum(map(count, kept("what does the ferry do?", None)))
    assert 0.35 * count(PYTHON) < total <= 0.5 * count(PYTHON)
    few = CodeCompressor(Scripted(), count, keep=0.2).compress("the ferry?", [part(PYTHON)], Target())
    assert sum(count(each.text) for each in few) <= 0.2 * count(PYTHON)
    with pytest.raises(ConfigurationError, match=r"keep is 1\.5"):
        CodeCompressor(Scripted(), count, keep=1.5)


QUESTIONS = st.sampled_from(["", "sail the boat into the storm", "count birds", "wie teuer ist die Fähre?", "log fare"])
COUNTS = st.sampled_from([count, len, lambda text: len(text) // 5, lambda text: -(-len(text) // 7)])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(list(FILES)), min_size=1, max_size=3), QUESTIONS, COUNTS, st.floats(0, 1), st.booleans()
)
def test_what_is_kept_is_the_source_in_order_within_the_budget(
    titles: list[str], question: str, counted: object, share: float, fine: bool
) -> None:
    assert callable(counted)
    parts = [part(FILES[title], title, 1000 * place) for place, title in enumerate(titles)]
    before = sum(counted(each.text) for each in parts)
    target = Target(max_tokens=int(share * before))
    found = CodeCompressor(Scripted(), counted, fine=fine).compress(question, parts, target)
    assert sum(counted(each.text) for each in found) <= int(share * before)
    at = 0
    for each in found:
        assert each.span.start >= at
        place = each.span.start // 1000
        assert parts[place].text[each.span.start - 1000 * place : each.span.end - 1000 * place] == each.text
        assert each.title == parts[place].title
        at = each.span.end
    assert found == CodeCompressor(Scripted(), counted, fine=fine).compress(question, parts, target)


def test_what_is_too_long_for_the_window_is_read_in_pieces() -> None:
    lines = "".join(f"    row{number} = table[{number}] + here\n" for number in range(200))
    text = f"def build(table):\n{lines}    answer = lamp\n"
    scorer = Scripted(window=60)
    found = CodeCompressor(scorer, count).compress("which lamp?", [part(text)], Target(max_tokens=100))
    assert 0 < scorer.longest <= 30
    assert found[0].text.startswith("def build(table):\n")
    assert "answer = lamp" in found[-1].text


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("var a=1;function f(n){return n+1}" * 300, "app.min.js"),
        ("x = [" + "1, 2, " * 20_000 + "]", "data.py"),
        ("word " * 400_000, "words.txt"),
        ("a" * 2_000_000, "giant"),
        ("def f(:\n  lamp\n\n" * 50, "broken.py"),
        ("# Read me\n\n```python\nx = 1\n```\n\n日本語の文章。\n\n" * 20, "README.md"),
        ("\ud800 lamp\n\n" * 40, "odd.py"),
        (" \n" * 500, "blank.py"),
    ],
)
def test_odd_input(text: str, title: str, fine: bool) -> None:
    def counted(text: str) -> int:
        return -(-len(text) // 4)

    most = counted(text) // 3
    found = CodeCompressor(Scripted(), counted, fine=fine).compress(
        "¿dónde está el lamp?", [part(text, title)], Target(max_tokens=most)
    )
    assert sum(counted(each.text) for each in found) <= most
    assert all(text[each.span.start : each.span.end] == each.text for each in found)


def test_an_engine_that_can_tell_is_known_by_its_methods() -> None:
    assert isinstance(Scripted(), Surprises)
    assert CodeCompressor.quotable and CodeCompressor.name == "extract:code"
