"""Segments that were read each by itself, before any question, and are answered over together."""
