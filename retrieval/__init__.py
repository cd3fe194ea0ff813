"""Documents become text, segments, vectors and an index; retrievers pick passages from them."""
