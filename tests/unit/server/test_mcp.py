"""The tools of MCP through the official client: in memory, and over the standard streams of a real process."""

import json
import sys
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.server.mcp import Shown, made

QUESTION = "Who repaired the lighthouse lamp?"
SECRET = "The vault of Brask opens with the word heron."


@pytest.fixture
def t(home: Path):
    with Turnout(engine=FakeEngine()) as turnout:
        turnout.add(Text(BOOK, "book.md"), collection="acme")
        turnout.add(Text(SECRET, "secret.md"), collection="brask")
        turnout.add(Text("The pier stands in Sark.", "pier.md"))
        yield turnout


async def told(client: Client, tool: str, **given: object) -> dict:
    result = await client.call_tool(tool, given)
    assert not result.is_error, result.content
    assert result.structured_content == json.loads(result.content[0].text)
    return result.structured_content


async def refused(client: Client, tool: str, **given: object) -> str:
    result = await client.call_tool(tool, given)
    assert result.is_error
    return result.content[0].text


async def test_questions_are_answered_and_citations_can_be_read(t: Turnout) -> None:
    async with Client(made(Shown(t, [], "acme"))) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"ask", "plan", "list_documents", "read_span"}
        assert all(tool.annotations and tool.annotations.read_only_hint and tool.description for tool in tools)
        answer = await told(client, "ask", question=QUESTION)
        assert "Marta Lindqvist" in answer["text"]
        cited = answer["citations"][0]
        span = await told(client, "read_span", document=cited["doc_id"], start=cited["start"], end=cited["end"])
        assert span["text"] == cited["quote"]
        plan = await told(client, "plan", question=QUESTION, documents=["book.md"])
        assert plan["chosen"] in {each["strategy"] for each in plan["candidates"]}


async def test_only_the_given_documents_are_there(t: Turnout, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Per Holm built the mill.", encoding="utf-8")
    secret, pier = t.documents("brask")[0].id, t.documents()[0].id
    for shown, title in ((Shown(t, [], "acme"), "book.md"), (Shown(t, [str(tmp_path / "notes.md")], None), "notes.md")):
        async with Client(made(shown)) as client:
            listed = (await told(client, "list_documents"))["documents"]
            assert [each["title"] for each in listed] == [title]
            for name in (secret, "secret.md", pier, "pier.md", "/etc/passwd", str(tmp_path), "", "*"):
                for tool, given in (
                    ("read_span", {"document": name}),
                    ("ask", {"question": "Which word?", "documents": [name]}),
                    ("plan", {"question": "Which word?", "documents": [name]}),
                ):
                    message = await refused(client, tool, **given)
                    assert "unknown document" in message
                    assert "secret" not in message.replace("'secret.md'", "")


async def test_slips_and_failures_are_told_with_a_hint(t: Turnout) -> None:
    async with Client(made(Shown(t, [], "acme"))) as client:
        assert "known:" in await refused(client, "ask", question=QUESTION, strategy="rg")
        assert "question" in await refused(client, "ask", question="")
        assert "start" in await refused(client, "read_span", document="book.md", start=-1)
        assert (await told(client, "read_span", document="book.md", start=10**9))["text"] == ""
    async with Client(made(Shown(t, [], "empty"))) as client:
        assert await told(client, "list_documents") == {"documents": []}
        assert "nothing to ask about" in await refused(client, "ask", question=QUESTION)


async def test_over_the_streams_of_a_process(tmp_path: Path, home: Path) -> None:
    (tmp_path / "book.md").write_text(BOOK, encoding="utf-8")
    arguments = ["-c", "from turnout.cli.main import main; main()", "mcp", str(tmp_path / "book.md")]
    # The client hands a few variables on; the rest is for us to say.
    given = {"TURNOUT_HOME": str(home), "TURNOUT_MODEL": "fake", "PYTHONPATH": ":".join(filter(None, sys.path))}
    with (tmp_path / "errors").open("w") as errors:
        process = StdioServerParameters(command=sys.executable, args=arguments, env=given)
        async with Client(stdio_client(process, errlog=errors)) as client:
            answer = await told(client, "ask", question=QUESTION)
            assert [each["title"] for each in (await told(client, "list_documents"))["documents"]] == ["book.md"]
    assert "Marta Lindqvist" in answer["text"]
    assert "Traceback" not in (tmp_path / "errors").read_text()
