import pytest

from turnout.retrieval.sentences import sentences
from turnout.router.citations import Quote, best_sentence, cite, locate, nearest_sentence, split_quotes
from turnout.types import Context, Document, Part, Span

LEASE = (
    "The Tenant shall pay rent monthly in advance. Confidentiality lasts for a period of three (3) years\n"
    "following termi-\nnation of this Agreement. The ﬁnal offer stands. The Landlord’s “notice period” is 60 days."
)


def document(text: str, name: str = "a.txt") -> Document:
    return Document(id=name, title=name, text=text, source=name, kind="text")


def part(doc: Document, start: int = 0, end: int | None = None) -> Part:
    end = len(doc.text) if end is None else end
    return Part(doc.text[start:end], Span(doc.id, start, end))


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
    ("line", "quote"),
    [
        ("Evidence: The Tenant shall pay", Quote("The Tenant shall pay", opens=True)),
        ('Evidence: "The Tenant shall pay"', Quote("The Tenant shall pay", opens=True)),
        ('Evidence: "Come," said he, "follow me', Quote('"Come," said he, "follow me', opens=True)),
        ("**Evidence:** The Tenant", Quote("The Tenant", opens=True)),
    ],
)
def test_a_line_of_evidence_is_one_quote_that_opens_its_sentence(line: str, quote: Quote) -> None:
    assert split_quotes(f"{line}\nMonthly.") == ("Monthly.", (quote,))


def test_evidence_is_cited_as_the_whole_sentence() -> None:
    doc = document("The lease is old. The Tenant shall pay rent monthly in advance. It ends in May.")
    context = Context((part(doc),), "How is rent paid?")
    (cited,) = cite("Monthly.", [Quote("The Tenant shall pay", opens=True)], context, [doc], sentences, "How?")
    assert (cited.quote, cited.found, cited.origin) == (
        "The Tenant shall pay rent monthly in advance.",
        "exact",
        "quoted",
    )
    assert doc.text[cited.start : cited.end] == cited.quote
    across = Quote("The lease is old. The Tenant", opens=True)
    (cited,) = cite("Monthly.", [across], context, [doc], sentences, "How?")
    assert cited.quote == "The lease is old. The Tenant"


def test_a_quote_from_a_document_that_was_not_asked_about_is_flagged() -> None:
    asked, other = document(LEASE), document("The guarantor is Beta GmbH of Hamburg.", "b.txt")
    context = Context((part(asked),), "Who is the guarantor?")
    cited = cite("Beta.", [Quote("The guarantor is Beta GmbH")], context, [asked], sentences, "Who is the guarantor?")
    assert cited[0].found is None
    assert cited[0].document is None
    cited = cite("Beta.", [Quote("The guarantor is Beta GmbH")], context, [asked, other], sentences, "")
    assert cited[0].document is not None
    assert cited[0].document.id == "b.txt"


def test_a_quote_that_occurs_twice_is_cited_where_it_was_read() -> None:
    doc = document("Payment is due in May. " + "Filler sentence here. " * 20 + "Payment is due in May.")
    second = doc.text.rindex("Payment")
    context = Context((part(doc, second),), "When?")
    cited = cite("In May.", [Quote("Payment is due in May")], context, [doc], sentences, "When?")
    assert cited[0].start == second


def test_without_a_quote_the_sentence_that_bears_the_answer_is_attached_and_marked() -> None:
    doc = document(LEASE)
    cited = cite("rent is paid monthly", [], Context((part(doc),), "q"), [doc], sentences, "How is rent paid?")
    assert [c.origin for c in cited] == ["matched"]
    assert cited[0].quote == "The Tenant shall pay rent monthly in advance."
    assert doc.text[cited[0].start : cited[0].end] == cited[0].quote


def test_of_two_sentences_that_bear_it_the_shorter_is_attached() -> None:
    table = "| TURNOUT_HOME | moves the data directory and much else that a long table says about other variables |\n"
    doc = document(f"{table}\nThe variable TURNOUT_HOME moves the data directory.")
    found = best_sentence("TURNOUT_HOME", "Which variable moves the data directory?", [part(doc)], sentences)
    assert found is not None
    assert doc.text[found[1] : found[2]] == "The variable TURNOUT_HOME moves the data directory."


def test_a_table_is_cited_by_its_line() -> None:
    rows = [f"| setting {i} | moves thing {i} and some more words to fill the row |" for i in range(12)]
    doc = document("\n".join([*rows, "The variable TURNOUT_HOME moves the data directory"]))
    found = best_sentence("TURNOUT_HOME", "Which variable moves the data directory?", [part(doc)], sentences)
    assert found is not None
    assert doc.text[found[1] : found[2]] == "The variable TURNOUT_HOME moves the data directory"


def test_nothing_is_attached_when_nothing_read_bears_the_answer() -> None:
    doc = document(LEASE)
    assert best_sentence("A purple elephant from Madagascar", "q", [part(doc)], sentences) is None


def test_the_nearest_sentence_shares_the_questions_words() -> None:
    doc = document(LEASE)
    found = nearest_sentence("What is the notice period of the Landlord?", [part(doc)], sentences)
    assert found is not None
    chosen, start, end = found
    assert "notice period" in chosen.text[start:end]
