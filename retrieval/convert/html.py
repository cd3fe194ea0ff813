"""HTML to Markdown: headings, lists and tables stay; scripts, styles and link targets go."""

from __future__ import annotations

import re
import warnings
from typing import Any

from turnout.errors import DocumentError
from turnout.retrieval.convert.converted import Converted, library
from turnout.retrieval.convert.encoding import decode

# The last two are the arrows with which mammoth leads back from a note.
_DROPPED = "script, style, head, noscript, template, a[href^='#footnote-ref-'], a[href^='#endnote-ref-']"
# Marks inside a sentence would stand in the way of quotes: the text is what a reader sees on the page.
_PLAIN = ("a", "img", "b", "strong", "i", "em", "del", "s", "code", "kbd", "samp")
_TRAILING_SPACE = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def convert_html(data: bytes, *, source: str, max_bytes: int) -> Converted:
    """Decodes (the page's own charset declaration counts) and converts to Markdown.

    Raises:
        DocumentError: no known encoding fits, or elements are nested too deep.
    """
    dammit = library("bs4.dammit", "reading HTML")
    declared = dammit.EncodingDetector.find_declared_encoding(data, is_html=True)
    text, notes = decode(data, source=source, declared=declared)
    return Converted(to_markdown(text, source=source), notes=notes)


def to_markdown(html: str, *, source: str) -> str:
    """Converts the visible text of an HTML page or fragment."""
    soup = _parse(html)
    for element in soup.select(_DROPPED):
        element.decompose()
    markdownify = library("markdownify", "reading HTML")
    converter = markdownify.MarkdownConverter(
        heading_style=markdownify.ATX,
        bullets="-",
        strip=list(_PLAIN),
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    )
    try:
        markdown = str(converter.convert_soup(soup))
    except RecursionError as error:
        raise DocumentError(
            source, "its elements are nested too deep", hint="save the page as plain text and add that"
        ) from error
    return _BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", markdown)).strip("\n")


def _parse(html: str) -> Any:
    bs4 = library("bs4", "reading HTML")
    with warnings.catch_warnings():
        # The name of the file, not a guess from its content, says that this is HTML.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return bs4.BeautifulSoup(html, "lxml")
        except bs4.FeatureNotFound:
            return bs4.BeautifulSoup(html, "html.parser")
