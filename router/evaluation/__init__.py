"""Measures what each strategy scores and costs on questions with known answers."""
