"""What bytes hold, told from their first ones: the check of what a file name claims."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

HEAD_BYTES = 8192
HTML = "an HTML page"
BINARY = "binary data"
_PDF_HEADER_BYTES = 1024

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"OggS", "an Ogg recording"),
    (b"ID3", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
)
_TEXTUAL_SIGNATURES = ((b"{\\rtf", "an RTF document"), (b"%!PS", "a PostScript document"))
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a WAV recording"}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")


@dataclass(frozen=True, slots=True)
class Content:
    """What bytes hold: a `kind` that can be read ("text" for any text), or None; and its name for people."""

    kind: str | None
    label: str


LOCKED = Content(None, "an Office document locked with a password")
DAMAGED_ARCHIVE = Content(None, "a damaged ZIP archive")


def identify(data: bytes) -> Content:
    """Names the content of a whole file."""
    if data.startswith(_ZIP):
        return _archive(data)
    if data.startswith(_OLE):
        return LOCKED if "EncryptedPackage".encode("utf-16-le") in data else identify_head(data)
    return identify_head(data)


def identify_head(data: bytes) -> Content:
    """Names the content from the first bytes alone; archives are not looked into."""
    if data.startswith(b"%PDF-"):
        return Content("pdf", "a PDF")
    if data.startswith(_ZIP):
        return Content(None, "a ZIP archive")
    if data.startswith(_OLE):
        return Content(None, "an old Office document")
    binary = looks_binary(data)
    for magic, label in _SIGNATURES + _TEXTUAL_SIGNATURES:
        # A text may start with the letters of a signature ("GIF89a is a format"), but not with its other bytes.
        if data.startswith(magic) and (binary or not magic.isascii() or (magic, label) in _TEXTUAL_SIGNATURES):
            return Content(None, label)
    if binary and data.startswith(b"RIFF"):
        return Content(None, _RIFF.get(data[8:12], "a recording"))
    if binary:
        return Content(None, "a video" if data[4:8] == b"ftyp" else BINARY)
    start = data[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return Content("text", HTML if start.startswith((b"<!doctype html", b"<html")) else "plain text")


def has_pdf_header(data: bytes) -> bool:
    """True where a PDF header stands near the start: readers allow some bytes before it."""
    return b"%PDF-" in data[:_PDF_HEADER_BYTES]


def looks_binary(data: bytes) -> bool:
    """True where the first 8 KiB hold a NUL byte and are not UTF-16 or UTF-32."""
    head = data[:HEAD_BYTES]
    return b"\x00" in head and not head.startswith(_BOMS) and utf16_without_mark(head) is None


def utf16_without_mark(head: bytes) -> str | None:
    """The byte order of mostly Western UTF-16 text that lacks its mark: every second byte is NUL there."""
    even, odd = head[0::2], head[1::2]
    for nuls, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if len(head) >= 4 and nuls.count(0) > 0.7 * len(nuls) and 0 not in others:
            return name
    return None


def _archive(data: bytes) -> Content:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return DAMAGED_ARCHIVE
    for prefix, kind, label in (
        ("word/", "docx", "a Word document"),
        ("xl/", None, "an Excel workbook"),
        ("ppt/", None, "a PowerPoint presentation"),
        ("META-INF/container.xml", None, "an EPUB book"),
        ("content.xml", None, "an OpenDocument file"),
    ):
        if any(name.startswith(prefix) for name in names):
            return Content(kind, label)
    return Content(None, "a ZIP archive")
