"""Soft tokens: embeddings that stand for several tokens of a document each, and are read in their place."""
