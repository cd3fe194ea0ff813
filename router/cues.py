"""What the wording of a question shows, as numbers: the first signals of its kind. No text of any document is needed.

Each cue is one pattern of English or one count, never a bag of words: the topic of a question must not name its kind.
"""

from __future__ import annotations

import math
import re

_PATTERNS = {
    "person": r"\b(who|whom|whose)\b",
    "time": r"\bwhen\b|\b(what|which) (year|date|time|day|month|period)\b|\bhow (long|old|often)\b",
    "place": r"\bwhere\b|\b(what|which) (place|city|country|location|state)\b",
    "amount": r"\bhow (many|much)\b|\bwhat (percentage|amount|number|proportion|share)\b"
    r"|\b(what|which) (is|was|are|were) the (total|amount|number|net|value|price|cost|rate|percentage)\b",
    "reason": r"\bwhy\b|\b(reason|motiv|evidence)\w*",
    "manner": r"\bhow (do|does|did|is|are|was|were|might|would|could|can|will|has|have)\b",
    "effect": r"\b(impact|effect|affect|influence|implication|role|consequence|lead|contribut|result|relate)\w*",
    "inference": r"\b(suggest|infer|impl(y|ies)|indicat|conclu|explain|significan|interpret|likely|might|would|could"
    r"|feel|felt|think|attitude)\w*",
    "future": r"\b(plan|strateg|project|forecast|expect|future|next|upcoming|intend|anticipat)\w*",
    "comparison": r"\b(compar|contrast|differ|similar|versus)\w*|\bvs\b",
    "change": r"\b(both|either|than|increase|decrease|chang|grow|fall|rise)\w*",
    "range": r"\b(between|from) .+ (and|to)\b",
    "several": r"\b(two|three|these|following|respective(ly)?|each)\b",
    "summary": r"\b(summar|overview|outline)\w*|\b(main|key|overall|plot|whole)\b|^\W*(describe|explain)\b"
    r"|\bwhat (is|are) (this|the|these) (\w+ )?\w+ about\b",
    "talk": r"\b(discuss|talk|opinion|story|introduc)\w*",
    "list": r"\b(list|name all|all (of )?the|which of|what are|what were|enumerate)\b",
    "yes or no": r"^\W*(is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|must)\b",
    "number": r"\d",
    "as said": r"\b(according to|mention\w*|discuss\w*|stated?|reported|specif\w+|provided|described)\b",
    "code": r"`|\b\w+_\w+\b|\w\(\)|(?-i:\b[a-z]+[A-Z]\w*)|\.py\b|\b(function|method|class|module|parameter|argument)\b",
    "nested": r"\b(of|that|who|which|whose|where) the \w+ (of|that|who|which|whose|where)\b",
}
_COMPILED = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS.values())
_NAME = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z][\w.]+")

FEW_WORDS = 8
"""Shorter questions are not told apart by their length: it says more of who asks than of what is asked."""

CUES = (*_PATTERNS, "length", "names", "commas", "questions")
"""Names of the cues, in the order of `cues`."""


def cues(question: str) -> tuple[float, ...]:
    """One number for each of CUES.

    A pattern gives 1 where it occurs and 0 elsewhere. `length` is the natural logarithm of the words, FEW_WORDS where
    there are fewer; names, commas and question marks are counted up to a few and scaled to about 1.
    """
    found = [float(pattern.search(question) is not None) for pattern in _COMPILED]
    words = math.log(max(len(question.split()), FEW_WORDS))
    names = min(len(_NAME.findall(question)), 6) / 3
    return (*found, words, names, min(question.count(","), 4) / 2, float(question.count("?") > 1))
