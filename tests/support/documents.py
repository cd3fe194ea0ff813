"""Makes the files that tests read: good ones, and ones that are broken in one stated way."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)


def pdf(*pages: str, password: str | None = None, owner_password: str | None = None) -> bytes:
    """A PDF with one printed page per text; an empty text draws a picture, as a scanned page would have.

    Args:
        password: needed to open it.
        owner_password: needed to change it only; everyone can open it.
    """
    from fpdf import FPDF

    document = FPDF()
    document.set_auto_page_break(False)
    document.set_font("Helvetica", size=11)
    if password or owner_password:
        document.set_encryption(owner_password=owner_password or f"owner of {password}", user_password=password)
    for text in pages:
        document.add_page()
        if text:
            document.multi_cell(0, 6, text)
        else:
            document.rect(20, 20, 100, 100)
    return bytes(document.output())


def truncated(data: bytes, part: float = 0.5) -> bytes:
    """The first `part` of a file, as a broken download leaves it."""
    return data[: int(len(data) * part)]


def docx(
    paragraphs: Mapping[str, str] | list[str],
    *,
    table: list[list[str]] | None = None,
    bullets: list[str] | None = None,
) -> bytes:
    """A Word document of headings with one paragraph each (a mapping), or of paragraphs alone (a list)."""
    from docx import Document

    document = Document()
    if isinstance(paragraphs, Mapping):
        for heading, text in paragraphs.items():
            document.add_heading(heading, level=1)
            document.add_paragraph(text)
    else:
        for text in paragraphs:
            document.add_paragraph(text)
    for item in bullets or []:
        document.add_paragraph(item, style="List Bullet")
    if table:
        grid = document.add_table(rows=0, cols=len(table[0]))
        for row in table:
            for cell, text in zip(grid.add_row().cells, row, strict=True):
                cell.text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A compressed ZIP archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer.getvalue()


def with_part(package: bytes, name: str, content: bytes) -> bytes:
    """A copy of an Office file in which one part is replaced or added."""
    with zipfile.ZipFile(io.BytesIO(package)) as source:
        files = {each: source.read(each) for each in source.namelist()}
    return archive({**files, name: content})
