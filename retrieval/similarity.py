"""How similar a question is to the segments of a corpus, and the refusal to compare what two models have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.vectors import name_of, of_question

if TYPE_CHECKING:
    from turnout.contracts import Embedder


def similarities(embedder: Embedder, question: str, corpus: Corpus) -> NDArray[np.float32] | None:
    """[segments] cosines, in the order of `corpus.segments`; None where they have no vectors, or there are none.

    Raises:
        ConfigurationError: the vectors come from another embedder.
        ModelError: the embedder broke its contract, or a vector is no number.
    """
    if corpus.fingerprint is None or not corpus.segments:
        return None
    if corpus.fingerprint != embedder.fingerprint:
        raise ConfigurationError(
            f"the documents were indexed with the embedder {corpus.embedder or corpus.fingerprint[:12]}, "
            f"and the question is read by {name_of(embedder)}: their vectors can't be compared",
            hint="open the library with the same embedder, or add the documents again with this one",
        )
    found = corpus.cosines(of_question(embedder, question))
    if found is not None and not np.isfinite(found).all():
        raise ModelError(
            f"the vectors of {int((~np.isfinite(found)).sum()):,} of {len(found):,} segments are no numbers",
            hint="the index is damaged: remove the documents and add them again",
        )
    return found
