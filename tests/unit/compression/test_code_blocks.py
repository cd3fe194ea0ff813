"""Source code in blocks: what belongs together, and that nothing is lost."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.compression import code_blocks
from turnout.compression.code_blocks import DEEPEST, Block, blocks_of
from turnout.errors import MissingExtraError

pytest.importorskip("tree_sitter")

PYTHON = '''"""Lamps."""
from __future__ import annotations

import math

LIGHT = 4  # crowns

# How a lamp is mended.
@cached
def mend(lamp):
    """Mends."""
    return lamp


class Keeper:
    """Keeps."""

    name = "Marta"

    def __init__(self):  # at dusk
        self.lamp = LIGHT

    async def leave(self):
        return "dawn"


class Empty(Exception):
    pass


if __name__ == "__main__":
    mend(1)
'''

SCRIPT = """import { lamp } from "./lamp.js";

const LIGHT = 4;

/** Mends. */
export function mend(lamp) {
  return lamp;
}

const later = async (lamp) => {
  await lamp;
};
module.exports.soon = function () { return 1; };

export class Keeper extends Person {
  name = "Marta";

  leave() { return "dawn"; }
  come = () => {
    return "dusk";
  };
}
"""

TYPED = """type Lamp = { light: number };

interface Person {
  name: string;
}

namespace Tower {
  export function climb(steps: number): number {
    return steps * 2;
  }
}

abstract class Keeper implements Person {
  constructor(private lamp: Lamp) {}

  @logged()
  mend<T>(lamp: T): T {
    return lamp;
  }

  abstract leave(): void;
}
"""

JAVA = """package tower;

import java.util.List;

/** Keeps. */
public class Keeper {
    private int lamp = 4;

    public Keeper() {
        this.lamp = 5;
    }

    @Override
    public String toString() {
        return "keeper";
    }

    enum Time { DAWN, DUSK }

    static class Tower {
        int climb() { return 1; }
    }
}
"""

FILES = {"lamp.py": PYTHON, "lamp.js": SCRIPT, "lamp.ts": TYPED, "Lamp.java": JAVA}


def tiles(text: str, title: str) -> tuple[Block, ...]:
    """The blocks, checked for what holds of all."""
    found = blocks_of(text, title)
    at = 0
    frames = {(block.start, block.end) for block in found if block.kind == "frame"}
    for block in found:
        assert block.start == at < block.end
        assert block.start <= block.body[0] <= block.body[1] <= block.end
        assert set(block.frames) <= frames
        at = block.end
    assert at == len(text)
    return found


def shown(text: str, title: str) -> list[tuple[str, str]]:
    return [(block.kind, text[block.start : block.end].strip().split("\n")[0]) for block in tiles(text, title)]


def test_python() -> None:
    assert shown(PYTHON, "lamp.py") == [
        ("rest", '"""Lamps."""'),
        ("rest", "import math"),
        ("rest", "LIGHT = 4  # crowns"),
        ("definition", "# How a lamp is mended."),
        ("frame", "class Keeper:"),
        ("rest", '"""Keeps."""'),
        ("rest", 'name = "Marta"'),
        ("definition", "def __init__(self):  # at dusk"),
        ("definition", "async def leave(self):"),
        ("definition", "class Empty(Exception):"),
        ("rest", 'if __name__ == "__main__":'),
    ]


def test_javascript() -> None:
    assert shown(SCRIPT, "lamp.mjs") == [
        ("rest", 'import { lamp } from "./lamp.js";'),
        ("rest", "const LIGHT = 4;"),
        ("definition", "/** Mends. */"),
        ("definition", "const later = async (lamp) => {"),
        ("definition", "module.exports.soon = function () { return 1; };"),
        ("frame", "export class Keeper extends Person {"),
        ("rest", 'name = "Marta";'),
        ("definition", 'leave() { return "dawn"; }'),
        ("definition", "come = () => {"),
        ("frame", "}"),
    ]


@pytest.mark.parametrize("title", ["lamp.ts", "lamp.tsx"])
def test_typescript(title: str) -> None:
    assert shown(TYPED, title) == [
        ("rest", "type Lamp = { light: number };"),
        ("definition", "interface Person {"),
        ("frame", "namespace Tower {"),
        ("definition", "export function climb(steps: number): number {"),
        ("frame", "}"),
        ("frame", "abstract class Keeper implements Person {"),
        ("definition", "constructor(private lamp: Lamp) {}"),
        ("definition", "@logged()"),
        ("rest", "abstract leave(): void;"),
        ("frame", "}"),
    ]


def test_java() -> None:
    assert shown(JAVA, "src/Lamp.java") == [
        ("rest", "package tower;"),
        ("rest", "import java.util.List;"),
        ("frame", "/** Keeps. */"),
        ("rest", "private int lamp = 4;"),
        ("definition", "public Keeper() {"),
        ("definition", "@Override"),
        ("definition", "enum Time { DAWN, DUSK }"),
        ("frame", "static class Tower {"),
        ("definition", "int climb() { return 1; }"),
        ("frame", "}"),
        ("frame", "}"),
    ]


def test_a_body_lies_between_the_signature_and_the_closing_bracket() -> None:
    def body(name: str, title: str) -> str:
        text = FILES[title]
        (found,) = [b for b in tiles(text, title) if b.kind == "definition" and name in text[b.start : b.end]]
        return text[slice(*found.body)]

    assert body("def mend", "lamp.py") == '    """Mends."""\n    return lamp\n\n\n'
    assert body("class Empty", "lamp.py") == "    pass\n\n\n"
    assert body("function mend", "lamp.js") == "  return lamp;\n"
    assert body("leave()", "lamp.js") == ' return "dawn"; '
    assert body("constructor", "lamp.ts") == ""
    assert body("toString", "Lamp.java") == '        return "keeper";\n'


def test_a_method_names_the_frames_of_its_classes() -> None:
    (climb,) = [block for block in tiles(JAVA, "Lamp.java") if "climb" in JAVA[block.start : block.end]]
    assert [JAVA[start:end].strip() for start, end in climb.frames] == [
        "/** Keeps. */\npublic class Keeper {",
        "}",
        "static class Tower {",
        "}",
    ]


def test_minified_code_is_cut_at_its_functions() -> None:
    text = "function a(){return 1}function b(){return 2};var c=1,d=2;class E{f(){g()}h(){}}"
    assert [text[block.start : block.end] for block in tiles(text, "app.min.js")] == [
        "function a(){return 1}",
        "function b(){return 2}",
        ";var c=1,d=2;",
        "class E{",
        "f(){g()}",
        "h(){}",
        "}",
    ]


@pytest.mark.parametrize("title", ["tower.rb", "notes", "broken.py", "broken.ts"])
def test_what_is_not_parsed_is_cut_at_blank_lines(title: str) -> None:
    text = "\n\ndef a(:\n  1\n\n  \n  b = {\nc\n\n\n"
    found = tiles(text, title)
    assert [text[block.start : block.end] for block in found] == ["\n\ndef a(:\n  1\n\n  \n", "  b = {\nc\n\n\n"]
    assert all(block.kind == "rest" and block.body == (block.start, block.end) for block in found)


def test_offsets_count_characters() -> None:
    text = 'lamp = "é日🎈"\n\n\ndef ü():\n    return "🎈"\n\n\ndef last():\n    pass\n'
    assert shown(text, "lamp.py") == [
        ("rest", 'lamp = "é日🎈"'),
        ("definition", "def ü():"),
        ("definition", "def last():"),
    ]
    tiles("x = '\ud800'\n\ndef f():\n    pass\n", "lamp.py")


@pytest.mark.parametrize("title", ["a.py", "a.js", "a.tsx", "a.java", "a.txt"])
@pytest.mark.parametrize("text", ["", "\n", "  \n\t\n", "# nothing\n", "\x00", "x" * 100_000, "f();" * 20_000])
def test_odd_texts_are_tiled(text: str, title: str) -> None:
    assert bool(tiles(text, title)) == bool(text)


def test_classes_in_each_other_are_taken_apart_only_so_far() -> None:
    depth = DEEPEST + 10
    text = "".join(f"{' ' * level}class A{level}:\n" for level in range(depth)) + f"{' ' * depth}def f(self): pass\n"
    found = tiles(text, "deep.py")
    assert [block.kind for block in found].count("frame") >= DEEPEST
    assert found[-1].kind == "definition"


def test_a_parser_that_is_not_installed_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    code_blocks._language.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_java", None)
    with pytest.raises(MissingExtraError, match="'code'"):
        blocks_of(JAVA, "Lamp.java")
    assert len(blocks_of("puts 1\n\nputs 2\n", "lamp.rb")) == 2


LINES = st.sampled_from(
    [
        "def f(a):",
        "    return 1",
        "class A:",
        "    def g(self):",
        "        pass  # done",
        "@cached",
        "# a comment",
        "function f() {",
        "}",
        "class A {",
        "  g() { return 1; }",
        "x = 1",
        "x = 1; y = 2;",
        "/* a */ var z = () => { 1 };",
        "int h() { return 1; }",
        "é = '日'",
        "",
        "   ",
        "\t",
    ]
)


@given(st.lists(LINES, max_size=14), st.sampled_from(["\n", "\r\n", ""]), st.sampled_from([*FILES, "lamp.txt"]))
def test_blocks_tile_whatever_stands_there(lines: list[str], ending: str, title: str) -> None:
    tiles(ending.join(lines), title)


@pytest.mark.parametrize("title", FILES)
@given(st.data())
def test_blocks_tile_every_piece_of_a_file(title: str, data: st.DataObject) -> None:
    text = FILES[title]
    start = data.draw(st.integers(0, len(text)))
    tiles(text[start : data.draw(st.integers(start, len(text)))], title)
