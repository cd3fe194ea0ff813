"""DOCX through mammoth to HTML, then to Markdown like any page."""

from __future__ import annotations

import io
import zipfile
import zlib
from xml.parsers.expat import ExpatError

from turnout.errors import DocumentError
from turnout.retrieval.convert.converted import Converted, library, megabytes
from turnout.retrieval.convert.html import to_markdown

MAX_UNPACKING = 10
"""A DOCX whose files unpack to more than this many times the size limit is refused."""

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
_DOCTYPES = tuple("<!DOCTYPE".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))
_HINT = "open it in a word processor and save it again"


def convert_docx(data: bytes, *, source: str, max_bytes: int) -> Converted:
    """Reads the body with its headings, lists, tables and notes; pictures are left out.

    Raises:
        DocumentError: the archive is damaged, or would unpack to too much.
    """
    mammoth = library("mammoth", "reading DOCX")
    try:
        _check(data, source, max_bytes)
        result = mammoth.convert_to_html(
            io.BytesIO(data),
            style_map=_STYLES,
            include_embedded_style_map=False,
            convert_image=lambda image: [],
        )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
        raise DocumentError(source, f"is damaged or cut off: {_first_line(error)}", hint=_HINT) from error
    except ExpatError as error:
        raise DocumentError(source, f"is damaged: its XML can't be read ({error})", hint=_HINT) from error
    except RecursionError as error:
        raise DocumentError(source, "its elements are nested too deep", hint=_HINT) from error
    return Converted(to_markdown(result.value, source=source))


def _check(data: bytes, source: str, max_bytes: int) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        total = sum(part.file_size for part in parts)
        if total > MAX_UNPACKING * max_bytes:
            raise DocumentError(
                source,
                f"would unpack to {megabytes(total)}, over the limit of {megabytes(MAX_UNPACKING * max_bytes)}",
                hint="raise --max-file-mb (TURNOUT_MAX_FILE_MB) if you trust this file",
            )
        for part in parts:
            if part.filename.endswith((".xml", ".rels")):
                _check_part(archive, part, source, max_bytes)


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, source: str, max_bytes: int) -> None:
    # Each part is held as a tree many times its size, so it alone has to stay within the limit for a file.
    if part.file_size > max_bytes:
        raise DocumentError(
            source,
            f"unpacks {part.filename} to {megabytes(part.file_size)}, over the limit of {megabytes(max_bytes)}",
            hint="raise --max-file-mb (TURNOUT_MAX_FILE_MB) if you trust this file",
        )
    # The format forbids document types; entities declared in one can expand without bound.
    content = archive.read(part)
    if any(mark in content for mark in _DOCTYPES):
        raise DocumentError(source, f"its part {part.filename} declares XML entities, which is refused", hint=_HINT)


def _first_line(error: BaseException) -> str:
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
