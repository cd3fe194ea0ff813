"""Policies on answers that are known: what they choose, what that scores and costs, and what they must not see."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from turnout.cli.eval_routing import routing as command
from turnout.engines.remote import RemoteEngine
from turnout.engines.remote_server import RemoteModel
from turnout.errors import ConfigurationError
from turnout.router.evaluation import routing, routing_text
from turnout.router.evaluation.attainable import prefers_full
from turnout.router.evaluation.lara import Grade, Key
from turnout.router.evaluation.lara_judge import judge_gaps
from turnout.router.evaluation.routing_figures import differences, figures, part
from turnout.router.evaluation.routing_policies import (
    MODELS,
    Board,
    board,
    document_tokens,
    random_mixture,
    routed,
    shares,
    signals,
    task_rule,
)
from turnout.router.evaluation.schema import Item

LARGE, SMALL = "gpt-4o", "llama-3.2-3b"
COMPARING = "How do the two mills differ?"


def item(name: str = "q1", **changes: Any) -> Item:
    fields: dict[str, Any] = {
        "id": name,
        "dataset": "lara",
        "task": "location",
        "hop": "single-hop",
        "question": "Where is the mill?",
        "answers": ("by the bridge",),
        "choices": None,
        "answer_type": "abstractive",
        "doc_ids": ("d1",),
        "evidence": None,
        "context_chars": 420_000,
        "core": False,
        "meta": {"length": "128k", "domain": "book"},
    }
    return Item(**(fields | changes))


def filled(full: Any, rag: Any, items: list[Item] | None = None) -> Board:
    """A board of the given scores, [questions, models]; F1 is half the score, prompts are 100,000 and 3,000 tokens."""
    full, rag = np.array(full, dtype=float), np.array(rag, dtype=float)
    questions, models = full.shape
    asked = items or [item(f"q{n}", doc_ids=(f"d{n}",)) for n in range(questions)]
    sizes = (np.full(questions, 100_000.0), np.full(questions, 3_000.0))
    return Board(tuple(asked), tuple(f"m{n}" for n in range(models)), full, rag, full / 2, rag / 2, *sizes)


def figures_of(table: Board, chosen: dict[str, Any], length: str = "128k") -> dict[str, Any]:
    return figures(part(table, length, None, 0), chosen)


# --- the board -------------------------------------------------------------------------------------------------------


def test_only_questions_answered_in_both_ways_count() -> None:
    def graded(score: float) -> Grade:
        return Grade(score, score / 2, score, False)

    grades: dict[Key, Grade] = {
        ("q1", "m1", "full"): graded(0.8),
        ("q1", "m1", "rag"): graded(0.6),
        ("q1", "m2", "full"): graded(0.4),
    }
    # 17 characters of question are 4.05 tokens; 420,000 of text are 100,000.
    table = board([item(question="Where's the mill?")], grades)
    assert table.models == ("m1", "m2")
    np.testing.assert_array_equal(table.full, [[0.8, np.nan]])
    np.testing.assert_array_equal(table.rag_f1, [[0.3, np.nan]])
    assert (table.full_tokens[0], table.rag_tokens[0]) == (100_004, 3_004)


def test_full_is_cut_as_lara_cuts_it() -> None:
    table = board([item(question="Where's the mill?", context_chars=4_200_000)], {})
    assert table.full_tokens[0] == 127_004


# --- the router's choice ---------------------------------------------------------------------------------------------


def test_the_router_knows_only_what_the_product_knows() -> None:
    at = signals(item(task="comparison"), SMALL)
    assert at.task == "location", "the cue is read from the wording; the gold task says comparison"
    assert (at.window, at.parameters) == (131_072, 3_210_000_000)
    # 18 characters of question are 4.3 tokens.
    assert (at.document_tokens, at.full_tokens) == (100_000, 100_004)


@pytest.mark.parametrize("task", ["location", "hallucination", "comparison"])
def test_the_gold_task_does_not_move_the_router(task: str) -> None:
    assert routed(item(task=task), LARGE) == "rag"
    assert routed(item(task=task, question=COMPARING), LARGE) == "full"


def test_full_over_the_published_window_is_never_chosen() -> None:
    long = item(question=COMPARING, context_chars=600_000)
    assert document_tokens(long) == 142_857
    assert routed(long, LARGE) == "rag"
    assert routed(long, "gemini-1.5-pro") == "full"


@pytest.mark.parametrize("model", MODELS)
def test_no_size_is_told_that_the_engine_of_a_server_does_not_give(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window = MODELS[model][1]
    monkeypatch.setattr(
        "turnout.engines.remote.remote_server.find_model", lambda url, name, *_: RemoteModel(name, window, (name,))
    )
    served = RemoteEngine("http://localhost:8000/v1", model).model
    told = signals(item(), model, remote=True)
    assert (told.parameters, told.window) == (served.parameters, served.window)
    if model.startswith(("claude", "gemini", "gpt")):
        told = signals(item(), model)
        assert (told.parameters, told.window) == (served.parameters, served.window)
    else:
        assert signals(item(), model).parameters, "open weights can be local, where they are counted"


def test_a_server_hides_what_a_small_model_can_do() -> None:
    long = item(question=COMPARING)
    # Models whose size is not known are large ones of vendors, as far as LaRA shows: they compare over long texts.
    assert routed(long, SMALL) == "rag"
    assert routed(long, SMALL, remote=True) == "full"
    table = replace(filled([[0.5]], [[0.5]], [long]), models=(SMALL,))
    chosen = shares(table)
    assert (chosen["router"][0, 0], chosen["router_remote"][0, 0]) == (0.0, 1.0)


def test_a_model_that_is_not_known_has_no_size_and_128k() -> None:
    at = signals(item(), "some-new-model")
    assert (at.parameters, at.window) == (None, 128_000)


# --- policies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "length", "expected"),
    [
        ("comparison", "32k", "full"),
        ("comparison", "128k", "full"),
        ("hallucination", "32k", "rag"),
        ("hallucination", "128k", "rag"),
        ("location", "32k", "full"),
        ("location", "128k", "rag"),
        ("reasoning", "32k", "full"),
        ("reasoning", "128k", "rag"),
    ],
)
def test_laras_rule(task: str, length: str, expected: str) -> None:
    assert task_rule(item(task=task, meta={"length": length})) == expected


def test_the_oracle_takes_the_better_answer_and_the_cheaper_of_equals() -> None:
    table = filled([[0.9, 0.0]] * 6, [[0.2, 0.0]] * 6)
    np.testing.assert_array_equal(shares(table)["oracle"], [[1.0, 0.0]] * 6)


def test_the_random_mixture_costs_what_the_policy_costs() -> None:
    rng = np.random.default_rng(0)
    table = filled(rng.random((8, 2)), rng.random((8, 2)))
    # One task, so that the mean over tasks is the mean.
    table = replace(table, full_tokens=rng.integers(20_000, 100_000, 8).astype(float))
    like = rng.integers(0, 2, (8, 2)).astype(float)
    mixed = random_mixture(table, like)
    assert (np.ptp(mixed, axis=0) == 0).all(), "one share for each model"

    def cost(share: Any) -> Any:
        return (share * table.full_tokens[:, None] + (1 - share) * table.rag_tokens[:, None]).sum(axis=0)

    np.testing.assert_allclose(cost(mixed), cost(like))


def test_the_random_mixture_costs_as_much_in_the_tables() -> None:
    table, chosen = four()
    table = replace(table, full_tokens=np.array([20_000.0, 40_000.0, 60_000.0, 90_000.0]))
    router = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    mixed = random_mixture(table, router)
    for column in (0, 1):
        found = figures(part(table, "128k", column, 0), {**chosen, "router": router, "random": mixed})["policies"]
        assert found["random"]["prompt_tokens"] == pytest.approx(found["router"]["prompt_tokens"], abs=1e-3)


def test_the_random_mixture_leaves_out_what_was_not_answered() -> None:
    # Of two questions at equal cost the policy takes full for one, but only that one was answered.
    table = filled([[0.5], [np.nan]], [[0.5], [np.nan]])
    np.testing.assert_array_equal(random_mixture(table, np.array([[1.0], [0.0]])), [[1.0], [1.0]])


# --- figures ---------------------------------------------------------------------------------------------------------

TASKS = ("location", "location", "location", "comparison")
ALWAYS = {"full": np.ones((4, 2)), "rag": np.zeros((4, 2))}


def four() -> tuple[Board, dict[str, Any]]:
    items = [item(f"q{n}", doc_ids=(f"d{n}",), task=task) for n, task in enumerate(TASKS)]
    table = filled(
        [[1.0, 0.0], [1.0, 1.0], [0.0, np.nan], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0], [1.0, np.nan], [0.0, 0.0]], items
    )
    oracle = (table.full > table.rag).astype(float)
    return table, {**ALWAYS, "router": np.full((4, 2), 0.5), "oracle": oracle}


def test_scores_are_macro_over_tasks_of_the_mean_over_models() -> None:
    found = figures_of(*four())
    # full by question: 0.5, 1, 0 (one model), 0.5; location (0.5 + 1 + 0) / 3 = 0.5, comparison 0.5.
    # rag: 0, 1, 1, 0; location 2/3, comparison 0, macro 1/3. oracle: 0.5, 1, 1, 0.5; macro (5/6 + 1/2) / 2 = 2/3.
    scores = {name: policy["score"]["mean"] for name, policy in found["policies"].items()}
    assert scores == pytest.approx({"full": 0.5, "rag": 0.3333, "router": 0.4167, "oracle": 0.6667})
    assert found["policies"]["rag"]["tasks"]["location"]["score"]["mean"] == pytest.approx(0.6667)
    assert found["policies"]["rag"]["tasks"]["comparison"]["questions"] == 1
    assert (found["questions"], found["documents"], found["best_single"]) == (4, 4, "full")


def test_regret_is_what_the_oracle_scores_above() -> None:
    found = figures_of(*four())["policies"]
    assert found["rag"]["regret"]["mean"] == pytest.approx(0.3333, abs=2e-4)
    assert found["oracle"]["regret"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert all(policy["regret"]["low"] >= 0 for policy in found.values())


def test_costs_are_macro_over_tasks_as_the_score_is() -> None:
    found = figures_of(*four())["policies"]
    assert found["full"]["prompt_tokens"] == 100_000
    assert found["router"]["prompt_tokens"] == 51_500
    # The oracle takes full for q0 and q3 with the first of two models: location (1/2 + 0 + 0) / 3, comparison 1/2.
    assert found["oracle"]["full_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["oracle"]["prompt_tokens"] == pytest.approx((100_000 + 2 * 3_000) / 3, abs=1e-3)
    # F1 is half the score.
    assert found["rag"]["token_f1"] == pytest.approx(0.5 / 3, abs=1e-4)


def test_the_router_is_compared_question_by_question() -> None:
    table, chosen = four()
    found = differences(part(table, "128k", None, 0), chosen)
    assert found.keys() == {"full", "rag", "oracle"}
    # router 5/12, full 1/2.
    assert found["full"]["mean"] == pytest.approx(-1 / 12, abs=1e-4)


def test_the_better_single_arm_is_the_cheaper_of_equals() -> None:
    table, _ = four()
    table = replace(table, rag=table.full)
    assert figures_of(table, {**ALWAYS, "router": ALWAYS["full"], "oracle": ALWAYS["rag"]})["best_single"] == "rag"


def test_a_document_is_drawn_once_for_all_its_tasks() -> None:
    # Of each document the question of one task scores 1 and that of the other 0: whatever is drawn, the macro is 1/2.
    asked = [item(f"{n}{task}", doc_ids=(f"d{n}",), task=task) for n in range(6) for task in ("comparison", "location")]
    full = [[float(n % 2 == place)] for n in range(6) for place in (0, 1)]
    table, always = filled(full, full, asked), {name: np.ones((12, 1)) for name in ("full", "rag", "oracle")}
    score = figures_of(table, always)["policies"]["full"]["score"]
    assert score == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_documents_of_a_group_are_drawn_together() -> None:
    asked = [item(f"q{n}", doc_ids=(f"d{n}",)) for n in range(6)]
    scores = [[1.0], [0.0]] * 3
    always = {name: np.ones((6, 1)) for name in ("full", "rag", "oracle")}
    apart = filled(scores, scores, asked)
    # Each group holds one question of score 1 and one of 0.
    grouped = replace(apart, groups={"d1": "d0", "d3": "d2", "d4": "d5"})
    found = {name: figures_of(table, always) for name, table in (("apart", apart), ("grouped", grouped))}
    assert (found["apart"]["documents"], found["apart"]["groups"]) == (6, 6)
    assert (found["grouped"]["documents"], found["grouped"]["groups"]) == (6, 3)
    assert found["apart"]["policies"]["full"]["score"]["low"] < 0.5
    assert found["grouped"]["policies"]["full"]["score"] == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_questions_whose_text_was_cut_are_counted() -> None:
    # 127,000 tokens of 4.2 characters are 533,400.
    asked = [item("q0", context_chars=533_400), item("q1", context_chars=533_410)]
    table, always = filled([[1.0]] * 2, [[1.0]] * 2, asked), {name: np.ones((2, 1)) for name in (*ALWAYS, "oracle")}
    assert figures_of(table, always)["full_cut"] == 1


def test_a_task_has_the_same_mean_alone_and_among_all_figures() -> None:
    table, chosen = four()
    with_, without = (figures(part(table, "128k", 0, 0), chosen, by_task=wanted) for wanted in (True, False))
    for name in chosen:
        long, short = (found["policies"][name]["tasks"]["location"] for found in (with_, without))
        assert short == {"score": {"mean": long["score"]["mean"]}}
        assert long["score"].keys() == {"mean", "low", "high"}


def test_our_gap_between_the_ways_stands_beside_the_judges() -> None:
    table, _ = four()
    # The first model is published, the second is not.
    table = replace(table, models=("gpt-4o", "m"))
    found = judge_gaps(part(table, "128k", None, 0), "128k")
    # full - rag of the first: location 1 - 0, 1 - 1, 0 - 1; comparison 1 - 0.
    assert {task: (entry["models"], entry["rules"]["mean"]) for task, entry in found.items()} == {
        "location": (1, 0.0),
        "comparison": (1, 1.0),
    }
    # GPT-4o at 128k: 87.70 / 82.22 and 64.74 / 40.84 percent.
    assert (found["location"]["judge"], found["comparison"]["judge"]) == (0.0548, 0.239)
    assert judge_gaps(part(replace(table, models=("m", "n")), "128k", None, 0), "128k") == {}


def test_a_model_without_answers_at_a_length_has_no_figures() -> None:
    table, chosen = four()
    assert figures(part(table, "32k", 0, 0), chosen)["policies"] == {}


# --- the attainable reference ----------------------------------------------------------------------------------------


def told(questions: int) -> dict[str, list[str]]:
    return {
        "tasks": ["comparison" if n % 2 else "location" for n in range(questions)],
        "lengths": ["32k"] * questions,
        "domains": ["book"] * questions,
        "documents": [f"d{n // 4}" for n in range(questions)],
    }


def test_what_the_task_tells_is_used() -> None:
    full = np.full((40, 2), 0.5)
    rag = np.where(np.arange(40)[:, None] % 2 == 1, 0.1, 0.9) * np.ones((40, 2))
    np.testing.assert_array_equal(prefers_full(full, rag, **told(40))[:, 0], np.arange(40) % 2 == 1)


def test_what_other_models_score_on_the_question_is_used() -> None:
    rng = np.random.default_rng(1)
    better = rng.random(80) < 0.5
    full, rag = np.where(better, 0.9, 0.1)[:, None] * np.ones((80, 3)), np.full((80, 3), 0.5)
    np.testing.assert_array_equal(prefers_full(full, rag, **told(80))[:, 1], better)


def test_a_models_own_scores_on_a_document_do_not_move_its_choices_there() -> None:
    rng = np.random.default_rng(2)
    full, rag = rng.random((40, 3)), rng.random((40, 3))
    before = prefers_full(full, rag, **told(40))
    seen = copy.deepcopy(full)
    seen[8:12, 0] = 1 - seen[8:12, 0]  # document d2, first model
    np.testing.assert_array_equal(prefers_full(seen, rag, **told(40))[8:12, 0], before[8:12, 0])


def test_gaps_are_no_scores() -> None:
    full, rag = np.full((40, 2), 0.9), np.full((40, 2), 0.1)
    full[:10, 1] = rag[:10, 1] = np.nan
    assert prefers_full(full, rag, **told(40)).all()


def test_without_enough_models_or_documents_there_is_no_reference() -> None:
    assert prefers_full(np.ones((40, 1)), np.ones((40, 1)), **told(40)) is None
    assert prefers_full(np.ones((16, 2)), np.ones((16, 2)), **told(16)) is None
    assert "attainable" not in shares(filled([[0.9]] * 6, [[0.2]] * 6))


def test_folds_keep_a_group_together() -> None:
    rng = np.random.default_rng(3)
    full, rag = rng.random((40, 2)), rng.random((40, 2))
    asked = [item(f"q{n}", doc_ids=(f"d{n}",)) for n in range(40)]
    groups = {f"d{n}": f"g{n // 4}" for n in range(40)}
    table = replace(filled(full, rag, asked), groups=groups)
    before = shares(table)["attainable"]
    seen = copy.deepcopy(full)
    seen[:4, 0] = 1 - seen[:4, 0]  # four documents of the first group
    np.testing.assert_array_equal(shares(replace(table, full=seen))["attainable"][:4, 0], before[:4, 0])


# --- from files to lines ---------------------------------------------------------------------------------------------

Edit = Callable[[dict[str, Any]], None]


def files(folder: Path, edit: Edit = lambda row: None) -> tuple[Path, Path]:
    """Twelve questions on six documents, two models; full names the place, rag only the bridge."""
    questions, predictions = [], []
    for n in range(12):
        length = "32k" if n < 6 else "128k"
        unanswerable = n % 3 == 0
        questions.append(
            {
                "id": f"q{n}",
                "task": "hallucination" if unanswerable else "location",
                "question": COMPARING if n % 2 else "Where is the mill?",
                "answers": ["The text does not mention it." if unanswerable else "by old bridge"],
                "answer_type": "unanswerable" if unanswerable else "abstractive",
                "doc_ids": [f"d{n // 2}"],
                "context_chars": 84_000 if length == "32k" else 420_000,
                "meta": {"length": length, "domain": "book"},
            }
        )
        for model in (LARGE, SMALL):
            for mode, text in (("long_context", "by the old bridge"), ("rag", "The text does not say; a bridge")):
                row = {"id": f"q{n}", "model": model, "mode": mode, "prediction": text}
                edit(row)
                predictions.append(row)
    paths = (folder / "predictions.jsonl", folder / "questions.jsonl")
    for path, rows in zip(paths, (predictions, questions), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


def test_the_whole_evaluation(tmp_path: Path) -> None:
    result = routing.evaluate(*files(tmp_path), seed=3)
    assert json.loads(json.dumps(result)) == result
    assert result["counts"] == {
        "questions": 12,
        "documents": 6,
        "groups": 6,
        "models": 2,
        "predictions": 48,
        "pairs": 24,
        "without_other_mode": 0,
        "unusable_lines": 0,
        "first_unusable": [],
    }
    assert list(result["lengths"]) == ["32k", "128k"]
    policies = result["lengths"]["32k"]["policies"]
    # full: 1 on location, 0 where it should have declined. rag: 1 of 3 tokens on location, and it declines.
    assert policies["full"]["score"]["mean"] == 0.5
    assert policies["rag"]["score"]["mean"] == pytest.approx(0.6667)
    assert policies["oracle"]["score"]["mean"] == 1.0
    # Short comparisons and places want the whole text, whatever the answers were.
    assert policies["router"]["full_share"] == pytest.approx(np.mean(_router(result, "32k")))
    assert result["task_cue"] == {
        "hallucination": {"location": 2, "comparison": 2},
        "location": {"location": 4, "comparison": 4},
    }
    # rag's words say "does not say" on all eight answerable questions.
    assert result["grading"]["refused_answerable"] == {"full": 0.0, "rag": 1.0}
    assert result["assumed"][SMALL] == {"parameters": 3_210_000_000, "window": 131_072, "over_window": 0}


def _router(result: dict[str, Any], length: str) -> list[float]:
    return [result["models"][model][length]["policies"]["router"]["full_share"] for model in (LARGE, SMALL)]


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    paths = files(tmp_path)
    assert routing.evaluate(*paths, seed=3) == routing.evaluate(*paths, seed=3)


def test_the_routers_choices_do_not_depend_on_the_answers(tmp_path: Path) -> None:
    def swap(row: dict[str, Any]) -> None:
        row["mode"] = "rag" if row["mode"] == "long_context" else "long_context"

    (tmp_path / "swapped").mkdir()
    before, after = routing.evaluate(*files(tmp_path), 0), routing.evaluate(*files(tmp_path / "swapped", swap), 0)
    for length in ("32k", "128k"):
        assert _router(after, length) == _router(before, length)
        first, second = (result["lengths"][length]["policies"] for result in (before, after))
        assert second["rag"]["score"] == first["full"]["score"]


def test_a_prediction_without_the_other_mode_is_counted_and_left_out(tmp_path: Path) -> None:
    def spoil(row: dict[str, Any]) -> None:
        if row["id"] == "q1" and row["model"] == SMALL and row["mode"] == "rag":
            row["mode"] = "hybrid"

    result = routing.evaluate(*files(tmp_path, spoil), seed=0)
    assert (result["counts"]["pairs"], result["counts"]["without_other_mode"]) == (23, 1)
    assert result["counts"]["first_unusable"] == [
        "predictions.jsonl:8: unknown mode 'hybrid'; known: long_context, rag"
    ]


def test_lines_name_every_policy_model_and_the_verdict(tmp_path: Path) -> None:
    checked = tmp_path / "checked.jsonl"
    verdict = {"id": "q1", "model": LARGE, "mode": "long_context", "task": "location", "verdict": "right"}
    checked.write_text(json.dumps(verdict) + "\n")
    result = routing.evaluate(*files(tmp_path), seed=0, checked_path=checked)
    text = routing_text.lines(result)
    assert text[0].startswith("LaRA's predictions  12 questions  6 documents  2 models  24 pairs")
    for name in (*result["policies"], LARGE, SMALL):
        assert any(line.startswith(f"  {name} ") for line in text), name
    assert "  router against rag (best single): " in "\n".join(text)
    assert any(line.startswith("grading     agrees with 100% of 1 verdicts") for line in text)
    assert not any("*" in line for line in text), "no text was cut"
    assert any("told apart by their ids alone" in line for line in text)
    # Both models are published, with full ahead on location at 32k; by the rules full is ahead by 2/3.
    judged = next(line.split() for line in text if line.split()[:2] == ["32k", "location"])
    assert (judged[2], judged[-1]) == ("+0.667", "+0.009")
    # At 128k the judge has rag ahead on location: (5.48 - 8.00) / 2 points. On hallucination both have.
    warned = [line for line in text if line.startswith("caveat: the judge")]
    assert warned == ["caveat: the judge sees the other way ahead on location at 128k (+0.667, judge -0.013)"]


def test_a_gap_of_the_other_sign_than_the_judges_is_a_caveat(tmp_path: Path) -> None:
    def swap(row: dict[str, Any]) -> None:
        row["mode"] = "rag" if row["mode"] == "long_context" else "long_context"

    text = routing_text.lines(routing.evaluate(*files(tmp_path, swap), seed=0))
    warned = next(line for line in text if line.startswith("caveat: the judge sees the other way ahead on "))
    assert "hallucination at 128k (+1.000, judge -0.142)" in warned


def test_cut_texts_are_marked_with_a_footnote(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    rows[-1]["context_chars"] = 600_000
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = routing_text.lines(routing.evaluate(predictions, questions, seed=0))
    assert sum(line.startswith("  full* ") for line in text) == 1, "at 128k alone"
    assert any(line.startswith("  * cut in the middle to 127,000 tokens on 1 of 6 questions") for line in text)


def test_groups_of_documents_are_taken_from_a_file(tmp_path: Path) -> None:
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"d1": "d0", "d0": "d0"}))
    result = routing.evaluate(*files(tmp_path), seed=0, groups_path=groups)
    assert (result["counts"]["documents"], result["counts"]["groups"]) == (6, 5)
    assert (result["lengths"]["32k"]["documents"], result["lengths"]["32k"]["groups"]) == (3, 2)
    text = routing_text.lines(result)
    assert text[0].startswith("LaRA's predictions  12 questions  6 documents in 5 groups")
    assert not any("ids alone" in line for line in text)


def test_one_model_has_every_policy_but_the_reference(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    kept = [line for line in predictions.read_text().splitlines(keepends=True) if SMALL in line]
    predictions.write_text("".join(kept))
    result = routing.evaluate(predictions, questions, seed=0)
    assert "attainable" not in result["policies"]
    assert "attainable" not in result["lengths"]["32k"]["policies"]
    text = routing_text.lines(result)
    assert any(line.startswith("attainable is left out: it takes 2 models") for line in text)
    assert any(line.startswith(f"  {SMALL} ") for line in text)


def test_strict_ends_at_malformed_lines_and_says_which(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    predictions.write_text("{\n" + predictions.read_text())
    told: list[Any] = []
    assert routing.evaluate(predictions, questions, 0, on_bad=told.append)["counts"]["unusable_lines"] == 1
    assert [line.line for line in told] == [1]
    with pytest.raises(ConfigurationError, match=r"malformed lines: 1, the first: .*predictions\.jsonl:1: not JSON"):
        routing.evaluate(predictions, questions, 0, strict=True)


def test_questions_without_a_length_are_an_error(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    rows = [json.loads(line) | {"meta": {}} for line in questions.read_text().splitlines()]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigurationError, match=r"no question with a length class"):
        routing.evaluate(predictions, questions, seed=0)


def test_predictions_in_one_mode_only_are_an_error(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    lines = [line for line in predictions.read_text().splitlines() if '"rag"' in line]
    predictions.write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="answered in both modes"):
        routing.evaluate(predictions, questions, seed=0)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--predictions and --questions missing: name the files, or give --data DIR"),
        (["--predictions", "p.jsonl"], "--questions missing"),
    ],
)
def test_the_files_must_be_named(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    predictions, questions = files(tmp_path)
    given = ["--predictions", str(predictions), "--questions", str(questions), "--seed", "5"]
    out = tmp_path / "results" / "routing.json"
    done = CliRunner().invoke(command, [*given, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("LaRA's predictions")
    written = json.loads(out.read_text())
    assert written["seed"] == 5
    assert json.loads(CliRunner().invoke(command, [*given, "--json"]).output) == written


def test_a_folder_stands_for_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def facade(predictions: Path, questions: Path, **_: Any) -> tuple[Any, list[str]]:
        asked.extend([predictions, questions])
        return {}, []

    monkeypatch.setattr("turnout.evaluate.routing", facade, raising=False)
    CliRunner().invoke(command, ["--data", str(tmp_path)], catch_exceptions=False)
    assert asked == [
        tmp_path / "dev/routing/lara_predictions.jsonl.gz",
        tmp_path / "dev/questions/lara.jsonl.gz",
    ]


def given(folder: Path) -> list[str]:
    predictions, questions = files(folder)
    return ["--predictions", str(predictions), "--questions", str(questions)]


def test_malformed_lines_are_shown_and_counted(tmp_path: Path) -> None:
    arguments = given(tmp_path)
    predictions = Path(arguments[1])
    predictions.write_text("{\n" * 12 + predictions.read_text())
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    said = done.stderr.splitlines()
    assert "predictions.jsonl:1: not JSON" in said[0]
    assert (len(said), said[-1]) == (11, "skipped: 2 more malformed lines")
    refused = CliRunner().invoke(command, [*arguments, "--strict"])
    assert isinstance(refused.exception, ConfigurationError)


def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("turnout.evaluate.routing", lambda *_, **__: pytest.fail("it was worked out"))
    done = CliRunner().invoke(command, [*given(tmp_path), "--out", str(tmp_path / "file" / "routing.json")])
    assert isinstance(done.exception, ConfigurationError)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # a folder of somebody else
    done = CliRunner().invoke(command, [*given(tmp_path), "--out", str(tmp_path / "new" / "routing.json")])
    assert isinstance(done.exception, ConfigurationError)
    assert not (tmp_path / "new").exists()


def test_a_seed_below_zero_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [*given(tmp_path), "--seed", "-1"])
    assert done.exit_code == 2
    assert "--seed" in done.output


def test_the_command_takes_groups(tmp_path: Path) -> None:
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"d1": "d0"}))
    done = CliRunner().invoke(command, [*given(tmp_path), "--groups", str(groups)], catch_exceptions=False)
    assert "6 documents in 5 groups" in done.output
