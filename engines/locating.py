"""Where the evidence for a question stands in a text, as the model itself would begin to copy it.

Chunking-free in-context retrieval (CFIC, arXiv 2402.09760), with the model as it is or with an adapter that was trained
for it (`turnout train chunkfree`). The text is read once; then nothing is written, and two things are read off the
model:

1. *Which sentences* (constrained sentence-prefix decoding): from a trie of all sentences' openings the most likely ones
   are followed until each stands for one sentence. A sentence's score is the probability that the model, held to the
   trie, opens with it: the product over the opening's tokens, each among those that can follow there. The paper takes
   the mean of the logarithms; with tokens that nothing else can follow at 0 a mean would favour long shared openings.
2. *Where they end* (skip decoding): what follows in the text is read too, and the stretch ends after the sentence at
   which the model would most likely end its answer. A model that was not trained for that says little there.

An opening goes on into the sentences after it, and the text's end is one of its tokens. So sentences that are alike are
told apart by what follows them; what is alike for OPENING_TOKENS shares its probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from turnout.engines.prompt import ChatMessage, Piece
from turnout.engines.tokenizer import ChatTokenizer
from turnout.errors import EngineError
from turnout.progress import Watch

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.sequence import KvSequence
    from turnout.engines.paged.session import Session

INSTRUCTION = "\n\nCopy the sentences of the text above that answer the question, word for word.\n\nQuestion: "

OPENING_TOKENS = 32
"""Longest opening. About three tokens tell a sentence from the others, by the paper."""

BRANCHES = 16
"""Openings that are followed at once; with OPENING_TOKENS the most that a step reads."""

STEP_TOKENS, ROWS = 512, 128
"""Tokens of stretches that go through the model at once, and sentence ends among them, but for a single stretch."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sentences [first, end) of those that were given; `score` is the probability, 0 to 1, that the model opens with
    the first, of all of them."""

    first: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and what it is about.

    Attributes:
        ids: of the prompt.
        text: how many of them are the same whatever is asked.
        alone: tokens of each sentence as it opens an answer, without the blanks around it; none of a blank one.
        after: tokens of each as it follows the one before, with the blanks between them.
    """

    ids: list[int]
    text: int
    alone: list[list[int]]
    after: list[list[int]]


Paths = Mapping[int, Sequence[int]]
"""Sentence -> its opening."""

Found = list[tuple[int, float]]
"""Sentences with the logarithms of their probabilities, likeliest first."""


@dataclass(slots=True)
class _Branch:
    """Sentences whose openings are the same up to `depth` tokens, which are read; `score` is the logarithm of their
    probability, and `logits` [vocabulary] foretell what follows."""

    starts: list[int]
    depth: int
    score: float
    sequence: KvSequence
    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Run:
    """A sentence with those after it; `cuts` are the numbers of tokens after each of them."""

    first: int
    score: float
    ids: list[int]
    cuts: list[int]


def asked(tokenizer: ChatTokenizer, sentences: Sequence[str], question: str) -> Asked:
    """A chat of the sentences, of what is wanted, and of the question."""
    pieces, bodies, blank = [], [], ""
    for sentence in sentences:
        kept = len(sentence.rstrip())
        pieces.append(blank + sentence[:kept])
        bodies.append(sentence.strip())
        blank = sentence[kept:]
    user = [*(Piece(piece, False) for piece in pieces), Piece(INSTRUCTION, True), Piece(question, False)]
    ids, places = tokenizer.encode_placed([ChatMessage("user", tuple(user))])
    alone = [tokenizer.encode_text(body) for body in bodies]
    return Asked(ids, places[-1][0], alone, [ids[start:end] for start, end in places[:-1]])


def located(
    session: Session,
    text: KvSequence,
    asked: Asked,
    ends: Sequence[int],
    limit: int,
    longest: int,
    watch: Watch,
) -> list[Stretch]:
    """At most `limit` stretches, likeliest first.

    Args:
        text: empty; what it reads of the sentences is left for others to find, and nothing else is.
        ends: tokens that end an answer, the usual one first.
        longest: most tokens of a stretch of several sentences.

    Raises:
        EngineError: the model's logits are no numbers.
        Cancelled: the watch said so after a step.
    """
    total = len(asked.ids)
    stretches: list[Stretch] = []
    with text, ExitStack() as stack:
        before = None
        for read, _ in text.reading(asked.ids[: asked.text]):
            watch.read(read - (text.reused if before is None else before))
            before = read
        prompt = _fork(text, stack)
        for at in range(asked.text, total, prompt.chunk):
            piece = asked.ids[at : at + prompt.chunk]
            (logits,) = session.step([(prompt, [piece], (-1,))], is_prompt=True)
            watch.read(len(piece))
        found = _openings(session, stack, prompt, logits, _paths(asked, ends), limit, watch)
        for batch in _batches([_run(asked, first, score, longest) for first, score in found]):
            stretches += _ended(session, prompt, ends, batch, watch)
    return stretches


def _fork(sequence: KvSequence, stack: ExitStack) -> KvSequence:
    forked = sequence.fork()
    stack.callback(forked.close, keep=False)
    return forked


def _paths(asked: Asked, ends: Sequence[int]) -> Paths:
    """The openings of all sentences that have tokens of their own."""
    paths = {}
    for first, alone in enumerate(asked.alone):
        follows = chain.from_iterable(islice(asked.after, first + 1, None))
        if alone:
            paths[first] = list(islice(chain(alone, follows, ends[:1]), OPENING_TOKENS))
    return paths


def _openings(
    session: Session, stack: ExitStack, prompt: KvSequence, logits: torch.Tensor, paths: Paths, limit: int, watch: Watch
) -> Found:
    """The likeliest openings that stand for one sentence each.

    What is not followed is less likely than all that is found, or than BRANCHES others.
    """
    found: Found = []
    live = [_Branch(list(paths), 0, 0.0, prompt, logits)] if paths and limit > 0 else []
    while live:
        options = []
        for branch in live:
            for starts, score in _children(branch, paths):
                depth = _alike([paths[start] for start in starts], branch.depth + 1)
                if all(len(paths[start]) == depth for start in starts) or len(starts) == 1:
                    found += [(start, score - math.log(len(starts))) for start in starts]
                else:
                    options.append((branch, starts, depth, score))
        found = sorted(found, key=lambda each: (-each[1], each[0]))[:limit]
        least = found[-1][1] if len(found) == limit else -math.inf
        options = sorted(options, key=lambda option: (-option[3], option[1][0]))[:BRANCHES]
        options = [option for option in options if option[3] >= least]
        forks = [_fork(branch.sequence, stack) for branch, *_ in options]
        for branch in live:
            if branch.sequence is not prompt:
                branch.sequence.close(keep=False)
        live = []
        if options:
            new = [paths[starts[0]][branch.depth : depth] for branch, starts, depth, _ in options]
            rows = session.step([(fork, [ids], (-1,)) for fork, ids in zip(forks, new, strict=True)], is_prompt=True)
            watch.read(sum(map(len, new)))
            live = [
                _Branch(starts, depth, score, fork, row)
                for (_, starts, depth, score), fork, row in zip(options, forks, rows, strict=True)
            ]
    return found


def _children(branch: _Branch, paths: Paths) -> list[tuple[list[int], float]]:
    """The sentences by the token that their openings go on with, with the logarithm of each one's probability."""
    groups: dict[int, list[int]] = {}
    for start in branch.starts:
        groups.setdefault(paths[start][branch.depth], []).append(start)
    shares = branch.logits[list(groups)].float().log_softmax(-1).tolist()
    return [(starts, branch.score + _number(share)) for starts, share in zip(groups.values(), shares, strict=True)]


def _alike(openings: Sequence[Sequence[int]], depth: int) -> int:
    """How many tokens openings have in common, of which the first `depth` are known."""
    shortest = min(map(len, openings))
    while depth < shortest and all(opening[depth] == openings[0][depth] for opening in openings):
        depth += 1
    return depth


def _run(asked: Asked, first: int, score: float, longest: int) -> _Run:
    ids = list(asked.alone[first])
    cuts = [len(ids)]
    for after in islice(asked.after, first + 1, None):
        if len(ids) + len(after) > longest:
            break
        ids += after
        cuts.append(len(ids))
    return _Run(first, score, ids, cuts)


def _batches(runs: Sequence[_Run]) -> Iterator[list[_Run]]:
    """Those that fit a step together."""
    batch: list[_Run] = []
    tokens = rows = 0
    for run in runs:
        if batch and (tokens + len(run.ids) > STEP_TOKENS or rows + len(run.cuts) > ROWS):
            yield batch
            batch, tokens, rows = [], 0, 0
        batch.append(run)
        tokens, rows = tokens + len(run.ids), rows + len(run.cuts)
    if batch:
        yield batch


def _ended(
    session: Session, prompt: KvSequence, ends: Sequence[int], runs: Sequence[_Run], watch: Watch
) -> list[Stretch]:
    """Where each ends; one of a single sentence needs no reading."""
    several = [run for run in runs if len(run.cuts) > 1]
    best = {}
    if several:
        with ExitStack() as stack:
            feeds = [(_fork(prompt, stack), [run.ids], [cut - 1 for cut in run.cuts]) for run in several]
            logits = session.step(feeds, is_prompt=True).float()
        watch.read(sum(len(run.ids) for run in several))
        rows = iter((logits[:, list(ends)].logsumexp(-1) - logits.logsumexp(-1)).tolist())
        for run in several:
            shares = [_number(share) for share in islice(rows, len(run.cuts))]
            best[run.first] = shares.index(max(shares))
    return [Stretch(run.first, run.first + 1 + best.get(run.first, 0), math.exp(run.score)) for run in runs]


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise EngineError("what the model foretells is no number", hint="try --device cpu, or another model")
    return value
