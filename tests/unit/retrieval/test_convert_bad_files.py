"""Each thing that can be wrong with a file has its own words, and nothing but a DocumentError comes out."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from support.documents import PNG, archive, docx, pdf, truncated, with_part

from turnout.errors import DocumentError
from turnout.retrieval.convert import convert_bytes, convert_file

LIMIT = 10_000_000
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
BODY = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def _failure(data: bytes, name: str, limit: int = LIMIT) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        convert_bytes(data, name=name, source=name, max_bytes=limit)
    assert caught.value.source == name
    return caught.value


@pytest.mark.parametrize(
    ("data", "name", "reason", "hint"),
    [
        (b"", "a.txt", "is empty (0 bytes)", ""),
        (b" \n\t ", "a.md", "holds only white space", ""),
        (b"<html><script>x()</script></html>", "a.html", "holds no text", ""),
        (docx([]), "a.docx", "holds no text", ""),
        (b"abc\x00def" * 100, "a.txt", "holds binary data, which is not read", "turnout reads PDF"),
        (PNG, "a.png", "holds a PNG image, which is not read", "turnout reads PDF"),
        (PNG, "a.pdf", "is named .pdf but holds a PNG image", "turnout reads PDF"),
        (b"Dear all, hello", "a.pdf", "is named .pdf but holds plain text", "end in .txt"),
        (b" <!DOCTYPE html><p>Log in", "a.pdf", "is named .pdf but holds an HTML page", "end in .html"),
        (docx(["x"]), "a.pdf", "is named .pdf but holds a Word document", "end in .docx"),
        (bytes(range(256)) * 9, "a.pdf", "is named .pdf but has no PDF structure", "get it again"),
        (bytes(range(256)) * 9, "a.docx", "is named .docx but has no DOCX structure", "get it again"),
        (b"Dear all, hello", "a.docx", "is named .docx but holds plain text", "end in .txt"),
        (pdf("x"), "a.docx", "is named .docx but holds a PDF", "end in .pdf"),
        (archive({"a.txt": b"x"}), "a.docx", "is named .docx but holds a ZIP archive", "turnout reads PDF"),
        (archive({"xl/workbook.xml": b"x"}), "a.docx", "is named .docx but holds an Excel workbook", "save it as"),
        (b"{\\rtf1 hello}", "a.docx", "is named .docx but holds an RTF document", "save it as"),
        (OLE, "a.doc", "holds an old Office document, which is not read", "save it as"),
        (pdf("x"), "a.txt", "is named .txt but holds a PDF", "end in .pdf"),
        (pdf("x"), "Makefile", "is named Makefile but holds a PDF", "end in .pdf"),
        (archive({"a.txt": b"x"}), "a.txt", "is named .txt but holds a ZIP archive", "turnout reads PDF"),
        (docx(["x"]), "a.md", "is named .md but holds a Word document", "end in .docx"),
        (pdf("x", password="secret"), "a.pdf", "needs a password to be opened", "qpdf"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.docx", "needs a password to be opened", "without the"),
        (b"%PDF-1.7\n" + b"nothing here\n" * 9 + b"%%EOF", "a.pdf", "is damaged: its PDF structure", "again"),
        (b"<div>" * 5000 + b"text", "a.html", "its elements are nested too deep", "plain text"),
    ],
)
def test_each_bad_content_has_its_own_words(data: bytes, name: str, reason: str, hint: str) -> None:
    failure = _failure(data, name)
    assert failure.reason.startswith(reason)
    assert hint in failure.hint


@pytest.mark.parametrize("part", [0.05, 0.5, 0.9, 0.99])
def test_truncated_files_are_told(part: float) -> None:
    pages = pdf(*["A page of text."] * 20)
    assert _failure(truncated(pages, part), "a.pdf").reason == "is cut off: the end of the PDF is missing"
    package = docx({"Heading": "Text."})
    assert _failure(truncated(package, part), "a.docx").reason.startswith("is damaged or cut off")


def test_a_damaged_part_of_a_docx_is_told() -> None:
    assert _failure(with_part(docx(["x"]), "word/document.xml", b"<a><b>"), "a.docx").reason.startswith("is damaged")


def test_random_damage_never_escapes_as_another_error() -> None:
    chance = random.Random(7)
    for name, whole in (("a.pdf", pdf(*["Some text."] * 5)), ("a.docx", docx({"Heading": "Text."}))):
        refused = 0
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(20):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                convert_bytes(bytes(damaged), name=name, source=name, max_bytes=LIMIT)
            except DocumentError:
                refused += 1
        assert refused > 0


def test_an_archive_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = with_part(docx(["x"]), "word/media/zeros.bin", bytes(2_000_000))
    assert len(bomb) < 100_000
    failure = _failure(bomb, "a.docx", limit=100_000)
    assert failure.reason.startswith("would unpack to 2.") and failure.reason.endswith("over the limit of 1.0 MB")
    assert convert_bytes(bomb, name="a.docx", source="a", max_bytes=1_000_000).text == "x"


def test_a_huge_xml_part_is_refused() -> None:
    large = with_part(docx(["x"]), "word/document.xml", BODY + b" " * 500_000 + b"</w:body></w:document>")
    assert "unpacks word/document.xml to 0.5 MB" in _failure(large, "a.docx", limit=200_000).reason


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_xml_entities_are_refused(encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding}"?>{ENTITIES.decode()}{BODY.decode()}&b;</w:body></w:document>'
    bomb = with_part(docx(["x"]), "word/document.xml", declared.encode(encoding))
    assert "declares XML entities" in _failure(bomb, "a.docx").reason


def test_deep_nesting_in_a_docx_is_refused() -> None:
    deep = BODY + b"<w:p>" * 5000 + b"</w:p>" * 5000 + b"</w:body></w:document>"
    assert _failure(with_part(docx(["x"]), "word/document.xml", deep), "a.docx").reason == (
        "its elements are nested too deep"
    )


def _file_failure(path: Path, limit: int = LIMIT) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        convert_file(path, max_bytes=limit)
    return caught.value


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "contract.pdf").write_bytes(b"x")
    failure = _file_failure(tmp_path / "contrakt.pdf")
    assert (failure.reason, failure.hint) == ("does not exist", f"did you mean {tmp_path / 'contract.pdf'}?")
    assert "no file of a similar name" in _file_failure(tmp_path / "zzz.txt").hint
    assert "no folder" in _file_failure(tmp_path / "no" / "x.txt").hint
    assert _file_failure(tmp_path / "contract.pdf" / "x.txt").reason == "does not exist"


def test_a_folder_or_pipe_is_no_file(tmp_path: Path) -> None:
    assert _file_failure(tmp_path).reason == "is a folder, not a file"
    os.mkfifo(tmp_path / "pipe")
    assert _file_failure(tmp_path / "pipe").reason == "is not a regular file"


def test_impossible_names_are_told(tmp_path: Path) -> None:
    assert _file_failure(tmp_path / ("x" * 5000)).reason == "can't be read: File name too long"
    assert _file_failure(Path("a\0b")).reason == "can't be read: embedded null byte"


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(300_000_000)
    monkeypatch.setattr(Path, "open", lambda *arguments, **options: pytest.fail("the file was opened"))
    failure = _file_failure(path, limit=100_000_000)
    assert failure.reason == "is 300.0 MB, over the limit of 100.0 MB"
    assert "--max-file-mb" in failure.hint and "TURNOUT_MAX_FILE_MB" in failure.hint


def test_a_file_at_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1000)
    assert convert_file(path, max_bytes=1000).text == "x" * 1000
    assert _file_failure(path, limit=999).reason == "is 1,000 bytes, over the limit of 999 bytes"


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")

    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    failure = _file_failure(path)
    assert failure.reason == "can't be read: permission denied"
    assert "chmod u+r" in failure.hint


def test_any_error_of_a_library_becomes_one_of_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    import mammoth

    def fails(*arguments: object, **options: object) -> None:
        raise TypeError("odd structure")

    monkeypatch.setattr(mammoth, "convert_to_html", fails)
    assert _failure(docx(["x"]), "a.docx").reason == "can't be converted: TypeError: odd structure"
