"""PDF through pdfium: the text of each page in reading order, line by line as printed."""

from __future__ import annotations

import re
import threading
from typing import Any

from turnout.errors import DocumentError
from turnout.retrieval.convert.converted import Converted, library

PAGE_BREAK = "\n\n"
_END_MARKER = b"%%EOF"
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD
_DAMAGED_HINT = "download or export it again, or print it to a new PDF from a viewer that still opens it"

# pdfium is not thread-safe: one caller at a time, whatever the document.
_PDFIUM = threading.Lock()

# pdfium joins a word that is hyphenated over a line end and leaves this mark in place of hyphen and break.
_MARK = "\ufffe"
_HYPHENATED = re.compile(rf"(?<!\S)[^\s{_MARK}]++(?:{_MARK}[^\s{_MARK}]++)+ ?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufdd0-\ufdef\uffff]")
_WORD_BEFORE = re.compile(r"\w+$")
_WORD_AFTER = re.compile(r"^\w+")
_WORDS = re.compile(r"\w+(?:-\w+)*")


def convert_pdf(data: bytes, *, source: str, max_bytes: int) -> Converted:
    """Reads every page; pages without text are counted in a note.

    Raises:
        DocumentError: a password is needed, the file is damaged, or no page has text.
    """
    cut_off = _END_MARKER not in data[-2048:]
    with _PDFIUM:
        pages, unreadable = _read_pages(data, source, cut_off)
    if not any(pages):
        if cut_off or unreadable:
            raise _damaged(source, cut_off)
        which = "its only page has no text" if len(pages) == 1 else f"none of its {len(pages)} pages has text"
        raise DocumentError(
            source,
            f"{which}: it looks scanned",
            hint="recognise the text first, for example: ocrmypdf scanned.pdf searchable.pdf",
        )
    text, starts = _joined(_dehyphenated(pages))
    notes = []
    if empty := sum(not page for page in pages) - unreadable:
        notes.append(f"{empty} of {len(pages)} pages {'has' if empty == 1 else 'have'} no text")
    if unreadable:
        notes.append(f"damaged: {unreadable} of {len(pages)} pages can't be read")
    if cut_off:
        notes.append("its end marker is missing: pages may be lost")
    return Converted(text, starts, tuple(notes))


def _read_pages(data: bytes, source: str, cut_off: bool) -> tuple[list[str], int]:
    """The raw text of each page, and how many pages could not be read (their text is empty)."""
    pdfium = library("pypdfium2", "reading PDF")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code == _PASSWORD_NEEDED:
            raise DocumentError(
                source,
                "needs a password to be opened",
                hint="save a copy without it, for example: qpdf --password=PASSWORD --decrypt locked.pdf open.pdf",
            ) from error
        raise _damaged(source, cut_off) from error
    pages, unreadable = [], 0
    try:
        for number in range(len(document)):
            try:
                pages.append(_clean(_page_text(document, number)))
            except pdfium.PdfiumError:
                pages.append("")
                unreadable += 1
    finally:
        document.close()
    return pages, unreadable


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_range())
        finally:
            text_page.close()
    finally:
        page.close()


def _clean(text: str) -> str:
    marks_kept = text.replace("\r\n", "\n").replace("\u0002", _MARK)
    return "\n".join(line.rstrip() for line in _CONTROL.sub("", marks_kept).split("\n")).strip("\n")


def _damaged(source: str, cut_off: bool) -> DocumentError:
    if cut_off:
        return DocumentError(source, "is cut off: the end of the PDF is missing", hint=_DAMAGED_HINT)
    return DocumentError(source, "is damaged: its PDF structure can't be read", hint=_DAMAGED_HINT)


def _dehyphenated(pages: list[str]) -> list[str]:
    """Mends words that were hyphenated at line ends; the line break moves behind the mended word.

    A hyphen that belongs to the word (state-of-the-art) stays. The document's own words decide: the spelling that
    also stands unbroken somewhere wins.
    """
    if not any(_MARK in page for page in pages):
        return pages
    known = {word.lower() for page in pages for word in _WORDS.findall(page)}

    def mended(match: re.Match[str]) -> str:
        first, *rest = match.group().rstrip(" ").split(_MARK)
        for part in rest:
            first += _link(first, part, known) + part
        return first + "\n"

    return [_HYPHENATED.sub(mended, page).replace(_MARK, "-").rstrip("\n") for page in pages]


def _link(before: str, after: str, known: set[str]) -> str:
    left, right = _WORD_BEFORE.search(before), _WORD_AFTER.search(after)
    if left is None or right is None:
        return "-"
    joined, hyphened = left.group() + right.group(), f"{left.group()}-{right.group()}"
    if joined.lower() in known:
        return ""
    compound = before[: left.start()].endswith("-") or not right.group()[0].islower()
    return "-" if compound or hyphened.lower() in known else ""


def _joined(pages: list[str]) -> tuple[str, tuple[int, ...]]:
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(PAGE_BREAK)
    return PAGE_BREAK.join(pages), tuple(starts)
