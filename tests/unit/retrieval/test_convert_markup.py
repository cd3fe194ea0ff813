"""HTML and DOCX become Markdown: structure stays, what nobody reads goes."""

from __future__ import annotations

import textwrap

from support.documents import docx, with_part

from turnout.retrieval.convert import convert_bytes


def _html(markup: str | bytes) -> str:
    data = markup if isinstance(markup, bytes) else markup.encode()
    return convert_bytes(data, name="page.html", source="page.html").text


def test_headings_lists_tables_and_code_stay() -> None:
    text = _html(
        """<!doctype html><html><head><title>T</title></head><body>
        <h1>Terms</h1><p>Valid for <b>three</b> years, see <a href="/x">the annex</a>.<br>Next line</p>
        <h2>Parts</h2><ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul><ol><li>a</li><li>b</li></ol>
        <table><tr><td>Fee</td><td>Year</td></tr><tr><td>10</td><td>2026</td></tr></table>
        <pre>def f(): return snake_case * 2</pre></body></html>"""
    )
    assert text == textwrap.dedent(
        """\
        # Terms

        Valid for three years, see the annex.
        Next line

        ## Parts

        - one
          - inner
        - two

        1. a
        2. b

        | Fee | Year |
        | --- | --- |
        | 10 | 2026 |

        ```
        def f(): return snake_case * 2
        ```"""
    )


def test_what_a_reader_does_not_see_goes() -> None:
    text = _html(
        "<head><style>p {}</style></head><script>steal()</script><!-- comment --><noscript>enable</noscript>"
        "<template>later</template><p>Seen<script>x()</script> text</p><img src='x.png' alt=''>"
    )
    assert text == "Seen text"


def test_text_in_a_page_is_never_taken_for_markup() -> None:
    assert _html("<p>2 * 3 * 4, snake_case_name, &lt;script&gt; &amp; [x]</p>") == (
        "2 * 3 * 4, snake_case_name, <script> & [x]"
    )


def test_the_declared_charset_counts() -> None:
    assert _html('<meta charset="iso-8859-2"><p>Zażółć gęślą jaźń'.encode("iso-8859-2")) == "Zażółć gęślą jaźń"
    assert _html('<meta charset="no-such"><p>café'.encode("cp1252")) == "café"


def test_xhtml_and_bare_text_are_read() -> None:
    markup = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>x &amp; y</p></body></html>'
    assert convert_bytes(markup, name="a.xhtml", source="a").text == "x & y"
    assert _html("index.html") == "index.html"


def test_docx_keeps_headings_lists_and_tables() -> None:
    data = docx(
        {"Term": "Valid for three years.\nFrom 2026 ↑.", "Fees": "Ten * two."},
        bullets=["one", "two"],
        table=[["Fee", "Year"], ["10", "2026"]],
    )
    document = convert_bytes(data, name="msa.docx", source="msa.docx")
    assert document.kind == "docx"
    assert document.text == (
        "# Term\n\nValid for three years.\nFrom 2026 ↑.\n\n# Fees\n\nTen * two.\n\n- one\n- two\n\n"
        "| Fee | Year |\n| --- | --- |\n| 10 | 2026 |"
    )
    assert document.place(document.text.index("Ten")).label == 'msa.docx "Fees" l.8'


def test_docx_pictures_are_left_out() -> None:
    data = with_part(docx(["Text."]), "word/media/picture.png", b"\x89PNG" + bytes(10_000))
    assert convert_bytes(data, name="a.docx", source="a").text == "Text."
