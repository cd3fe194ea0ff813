"""Does the text bear the answer? What speaks for it without asking anybody again, and a rule that judges by that.

Signals, not a second model: the answer's own quotes and whether they stand in the text, how much of the answer they
hold, how near the reader was to saying that the text does not hold it (as readers of passages are ranked by their "no
answer" score, Clark and Gardner 2018, arXiv 1710.10723), and whether retrieval and full context agree where `rapid` has
drafted. The rule is ours and nothing that it says is a probability; what was measured with a model is
`turnout.router.support_model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from turnout.contracts import Doubts, Engine
from turnout.engines.speculative.plan import Counts
from turnout.router.agreement import LOW, share
from turnout.router.checked import Checked
from turnout.router.words import content_words
from turnout.types import Citation, Question

HALF = 0.5
"""Share of an answer's words, and of a probability, from which something is more there than not: ours, not measured."""

IN_OWN_WORDS = ("reasoning", "comparison", "choice")
"""Tasks whose answers need not stand in the text: a quote that is found is enough."""

NOT_JUDGED = "summarisation"
"""The task whose answers no single sentence bears."""

KEEP, ABSTAINED, WEAK = 1.0, 0.5, 0.25
"""What the rule compares outcomes by: an order, no probabilities."""

AGREED = 0.75
"""The same of a weak answer that a second strategy gives too."""


SAID = "it says that the text does not hold the answer"
MADE_UP = "what it said does not stand in the text"


@dataclass(frozen=True, slots=True)
class Support:
    """What is known of one outcome.

    Attributes:
        refused: the model itself said that the text does not hold the answer.
        quoted, found: quotes that the model gave, and those of them that stand in the text.
        cited: citations that stand in the text, with sentences that were matched to the answer.
        held: share of the answer's content words beyond the question's that they hold; None where it has none, such as
            yes, or one of the options.
        asked: share of the question's content words that they hold.
        doubt: the probability that the model gave to refusing; None where the engine does not say.
        agreement: share of drafted tokens that the whole text accepted; None where too little was drafted.
    """

    task: str
    abstained: bool
    refused: bool
    quoted: int
    found: int
    cited: int
    held: float | None
    asked: float
    doubt: float | None = None
    agreement: float | None = None

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Support:
        """What `record` wrote.

        Raises:
            TypeError: fields are missing, or there are others.
        """
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to make of one outcome.

    Attributes:
        keeps: nothing else need be asked.
        worth: what outcomes of one question are compared by, higher is better.
        abstains: the outcome is better told as an abstention.
        why: in words.
        probability: that it is right, where that was calibrated; None of a rule's.
    """

    keeps: bool
    worth: float
    abstains: bool
    why: str
    probability: float | None = None


def gather(
    question: Question, checked: Checked, engine: Engine, drafted: Counts | None, *, asked_model: bool
) -> Support:
    """The support of a checked answer.

    Args:
        asked_model: the engine was asked for it; else what it says of its last answer is about another one.
    """
    found = [cited for cited in checked.citations if cited.found]
    quoted = [cited for cited in checked.citations if cited.origin == "quoted"]
    held, asked = overlap(question.standalone, checked.text, found)
    return Support(
        task=question.task,
        abstained=checked.abstained,
        refused=checked.refused,
        quoted=len(quoted),
        found=sum(cited.found is not None for cited in quoted),
        cited=len(found),
        held=None if checked.abstained else held,
        asked=asked,
        doubt=engine.doubt() if asked_model and isinstance(engine, Doubts) else None,
        agreement=None if drafted is None else share([drafted]),
    )


def overlap(question: str, answer: str, found: Sequence[Citation]) -> tuple[float | None, float]:
    """(held, asked) as in `Support`: what some citations hold together of answer and question. An answer that stands in
    one of them word for word is held, in whatever way its script parts words."""
    wanted = content_words(question)
    new = content_words(answer) - wanted
    words = frozenset[str]().union(*(content_words(cited.quote) for cited in found))
    whole = _plain(answer)
    is_copied = bool(whole) and any(whole in _plain(cited.quote) for cited in found)
    held = None if not new else 1.0 if is_copied else len(new & words) / len(new)
    return held, len(wanted & words) / (len(wanted) or 1)


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .!?。\"'“”").casefold()


def alone(support: Support, question: str, answer: str, cited: Citation) -> Support:
    """The support that one of an answer's citations, which was found, gives it without the others."""
    held, asked = overlap(question, answer, [cited])
    own = int(cited.origin == "quoted")
    return replace(support, quoted=own, found=own, cited=1, held=held, asked=asked)


class ByRule:
    """Judges where nothing was measured. It keeps what a found quote or sentence holds, and takes an abstention, a
    quote that stands nowhere, or a reader that rather refused, as a reason to ask another strategy."""

    name = "rule"

    def judge(self, support: Support) -> Judgement:
        """See `Judgement`."""
        if support.abstained:
            return Judgement(False, ABSTAINED, True, SAID if support.refused else MADE_UP)
        weak = _weakness(support)
        if weak:
            return Judgement(False, WEAK, False, weak)
        return Judgement(True, KEEP, False, _strength(support))

    def pick(self, judged: Sequence[tuple[str, Judgement]]) -> int:
        """Which of (answer, judgement) of one question is given, in the order in which they were asked: the first that
        is worth most. A weak answer that a later one repeats is worth more than an abstention."""
        worth = self._worth(judged)
        return worth.index(max(worth))

    def settles(self, judged: Sequence[tuple[str, Judgement]]) -> bool:
        """Whether nothing else need be asked: one is kept, or two strategies say the same."""
        return max(self._worth(judged)) >= AGREED

    def _worth(self, judged: Sequence[tuple[str, Judgement]]) -> list[float]:
        worth = [each.worth for _, each in judged]
        for place, (answer, each) in enumerate(judged):
            others = (other for other, before in judged[:place] if not before.abstains)
            if not each.abstains and any(agree(answer, other) for other in others):
                worth[place] = max(worth[place], AGREED)
        return worth


def agree(one: str, other: str) -> bool:
    """Whether two answers say the same: of their content words, at least half are in both."""
    first, second = content_words(one), content_words(other)
    if not first or not second:
        return one.split() == other.split()
    return len(first & second) >= HALF * len(first | second)


def _weakness(support: Support) -> str:
    """Why the text may not bear an answer; "" where nothing speaks against it."""
    if support.task == NOT_JUDGED:
        return ""
    if support.doubt is not None and support.doubt >= HALF:
        return "the reader was nearer to saying that the text does not hold the answer"
    if support.quoted and not support.found:
        return "none of its quotes stands in the text"
    free = support.held is None or support.task in IN_OWN_WORDS
    if not support.cited:
        if support.agreement is not None and support.agreement < LOW:
            return "retrieval and full context disagree, and no sentence that was read holds it"
        return "" if free else "no sentence that was read holds half of it"
    if free or (support.held or 0.0) >= HALF:
        return ""
    return "its quote stands in the text and holds less than half of it"


def _strength(support: Support) -> str:
    if support.task == NOT_JUDGED:
        return "no single sentence bears a summary: it is not judged"
    if support.found:
        return "its quote stands in the text"
    return "a sentence of the text holds it" if support.cited else "it says nothing that a sentence could hold"
