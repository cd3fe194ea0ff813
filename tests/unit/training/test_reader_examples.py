"""What a reader is given to read, and what it is to answer."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from support import training_data

from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import REFUSAL
from turnout.router.citations import locate, split_quotes
from turnout.training import data, reader_examples
from turnout.training.data import Example, Passage
from turnout.training.reader_examples import Lesson, as_choice, evidence_line, preferred
from turnout.training.recipe import Recipe, draws
from turnout.training.sheets import Sheet, sheets
from turnout.training.surroundings import excerpt, holds

count = FakeEngine().count_text
RECIPE = Recipe(
    evidence="sentence", max_tokens=600, batch_tokens=600, among_tokens=(120, 260), as_choice=0.0, twisted=0.0
)


@pytest.fixture
def read(tmp_path: Path) -> data.TrainingData:
    return data.read(training_data.write(tmp_path, *training_data.rows(120)))


def made(read: data.TrainingData, recipe: Recipe = RECIPE) -> list[Lesson]:
    return [lesson for sheet in made_sheets(read, recipe) for lesson in sheet]


def made_sheets(read: data.TrainingData, recipe: Recipe = RECIPE) -> list[Sheet]:
    return list(sheets(read, "train", recipe, count))


def texts(lesson: Lesson) -> list[str]:
    return [part.text for part in lesson.context.parts]


def test_one_seed_gives_one_set_of_lessons(read: data.TrainingData) -> None:
    assert made(read) == made(read)
    assert made(read) != made(read, replace(RECIPE, seed=2))


def test_every_example_is_asked_once_a_round(read: data.TrainingData) -> None:
    asked = Counter(lesson.example.id for lesson in made(read, replace(RECIPE, rounds=2)))
    assert asked == {example.id: 2 for example in read.examples if example.fold == "train"}


def test_limits_hold_for_a_dataset_and_in_all(read: data.TrainingData) -> None:
    assert len(made(read, replace(RECIPE, limits=(("lamps", 17),)))) == 17
    assert len(made(read, replace(RECIPE, limit=5))) == 5


def test_questions_of_a_sheet_share_its_text_and_only_their_own_passage_answers(read: data.TrainingData) -> None:
    shared = [sheet for sheet in made_sheets(read) if len(sheet) > 1]
    assert len(shared) > 5
    for sheet in shared:
        assert len({lesson.context.parts for lesson in sheet}) == 1
        for lesson in sheet:
            holding = [text for text in texts(lesson) if any(answer in text for answer in lesson.example.answers)]
            if lesson.kind == "left out":
                assert not holding
            elif lesson.example.answer_type == "extractive":
                assert holding == [read.passages[lesson.example.passage].text]
                assert lesson.evidence[0] in holding[0]


def test_only_lessons_of_the_fold(read: data.TrainingData) -> None:
    assert {lesson.example.fold for lesson in made(read)} == {"train"}


def test_an_answer_gives_evidence_that_stands_in_the_context(read: data.TrainingData) -> None:
    answered = [lesson for lesson in made(read) if lesson.answer != REFUSAL]
    assert len(answered) > 40
    for lesson in answered:
        answer, quotes = split_quotes(lesson.answer)
        assert answer == lesson.example.answers[0]
        assert len(quotes) == 1
        assert any(locate(quotes[0].text, text) for text in texts(lesson))
        assert locate(quotes[0].text, lesson.evidence[0])


def test_numbers_name_the_sentences_of_the_same_text(read: data.TrainingData) -> None:
    plain, numbered = made(read), made(read, replace(RECIPE, evidence="number"))
    assert len({number for lesson in numbered for number in lesson.numbers}) > 5
    for without, lesson in zip(plain, numbered, strict=True):
        shown = "\n\n".join(texts(lesson))
        numbers = re.findall(r"\[(\d+)\] ", shown)
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
        assert re.sub(r"\[\d+\] ", "", shown) == "\n\n".join(texts(without))
        assert (lesson.example, lesson.evidence, lesson.kind) == (without.example, without.evidence, without.kind)
        for number, sentence in zip(lesson.numbers, lesson.evidence, strict=True):
            assert f"[{number}] {sentence}" in shown
        _, quotes = split_quotes(lesson.answer)
        assert tuple(quote.number for quote in quotes) == lesson.numbers[:2]


def test_a_summary_names_no_sentence(tmp_path: Path) -> None:
    contexts, examples = training_data.rows(12)
    for example in examples:
        example |= {"answer_type": "abstractive", "question": "Summarise it.", "answers": ["Lamps."]}
    found = made(data.read(training_data.write(tmp_path, contexts, examples)), replace(RECIPE, evidence="number"))
    assert found and all(lesson.answer == "Lamps." and "[1]" not in texts(lesson)[0] for lesson in found)


def test_what_the_context_does_not_hold_is_refused(read: data.TrainingData) -> None:
    found = made(read)
    refused = [lesson for lesson in found if lesson.answer == REFUSAL]
    left_out = [lesson for lesson in refused if lesson.example.answer_type != "unanswerable"]
    assert left_out and all(lesson.kind == "left out" for lesson in left_out)
    for lesson in left_out:
        assert not any(lesson.example.answers[0].lower() in text.lower() for text in texts(lesson))
    unanswerable = [lesson for lesson in found if lesson.example.answer_type == "unanswerable"]
    assert unanswerable and all(lesson.answer == REFUSAL for lesson in unanswerable)


def test_the_passage_stands_at_every_depth(read: data.TrainingData) -> None:
    recipe = replace(RECIPE, among=0.0, long=1.0, left_out=0.0)
    places = Counter()
    for lesson in made(read, recipe):
        gold = read.passages[lesson.example.passage].text
        places[round(texts(lesson).index(gold) / (len(texts(lesson)) - 1), 1)] += 1
    assert places[0.0] and places[1.0] and len(places) > 4


def test_shares_of_kinds_are_those_of_the_recipe(read: data.TrainingData) -> None:
    kinds = Counter(sheet[0].kind for sheet in made_sheets(read, replace(RECIPE, rounds=9, left_out=0.0)))
    total = sum(kinds.values())
    assert kinds["among"] / total == pytest.approx(RECIPE.among, abs=0.08)
    assert kinds["long"] / total == pytest.approx(RECIPE.long, abs=0.08)


def test_options_follow_a_choice_question() -> None:
    example = Example("e", "c", "d", "Up or down?", ("up",), "choice", (0,), "train")
    assert reader_examples.question(example, {"d": ("down", "up")}) == "Up or down?\nA. down\nB. up"
    assert reader_examples.question(replace(example, choices=("x", "y")), {}) == "Up or down?\nA. x\nB. y"


def test_a_choice_is_made_of_other_answers_over_the_same_passage() -> None:
    def asked(answer: str, kind: str = "extractive") -> Example:
        return Example("e", "p", "lamps", "Who came?", (answer,), kind, (0,), "train")

    ada = asked("Ada")
    alike = [ada, asked("Bela"), asked("the Ada"), asked("Cem"), asked("Ada and Dora"), asked("by ship", "abstractive")]
    found = as_choice(ada, alike, draws(1))
    assert found.answer_type == "choice" and found.answers == ("Ada",)
    assert sorted(found.choices or ()) == ["Ada", "Bela", "Cem"]
    assert reader_examples.question(found, {}).splitlines()[0] == "Who came?"
    places = {(as_choice(ada, alike, draws(seed)).choices or ()).index("Ada") for seed in range(20)}
    assert places == {0, 1, 2}
    assert as_choice(ada, alike[:3], draws(1)) is ada


def test_what_few_answer_is_no_option() -> None:
    answers = ["up"] * 60 + ["down"] * 30 + ["upp"] * 3
    examples = tuple(Example(f"e{i}", "c", "d", "?", (a,), "choice", (), "train") for i, a in enumerate(answers))
    read = data.TrainingData({"c": Passage("c", "d", "t", "text", ())}, examples)
    assert reader_examples.options(read) == {"d": ("down", "up")}
    assert len(reader_examples.used(read, "train")) == 90


def test_a_question_that_means_any_text_is_asked_over_its_own_alone(read: data.TrainingData) -> None:
    examples = tuple(replace(e, question="Who mended it?") if e.answers else e for e in read.examples)
    found = made(data.TrainingData(read.passages, examples), replace(RECIPE, rounds=2))
    vague = [lesson for lesson in found if lesson.example.answer_type == "extractive"]
    own = [lesson for lesson in vague if lesson.kind == "alone"]
    assert len(own) > 0.9 * len(vague)


def test_refusals_are_as_many_as_the_recipe_says(read: data.TrainingData) -> None:
    found = made(read, replace(RECIPE, rounds=9, left_out=0.2))
    left_out = sum(lesson.kind == "left out" for lesson in found)
    assert left_out / (len(found) - left_out) == pytest.approx(0.2, abs=0.08)


def test_passages_of_one_article_do_not_stand_beside_an_unanswerable_question(tmp_path: Path) -> None:
    contexts, examples = training_data.rows(40)
    for index, context in enumerate(contexts):
        context["title"] = f"Article {index % 4}"
    read = data.read(training_data.write(tmp_path, contexts, examples))
    titles = {passage.text: passage.title for passage in read.passages.values()}
    for lesson in made(read, replace(RECIPE, among=0.6, long=0.3)):
        own = read.passages[lesson.example.passage]
        if lesson.example.answer_type == "unanswerable":
            assert [titles[text] for text in texts(lesson)].count(own.title) <= 1


def test_a_long_passage_is_cut_around_what_answers(tmp_path: Path) -> None:
    contexts, examples = training_data.rows(12)
    for context in contexts:
        padding = [f"On day {i} nothing of note was written down by anyone there. " for i in range(60)]
        sentences, text = [], ""
        for part in [*padding, *(context["text"][a:b] + " " for a, b in context["sentences"]), *padding]:
            sentences.append([len(text), len(text) + len(part) - 1])
            text += part
        context |= {"text": text, "sentences": sentences}
    for example in examples:
        example["answer_sentences"] = [index + 60 for index in example["answer_sentences"]]
    read = data.read(training_data.write(tmp_path, contexts, examples))
    answered = [lesson for lesson in made(read) if lesson.answer != REFUSAL]
    assert answered
    for lesson in answered:
        assert sum(map(count, texts(lesson))) <= RECIPE.max_tokens
        (quote,) = split_quotes(lesson.answer)[1]
        assert "mended" in lesson.evidence[0] and any(locate(quote.text, text) for text in texts(lesson))


def test_two_sentences_of_evidence_are_two_lines() -> None:
    text = "It was a long and quiet winter there. The old ferry left at nine. The new one left at ten each day."
    passage = Passage("p", "d", "t", text, ((0, 37), (38, 65), (66, 101)))
    example = Example("e", "p", "d", "When did the ferries leave?", ("nine and ten",), "extractive", (1, 2), "train")
    assert reader_examples.grounded(example, passage, (1, 2), "sentence").split("\n") == [
        "Evidence: The old ferry left at nine.",
        "Evidence: The new one left at ten each day.",
        "nine and ten",
    ]
    assert reader_examples.grounded(example, passage, (1, 2), "none") == "nine and ten"
    numbered = reader_examples.grounded(example, passage, (1, 2), "number", (14, 15))
    assert numbered == "Evidence: [14]\nEvidence: [15]\nnine and ten"
    assert evidence_line("He left.", "left") == "", "too short to be found again"


def test_the_answer_most_annotators_gave_is_learnt() -> None:
    assert preferred(["in the old mill", "the mill", "The mill."]) == "the mill"
    assert preferred(["in the old mill", "a mill"]) == "a mill"


def test_a_long_sentence_of_evidence_is_cut_around_the_answer() -> None:
    sentence = "The  keeper\nof the lamp, " + "who was old and slow, " * 20 + "came from Sark in May."
    assert evidence_line("He came\nfrom Sark.", "Sark") == "Evidence: He came from Sark."
    cut = evidence_line(sentence, "Sark")
    assert cut.endswith("came from Sark in May.") and len(cut) <= 310


def test_an_excerpt_keeps_the_first_evidence() -> None:
    sentences = [f"Sentence number {i} says little of note. " for i in range(200)]
    text, spans, at = "".join(sentences), [], 0
    for sentence in sentences:
        spans.append((at, at + len(sentence) - 1))
        at += len(sentence)
    passage = Passage("p", "d", "t", text, tuple(spans))
    places = set()
    for seed in range(20):
        part = excerpt(passage, (120, 3), 100, count, draws(seed))
        assert count(part.text) <= 100 and part.inside((3,)) == ()
        (place,) = part.inside((120,))
        assert part.sentence(place) == passage.sentence(120)
        places.add(place)
    assert len(places) > 3
    assert excerpt(passage, (120,), 10_000, count, draws(1)) == passage


def test_short_answers_do_not_rule_out_every_passage() -> None:
    passage = Passage("p", "d", "t", "It was 5 miles to Sark.", ())
    assert not holds(passage, Example("e", "c", "d", "q", ("5",), "extractive", (), "train"))
    assert holds(passage, Example("e", "c", "d", "q", ("sark",), "extractive", (), "train"))


def test_evidence_may_come_after_the_answer(read: data.TrainingData) -> None:
    first, after = (made(read, replace(RECIPE, evidence=form)) for form in ("number", "after"))
    assert [lesson.context for lesson in first] == [lesson.context for lesson in after]
    for before, then in zip(first, after, strict=True):
        assert split_quotes(before.answer) == split_quotes(then.answer)
        assert then.answer.startswith("Evidence") is False
        assert then.answer.splitlines()[1:] == before.answer.splitlines()[:-1]


def test_some_questions_over_a_text_alone_are_bent_to_be_refused(read: data.TrainingData) -> None:
    found = made_sheets(read, replace(RECIPE, twisted=1.0))
    bent = [(sheet, lesson) for sheet in found for lesson in sheet if lesson.kind == "twisted"]
    assert len(bent) > 10
    for sheet, lesson in bent:
        assert lesson.answer == REFUSAL and not lesson.evidence
        original = next(one for one in sheet if one.example.id == lesson.example.id and one is not lesson)
        assert lesson.context.parts == original.context.parts
        assert lesson.context.question != original.context.question
    assert {lesson.kind for sheet in made_sheets(read) for lesson in sheet} >= {"alone", "among", "left out"}
