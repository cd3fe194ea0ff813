"""Evidence by attention: where an answer brought no quote of its own, the sentence that the model looks at for it.

The question and the answer are read after what the answer was written from, and what their tokens look at in the middle
layer, which finds most (benchmarks/results/attention_layers_smollm2-135m.json), names one sentence: InfiniRetri (arXiv
2502.12962) with a single token kept. It costs one more reading of the context, in windows; whether it names better
sentences than the answer's words do is not measured.
"""

from __future__ import annotations

from dataclasses import replace

from turnout.config import CITE_ATTENTION
from turnout.contracts import Attends
from turnout.documents import Document
from turnout.engines.soft.kind import SoftContext
from turnout.errors import Cancelled, TurnoutError
from turnout.progress import Watch
from turnout.retrieval.attention import AttentionRetriever
from turnout.retrieval.corpus import Corpus
from turnout.router.checked import Checked
from turnout.router.citations import citation_at, in_whole_sentences
from turnout.router.request import Machinery, Request
from turnout.types import Citation, Context


def is_wanted(request: Request, machinery: Machinery, checked: Checked, context: Context) -> bool:
    """Whether it is asked for and possible: not where the model quoted what was found, nor where `max_cost` would have
    to pay for a reading that nobody foresaw."""
    return (
        machinery.cite == CITE_ATTENTION
        and isinstance(machinery.engine, Attends)
        and not checked.abstained
        and not isinstance(context, SoftContext)
        and request.budget.max_cost is None
        and not any(cited.found and cited.origin == "quoted" for cited in checked.citations)
    )


def pointed(
    checked: Checked, context: Context, request: Request, machinery: Machinery, watch: Watch, *, quotable: bool
) -> Checked:
    """With the sentence that the model looks at most in the place of one that was matched by words. Where it can't be
    found, or not in time, the answer stays as it is, and a note says why.

    Args:
        quotable: see `checked.compare`.

    Raises:
        Cancelled: the caller gave up.
    """
    assert isinstance(machinery.engine, Attends)  # noqa: S101 - see `is_wanted`
    try:
        cited = _looked_at(machinery.engine, f"{request.question.text}\n{checked.text}", context, request.corpus, watch)
    except Cancelled:
        raise
    except TurnoutError as error:
        return replace(checked, notes=(*checked.notes, f"no sentence was pointed at: {error.message}"))
    if cited is None:
        return checked
    if not quotable:
        cited = in_whole_sentences(cited, request.corpus.documents)
    own = (each for each in checked.citations if each.origin == "quoted")
    return replace(checked, citations=(*own, cited))


def _looked_at(engine: Attends, asked: str, context: Context, corpus: Corpus, watch: Watch) -> Citation | None:
    kinds = (corpus.document(part.span.document_id).kind for part in context.parts)
    read = [
        Document(str(number), "", part.text, "", kind)
        for number, (part, kind) in enumerate(zip(context.parts, kinds, strict=True))
    ]
    for passage in AttentionRetriever(engine, top_tokens=1).retrieve(asked, Corpus(read, []), 1, watch):
        part = context.parts[int(passage.span.document_id)]
        start = part.span.start + passage.span.start + len(passage.text) - len(passage.text.lstrip())
        document = corpus.document(part.span.document_id)
        return citation_at(document, start, start + len(passage.text.strip()), "attended")
    return None
