"""Prices and waiting through the whole path: settings, decision, answer, ledger, command line, LangChain."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from support.able import AbleEngine
from support.library import BOOK
from support.openai_stub import Stub, serve

from turnout import Budget, BudgetError, Cut, Done, EngineError, Text, Turnout
from turnout.config import Settings
from turnout.engines.fake import FakeEngine
from turnout.engines.in_flight import Load
from turnout.errors import ConfigurationError, EngineTimeoutError
from turnout.langchain import ChatTurnout
from turnout.langchain.errors import RequestError
from turnout.router.ledger import ENOUGH
from turnout.router.signals import Signals
from turnout.system import doctor

QUESTION = "Who repaired the lighthouse lamp?"
PRICES = "{unit}\n[models.{name}]\ninput = 3.0\ncached_input = 1.0\noutput = 200.0\n"


class Elsewhere(FakeEngine):
    """As a server: memory and seconds there are not ours."""

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> None:  # type: ignore[override]
        return None


class Busy(FakeEngine):
    """Has always the same to do for others."""

    load = Load(waiting=1, running=0, unread_tokens=2000, prompt_tokens=2000, unwritten_tokens=50)

    def in_flight(self) -> Load:
        return self.load


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES.format(unit='currency = "EUR"', name="fake"), encoding="utf-8")
    return path


def test_an_argument_wins_over_the_environment_and_paths_are_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load().prices is None
    monkeypatch.setenv("TURNOUT_PRICES", "env.toml")
    assert Settings.load().prices == tmp_path / "env.toml"
    assert Settings.load(prices="mine.toml").prices == tmp_path / "mine.toml"
    assert Settings.load(prices="").prices is None


READ_ANEW = ["rag:attention", "rag:chunkfree"]


@pytest.mark.parametrize("strategy", ["extract", "extract:exit", "extract:code", "extract:draft", *READ_ANEW])
def test_what_a_scan_reads_is_predicted_used_and_paid_for(prices: Path, strategy: str) -> None:
    engine = AbleEngine()
    text = Text(BOOK, "book.py" if strategy == "extract:code" else "book.md")
    with Turnout(engine=engine, prices=prices, log="decisions") as t:
        planned = t.plan(QUESTION, [text], strategy=strategy)[strategy]
        if planned.scanned_tokens:
            unscanned = Budget(max_cost=planned.cost_high - 3 * planned.scanned_tokens / 1_000_000)
            with pytest.raises(BudgetError, match="max_cost"):
                t.ask(QUESTION, [text], strategy=strategy, budget=unscanned)
        answer = t.ask(QUESTION, [text], strategy=strategy)
        predicted, usage = answer.decision[strategy], answer.usage
        assert usage.scanned_tokens == engine.read
        assert usage.cost == pytest.approx(
            (3 * (usage.prompt_tokens + engine.read) + 200 * usage.completion_tokens) / 1_000_000
        )
        assert t.log()[0].record["usage"]["scanned_tokens"] == engine.read
        if strategy == "extract":
            assert engine.read == predicted.scanned_tokens == 0
            return
        assert engine.read / 2 < predicted.scanned_tokens < engine.read * 4
        assert predicted.cost > 3 * (predicted.prompt_tokens + predicted.scanned_tokens) / 1_000_000
        # What is kept of the scan need not be read again.
        again = t.ask(QUESTION, [text], strategy=strategy).usage.scanned_tokens
        assert (again > 0) == (strategy in READ_ANEW)


def test_the_measured_cost_is_that_of_the_measured_tokens(prices: Path) -> None:
    engine = Elsewhere(capabilities=frozenset({"prefix_cache"}))
    with Turnout(engine=engine, prices=prices) as t:
        first, second = (t.ask(QUESTION, Text(BOOK), strategy="full") for _ in range(2))
        kept = t.explain(second.id).record
    assert first.usage.cached_tokens == 0 < second.usage.cached_tokens
    for answer in (first, second):
        usage = answer.usage
        read = usage.prompt_tokens - usage.cached_tokens
        tokens = read * 3.0 + usage.cached_tokens * 1.0 + usage.completion_tokens * 200.0
        assert usage.cost == pytest.approx(tokens / 1e6)
    chosen = first.decision["full"]
    assert chosen.cost_low < chosen.cost < chosen.cost_high  # type: ignore[operator]
    assert chosen.cost_low < first.usage.cost < chosen.cost_high  # type: ignore[operator]
    assert kept["usage"]["cost"] == second.usage.cost
    assert kept["decision"]["signals"]["pricing"] == {
        "model": "fake", "currency": "EUR", "input": 3.0, "cached_input": 1.0, "output": 200.0,
    }  # fmt: skip


def test_a_server_without_a_price_costs_nobody_knows_what_and_breaks_a_limit_on_it(tmp_path: Path) -> None:
    with Turnout(engine=Elsewhere()) as t:
        assert t.ask(QUESTION, Text(BOOK)).usage.cost is None
        with pytest.raises(BudgetError, match="no price of 'fake' is known") as refused:
            t.plan(QUESTION, Text(BOOK), budget=Budget(max_cost=0.5))
    assert "--prices FILE or TURNOUT_PRICES" in refused.value.hint
    other = tmp_path / "other.toml"
    other.write_text(PRICES.format(unit='currency = "EUR"', name="elsewhere"), encoding="utf-8")
    # With a price file a model that is not in it has no price, on this machine too: its seconds are no money.
    with Turnout(engine=FakeEngine(), prices=other) as t:
        assert t.ask(QUESTION, Text(BOOK)).usage.cost is None
        with pytest.raises(BudgetError, match=r"no price of 'fake' in other\.toml"):
            t.ask(QUESTION, Text(BOOK), budget=Budget(max_cost=0.5))


def test_a_wrong_price_file_is_refused_before_any_document_is_read(prices: Path) -> None:
    prices.write_text(PRICES.format(unit="currency = 1", name="fake"), encoding="utf-8")
    with Turnout(engine=FakeEngine(), prices=prices) as t:
        for ask in (t.plan, t.ask):
            with pytest.raises(ConfigurationError, match=r"prices\.toml:1: currency is 1"):
                ask(QUESTION, "no-such-file.txt")
        assert t.documents() == [], "what needs no price works"


def test_doctor_finds_a_wrong_price_file(prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_PRICES", str(prices))
    assert not any("prices.toml" in problem for problem in doctor()["problems"])
    prices.write_text("currency", encoding="utf-8")
    assert any("prices.toml:1: " in problem for problem in doctor()["problems"])


def test_an_answer_ends_where_the_money_does(prices: Path) -> None:
    with Turnout(engine=FakeEngine(answers=["Marta Lindqvist repaired it " * 40]), prices=prices) as t:
        plan = t.plan(QUESTION, Text(BOOK), strategy="rag")
        read = plan["rag"].prompt_tokens * 3.0 / 1e6  # type: ignore[operator]
        usual = plan.signals["expected_new_tokens"]
        few = Budget(max_cost=read + 200.0 * (2 * usual - 0.5) / 1e6)
        with pytest.raises(BudgetError):
            t.plan(QUESTION, Text(BOOK), strategy="rag", budget=few)
        # Where answers turned out short, less is set aside for them; one that is longer is then cut.
        shorter = _learned_lengths(t)
        *_, cut, done = t.stream(QUESTION, Text(BOOK), strategy="rag", budget=few)
    assert shorter
    assert cut == Cut("max_cost", few.max_cost)  # type: ignore[arg-type]
    assert isinstance(done, Done)
    assert done.answer.usage.completion_tokens == 2 * usual - 1
    assert done.answer.budget.met and done.answer.text.startswith("Marta Lindqvist")


def test_money_that_is_over_before_an_answer_is_an_error_that_says_so(prices: Path) -> None:
    with Turnout(engine=FakeEngine(answers=["word " * 400]), prices=prices) as t:
        plan = t.plan(QUESTION, Text(BOOK), strategy="rag")
        few = Budget(max_cost=(plan["rag"].prompt_tokens * 3.0 + 200.0 * 6) / 1e6)  # type: ignore[operator]
        _learned_lengths(t)
        with pytest.raises(EngineError, match=r"max_cost .* was over before") as refused:
            t.ask(QUESTION, Text(BOOK), strategy="rag", budget=few)
    assert "allow more max_cost" in refused.value.hint
    assert not refused.value.retryable


def _learned_lengths(t: Turnout) -> bool:
    """Lets the ledger see that answers are short."""
    engine = t._opened().engine
    assert isinstance(engine, FakeEngine)
    longer, engine._answers = engine._answers, ["Marta Lindqvist"]
    for _ in range(ENOUGH):
        t.ask(QUESTION, Text(BOOK), strategy="rag")
    engine._answers = longer
    return t.plan(QUESTION, Text(BOOK), strategy="rag")["rag"].cost_high is not None


def test_langchain_gets_the_cost_with_the_usage(prices: Path) -> None:
    with Turnout(engine=Elsewhere(), prices=prices) as t:
        message = ChatTurnout(turnout=t).bind_documents(Text(BOOK)).invoke(QUESTION)
    usage = message.response_metadata["usage"]
    assert usage["cost"] == pytest.approx((usage["prompt_tokens"] * 3.0 + usage["completion_tokens"] * 200.0) / 1e6)
    assert message.response_metadata["decision"]["signals"]["pricing"]["currency"] == "EUR"


def test_a_chat_model_of_its_own_takes_a_price_file(prices: Path) -> None:
    server = Stub(models=[{"id": "fake", "max_model_len": 32768}], words=["Marta", " Lindqvist"])
    with serve(server):
        options = {"model": f"{server.url}/v1", "model_name": "fake", "documents": [Text(BOOK)], "strategy": "full"}
        chat = ChatTurnout(**options, prices=prices)
        assert chat.invoke(QUESTION).response_metadata["usage"]["cost"] > 0
        with pytest.raises(RequestError, match="max_cost"):
            chat.invoke(QUESTION, budget={"max_cost": 1e-9})
        chat.close()


def test_another_model_of_the_same_library_has_its_own_price(prices: Path) -> None:
    with Turnout(engine=Elsewhere(name="dear"), prices=prices) as t:
        assert t.ask(QUESTION, Text(BOOK)).usage.cost is None
        with t.with_model("fake") as other:
            assert other.ask(QUESTION, Text(BOOK)).usage.cost is not None


def test_what_others_have_the_engine_do_is_in_the_record_and_told(prices: Path) -> None:
    with Turnout(engine=Busy()) as t:
        idle = FakeEngine()
        answer = t.ask(QUESTION, Text(BOOK))
        kept = t.explain(answer.id).record["decision"]
        with Turnout(engine=idle) as alone:
            apart = answer.decision["rag"].ttft_s - alone.plan(QUESTION, Text(BOOK))["rag"].ttft_s  # type: ignore[operator]
    wait = answer.decision.signals["wait_s"]
    assert wait[1] > 0.1
    assert apart == pytest.approx(wait[1])
    assert any("1 waiting, 0 running" in line for line in kept["because"])
    assert Signals.from_record(kept["signals"]).load == Busy.load


def test_answers_that_waited_teach_nothing_of_reading_and_their_waiting_is_not_the_routers(home: Path) -> None:
    def learned(engine: FakeEngine) -> object:
        with Turnout(engine=engine) as t:
            for _ in range(ENOUGH):
                t.ask(QUESTION, Text(BOOK), strategy="rag")
            return t._opened().machinery().profile

    assert learned(Busy()).corrections == learned(Busy()).outside_s == {}  # type: ignore[attr-defined]
    seen = learned(FakeEngine(name="idle"))
    assert seen.corrections and seen.outside_s  # type: ignore[attr-defined]


def test_time_waited_for_ones_turn_is_predicted_too_and_not_learned_as_the_routers_own(home: Path) -> None:
    slow = FakeEngine(answers=["Marta Lindqvist did it " * 5], token_s=0.02)
    answers = []
    with Turnout(engine=slow) as t:
        t.ask(QUESTION, Text(BOOK))
        threads = [threading.Thread(target=lambda: answers.append(t.ask(QUESTION, Text(BOOK)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outside = t._opened().machinery().profile.outside_s[answers[0].decision.chosen]
    last = max(answers, key=lambda answer: answer.usage.total_s)
    waited = last.decision.signals["waited_s"]
    chosen = last.decision[last.decision.chosen]
    assert waited > 0.8 and outside < waited / 4
    assert chosen.ttft_s > waited and last.usage.ttft_s > waited  # type: ignore[operator]
    assert any(line.startswith(f"waited {waited:.1f} s for its turn") for line in last.decision.because)


def test_a_turn_that_does_not_come_inside_the_limit_is_not_waited_for(home: Path) -> None:
    slow = FakeEngine(answers=["Marta Lindqvist did it " * 10], token_s=0.05)
    with Turnout(engine=slow) as t:
        stream = t.stream(QUESTION, Text(BOOK))
        next(stream)
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                t.ask(QUESTION, Text(BOOK), budget=Budget(max_ttft_s=0.3, max_total_s=30))
            except EngineTimeoutError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        stream.close()
    assert "0.3 s was over while other questions were being answered" in str(failed[0])
    assert failed[0].retryable  # type: ignore[attr-defined]


def test_the_command_line_shows_costs_in_their_currency(prices: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    from turnout.cli.main import main

    def run(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit):
            main(list(arguments))
        return capsys.readouterr()

    monkeypatch.setenv("TURNOUT_MODEL", "fake")
    book = tmp_path / "book.md"
    book.write_text(BOOK, encoding="utf-8")
    plan, _ = run("ask", str(book), QUESTION, "--plan", "--prices", str(prices))
    assert "cost" in plan.splitlines()[0] and " EUR" in plan
    assert "because     " in plan
    out, err = run("ask", str(book), QUESTION, "--prices", str(prices), "--json", "--max-cost", "0.1")
    answer = json.loads(out)
    assert f"  {answer['usage']['cost']:.3g} EUR  id {answer['id']}" in err
    assert answer["budget"] == {"limits": {"max_cost": 0.1}, "met": True, "broken": []}
    explained, _ = run("explain", answer["id"])
    chosen = next(c for c in answer["decision"]["candidates"] if c["chosen"])
    assert f"cost {answer['usage']['cost']:.3g} EUR ({chosen['cost']:.3g} EUR), budget met" in explained
    _, refused = run("ask", str(book), QUESTION, "--prices", str(prices), "--max-cost", "0.00001")
    assert "nearest possible" in refused
    plain, _ = run("ask", str(book), QUESTION, "--plan")
    assert "cost" not in plain.splitlines()[0]
