"""Questions of four kinds over planted facts with known answers, in two phrasings; `grading` grades what is answered.

The kinds follow Paulsen (arXiv 2509.21361): one needle, several needles, aggregation, comparison. Phrasing "lexical"
uses the fact's own words; "paraphrase" shares no content word with it, as in NoLiMa (arXiv 2502.05167), because where
the words match, matching words is enough (see the PassKey results of Self-Route, arXiv 2407.16833). Here a paraphrase
only swaps common synonyms (physician, doctor), so that small models know what is meant.

A fact reads "The physician purchased 14 lanterns." Facts come in groups: one kind of goods, three buyers. All kinds ask
about the same facts, so those of the other buyers are the distractors, and one reading of a document serves them all.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.words import content_words

Kind = Literal["needle", "multi", "aggregation", "comparison"]
Phrasing = Literal["lexical", "paraphrase"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PHRASINGS: tuple[Phrasing, ...] = get_args(Phrasing)

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

KEYWORDS = content_words(" ".join(word for pair in (*BUYERS, *GOODS) for word in pair))
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
class Asked:
    """A question with its key.

    Attributes:
        facts: those that the answer rests on.
        expected: the numbers asked for in the order asked; of a comparison, the buyer of more in the fact's word.
        beside: what else grading needs. Several needles: their buyers in the order asked. Aggregation: the values that
            add up. Comparison: the buyer of less.
    """

    question: str
    facts: tuple[Fact, ...]
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


def draw_facts(source: random.Random) -> list[list[Fact]]:
    """Groups of facts on one kind of goods each; a buyer and a value come once, and no group's sum is a value."""
    buyers, goods = source.sample(BUYERS, GROUPS * ROWS), source.sample(GOODS, GROUPS)
    while True:
        values = source.sample(_VALUES, GROUPS * ROWS)
        sums = {sum(values[i * ROWS : (i + 1) * ROWS]) for i in range(GROUPS)}
        if len(sums) == GROUPS and sums.isdisjoint(values):
            break
    return [[Fact(buyers[i], goods[group], values[i]) for i in _rows(group)] for group in range(GROUPS)]


def _rows(group: int) -> range:
    return range(group * ROWS, (group + 1) * ROWS)


def ask(kind: Kind, phrasing: Phrasing, group: Sequence[Fact], source: random.Random) -> Asked:
    """A question on one group of facts; a comparison is between its first and its last."""
    word = PHRASINGS.index(phrasing)
    goods = group[0].good[word]
    if kind == "needle":
        one = source.choice(group)
        buyer = one.buyer[word]
        question = (f"How many {goods} were purchased by the {buyer}?", f"How many {goods} did the {buyer} buy?")[word]
        return Asked(question, (one,), (str(one.value),))
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
