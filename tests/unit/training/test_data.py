"""Training data is whole, or it is refused with file and line."""

from pathlib import Path

import pytest
from support import training_data

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.sentences import units
from turnout.training import data


def test_a_folder_is_read(tmp_path: Path) -> None:
    read = data.read(training_data.write(tmp_path, *training_data.rows()))
    assert len(read.passages) == len(read.examples) == 24
    first = read.examples[0]
    assert read.passages[first.passage].sentence(first.evidence[0]).startswith("Marta mended the lamp")
    assert first.origin.endswith("examples.jsonl.gz:1")


def test_a_dataset_can_be_left_out(tmp_path: Path) -> None:
    contexts, examples = training_data.rows()
    contexts.append({**contexts[0], "ctx_id": "x", "dataset": "private"})
    examples.append({**examples[0], "id": "x", "ctx_id": "x", "dataset": "private"})
    read = data.read(training_data.write(tmp_path, contexts, examples), without=frozenset({"private"}))
    assert {example.dataset for example in read.examples} == {"lamps"}
    assert {passage.dataset for passage in read.passages.values()} == {"lamps"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fold": "test"}, "unknown fold 'test'"),
        ({"answer_type": "riddle"}, "unknown answer_type 'riddle'"),
        ({"answers": []}, "answer_type is extractive, but there are 0 answers"),
        ({"ctx_id": "nowhere"}, "there is no context 'nowhere'"),
        ({"answer_sentences": [9]}, "answer_sentences names 9, but 'c4' has 3 sentences"),
        ({"answer_sentences": ["1"]}, "not a list of whole numbers"),
        ({"question": None}, "question is missing"),
        ({"id": "e0"}, "id 'e0' is already taken"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict, reason: str) -> None:
    contexts, examples = training_data.rows()
    examples[4] |= change
    with pytest.raises(ConfigurationError, match=r"examples\.jsonl\.gz:5: ") as caught:
        data.read(training_data.write(tmp_path, contexts, examples))
    assert reason in caught.value.message


def test_a_sentence_outside_its_text_is_named(tmp_path: Path) -> None:
    contexts, examples = training_data.rows()
    contexts[2]["sentences"][1] = [5, 9000]
    with pytest.raises(ConfigurationError, match=r"contexts\.jsonl\.gz:3: sentences\[1\] is \[5, 9000\]"):
        data.read(training_data.write(tmp_path, contexts, examples))


def test_a_misspelt_dataset_is_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="lampz"):
        data.read(training_data.write(tmp_path, *training_data.rows()), without=frozenset({"lampz"}))


def test_missing_files_and_folds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no contexts\.jsonl"):
        data.read(tmp_path)
    contexts, examples = training_data.rows()
    for example in examples:
        example["fold"] = "train"
    with pytest.raises(ConfigurationError, match="no example of the fold 'valid'"):
        data.read(training_data.write(tmp_path, contexts, examples))


def test_sentences_are_those_that_a_prompt_numbers_and_evidence_follows(tmp_path: Path) -> None:
    contexts, examples = training_data.rows()
    whole = contexts[0]["text"]
    contexts[0]["sentences"] = [[0, whole.index(" Nobody")], [whole.index("Nobody"), len(whole)]]
    examples[0]["answer_sentences"] = [0]
    found = data.read(training_data.write(tmp_path, contexts, examples))
    passage = found.passages["c0"]
    assert passage.sentences == units(whole) and len(passage.sentences) == 3
    assert [passage.sentence(index) for index in found.examples[0].evidence] == [
        "Marta mended the lamp of the island with 2 copper wires."
    ]


def test_an_answer_that_is_a_sentence_of_the_data_is_a_long_one(tmp_path: Path) -> None:
    contexts, examples = training_data.rows()
    examples[0]["answers"] = [contexts[0]["text"].split(". ")[1] + "."]
    found = data.read(training_data.write(tmp_path, contexts, examples)).examples
    assert [example.answer_type for example in found[:2]] == ["long", "extractive"]
