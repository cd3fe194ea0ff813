import numpy as np
import pytest

from turnout.router.calibration.kinds import SHARES, fit_kinds, fit_searched
from turnout.router.cues import CUES, cues
from turnout.router.kinds import KINDS, shares


def cue(question: str, name: str) -> float:
    return cues(question)[CUES.index(name)]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Who signed the lease?", "person"),
        ("In what year was it built?", "time"),
        ("How many rooms are there?", "amount"),
        ("Why did she leave?", "reason"),
        ("How do the two plans differ?", "comparison"),
        ("Summarize the meeting.", "summary"),
        ("Is the tenant allowed to sublet?", "yes or no"),
        ("What does parse_args return?", "code"),
        ("What does `main` do?", "code"),
        ("Where is getValue called?", "code"),
        ("What is the company's strategy for expansion?", "future"),
    ],
)
def test_wording_gives_cues(question: str, name: str) -> None:
    assert cue(question, name) == 1


def test_plain_words_are_no_code_and_a_first_word_is_no_name() -> None:
    assert cue("Who signed the lease?", "code") == 0
    assert cue("Who signed the lease?", "names") == 0
    assert cue("Who is Ada Lovelace?", "names") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What is the name of Mr. Weaver's dog?", "location"),
        ("Why does Clara feel that it would be a relief to cry after refusing the offer?", "reasoning"),
        ("How do the training methods in paper 1 and paper 2 differ?", "comparison"),
        ("Summarize the discussion about the remote control.", "summarisation"),
    ],
)
def test_the_likeliest_kind_of_a_plain_question(question: str, kind: str) -> None:
    found = shares(question)
    assert sum(found) == pytest.approx(1)
    assert KINDS[int(np.argmax(found))] == kind


def test_fitting_learns_kinds_from_their_cues_and_brings_them_to_the_stated_shares() -> None:
    rng = np.random.default_rng(3)
    kinds = [KINDS[i] for i in rng.integers(0, 3, size=900)]
    features = np.array([[float(kind == name) for name in KINDS[:3]] for kind in kinds])
    model = fit_kinds(features, kinds, ["one"] * 900, {})
    assert KINDS[int(np.argmax(model.shares([0, 1, 0])))] == "reasoning"
    assert model.shares([1, 0, 0])[3] == pytest.approx(0, abs=1e-6), "a kind that was never seen has no share"
    flat = fit_kinds(rng.normal(size=(900, 2)), kinds, ["one"] * 900, {}).shares([0, 0])
    seen = sum(SHARES[kind] for kind in KINDS[:3])
    assert flat[:3] == pytest.approx([SHARES[kind] / seen for kind in KINDS[:3]], abs=0.03)


def test_a_search_tells_what_wording_can_not() -> None:
    rng = np.random.default_rng(4)
    unanswerable = rng.random(600) < 0.5
    found = np.column_stack([unanswerable + rng.normal(scale=0.3, size=600), *rng.normal(size=(6, 600))])
    by_wording = np.tile([0.4, 0.2, 0.1, 0.1, 0.2], (600, 1))
    model = fit_searched(by_wording, found, unanswerable)
    assert abs(model.weights[1]) > 3 * np.abs(model.weights[2:]).max()
