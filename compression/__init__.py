"""Compression: ways to send the model less of a document without losing the answer."""
