"""From files, bytes and text to documents: one file per format, each a function from bytes to text."""

from turnout.retrieval.convert.convert import convert_bytes, convert_text, document_id, storable
from turnout.retrieval.convert.files import absolute, convert_file
from turnout.retrieval.convert.formats import converter_for

__all__ = ["absolute", "convert_bytes", "convert_file", "convert_text", "converter_for", "document_id", "storable"]
