"""The formats that are read: which file names belong to each, and which function reads it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from pathlib import PurePath

from turnout.retrieval.convert.converted import Converter
from turnout.retrieval.convert.docx import convert_docx
from turnout.retrieval.convert.html import convert_html
from turnout.retrieval.convert.pdf import convert_pdf
from turnout.retrieval.convert.text import convert_text_bytes

READABLE = "PDF, DOCX, HTML, Markdown, plain text and source code"


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


CODE_SUFFIXES = _suffixes(
    "asm awk bash bat c cc cfg cjs clj cmake cmd coffee conf cpp cs css cu cuh cxx d dart diff el erl ex exs f f90 "
    "fish fs glsl go gradle graphql groovy h hcl hh hpp hs hxx ini ipynb java jl js json json5 jsonc jsonl jsx kt kts "
    "less lisp lua m mjs mk ml mli mm nim nix pas patch php pl pm properties proto ps1 pxd py pyi pyx r rb rs s sass "
    "scala scm scss sh sol sql svelte swift tcl tf toml ts tsx v vb vhd vim vue xml xsd xsl yaml yml zig zsh"
)
CODE_NAMES = frozenset({"cmakelists.txt", "dockerfile", "gemfile", "jenkinsfile", "justfile", "makefile", "rakefile"})
TEXT_SUFFIXES = _suffixes("adoc asc csv eml log org rst srt tex text tsv txt vtt")


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of document. `revision` goes up whenever the same bytes would give another text."""

    kind: str
    revision: int
    convert: Converter
    suffixes: frozenset[str]
    libraries: tuple[str, ...]


FORMATS: dict[str, Format] = {
    one.kind: one
    for one in (
        Format("pdf", 1, convert_pdf, frozenset({".pdf"}), ("pypdfium2",)),
        Format("docx", 1, convert_docx, frozenset({".docx", ".docm"}), ("mammoth", "markdownify")),
        Format("html", 1, convert_html, frozenset({".html", ".htm", ".xhtml"}), ("beautifulsoup4", "markdownify")),
        Format(
            "markdown",
            1,
            convert_text_bytes,
            frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"}),
            ("charset-normalizer",),
        ),
        Format("code", 1, convert_text_bytes, CODE_SUFFIXES, ("charset-normalizer",)),
        Format("text", 1, convert_text_bytes, TEXT_SUFFIXES, ("charset-normalizer",)),
    )
}


def kind_of(name: str) -> str | None:
    """The kind that a file name claims, or None where it claims nothing that is known."""
    path = PurePath(name.lower())
    if path.name in CODE_NAMES:
        return "code"
    return next((one.kind for one in FORMATS.values() if path.suffix in one.suffixes), None)


def converter_for(name: str) -> str:
    """What would convert a file of this name, for example "pdf/1 pypdfium2 5.15.2".

    It changes whenever the conversion may change, so it is stored beside what was converted.
    """
    return _converter(kind_of(name) or "text")


@functools.cache
def _converter(kind: str) -> str:
    chosen = FORMATS[kind]
    return " ".join([f"{kind}/{chosen.revision}", *(f"{name} {_version(name)}" for name in chosen.libraries)])


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
