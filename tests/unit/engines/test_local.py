"""The generation loop of the local engine on a tiny random llama."""

import json
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from support import adapters, tiny_models
from support.tiny_models import context, text_of

from turnout.engines import adapter, loading, local
from turnout.engines import folder as folders
from turnout.engines.local import LocalEngine
from turnout.engines.meter import Meter
from turnout.engines.probe import measure
from turnout.errors import EngineError, EngineTimeoutError, MemoryLimitError, ModelError
from turnout.types import Finished, GenerationParams, Message, Prefilled, Token

GREEDY = GenerationParams(max_tokens=24)


def cold(params: GenerationParams = GREEDY) -> GenerationParams:
    """Finds nothing that was read before."""
    return replace(params, cache_namespace=uuid.uuid4().hex)


def run(engine: LocalEngine, params: GenerationParams = GREEDY, *texts: str, **options):
    return list(engine.generate(context(*texts, **options), params))


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
    engine = LocalEngine(tiny_folder, device="cpu", chunk_tokens=16, dtype="float32")
    contexts = [context(question=question) for question in ("Where?", "Who lives there and why?", "Where?")]
    apart = [text_of(engine.generate(asked, GREEDY)) for asked in contexts]
    assert engine.answer_all(contexts, GREEDY) == apart
    assert engine.answer_all(contexts[:1], GREEDY) == apart[:1]
    assert engine.answer_all([], GREEDY) == []
    with pytest.raises(EngineError, match="over the window"):
        engine.answer_all([contexts[0], context("word " * 2000)], GREEDY)


def test_a_sliding_window_model_answers_alike(tmp_path: Path):
    folder = tiny_models.build(tmp_path / "sliding")
    config = json.loads((folder / "config.json").read_text())
    # Mistral's weights have llama's names; its layers may keep a window of the last tokens only.
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 16}
    (folder / "config.json").write_text(json.dumps(config))
    engine = LocalEngine(folder, device="cpu", chunk_tokens=16, dtype="float32")
    contexts = [context("A light stands on Sark. " * 4, question=question) for question in ("Where?", "Who?")]
    assert engine.answer_all(contexts, GREEDY) == [text_of(engine.generate(asked, GREEDY)) for asked in contexts]


def test_a_model_that_pages_are_not_made_for_answers_all_the_same(tmp_path: Path, engine: LocalEngine, monkeypatch):
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "other"), device="cpu", chunk_tokens=16, dtype="float32")
    assert other.answer_all([context()], GREEDY) == [text_of(run(other))] == [text_of(run(engine))]
    assert isinstance(other.sequence(), loading.Sequence) and other.resident(context()) == 0


def test_what_was_read_is_not_read_again(engine: LocalEngine):
    params = cold()
    long = "A light stands on Sark. " * 10
    first = run(engine, params, long)
    assert first[-1].cached_tokens == 0
    assert engine.resident(context(long), params.cache_namespace) >= 64
    second = run(engine, params, long)
    assert second[-1].cached_tokens >= 64 and text_of(second) == text_of(first)
    assert sum(isinstance(event, Prefilled) for event in second) < sum(isinstance(event, Prefilled) for event in first)
    assert run(engine, cold(), long)[-1].cached_tokens == 0, "another namespace finds nothing"


def test_another_engine_finds_on_disk_what_was_read(tiny_folder: Path, tmp_path: Path):
    long = "A light stands on Sark. " * 30
    first, second = (LocalEngine(tiny_folder, device="cpu", dtype="float32", disk=tmp_path / "kv") for _ in range(2))
    before = run(first, GREEDY, long)
    after = run(second, GREEDY, long)
    assert before[-1].cached_tokens == 0 and after[-1].cached_tokens >= 256
    assert text_of(before) == text_of(after)
    other = LocalEngine(tiny_folder, device="cpu", dtype="bfloat16", disk=tmp_path / "kv")
    assert run(other, GREEDY, long)[-1].cached_tokens == 0, "another precision finds nothing"


def test_events_count_up_to_the_prompt_and_end_with_finished(engine: LocalEngine):
    events = run(engine, cold())
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
    events = run(LocalEngine(folder, device="cpu", dtype="float32"))
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


def test_an_answer_that_is_begun_ends_with_the_time(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch):
    whole = run(engine)
    begun = iter([False] * 3)
    monkeypatch.setattr(Meter, "is_over", property(lambda self: self._first_token_s is not None and next(begun, True)))
    events = run(engine)
    assert (events[-1].reason, events[-1].completion_tokens) == ("timeout", 4)
    assert text_of(whole).startswith(text_of(events))


def test_too_little_memory_is_refused_before_anything_is_read(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnout.engines.admission.available_memory_bytes", lambda device: 1000)
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

    def fail(self, *_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine.open()
    monkeypatch.setattr("transformers.LlamaModel.forward", fail)
    with pytest.raises(MemoryLimitError, match="no memory left for a step of 20 tokens"):
        engine.sequence().append([1] * 20)
    with pytest.raises(MemoryLimitError, match="no memory left after 0 tokens"):
        loading.Sequence(engine._opened().network, "cpu").append([1, 2])


def test_int8_is_for_a_cpu_but_not_where_float32_is_asked_for(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "pick_device", str)

    def engine(folder: Path = tiny_folder, **options) -> LocalEngine:
        return LocalEngine(folder, **{"device": "cpu", "dtype": "bfloat16", **options})

    assert engine().int8 and not engine(dtype="float32").int8 and not engine(int8=False).int8
    assert engine(dtype="float32", int8=True).int8 and not engine(device="cuda").int8
    monkeypatch.setattr(local, "pick_dtype", lambda _: "float32")
    assert engine(dtype=None).int8 and not engine(dtype=None, int8=False).int8
    prints = {engine(int8=way).model.fingerprint for way in (True, False)}
    assert len(prints) == 2
    with pytest.raises(ModelError, match="can't write with int8 weights on cuda"):
        engine(device="cuda", int8=True).int8  # noqa: B018
    longer = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    other = tiny_models.build(tmp_path / "dynamic", rope_parameters=longer)
    assert not engine(other).int8
    extra = engine(int8=True).memory_bytes(100, 10) - engine(int8=False).memory_bytes(100, 10)
    assert extra == engine().model.parameters


def test_what_is_kept_of_a_prompt_does_not_depend_on_int8(tiny_folder: Path):
    long = context("A light stands on Sark. " * 20)
    logits = []
    for int8, chunk in ((False, 512), (True, 512), (True, 7)):
        engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", int8=int8)
        with engine.sequence() as sequence:
            sequence.chunk = chunk
            logits.append(sequence.prefill(engine.encode(long)))
    assert (logits[0] - logits[1]).abs().max() == 0
    assert (logits[0] - logits[2]).abs().max() < 1e-3


def test_a_prompt_over_the_pool_is_refused_and_costs_nobody_what_was_read(tiny_folder: Path):
    # 2 layers * 2 heads * 8 numbers * keys and values * 4 bytes = 256 bytes a token
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", pool_bytes=256 * 320)
    params = GenerationParams(max_tokens=4)
    short, long = context("A light stands on Sark. " * 10), context("A light stands on Sark. " * 28)
    with pytest.raises(MemoryLimitError, match="over the 320 whose keys and values there is room for"):
        list(engine.generate(long, params))
    assert engine._loaded is None, "nothing is loaded for it"
    list(engine.generate(short, params))
    resident = engine.resident(short)
    begin = time.perf_counter()
    with pytest.raises(MemoryLimitError, match="320"):
        list(engine.generate(long, params))
    assert time.perf_counter() - begin < 0.2
    assert engine.resident(short) == resident > 0


def test_answers_that_do_not_fit_together_are_written_one_after_the_other(tiny_folder: Path):
    wide, narrow = (
        LocalEngine(tiny_folder, device="cpu", dtype="float32", pool_bytes=256 * tokens) for tokens in (4096, 256)
    )
    asked = [context("A light stands on Sark. " * 8, question=question) for question in ("Where?", "Who?", "When?")]
    params = GenerationParams(max_tokens=8)
    assert narrow.count(asked[0]) * 2 > 256
    assert narrow.answer_all(asked, params) == wide.answer_all(asked, params)


def test_peak_memory_counts_pages_that_another_prompt_left(tiny_folder: Path):
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    peaks = [run(engine, cold(), "A light stands on Sark. " * 30)[-1].peak_memory_bytes for _ in range(3)]
    pages = engine.admission.footprint.cache(engine.count(context("A light stands on Sark. " * 30)))
    assert min(peaks) >= engine.admission.footprint.weights + pages


def test_a_new_engine_knows_before_loading_what_lies_on_disk(tiny_folder: Path, tmp_path: Path):
    long = context("A light stands on Sark. " * 30)
    first, second = (LocalEngine(tiny_folder, device="cpu", dtype="float32", disk=tmp_path / "kv") for _ in range(2))
    list(first.generate(long, GREEDY))
    assert second.resident(long) == 256 and second._loaded is None
    assert second.resident(long, "another") == 0
    assert list(second.generate(long, GREEDY))[-1].cached_tokens == 256
    first.forget()
    assert first.resident(long) == 256, "the disk keeps its own"


def test_a_disk_that_is_full_costs_no_answer(tiny_folder: Path, tmp_path: Path):
    (tmp_path / "kv").write_text("in the way")
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", disk=tmp_path / "kv")
    long = "A light stands on Sark. " * 30
    assert text_of(run(engine, GREEDY, long)) and run(engine, GREEDY, long)[-1].cached_tokens > 0


def test_measuring_leaves_no_pages_behind(tiny_folder: Path):
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    engine.open()
    room = engine._session.room()
    measure(engine, budget_s=0.0)
    assert engine._session.room() == room and engine._session.spare_bytes() > 0
    assert len(engine._session._residency._tree) == 0


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}])
def test_positions_that_depend_on_the_whole_prompt_are_not_read_in_pages(tmp_path: Path, rope: dict):
    folder = tiny_models.build(tmp_path / "dynamic", rope_parameters=rope)
    engine = LocalEngine(folder, device="cpu", dtype="float32")
    assert text_of(run(engine)) and isinstance(engine.sequence(), loading.Sequence) and not engine.int8


@pytest.fixture
def with_adapter(tiny_folder: Path, tmp_path: Path) -> Path:
    network = loading.load(folders.read(tiny_folder), "cpu", "float32", None)
    identity = adapter.identity(folders.read(tiny_folder), network)
    return adapters.build(tmp_path / "adapter", network, identity, evidence="after")


def test_an_adapter_reads_what_asks_for_facts_and_nothing_else(tiny_folder: Path, with_adapter: Path):
    plain = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    both = LocalEngine(tiny_folder, device="cpu", dtype="float32", adapter=with_adapter)
    asked = [context(task=task) for task in ("location", "summarisation", "choice", "closed_book")]
    answers = both.answer_all(asked, GREEDY)
    assert answers == [text_of(both.generate(one, cold())) for one in asked]
    assert answers[1:] == plain.answer_all(asked[1:], GREEDY)
    assert answers[0] != plain.answer_all(asked[:1], GREEDY)[0]
    both.forget()
    text_of(both.generate(context("the sea " * 120), GREEDY))
    resident = both.resident(context("the sea " * 120))
    assert resident > 0 and both.resident(context("the sea " * 120, task="summarisation")) == 0


def test_without_pages_an_adapter_is_merged_and_reads_everything(tiny_folder: Path, with_adapter: Path, monkeypatch):
    beside = LocalEngine(tiny_folder, device="cpu", dtype="float32", adapter=with_adapter)
    ids = beside.encode(context(task="summarisation"))
    wanted = beside.sequence().append(ids)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    merged = LocalEngine(tiny_folder, device="cpu", dtype="float32", adapter=with_adapter)
    assert (merged.sequence().append(ids) - wanted).abs().max() < 1e-3
    assert text_of(merged.generate(context(task="summarisation"), GREEDY))
