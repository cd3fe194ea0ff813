import re
from collections.abc import Sequence

import pytest

from turnout.documents import Document, Span
from turnout.engines.prompt import NUMBERED, pieces
from turnout.router.citations import (
    Quote,
    best_sentence,
    locate,
    nearest_sentence,
    own_citations,
    split_quotes,
    with_match,
)
from turnout.types import Citation, Context, Part

LEASE = (
    "The Tenant shall pay rent monthly in advance. Confidentiality lasts for a period of three (3) years\n"
    "following termi-\nnation of this Agreement. The ﬁnal offer stands. The Landlord’s “notice period” is 60 days."
)


def document(text: str, name: str = "a.txt") -> Document:
    return Document(id=name, title=name, text=text, source=name, kind="text")


def part(doc: Document, start: int = 0, end: int | None = None) -> Part:
    end = len(doc.text) if end is None else end
    return Part(doc.text[start:end], Span(doc.id, start, end))


def cite(
    answer: str,
    quotes: Sequence[Quote],
    context: Context,
    documents: Sequence[Document],
    question: str,
    *,
    numbered: bool = True,
) -> tuple[Citation, ...]:
    own = own_citations(quotes, context, documents, numbered=numbered)
    return with_match(own, answer, question, context, documents)


@pytest.mark.parametrize(
    ("quote", "how"),
    [
        ("pay rent monthly in advance", "exact"),
        ("three (3) years following", "normalised:whitespace"),
        ("following termination of this Agreement", "normalised:hyphen"),
        ("The final offer stands", "normalised:ligature"),
        ('The Landlord\'s "notice period" is', "normalised:marks"),
    ],
)
def test_a_quote_is_found_exactly_or_after_one_named_normalisation(quote: str, how: str) -> None:
    found = locate(quote, LEASE)
    assert found is not None
    name, start, end = found
    assert name == how
    assert LEASE[start:end].split()[0] == quote.split()[0]


@pytest.mark.parametrize(
    "quote",
    [
        "pay rent",  # under 12 characters
        "The Tenant shall pay rent following termination",  # stitched from two places
        "The Tenant shall pay rent ... in advance",
        "The Landlord shall pay rent monthly",  # a word changed
        "PAY RENT MONTHLY IN ADVANCE",
    ],
)
def test_a_quote_that_does_not_stand_there_is_not_found(quote: str) -> None:
    assert locate(quote, LEASE) is None


def test_quotes_are_parsed_from_lines_and_sentences() -> None:
    text, quotes = split_quotes('Three years.\nQuote: "for a period of three (3) years"\nQuote: "the ﬁnal offer"')
    assert text == "Three years."
    assert quotes == (Quote("for a period of three (3) years"), Quote("the ﬁnal offer"))
    text, quotes = split_quotes('It says "pay rent monthly in advance" and "no".')
    assert text == 'It says "pay rent monthly in advance" and "no".'
    assert quotes == (Quote("pay rent monthly in advance"),)


@pytest.mark.parametrize(
    ("line", "quotes"),
    [
        ("Evidence: The Tenant shall pay", [Quote("The Tenant shall pay")]),
        ('Evidence: "The Tenant shall pay"', [Quote("The Tenant shall pay")]),
        ('Evidence: "Come," said he, "follow me', [Quote('"Come," said he, "follow me')]),
        ("**Evidence:** The Tenant", [Quote("The Tenant")]),
        ("Evidence: [12]", [Quote("[12]", 12)]),
        ("Evidence: [3], [5]", [Quote("[3]", 3), Quote("[5]", 5)]),
        ("Evidence: [3] and [5].", [Quote("[3]", 3), Quote("[5]", 5)]),
        ("**Evidence:** **[12]**", [Quote("[12]", 12)]),
        ("Evidence: [12] The rent is due.", [Quote("[12]", 12)]),
        ("Evidence: [3]\nEvidence: [5]", [Quote("[3]", 3), Quote("[5]", 5)]),
        ("Evidence: the table [12] says so", [Quote("the table [12] says so")]),
    ],
)
def test_a_line_of_evidence_is_one_quote_or_names_sentences(line: str, quotes: list[Quote]) -> None:
    assert split_quotes(f"{line}\nMonthly.") == ("Monthly.", tuple(quotes))


@pytest.mark.parametrize("line", ["Evidence: [12] Paris", "Evidence: [12]: Paris", "Evidence: [12] and Paris"])
def test_what_follows_a_number_is_the_answer_where_there_is_no_other(line: str) -> None:
    assert split_quotes(line) == ("Paris", (Quote("[12]", 12),))


def test_a_number_names_nothing_where_the_prompt_had_none() -> None:
    doc = document("The tower [3] is high. It is old. It rained in May.")
    cited = cite(
        "It rained", [Quote("[3]", 3)], Context((part(doc),), "q"), [doc], "What happened in May?", numbered=False
    )
    assert (cited[0].found, cited[0].quote) == (None, "[3]")
    assert [citation.origin for citation in cited[1:]] == ["matched"]


def test_a_number_alone_answers_nothing() -> None:
    assert split_quotes("Evidence: [12]") == ("", (Quote("[12]", 12),))


def test_a_sentences_number_is_cited_as_the_sentence_that_the_prompt_numbered_so() -> None:
    doc = document(LEASE + "\n\n" + "| row | cell |\n" * 40 + "The deposit is two rents.\n", "a.txt")
    other = document("It ends in May. The keeper came from Sark.", "b.txt")
    context = Context((part(doc), part(other, 16)), "q")
    asked = pieces(context, NUMBERED)[-1].text
    numbers = [int(number) for number in re.findall(r"\[(\d+)\] ", asked)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 40
    for number in numbers:
        (cited,) = cite("?", [Quote(f"[{number}]", number)], context, [doc, other], "?")
        assert (cited.found, cited.origin) == ("exact", "quoted")
        source = doc if cited.document == doc.info() else other
        assert source.text[cited.start : cited.end] == cited.quote
        assert f"[{number}] {cited.quote}" in asked
    assert cited.quote == "The keeper came from Sark."


@pytest.mark.parametrize("number", [0, 3, 999_999_999])
def test_a_number_that_no_sentence_has_is_flagged(number: int) -> None:
    doc = document("The lease is old. It ends in May.")
    cited = cite("old lease", [Quote(f"[{number}]", number)], Context((part(doc),), "q"), [doc], "What is it?")
    assert (cited[0].found, cited[0].document) == (None, None)
    assert [citation.origin for citation in cited[1:]] == ["matched"]


def test_a_quote_from_a_document_that_was_not_asked_about_is_flagged() -> None:
    asked, other = document(LEASE), document("The guarantor is Beta GmbH of Hamburg.", "b.txt")
    context = Context((part(asked),), "Who is the guarantor?")
    cited = cite("Beta.", [Quote("The guarantor is Beta GmbH")], context, [asked], "Who is the guarantor?")
    assert cited[0].found is None
    assert cited[0].document is None
    cited = cite("Beta.", [Quote("The guarantor is Beta GmbH")], context, [asked, other], "")
    assert cited[0].document is not None
    assert cited[0].document.id == "b.txt"


def test_a_quote_that_occurs_twice_is_cited_where_it_was_read() -> None:
    doc = document("Payment is due in May. " + "Filler sentence here. " * 20 + "Payment is due in May.")
    second = doc.text.rindex("Payment")
    context = Context((part(doc, second),), "When?")
    cited = cite("In May.", [Quote("Payment is due in May")], context, [doc], "When?")
    assert cited[0].start == second


def test_without_a_quote_the_sentence_that_bears_the_answer_is_attached_and_marked() -> None:
    doc = document(LEASE)
    cited = cite("rent is paid monthly", [], Context((part(doc),), "q"), [doc], "How is rent paid?")
    assert [c.origin for c in cited] == ["matched"]
    assert cited[0].quote == "The Tenant shall pay rent monthly in advance."
    assert doc.text[cited[0].start : cited[0].end] == cited[0].quote


def test_of_two_sentences_that_bear_it_the_shorter_is_attached() -> None:
    table = "| TURNOUT_HOME | moves the data directory and much else that a long table says about other variables |\n"
    doc = document(f"{table}\nThe variable TURNOUT_HOME moves the data directory.")
    found = best_sentence("TURNOUT_HOME", "Which variable moves the data directory?", [part(doc)])
    assert found is not None
    assert doc.text[found[1] : found[2]] == "The variable TURNOUT_HOME moves the data directory."


def test_a_table_is_cited_by_its_line() -> None:
    rows = [f"| setting {i} | moves thing {i} and some more words to fill the row |" for i in range(12)]
    doc = document("\n".join([*rows, "The variable TURNOUT_HOME moves the data directory"]))
    found = best_sentence("TURNOUT_HOME", "Which variable moves the data directory?", [part(doc)])
    assert found is not None
    assert doc.text[found[1] : found[2]] == "The variable TURNOUT_HOME moves the data directory"


def test_nothing_is_attached_when_nothing_read_bears_the_answer() -> None:
    doc = document(LEASE)
    assert best_sentence("A purple elephant from Madagascar", "q", [part(doc)]) is None


def test_the_nearest_sentence_shares_the_questions_words() -> None:
    doc = document(LEASE)
    found = nearest_sentence("What is the notice period of the Landlord?", [part(doc)])
    assert found is not None
    chosen, start, end = found
    assert "notice period" in chosen.text[start:end]
