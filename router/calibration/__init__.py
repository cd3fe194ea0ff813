"""Measures of a model what the router needs to know of it: how much text it still uses well, by kind of task."""
