"""From bytes to text: byte order marks, UTF-8, then what the file declares, then detection on a sample."""

from __future__ import annotations

import codecs

from turnout.errors import DocumentError
from turnout.retrieval.convert.content import HEAD_BYTES, utf16_without_mark

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Detection takes seconds per megabyte; a sample of this size around the first odd byte decides as well.
_SAMPLE_BYTES = 32_768
_TIDY = 0.02


def decode(data: bytes, *, source: str, declared: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Decodes a text file whose encoding is not known.

    Args:
        source: named in errors.
        declared: an encoding that the file names itself, tried where it is not UTF-8.

    Returns:
        The text without a byte order mark, and a note where the encoding was guessed or bytes were replaced.

    Raises:
        DocumentError: no known encoding fits.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    marked = marked or utf16_without_mark(data[:HEAD_BYTES])
    if marked:
        text = data.decode(marked, errors="replace")
        return text, _replaced(text)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        first_odd = error.start
    if declared and (as_declared := _try(data, declared)) is not None:
        return as_declared, ()
    if (mended := _damaged_utf8(data)) is not None:
        return mended, _replaced(mended)
    name = _detect(_sample(data, first_odd))
    if name is None:
        raise DocumentError(
            source, "is not text in any known encoding", hint="if it is text, save it as UTF-8 and try again"
        )
    text = data.decode(name, errors="replace")
    return text, (f"encoding detected: {name}", *_replaced(text))


def _try(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (LookupError, UnicodeDecodeError):
        return None


def _replaced(text: str) -> tuple[str, ...]:
    count = text.count("\ufffd")
    if not count:
        return ()
    return (f"{count:,} character{'' if count == 1 else 's'} could not be decoded",)


def _damaged_utf8(data: bytes) -> str | None:
    # One broken byte must not turn a whole UTF-8 file into another encoding's letters.
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    intact = len(text) - len(text.encode("ascii", errors="ignore")) - broken
    return text if intact >= 10 * broken else None


def _sample(data: bytes, first_odd: int) -> bytes:
    # Cut at line ends, so that no character of several bytes is cut in two.
    start = data.rfind(b"\n", 0, max(0, first_odd - _SAMPLE_BYTES // 2)) + 1
    start = max(start, first_odd - _SAMPLE_BYTES)
    sample = data[start : start + _SAMPLE_BYTES]
    end = sample.rfind(b"\n", first_odd - start + 1)
    return sample[: end + 1] if end > 0 and start + len(sample) < len(data) else sample


def _detect(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    # Short Western texts fit many code pages; the most common one wins unless another fits clearly better.
    western = from_bytes(sample, cp_isolation=["cp1252"], enable_fallback=False).best()
    if western is not None and western.chaos <= _TIDY and (best is None or western.coherence >= best.coherence - 0.1):
        return "cp1252"
    return best.encoding if best is not None else None
