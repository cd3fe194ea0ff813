"""Our own routes: a library over HTTP, and what the ledger knows of answers."""

import httpx
import pytest
from support.library import BOOK
from support.served import Served

QUESTION = "Who repaired the lighthouse lamp?"


@pytest.fixture
def http(server: Served):
    with server.http() as client:
        yield client


def titles(http: httpx.Client, **where: str) -> list[str]:
    return [each["title"] for each in http.get("/v1/documents", params=where).json()["data"]]


def test_documents_are_uploaded_listed_read_and_deleted(http: httpx.Client) -> None:
    files = [("files", ("notes.md", b"# Notes\n\nThe heron is grey.")), ("files", ("empty.md", b""))]
    added = http.post("/v1/documents/upload", files=files, data={"collection": "acme-drafts"}).json()
    assert [(each["title"], each["status"]) for each in added["data"]] == [("notes.md", "added")]
    assert [each["title"] for each in added["failed"]] == ["empty.md"]
    where = {"collection": "acme-drafts"}
    assert titles(http, **where) == ["notes.md"]
    path = f"/v1/documents/{added['data'][0]['id']}"
    assert http.get(path, params=where).json()["title"] == "notes.md"
    span = http.get(f"{path}/text", params={**where, "start": 9, "end": 18}).json()
    assert (span["text"], span["place"]) == ("The heron", "notes.md l.3")
    assert http.get(path).status_code == 404
    assert http.delete(path, params=where).json()["deleted"] is True
    assert titles(http, **where) == []
    assert http.delete(path, params=where).status_code == 404


def test_a_later_document_of_a_name_takes_the_place_of_the_earlier(http: httpx.Client) -> None:
    for text in ("The first version.", "The second version."):
        body = {"documents": [{"text": text, "title": "v.md"}], "collection": "acme-drafts"}
        status = http.post("/v1/documents", json=body).json()["data"][0]["status"]
    assert status == "updated"
    assert titles(http, collection="acme-drafts").count("v.md") == 1
    nameless = {"documents": [{"text": "One."}, {"text": "Two."}], "collection": "acme-drafts"}
    assert [each["status"] for each in http.post("/v1/documents", json=nameless).json()["data"]] == ["added", "added"]


def test_a_plan_generates_nothing_and_an_answer_is_explained_and_judged(http: httpx.Client, engine) -> None:
    before = len(engine.contexts)
    plan = http.post("/v1/plan", json={"question": QUESTION}).json()
    assert plan["chosen"] in {each["strategy"] for each in plan["candidates"]}
    assert len(engine.contexts) == before
    answer = http.post("/v1/ask", json={"question": QUESTION, "strategy": "rag"}).json()
    assert answer["decision"]["chosen"] == "rag"
    explained = http.get(f"/v1/answers/{answer['id']}").json()
    assert explained["question"] == QUESTION
    assert explained["decision"]["candidates"] == answer["decision"]["candidates"]
    assert http.post(f"/v1/answers/{answer['id']}/feedback", json={"good": True}).json() == {
        "id": answer["id"],
        "good": True,
    }
    newest = http.get("/v1/answers", params={"limit": 1}).json()["data"]
    assert [each["id"] for each in newest] == [answer["id"]]
    assert http.get("/v1/answers/zzzz").status_code == 404


def test_collections_are_those_of_the_key(http: httpx.Client) -> None:
    found = {each["name"]: each["documents"] for each in http.get("/v1/collections").json()["data"]}
    assert set(found) == {"acme", "acme-drafts"}
    assert found["acme"] >= 1


def test_an_empty_collection_and_slips_are_said(http: httpx.Client) -> None:
    with_slip = http.post("/v1/ask", json={"question": QUESTION, "strateggy": "rag"}).json()["error"]
    assert with_slip["param"] == "strateggy"
    for question in ("", " "):
        assert http.post("/v1/ask", json={"question": question}).status_code == 400
    assert http.get("/v1/nowhere").json()["error"]["code"] == "unknown_url"
    assert http.put("/v1/ask").json()["error"]["code"] == "method_not_allowed"
    assert http.post("/v1/ask", content=b"{", headers={"content-type": "application/json"}).status_code == 400


def test_health_and_readiness_are_open_and_measurements_are_not(server: Served, http: httpx.Client) -> None:
    http.post("/v1/ask", json={"question": QUESTION, "documents": [{"text": BOOK}]})
    assert http.get("/metrics").status_code == 403
    with server.http(server.token("prometheus", "none", rights=["metrics"])) as watching:
        text = watching.get("/metrics").text
        assert watching.get("/v1/documents").status_code == 403
    with server.http("") as anybody:
        assert anybody.get("/health").json() == anybody.get("/ready").json() == {"status": "ok"}
        assert anybody.get("/metrics").status_code == 401
    assert 'turnout_requests_total{route="/v1/ask",status="200"}' in text
    assert 'turnout_answers_total{outcome="answered"' in text
    assert "turnout_overhead_seconds_bucket" in text
    assert "acme" not in text


def test_replies_carry_headers_that_browsers_heed_and_none_for_other_origins(server: Served) -> None:
    with server.http("") as anybody:
        reply = anybody.get("/health", headers={"Origin": "https://elsewhere.example"})
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert anybody.options("/v1/ask", headers={"Origin": "https://elsewhere.example"}).status_code == 401
