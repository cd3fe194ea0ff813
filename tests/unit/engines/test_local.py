"""The generation loop of the local engine on a tiny random llama."""

import json
import time
from pathlib import Path

import pytest
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.engines import loading
from turnout.engines.local import LocalEngine
from turnout.errors import EngineError, EngineTimeoutError, MemoryLimitError, ModelError
from turnout.types import Finished, GenerationParams, Message, Prefilled, Token

GREEDY = GenerationParams(max_tokens=24)


def run(engine: LocalEngine, params: GenerationParams = GREEDY, **options):
    return list(engine.generate(context(**options), params))


def test_greedy_equals_transformers_generate(engine: LocalEngine, tiny_folder: Path):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=getattr(torch, engine.dtype))
    ids = engine.encode(context())
    expected = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
    events = run(engine)
    assert len(expected) > 4
    assert text_of(events) == engine.tokenizer.decode(expected)
    assert events[-1].completion_tokens == len(expected)


def test_the_answer_does_not_depend_on_the_chunks(tiny_folder: Path):
    whole = LocalEngine(tiny_folder, device="cpu", chunk_tokens=10_000)
    pieces = LocalEngine(tiny_folder, device="cpu", chunk_tokens=7)
    assert text_of(run(whole)) == text_of(run(pieces)) != ""


def test_answers_read_together_equal_answers_read_apart(tiny_folder: Path):
    engine = LocalEngine(tiny_folder, device="cpu", chunk_tokens=16)
    contexts = [context(question=question) for question in ("Where?", "Who lives there and why?", "Where?")]
    apart = [text_of(engine.generate(asked, GREEDY)) for asked in contexts]
    assert engine.answer_all(contexts, GREEDY) == apart
    assert engine.answer_all(contexts[:1], GREEDY) == apart[:1]
    assert engine.answer_all([], GREEDY) == []
    with pytest.raises(EngineError, match="over the window"):
        engine.answer_all([contexts[0], context("word " * 2000)], GREEDY)


def test_a_sliding_window_model_answers_each_prompt_by_itself(tmp_path: Path):
    folder = tiny_models.build(tmp_path / "sliding")
    config = json.loads((folder / "config.json").read_text())
    # Mistral's weights have llama's names; its layers may keep a window of the last tokens only.
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 16}
    (folder / "config.json").write_text(json.dumps(config))
    engine = LocalEngine(folder, device="cpu", chunk_tokens=16)
    contexts = [context("A light stands on Sark. " * 4, question=question) for question in ("Where?", "Who?")]
    assert not engine.sequence().can_truncate
    assert engine.answer_all(contexts, GREEDY) == [text_of(engine.generate(asked, GREEDY)) for asked in contexts]


def test_what_prompts_have_in_common_is_read_once(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch):
    contexts = [context("A light stands on Sark. " * 10, question=question) for question in ("Where?", "Who?")]
    read = []
    append = loading.Sequence.append
    monkeypatch.setattr(loading.Sequence, "append", lambda self, ids: read.append(len(ids)) or append(self, ids))
    assert engine.sequence().can_truncate
    read.clear()
    engine.answer_all(contexts, GenerationParams(max_tokens=1))
    total = sum(engine.count(asked) for asked in contexts)
    assert sum(read) < 0.7 * total


def test_events_count_up_to_the_prompt_and_end_with_finished(engine: LocalEngine):
    events = run(engine)
    total = engine.count(context())
    reading = [event for event in events if isinstance(event, Prefilled)]
    assert [event.done for event in reading] == [*range(16, total, 16), total]
    assert {event.total for event in reading} == {total}
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.prompt_tokens, last.reason) == (total, "length")
    assert last.first_token_s > 0
    assert last.peak_memory_bytes > 0


def test_a_stop_string_ends_the_answer_and_is_not_shown(engine: LocalEngine):
    text = text_of(run(engine))
    stop = text[5:8]
    events = run(engine, GenerationParams(max_tokens=24, stop=(stop,)))
    assert text_of(events) == text[: text.index(stop)]
    assert events[-1].reason == "stop"


def test_an_end_token_ends_the_answer(tmp_path: Path, engine: LocalEngine):
    ids = engine.encode(context())
    sequence = engine.sequence()
    first = int(sequence.append(ids).argmax())
    folder = tiny_models.build(tmp_path / "ends", eos_token_id=[2, first])
    events = run(LocalEngine(folder, device="cpu"))
    assert text_of(events) == ""
    assert (events[-1].reason, events[-1].completion_tokens) == ("stop", 1)


def test_a_seed_repeats_a_sample_and_another_seed_does_not(engine: LocalEngine):
    def sample(seed: int) -> str:
        return text_of(run(engine, GenerationParams(max_tokens=24, temperature=1.5, seed=seed)))

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("asked", [0, 2, 6])
def test_the_caller_can_give_up_at_any_step(engine: LocalEngine, asked: int):
    calls = iter(range(1000))
    events = list(engine.generate(context(), GREEDY, lambda: next(calls) >= asked))
    assert events[-1].reason == "cancelled"
    assert len([event for event in events if isinstance(event, Token)]) <= asked


def test_a_prompt_over_the_window_is_refused_with_figures_and_nothing_is_cut(engine: LocalEngine):
    long = context("the light stands on the island " * 100)
    with pytest.raises(EngineError, match=rf"{engine.count(long):,} prompt tokens and 24 .* window of 512"):
        next(iter(engine.generate(long, GREEDY)))


def test_a_prompt_that_just_fits_the_window_is_answered(engine: LocalEngine):
    room = tiny_models.WINDOW - engine.count(context())
    assert run(engine, GenerationParams(max_tokens=room))[-1].completion_tokens <= room
    with pytest.raises(EngineError, match="over the window"):
        run(engine, GenerationParams(max_tokens=room + 1))


def test_a_timeout_is_an_error_that_may_be_retried(engine: LocalEngine):
    with pytest.raises(EngineTimeoutError) as caught:
        run(engine, GenerationParams(timeout_s=0.0))
    assert caught.value.retryable


def test_too_little_memory_is_refused_before_anything_is_read(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnout.engines.local.available_memory_bytes", lambda device: 1000)
    with pytest.raises(MemoryLimitError, match="GiB are free"):
        run(engine)


def test_predicted_memory_grows_with_the_prompt_and_holds_the_weights(engine: LocalEngine):
    assert engine.memory_bytes(200, 10) > engine.memory_bytes(100, 10) > engine.model.parameters * 2


def test_earlier_turns_and_several_documents_change_the_prompt(engine: LocalEngine):
    alone, two = context("the sea"), context("the sea", "the island")
    told = type(alone)(alone.parts, alone.question, (Message("user", "the night"), Message("assistant", "the sea")))
    assert engine.count(two) > engine.count(alone)
    assert engine.count(told) > engine.count(alone)


def test_open_twice_loads_once_and_close_frees(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    loads = []
    real = loading.load
    monkeypatch.setattr(loading, "load", lambda *given: loads.append(given) or real(*given))
    engine = LocalEngine(tiny_folder, device="cpu")
    engine.open()
    engine.open()
    engine.close()
    assert len(loads) == 1
    assert text_of(run(engine))
    assert len(loads) == 2


@pytest.mark.parametrize(("config", "message"), [({"model_type": "nonesuch"}, "nonesuch"), ({"vocab_size": 9999}, "")])
def test_a_model_that_transformers_cannot_load_is_an_error_with_its_type(tmp_path: Path, config, message):
    folder = tiny_models.build(tmp_path / "broken")
    changed = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ModelError, match=f"can't load.*{message}"):
        LocalEngine(folder, device="cpu").open()


def test_weights_that_are_not_there_are_an_error(tmp_path: Path):
    folder = tiny_models.build(tmp_path / "short")
    changed = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 3, "layer_types": None}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ModelError, match="lacks 9 of the weights"):
        LocalEngine(folder, device="cpu").open()


def test_cancelling_takes_less_than_a_chunk(engine: LocalEngine):
    begin = time.perf_counter()
    events = list(
        engine.generate(context(), GenerationParams(max_tokens=300), lambda: time.perf_counter() > begin + 0.05)
    )
    assert events[-1].reason == "cancelled"
    assert time.perf_counter() - begin < 0.35


def test_memory_that_runs_out_on_the_way_is_an_error_of_ours(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch):
    import torch

    sequence = engine.sequence()

    def fail(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sequence, "_network", fail)
    with pytest.raises(MemoryLimitError, match="no memory left after 0 tokens"):
        sequence.append([1, 2])
