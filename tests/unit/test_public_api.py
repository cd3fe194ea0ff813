"""The public names. Changing this list is changing the interface: say so in CHANGELOG.md."""

import turnout

PUBLIC = [
    "Added",
    "Answer",
    "Budget",
    "BudgetError",
    "Candidate",
    "Citation",
    "Cut",
    "Decided",
    "Decision",
    "Decoding",
    "Document",
    "DocumentError",
    "DocumentInfo",
    "Done",
    "EngineError",
    "Excerpt",
    "Hit",
    "Message",
    "Reading",
    "Retracted",
    "Text",
    "TextDelta",
    "Turnout",
    "TurnoutError",
    "Usage",
]


def test_public_names() -> None:
    assert sorted(turnout.__all__) == sorted([*PUBLIC, "__version__"])


def test_each_name_resolves_and_has_a_docstring() -> None:
    for name in PUBLIC:
        found = getattr(turnout, name)
        assert found.__name__ == name
        assert found.__doc__, name
