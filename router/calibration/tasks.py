"""Questions of four kinds over planted facts with known answers, in two phrasings; `grading` grades what is answered.

The kinds follow Paulsen (arXiv 2509.21361): one needle, several needles, aggregation, comparison. Phrasing "lexical"
uses the fact's own words; "paraphrase" shares no content word with it, as in NoLiMa (arXiv 2502.05167), because where
the words match, matching words is enough (see the PassKey results of Self-Route, arXiv 2407.16833). Here a paraphrase
only swaps common synonyms (physician, doctor), so that small models know what is meant.

The fact of a needle is like no other in its document: "The lighthouse has 14 stairs." That is the easiest task, which
small models can do at all. The other kinds ask about facts that are alike, "The physician purchased 14 lanterns.", in
groups of one kind of goods and three buyers, so there the other facts are distractors. Every document holds them all,
and one reading of it serves all kinds.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.words import content_words

Kind = Literal["needle", "multi", "aggregation", "comparison"]
Phrasing = Literal["lexical", "paraphrase"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PHRASINGS: tuple[Phrasing, ...] = get_args(Phrasing)

NEEDLES = (
    ("lighthouse", "stairs", "The lighthouse has {} stairs.",
     "How many stairs does the lighthouse have?", "How many steps lead up the beacon?"),
    ("orchestra", "violinists", "The orchestra employs {} violinists.",
     "How many violinists does the orchestra employ?", "How many fiddlers play in the band?"),
    ("vineyard", "barrels", "The vineyard yields {} barrels.",
     "How many barrels does the vineyard yield?", "How many casks come from the winery?"),
    ("spaceship", "astronauts", "The spaceship carries {} astronauts.",
     "How many astronauts does the spaceship carry?", "How many cosmonauts fly in the rocket?"),
    ("hospital", "patients", "The hospital treats {} patients.",
     "How many patients does the hospital treat?", "How many sick people does the clinic look after?"),
    ("motel", "bedrooms", "The motel rents {} bedrooms.",
     "How many bedrooms does the motel rent?", "How many rooms does the inn let?"),
    ("choir", "singers", "The choir has {} singers.",
     "How many singers does the choir have?", "How many vocalists are in the chorus?"),
    ("prison", "inmates", "The prison guards {} inmates.",
     "How many inmates does the prison guard?", "How many convicts sit in the jail?"),
)  # fmt: skip
"""(whose, of what, fact, lexical question, paraphrase)."""

CHANCE: dict[Kind, float] = {"needle": 0.0, "multi": 0.0, "aggregation": 0.0, "comparison": 0.5}
"""What one scores who knows the form of the answer and nothing of the text: a comparison names the two to pick from."""

GROUPS, ROWS = 4, 3

# The word of the fact and of the lexical question first, the paraphrase's word second.
BUYERS = (
    ("physician", "doctor"), ("attorney", "lawyer"), ("author", "writer"), ("instructor", "teacher"),
    ("mariner", "sailor"), ("chef", "cook"), ("merchant", "trader"), ("tailor", "dressmaker"),
    ("constable", "policeman"), ("pupil", "student"), ("monarch", "king"), ("artist", "painter"),
    ("clergyman", "priest"), ("warrior", "soldier"),
)  # fmt: skip
GOODS = (
    ("lanterns", "lamps"), ("carpets", "rugs"), ("boats", "ships"), ("jackets", "coats"), ("bicycles", "bikes"),
    ("gems", "jewels"), ("mugs", "cups"), ("trousers", "pants"), ("pebbles", "stones"), ("rifles", "guns"),
)  # fmt: skip
_VALUES = range(3, 21)

KEYWORDS = content_words(" ".join(word for pair in (*BUYERS, *GOODS, *(form[:2] for form in NEEDLES)) for word in pair))
NUMBERS = frozenset(range(_VALUES.start, ROWS * _VALUES[-1]))
"""Every number that a fact or an answer can hold."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Who bought how many of what; `buyer` and `good` are (the fact's word, the paraphrase's word)."""

    buyer: tuple[str, str]
    good: tuple[str, str]
    value: int

    @property
    def text(self) -> str:
        return f"The {self.buyer[0]} purchased {self.value} {self.good[0]}."


@dataclass(frozen=True, slots=True)
class Needle:
    """A fact like no other: `form` is one of the tasks' needles."""

    form: tuple[str, str, str, str, str]
    value: int

    @property
    def text(self) -> str:
        return self.form[2].format(self.value)


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a document: GROUPS groups of ROWS, and as many needles as groups."""

    groups: tuple[tuple[Fact, ...], ...]
    needles: tuple[Needle, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its key.

    Attributes:
        facts: those that the answer rests on.
        expected: the numbers asked for in the order asked; of a comparison, the buyer of more in the fact's word.
        beside: what else grading needs. Several needles: their buyers in the order asked. Aggregation: the values that
            add up. Comparison: the buyer of less.
    """

    question: str
    facts: tuple[Fact | Needle, ...]
    expected: tuple[str, ...]
    beside: tuple[str, ...] = ()


def check_kinds(kinds: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds in their usual order.

    Raises:
        UnknownNameError: one is not known.
        ConfigurationError: there is none.
    """
    wanted = list(kinds)
    if not wanted:
        raise ConfigurationError("no kind of task is named", hint=f"known kinds: {', '.join(KINDS)}")
    for kind in wanted:
        if kind not in KINDS:
            raise UnknownNameError("kind of task", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in wanted)


def draw_facts(source: random.Random) -> Facts:
    """Groups of facts on one kind of goods each, and needles; a buyer and a value come once, and no group's sum is a
    value."""
    buyers, goods = source.sample(BUYERS, GROUPS * ROWS), source.sample(GOODS, GROUPS)
    forms = source.sample(NEEDLES, GROUPS)
    while True:
        values = source.sample(_VALUES, GROUPS * ROWS + GROUPS)
        sums = {sum(values[i * ROWS : (i + 1) * ROWS]) for i in range(GROUPS)}
        if len(sums) == GROUPS and sums.isdisjoint(values):
            break
    return Facts(
        tuple(tuple(Fact(buyers[i], goods[group], values[i]) for i in _rows(group)) for group in range(GROUPS)),
        tuple(Needle(form, value) for form, value in zip(forms, values[GROUPS * ROWS :], strict=True)),
    )


def _rows(group: int) -> range:
    return range(group * ROWS, (group + 1) * ROWS)


def ask(kind: Kind, phrasing: Phrasing, facts: Facts, place: int, source: random.Random) -> Asked:
    """A question on one group of facts, or on the needle of that place; a comparison is between the group's first and
    its last."""
    word = PHRASINGS.index(phrasing)
    if kind == "needle":
        one = facts.needles[place]
        return Asked(one.form[3 + word], (one,), (str(one.value),))
    group = facts.groups[place]
    goods = group[0].good[word]
    if kind == "multi":
        mixed = source.sample(group, ROWS)
        first, second, third = (f"the {fact.buyer[word]}" for fact in mixed)
        verb = ("purchase", "buy")[word]
        question = f"How many {goods} did {first}, {second} and {third} each {verb}?"
        return Asked(question, tuple(mixed), _values(mixed), tuple(fact.buyer[0] for fact in mixed))
    if kind == "aggregation":
        question = (f"How many {goods} were purchased in all?", f"How many {goods} were bought in total?")[word]
        return Asked(question, tuple(group), (str(sum(fact.value for fact in group)),), _values(group))
    pair = source.sample((group[0], group[-1]), 2)
    left, right = (f"the {fact.buyer[word]}" for fact in pair)
    question = f"Who {('purchased', 'bought')[word]} more {goods}, {left} or {right}?"
    less, more = sorted(pair, key=lambda fact: fact.value)
    return Asked(question, tuple(pair), (more.buyer[0],), (less.buyer[0],))


def _values(facts: Iterable[Fact]) -> tuple[str, ...]:
    return tuple(str(fact.value) for fact in facts)
