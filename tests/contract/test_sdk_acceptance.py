"""The SDK as the design shows it: a server by URL, documents added once, a plan, an answer, a stream."""

from pathlib import Path

from support.library import BOOK
from support.openai_stub import Stub, serve

from turnout import Budget, Decided, Done, Retracted, Text, TextDelta, Turnout


async def test_the_snippet(home: Path, tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "harbour.md").write_text(BOOK, encoding="utf-8")
    (contracts / "scan.pdf").write_bytes(b"")
    mail = "Dear all, assignment is allowed with written consent. Regards, Ines."
    messages = [
        {"role": "user", "content": "Which allow assignment?"},
        {"role": "assistant", "content": "The mail of 12 May."},
    ]
    shown: list[str] = []
    said = ["With written", " consent.\n", 'Quote: "assignment is allowed with written consent"']
    server = Stub(models=[{"id": "qwen3-8b", "max_model_len": 32768}], words=said)
    with serve(server), Turnout(model=f"{server.url}/v1", model_name="qwen3-8b", log="decisions") as t:
        added = t.add(str(contracts), Text(mail, title="mail 12 May"), contracts / "scan.pdf", collection="acme")
        docs, limits = added.documents, Budget(max_ttft_s=20)
        assert [failure.path for failure in added.failed] == [str(contracts / "scan.pdf")]
        assert all(failure.reason and failure.hint for failure in added.failed)

        plan = t.plan("Which allow assignment?", docs, budget=limits)
        assert {candidate.strategy for candidate in plan} == {"full", "rag", "extract", "rapid", "soft"}

        a = t.ask("Which allow assignment?", docs, budget=limits)
        assert a.text == "With written consent."
        assert not a.abstained
        assert a.decision.chosen in ("full", "rag")
        assert a.decision["full"].excluded_by is None
        assert a.budget.met
        assert a.usage.cached_tokens == 0
        assert len(a.citations) == 1
        for c in a.citations:
            assert c.document.title == "mail 12 May"
            assert c.page is None
            assert c.quote == "assignment is allowed with written consent"
            assert c.found == "exact"
            assert c.support is None

        texts = [answer.text for answer in t.ask_many(["Who?", "When?"], docs, budget=Budget(max_total_s=600))]
        assert len(texts) == 2

        async for event in t.astream("And the notice period?", docs, history=messages):
            match event:
                case Decided(d):
                    assert d.chosen
                case TextDelta(s):
                    shown.append(s)
                case Retracted():
                    shown.clear()
                case Done(answer):
                    assert answer.question == "And the notice period?"
    assert "".join(shown).startswith("With written consent.")
