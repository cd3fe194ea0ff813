"""Reading questions and documents: what is taken, what is reported with its file and line, what the defaults are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import ConfigurationError
from turnout.router.evaluation.items import (
    Doc,
    Evidence,
    Item,
    Malformed,
    cluster,
    new_tokens,
    options,
    prompt_question,
    read_docs,
    read_items,
    with_documents,
)

SHARED = Path(__file__).parents[4] / "shared" / "data"
MINIMAL = {"id": "q1", "question": "When does it end?", "answers": ["31 May"], "doc_ids": ["lease"]}
GOOD = {**MINIMAL, "id": "good"}


def write(path: Path, *rows: Any) -> Path:
    """One line per row: bytes and strings as they are, anything else as JSON."""
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def items_of(*paths: Path) -> tuple[list[Item], list[Malformed]]:
    bad: list[Malformed] = []
    return read_items(paths, bad.append), bad


def docs_of(*paths: Path, wanted: set[str] | None = None) -> tuple[dict[str, Doc], list[Malformed]]:
    bad: list[Malformed] = []
    return read_docs(paths, wanted, bad.append), bad


def item(**fields: Any) -> Item:
    values: dict[str, Any] = {
        "id": "q1",
        "dataset": "d",
        "task": "location",
        "hop": "single-hop",
        "question": "When?",
        "answers": ("May",),
        "choices": None,
        "answer_type": "extractive",
        "doc_ids": ("a",),
        "evidence": None,
        "context_chars": 0,
        "core": False,
    }
    return Item(**{**values, **fields})


# --- what is taken


def test_a_question_of_four_fields_is_enough(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", MINIMAL)
    items, bad = items_of(file)
    assert bad == []
    assert items == [
        item(
            dataset="mine",
            question="When does it end?",
            answers=("31 May",),
            answer_type="abstractive",
            doc_ids=("lease",),
        )
    ]
    assert items[0].origin == f"{file}:1"


@pytest.mark.parametrize(
    ("fields", "answer_type"),
    [
        ({"answers": []}, "unanswerable"),
        ({"answers": ["yes"], "choices": ["yes", "no"]}, "choice"),
        ({"answers": ["yes"], "choices": None}, "abstractive"),
        ({"answers": ["7"], "answer_type": "number"}, "number"),
    ],
)
def test_the_answer_type_follows_from_answers_and_choices(
    tmp_path: Path, fields: dict[str, Any], answer_type: str
) -> None:
    items, bad = items_of(write(tmp_path / "q.jsonl", {**MINIMAL, **fields}))
    assert bad == []
    assert items[0].answer_type == answer_type


def test_an_unanswerable_question_needs_no_answers(tmp_path: Path) -> None:
    row = {"id": "q1", "question": "Who?", "doc_ids": ["a"], "answer_type": "unanswerable"}
    items, bad = items_of(write(tmp_path / "q.jsonl", row))
    assert bad == []
    assert items[0].answers == ()


def test_every_field_is_read(tmp_path: Path) -> None:
    row = {
        "id": "q1",
        "dataset": "squad",
        "task": "comparison",
        "hop": "multi-hop",
        "question": "Which?",
        "answers": ["b"],
        "choices": ["a", "b"],
        "answer_type": "choice",
        "doc_ids": ["x", "y"],
        "evidence": [
            {"doc_id": "y", "start": 2, "end": 5, "text": None},
            {"doc_id": "x", "start": None, "end": None, "text": "words"},
        ],
        "context_chars": 90,
        "context_tokens_est": 21,
        "core": True,
        "meta": {"length": "short"},
    }
    items, bad = items_of(write(tmp_path / "q.jsonl", row))
    assert bad == []
    assert items == [
        item(
            dataset="squad",
            task="comparison",
            hop="multi-hop",
            question="Which?",
            answers=("b",),
            choices=("a", "b"),
            answer_type="choice",
            doc_ids=("x", "y"),
            evidence=(Evidence("y", 2, 5, None), Evidence("x", None, None, "words")),
            context_chars=90,
            core=True,
            meta={"length": "short"},
        )
    ]


def test_a_folder_is_its_files_by_name_and_a_file_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {**MINIMAL, "id": "2"})
    first = write(tmp_path / "a.jsonl.gz", {**MINIMAL, "id": "1"})
    (tmp_path / "notes.txt").write_text("not read")
    items, bad = items_of(tmp_path, first)
    assert bad == []
    assert [(i.id, i.dataset) for i in items] == [("1", "a"), ("2", "b")]


def test_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode(), b"", b"  ", GOOD)
    items, bad = items_of(file)
    assert bad == []
    assert [i.origin for i in items] == [f"{file}:1", f"{file}:4"]


# --- what is reported

BAD_QUESTIONS: dict[str, tuple[Any, str]] = {
    "not JSON": ('{"id": "q1"', "not JSON: "),
    "not an object": (["q1"], "not a JSON object but a list"),
    "too deep": ("[" * 200_000, "not readable as JSON: "),
    "not UTF-8": (b'{"id": "q\xff"}', "not UTF-8 (byte 10 of the line)"),
    "no id": ({k: v for k, v in MINIMAL.items() if k != "id"}, "id is missing"),
    "no question": ({**MINIMAL, "question": None}, "question is missing"),
    "blank question": ({**MINIMAL, "question": " "}, "question is empty"),
    "no answers": ({k: v for k, v in MINIMAL.items() if k != "answers"}, "answers is missing"),
    "no document ids": ({k: v for k, v in MINIMAL.items() if k != "doc_ids"}, "doc_ids is missing"),
    "empty document ids": ({**MINIMAL, "doc_ids": []}, "doc_ids is empty"),
    "a document twice": ({**MINIMAL, "doc_ids": ["a", "a"]}, "doc_ids names a document twice"),
    "no answer to an answerable one": (
        {**MINIMAL, "answers": [], "answer_type": "extractive"},
        "answers is empty, but answer_type is extractive",
    ),
    "answers a string": ({**MINIMAL, "answers": "31 May"}, "answers must be a list of strings, not a string"),
    "an answer a number": ({**MINIMAL, "answers": ["x", 31]}, "answers[1] must be a string, not a whole number"),
    "id a number": ({**MINIMAL, "id": 1}, "id must be a string, not a whole number"),
    "core a number": ({**MINIMAL, "core": 1}, "core must be true or false, not a whole number"),
    "context_chars true": ({**MINIMAL, "context_chars": True}, "context_chars must be a whole number"),
    "context_chars negative": ({**MINIMAL, "context_chars": -1}, "context_chars is -1"),
    "meta a list": ({**MINIMAL, "meta": []}, "meta must be an object, not a list"),
    "half a surrogate pair": ({**MINIMAL, "question": "a\ud800"}, "question holds half a surrogate pair"),
    "unknown answer type": ({**MINIMAL, "answer_type": "essay"}, "unknown answer_type 'essay'; known: extractive"),
    "unknown task": ({**MINIMAL, "task": "retrieval"}, "unknown task 'retrieval'; known: location"),
    "choice without choices": ({**MINIMAL, "answer_type": "choice"}, "a choice question without choices"),
    "answer not a choice": ({**MINIMAL, "choices": ["1 May"]}, "answers[0] '31 May' is not among the choices"),
    "an option twice": ({**MINIMAL, "choices": ["31 May", "31 May"]}, "choices names an option twice"),
    "more choices than letters": (
        {**MINIMAL, "choices": ["31 May", *map(str, range(26))]},
        "27 choices; at most 26 can be lettered",
    ),
}

BAD_EVIDENCE: dict[str, tuple[Any, str]] = {
    "a string": ("page 3", "evidence[0] must be an object"),
    "ends before it starts": ({"doc_id": "lease", "start": 5, "end": 2}, "evidence[0]: start 5 and end 2 are no span"),
    "empty span": ({"doc_id": "lease", "start": 5, "end": 5}, "evidence[0]: start 5 and end 5 are no span"),
    "before the text": ({"doc_id": "lease", "start": -1, "end": 5}, "evidence[0]: start -1 and end 5 are no span"),
    "no end": ({"doc_id": "lease", "start": 5, "text": "x"}, "evidence[0]: one of start and end is missing"),
    "nothing": ({"doc_id": "lease"}, "evidence[0]: neither start and end nor text"),
    "fraction": ({"doc_id": "lease", "start": 0.5, "end": 2}, "evidence[0]: start must be a whole number"),
    "no document": ({"start": 0, "end": 2}, "evidence[0]: doc_id is missing"),
    "another document": ({"doc_id": "x", "start": 0, "end": 2}, "evidence[0]: doc_id 'x' is not among the question's"),
}


@pytest.mark.parametrize("kind", BAD_QUESTIONS)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_bad_question_is_reported_and_the_others_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    row, reason = BAD_QUESTIONS[kind]
    file = write(tmp_path / f"q{suffix}", GOOD, row, {**GOOD, "id": "after"})
    items, bad = items_of(file)
    assert [i.id for i in items] == ["good", "after"]
    assert [(b.file, b.line) for b in bad] == [(str(file), 2)]
    assert str(bad[0]).startswith(f"{file}:2: {reason}")


@pytest.mark.parametrize("kind", BAD_EVIDENCE)
def test_bad_evidence_is_reported(tmp_path: Path, kind: str) -> None:
    entry, reason = BAD_EVIDENCE[kind]
    file = write(tmp_path / "q.jsonl", {**MINIMAL, "evidence": [entry]}, GOOD)
    items, bad = items_of(file)
    assert [i.id for i in items] == ["good"]
    assert [(b.file, b.line) for b in bad] == [(str(file), 1)]
    assert bad[0].reason.startswith(reason)


def test_an_id_that_is_taken_is_reported_with_its_first_place(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", MINIMAL)
    second = write(tmp_path / "b.jsonl", GOOD, {**MINIMAL, "question": "Another?"})
    items, bad = items_of(first, second)
    assert [i.question for i in items] == ["When does it end?"] * 2
    assert bad == [Malformed(str(second), 2, f"id 'q1' is already taken by {first}:1")]


def test_of_a_truncated_gzip_file_the_lines_before_the_damage_are_kept(tmp_path: Path) -> None:
    rows = [{**MINIMAL, "id": f"q{n}"} for n in range(1000)]
    file = write(tmp_path / "q.jsonl.gz", *rows)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    items, bad = items_of(file, write(tmp_path / "r.jsonl", GOOD))
    assert items[-1].id == "good"
    read = len(items) - 1
    assert 100 < read < 1000
    assert [i.id for i in items[:read]] == [f"q{n}" for n in range(read)]
    assert [(b.file, b.line) for b in bad] == [(str(file), read + 1)]
    assert "damaged gzip" in bad[0].reason


@pytest.mark.parametrize("content", [json.dumps(MINIMAL).encode(), b""])
def test_a_file_that_is_not_gzip_is_one_report(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "q.jsonl.gz"
    file.write_bytes(content)
    items, bad = items_of(file)
    assert items == []
    assert [(b.file, b.line) for b in bad] == [(str(file), 1)]
    assert "damaged gzip" in bad[0].reason


def test_a_gzip_file_with_a_wrong_checksum_is_reported_after_its_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl.gz", MINIMAL, GOOD)
    content = bytearray(file.read_bytes())
    content[-8] ^= 0xFF  # the checksum is the first four of the last eight bytes
    file.write_bytes(content)
    items, bad = items_of(file)
    assert [i.id for i in items] == ["q1", "good"]
    assert [(b.file, b.line) for b in bad] == [(str(file), 3)]


def test_gzip_data_that_turns_to_nonsense_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(MINIMAL).encode() + b"\n")[:10] + b"\xff" * 40)  # 10: the header
    items, bad = items_of(file)
    assert items == []
    assert [(b.file, b.line) for b in bad] == [(str(file), 1)]


def test_on_bad_may_stop_the_reading(tmp_path: Path) -> None:
    def stop(row: Malformed) -> None:
        raise ConfigurationError(str(row))

    file = write(tmp_path / "q.jsonl", GOOD, "nonsense", MINIMAL)
    with pytest.raises(ConfigurationError, match=r"q\.jsonl:2: not JSON"):
        read_items([file], stop)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.jsonl", "does not exist"),
        ("table.csv", "neither .jsonl nor .jsonl.gz"),
        ("empty", "no .jsonl or .jsonl.gz"),
    ],
)
def test_a_path_that_can_not_be_read_raises(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "table.csv").write_text("id,question\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=message) as error:
        items_of(tmp_path / name)
    assert name in error.value.message
    assert error.value.hint


# --- documents


def test_documents_are_read_by_id_with_their_id_as_title(tmp_path: Path) -> None:
    file = write(
        tmp_path / "d.jsonl.gz",
        {"doc_id": "a", "text": "Lease."},
        {"doc_id": "b", "text": "Deed.", "title": "A deed", "source": "owner/name"},
        {"doc_id": "a", "text": "Lease.", "title": "again"},
    )
    docs, bad = docs_of(file)
    assert bad == []
    assert docs == {"a": Doc("a", "a", "Lease.", ""), "b": Doc("b", "A deed", "Deed.", "owner/name")}
    assert list(docs_of(file, wanted={"b", "c"})[0]) == ["b"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "doc_id is missing"),
        ({"doc_id": "b"}, "text is missing"),
        ({"doc_id": "b", "text": "\n"}, "text is empty"),
        ({"doc_id": "b", "text": ["x"]}, "text must be a string, not a list"),
        ({"doc_id": "a", "text": "Another."}, "doc_id 'a' is already taken by a document with another text"),
    ],
)
def test_a_bad_document_is_reported(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    file = write(tmp_path / "d.jsonl", {"doc_id": "a", "text": "Lease."}, row)
    docs, bad = docs_of(file)
    assert {doc_id: doc.text for doc_id, doc in docs.items()} == {"a": "Lease."}
    assert bad == [Malformed(str(file), 2, reason)]


def test_questions_whose_documents_do_not_fit_are_dropped_and_reported(tmp_path: Path) -> None:
    def evidence(end: int) -> list[dict[str, Any]]:
        return [{"doc_id": "lease", "start": 0, "end": end, "text": None}]

    file = write(
        tmp_path / "q.jsonl",
        {**MINIMAL, "evidence": evidence(6)},
        {**MINIMAL, "id": "past", "evidence": evidence(7)},
        {**MINIMAL, "id": "unknown", "doc_ids": ["lease", "x", "y"]},
        {**MINIMAL, "id": "counted", "doc_ids": ["lease", "deed"]},
        {**MINIMAL, "id": "given", "context_chars": 99},
    )
    items, _ = items_of(file)
    docs = {"lease": Doc("lease", "", "Lease.", ""), "deed": Doc("deed", "", "Deed.", "")}
    bad: list[Malformed] = []
    kept = with_documents(items, docs, bad.append)
    # "Lease." has 6 characters and "Deed." 5
    assert [(i.id, i.context_chars) for i in kept] == [("q1", 6), ("counted", 11), ("given", 99)]
    assert bad == [
        Malformed(str(file), 2, "evidence[0] ends at 7, but document 'lease' has 6 characters"),
        Malformed(str(file), 3, "unknown document 'x' and 1 more"),
    ]


# --- what an evaluation asks of a question


def test_the_origin_takes_no_part_in_comparison() -> None:
    assert item(origin="a:1") == item(origin="b:2")
    assert hash(item(meta={"a": 1})) == hash(item(meta={"b": 2}))


def test_the_cluster_is_the_document() -> None:
    assert cluster(item()) == "a"


def test_the_cluster_of_many_documents_is_those_with_evidence() -> None:
    found = (Evidence("c", 0, 1, None), Evidence("b", 0, 1, None), Evidence("c", 4, 5, None))
    assert cluster(item(doc_ids=("a", "b", "c"), evidence=found)) == "b+c"


def test_the_cluster_of_many_documents_without_evidence_is_a_hash_of_all() -> None:
    name = cluster(item(doc_ids=("a", "b", "c")))
    assert name == cluster(item(doc_ids=("c", "a", "b")))
    assert name != cluster(item(doc_ids=("a", "b")))
    assert len(name) == 12


def test_options_follow_the_question_by_letter() -> None:
    question = item(question="Which?", choices=("one", "two\n words"), answers=("one",), answer_type="choice")
    assert prompt_question(question) == "Which?\nA. one\nB. two words"
    assert prompt_question(item()) == "When?"


@pytest.mark.parametrize(
    ("choices", "seen"),
    [
        (("A. one", "B. two"), ("one", "two")),
        (("(A) one", "(B) two", "(C) three"), ("one", "two", "three")),
        (("a) one", "b) two"), ("one", "two")),
        (("A:one", "C: three"), ("one", "three")),
        (("E. coli", "S. aureus"), ("E. coli", "S. aureus")),
        (("A. thaliana", "mice"), ("A. thaliana", "mice")),
        (("A.I. winter", "B.C. time"), ("A.I. winter", "B.C. time")),
        (("A.", "B."), ("A.", "B.")),
        (("yes", "no"), ("yes", "no")),
    ],
)
def test_letters_of_their_own_are_taken_off_the_options(choices: tuple[str, ...], seen: tuple[str, ...]) -> None:
    assert options(item(choices=choices)) == seen


@pytest.mark.parametrize(
    ("answer_type", "task", "most"),
    [
        ("extractive", "location", 48),
        ("choice", "reasoning", 48),
        ("number", "reasoning", 48),
        ("list", "comparison", 48),
        ("abstractive", "location", 128),
        ("abstractive", "summarisation", 256),
    ],
)
def test_the_cap_on_new_tokens(answer_type: str, task: str, most: int) -> None:
    one = item(answer_type=answer_type, task=task)
    assert new_tokens([one]) == {one.id: most}


def test_a_question_without_an_answer_is_bounded_as_its_dataset_is() -> None:
    prose = [item(id=f"p{n}", dataset="prose", answer_type="abstractive") for n in range(2)]
    none = item(id="n", dataset="prose", answer_type="unanswerable", answers=[])
    other = item(id="o", dataset="other", answer_type="unanswerable", answers=[])
    assert new_tokens([none, *prose, other]) == {"p0": 128, "p1": 128, "n": 128, "o": 48}


@pytest.mark.shared
def test_the_evaluation_data_has_no_malformed_row() -> None:
    bad: list[Malformed] = []
    items = read_items([SHARED / "dev/questions"], bad.append)
    docs = read_docs([SHARED / "dev/documents"], {name for i in items for name in i.doc_ids}, bad.append)
    kept = with_documents(items, docs, bad.append)
    assert bad == []
    assert len(kept) == 5369  # the number in the data's README
    assert all(len(set(options(i))) == len(i.choices or ()) for i in kept)
