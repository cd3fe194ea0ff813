"""PDF: pages, lines, words broken at line ends."""

from __future__ import annotations

import threading

import pytest
from support.documents import pdf

from turnout.documents import Document
from turnout.errors import DocumentError
from turnout.retrieval.convert import convert_bytes


def _read(*pages: str) -> Document:
    return convert_bytes(pdf(*pages), name="msa.pdf", source="msa.pdf")


def test_pages_and_lines_are_cited_as_printed() -> None:
    document = _read("First page.\nIts second line.", "Second page.\nConfidentiality lasts\nthree years.", "Last.")
    assert document.text == (
        "First page.\nIts second line.\n\nSecond page.\nConfidentiality lasts\nthree years.\n\nLast."
    )
    assert [document.text[start:][:6] for start in document.pages] == ["First ", "Second", "Last."]
    assert document.place(document.text.index("three")).label == "msa.pdf p.2 l.3"
    assert document.place(0).label == "msa.pdf p.1 l.1"
    assert document.place(len(document.text) - 1).label == "msa.pdf p.3 l.1"


def test_pages_without_text_are_counted_and_keep_their_number() -> None:
    document = _read("One.", "", "Three.", "")
    assert document.notes == ("2 of 4 pages have no text",)
    assert document.place(document.text.index("Three")).page == 3
    assert len(document.pages) == 4


def test_a_scanned_document_is_refused_with_its_page_count() -> None:
    with pytest.raises(DocumentError) as caught:
        _read("", "", "")
    assert caught.value.reason == "none of its 3 pages has text: it looks scanned"
    assert "ocrmypdf" in caught.value.hint
    with pytest.raises(DocumentError, match="its only page has no text: it looks scanned"):
        _read("")


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("a fine exam-\nple of it", "a fine example\nof it"),
        ("a fine exam-\nple, of it", "a fine example,\nof it"),
        ("the state-of-the-\nart thing", "the state-of-the-art\nthing"),
        ("some Anglo-\nAmerican law", "some Anglo-American\nlaw"),
        ("it is well-\nknown here, a well-known fact", "it is well-known\nhere, a well-known fact"),
        ("AGREE-\nMENT is an agreement", "AGREEMENT\nis an agreement"),
        ("pages 10-\n20 here", "pages 10-\n20 here"),
        ("a dash -\nand more", "a dash -\nand more"),
        ("the ter-\nmination\nof it", "the termination\n\nof it"),
    ],
)
def test_words_broken_at_line_ends_are_mended(printed: str, expected: str) -> None:
    assert _read(printed).text == expected


def test_mended_words_keep_the_number_of_every_later_line() -> None:
    document = _read("The ter-\nmination of the agree-\nment is final.\nConfidentiality lasts.")
    assert document.place(document.text.index("Confidentiality")).line == 4


def test_no_artefact_of_the_library_is_left() -> None:
    text = _read("An exam-\nple with a\ttab, a soft hy\xadphen and \xa9 signs.\n\n\nEnd.").text
    assert not {character for character in text if ord(character) < 32 and character not in "\n\t"}
    assert not {"\ufffe", "\uffff", "\xad"} & set(text)


def test_readable_without_a_password_is_readable() -> None:
    assert convert_bytes(pdf("Hello.", owner_password="secret"), name="a.pdf", source="a").text == "Hello."


def test_bytes_before_the_header_are_allowed() -> None:
    assert convert_bytes(b"\n\n" + pdf("Hello."), name="a.pdf", source="a").text == "Hello."


def test_a_lost_end_is_noted_where_the_text_is_there() -> None:
    document = convert_bytes(pdf("Hello.") + b"\n" * 5000, name="a.pdf", source="a")
    assert document.text == "Hello."
    assert document.notes == ("its end marker is missing: pages may be lost",)


def test_a_damaged_page_is_noted_and_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdfium2

    plain = pypdfium2.PdfDocument.get_page

    def damaged(document: pypdfium2.PdfDocument, index: int) -> pypdfium2.PdfPage:
        if index == 1:
            raise pypdfium2.PdfiumError("Failed to load page.")
        return plain(document, index)

    monkeypatch.setattr(pypdfium2.PdfDocument, "__getitem__", damaged)
    document = _read("One.", "Two.", "Three.")
    assert document.text == "One.\n\n\n\nThree."
    assert document.notes == ("damaged: 1 of 3 pages can't be read",)


def test_threads_can_read_at_once() -> None:
    files = [pdf(*[f"Document {number}, page {page}." for page in range(20)]) for number in range(4)]
    texts: dict[int, str] = {}

    def read(number: int) -> None:
        texts[number] = convert_bytes(files[number], name="a.pdf", source="a").text

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(len(files)):
        assert texts[number].count(f"Document {number}, page") == 20
