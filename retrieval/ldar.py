"""Passages that help this reader and do not distract it: a learned band of the ranking by meaning.

Learned distraction-aware retrieval (LDAR, arXiv 2509.21865): more passages hold the answer more surely, and mislead a
weak reader more surely too; so do those that are like the question and do not answer it. A small policy sees how
similar all passages are to the question, nothing else, and says from where to where in that ranking the reader reads.
What it is trained by is how likely the reader then gives the right answer (`turnout train ldar`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import Embedder
from turnout.documents import Passage
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.retrieval.band import Policy
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.similarity import similarities

if TYPE_CHECKING:
    from turnout.contracts import Retriever


class LdarRetriever:
    """Searches by meaning alone, for that is what the policy has learnt to judge.

    Args:
        embedder: the one that made the corpus' vectors, and that the policy was trained with.
        policy: picks the band.
    """

    name = "ldar"

    def __init__(self, embedder: Embedder, policy: Policy) -> None:
        self._embedder = embedder
        self.policy = policy

    def warm(self, corpus: Corpus) -> None:
        """Loads the embedder and the policy, and makes the vectors that are missing."""
        self.policy.open()
        similarities(self._embedder, "warm", corpus)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages of the band, most similar first, scored by their cosine; at least one where there
        are documents and the limit allows it. Too quick to be told of.

        Raises:
            ConfigurationError: the question is empty, or the documents have no vectors, or those of another embedder.
            ModelError: the embedder broke its contract, or the policy can't be loaded.
        """
        return self.search(question, corpus, limit)[0]

    def search(self, question: str, corpus: Corpus, limit: int) -> tuple[list[Passage], NDArray[np.float32] | None]:
        """As `retrieve`, with the cosine of every segment, in the order of `corpus.segments`; None of none."""
        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask for something")
        if not corpus.segments:
            return [], None
        found = similarities(self._embedder, question, corpus)
        if found is None:
            raise ConfigurationError(
                "the documents have no vectors, and ldar searches by meaning", hint="open the library with an embedder"
            )
        ranked = np.argsort(-found, kind="stable")
        places = self.policy.band(found).places(len(found))
        passages = [
            Passage(span, corpus.text(span), float(found[number]))
            for number in ranked[places.start : places.stop][: max(limit, 0)]
            for span in (corpus.segments[number].span,)
        ]
        return passages, found


if TYPE_CHECKING:
    _: type[Retriever] = LdarRetriever
