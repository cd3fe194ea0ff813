"""What every conversion promises: identity, source, title, text and code left alone, encodings told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.documents import docx, pdf

from turnout.documents import Text
from turnout.errors import DocumentError, MissingExtraError
from turnout.retrieval.convert import convert_bytes, convert_file, convert_text, converter_for, document_id

LIMIT = 10_000_000


def test_a_file_becomes_a_document(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# Notes\n\nThree years.\n")
    document = convert_file(path, max_bytes=LIMIT)
    assert (document.title, document.kind, document.source) == ("notes.md", "markdown", str(path))
    assert document.text == "# Notes\n\nThree years.\n"
    assert (document.pages, document.notes) == ((), ())
    assert convert_file(path, shown="mine.md", max_bytes=LIMIT).source == "mine.md"


def test_the_source_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert convert_file(Path("../a.txt"), max_bytes=LIMIT).source == str(tmp_path / "a.txt")


def test_a_file_name_that_is_not_utf8_can_be_stored(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_text("text")
    document = convert_file(path, max_bytes=LIMIT)
    assert (document.title, document.source) == ("caf\ufffd.txt", f"{tmp_path}/caf\ufffd.txt")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.md", "markdown"),
        ("a.MARKDOWN", "markdown"),
        ("a.txt", "text"),
        ("a.csv", "text"),
        ("a.unknown", "text"),
        ("README", "text"),
        ("a.py", "code"),
        ("a.TS", "code"),
        ("a.yaml", "code"),
        ("Makefile", "code"),
        ("CMakeLists.txt", "code"),
        ("a.html", "html"),
        ("folder.py/a.rst", "text"),
    ],
)
def test_the_name_decides_the_kind_of_text(name: str, kind: str) -> None:
    assert convert_bytes(b"x = 1", name=name, source=name).kind == kind


def test_content_decides_where_the_name_says_nothing() -> None:
    assert convert_bytes(pdf("text"), name="upload", source="s").kind == "pdf"
    assert convert_bytes(docx(["text"]), name="upload.tmp", source="s").kind == "docx"
    assert convert_bytes(b"<!DOCTYPE html><p>text</p>", name="page.aspx", source="s").text == "text"


def test_text_that_starts_like_another_format_is_text() -> None:
    for text in (b"GIF89a is a format", b"ID3 tags", b"The ftyp box", b"RIFF and more", b"BZh is how bzip2 begins"):
        assert convert_bytes(text, name="notes.txt", source="s").text == text.decode()


def test_identity_rests_on_content_alone(tmp_path: Path) -> None:
    first = convert_bytes(b"same text", name="a.txt", source="one")
    second = convert_bytes(b"\xef\xbb\xbfsame text", name="b.txt", source="two")
    assert first.id == second.id == document_id("text", "same text", ()) == convert_text(Text("same text")).id
    others = [("code", "same text", ()), ("text", "same text", (0,)), ("text", "same text.", ())]
    assert len({first.id, *(document_id(*other) for other in others)}) == 4
    assert document_id("pdf", "ab", (0, 1)) != document_id("pdf", "ab", (0, 11))
    assert len(first.id) == 64


def test_given_text_keeps_its_title_and_gets_a_source() -> None:
    document = convert_text(Text("one\r\ntwo\rthree", title="mail 12 May"))
    assert (document.text, document.title, document.kind) == ("one\ntwo\nthree", "mail 12 May", "text")
    assert document.source == f"text:{document.id[:12]}"
    assert convert_text(Text("one", source="crm:17")).source == "crm:17"


@pytest.mark.parametrize(("text", "reason"), [("", "holds no text"), (" \n\t\u00a0", "holds only white space")])
def test_given_text_without_words_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        convert_text(Text(text, title="mail"))
    assert (caught.value.source, caught.value.reason) == ("mail", reason)


def test_what_can_not_be_stored_is_replaced_and_noted() -> None:
    document = convert_text(Text("a\x00b\ud800c"))
    assert document.text == "a\ufffdb\ufffdc"
    assert document.notes == ("characters that are not text were replaced",)


@given(st.text(alphabet=st.characters(exclude_characters="\r\x00\ufeff", codec="utf-8"), max_size=200))
@settings(max_examples=50, deadline=None)
def test_utf8_text_is_left_untouched(text: str) -> None:
    assert convert_bytes(b"words " + text.encode(), name="a.md", source="s").text == "words " + text


ENGLISH = "The fee rises to the naïve figure in the café, “as agreed” – by Müller’s résumé.\r\nThe end.\n"
TEXTS = {
    "utf-8": ENGLISH,
    "utf-8-sig": ENGLISH,
    "utf-16": ENGLISH,
    "utf-16-le": ENGLISH,
    "utf-16-be": ENGLISH,
    "utf-32": ENGLISH,
    "cp1252": ENGLISH,
    "cp1250": "Zażółć gęślą jaźń, a to jest dłuższe zdanie po polsku.",
    "cp1251": "Договор вступает в силу с момента подписания сторонами.",
    "shift_jis": "本契約は署名の日から効力を生じる。契約期間は三年とする。",
    "gb18030": "本合同自双方签字之日起生效，有效期三年。任何一方不得转让。",
    "euc_kr": "이 계약은 서명일로부터 효력이 발생한다. 계약 기간은 3년이다.",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_told(encoding: str) -> None:
    text = TEXTS[encoding]
    document = convert_bytes(text.encode(encoding), name="a.txt", source="s")
    assert document.text == text.replace("\r\n", "\n")
    assert bool(document.notes) == (not encoding.startswith("utf"))


def test_an_odd_byte_far_into_a_file_is_found() -> None:
    data = b"plain words\n" * 50_000 + "Größe und Maß\n".encode("cp1252") + b"plain words\n" * 50_000
    document = convert_bytes(data, name="a.txt", source="s")
    assert document.text.count("Größe und Maß") == 1
    assert document.notes == ("encoding detected: cp1252",)


def test_one_broken_byte_does_not_change_the_encoding_of_a_file() -> None:
    document = convert_bytes("Größe für alle, überall schön. ".encode() * 10 + b"\xff", name="a.txt", source="s")
    assert document.text.startswith("Größe für alle") and document.text.endswith("\ufffd")
    assert document.notes == ("1 character could not be decoded",)


def test_the_converter_names_its_library_and_version() -> None:
    assert converter_for("x/a.PDF").startswith("pdf/1 pypdfium2 ")
    assert converter_for("a.docx").startswith("docx/1 mammoth ")
    assert converter_for("a") == converter_for("a.txt") != converter_for("a.md")


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pdf("text")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingExtraError, match="reading PDF needs the extra 'documents'"):
        convert_bytes(data, name="a.pdf", source="a.pdf")


def test_importing_the_converters_loads_none_of_their_libraries() -> None:
    code = (
        "import sys, turnout.retrieval.convert, turnout.retrieval.walk\n"
        "print(*{'pypdfium2', 'mammoth', 'bs4', 'markdownify', 'lxml', 'charset_normalizer'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
