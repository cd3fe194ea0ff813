"""Sequences over pages compute what transformers computes in one pass, whatever they share."""

import random
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged import attention  # noqa: E402
from turnout.engines.paged.pages import PAGE, PagePool  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402
from turnout.engines.paged.sequence import KvSequence, Soft, step  # noqa: E402
from turnout.errors import EngineError, MemoryLimitError  # noqa: E402

CLOSE = 1e-4
"""Largest difference of logits around 10, in float32."""


class Bench:
    """A model twice: over pages, and as transformers runs it."""

    def __init__(self, name: str = "llama", pages: int = 64, **config: Any) -> None:
        self.plain = kv.network(name, **config)
        self.pool = PagePool(kv.shape(self.plain), pages, torch.float32, "cpu")
        self.runner = Runner(kv.network(name, **config), self.pool, "cpu")
        self.residency = Residency(self.pool)

    def sequence(self) -> KvSequence:
        return KvSequence(self.runner, self.residency, "m")

    def truth(self, ids: list[int]) -> Any:
        return kv.logits(self.plain, ids)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def words(count: int, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


@pytest.mark.parametrize("name", kv.ARCHITECTURES)
def test_steps_of_any_size_compute_what_one_pass_does(name: str) -> None:
    bench, ids = Bench(name), words(700)
    sequence, at = bench.sequence(), 0
    for size in (130, 300, 1, 1, 200, 68):
        found = sequence.append(ids[at : at + size], logits=range(size))
        assert (found - bench.truth(ids)[at : at + size]).abs().max() < CLOSE
        at += size


@pytest.mark.parametrize("name", kv.ARCHITECTURES)
def test_a_prompt_read_again_is_taken_from_pages(name: str) -> None:
    bench, ids = Bench(name), words(712)
    with bench.sequence() as first:
        cold = first.prefill(ids)
    with bench.sequence() as second:
        ((read, warm),) = second.reading(ids)
        assert (read, second.reused) == (712, 711 // PAGE * PAGE)
    assert (cold - bench.truth(ids)[-1]).abs().max() < CLOSE
    assert (warm - cold).abs().max() < CLOSE
    with bench.sequence() as third:
        other = [*ids[:300], *words(100, 2)]
        assert (third.prefill(other) - bench.truth(other)[-1]).abs().max() < CLOSE


def test_sequences_in_one_step_do_not_see_one_another(bench: Bench) -> None:
    begin = words(300)
    with bench.sequence() as stem:
        stem.prefill(begin)
        branches = [stem.fork() for _ in range(3)]
        news = [[7], [8], [9, 10, 11]]
        found = step(bench.runner, [(b, [new], [-1]) for b, new in zip(branches, news, strict=True)])
        for row, new in zip(found, news, strict=True):
            assert (row - bench.truth([*begin, *new])[-1]).abs().max() < CLOSE
        again = step(bench.runner, [(b, [[5]], [-1]) for b in branches])
        for row, new in zip(again, news, strict=True):
            assert (row - bench.truth([*begin, *new, 5])[-1]).abs().max() < CLOSE
        for branch in branches:
            branch.close()


def test_long_shared_and_short_sequences_in_one_step() -> None:
    bench = Bench(pages=120, max_position_embeddings=4096)
    stem = words(1500, seed=5)
    prompts = [[*stem, 7, 8], [*stem, 9], words(1300, seed=6), words(30, seed=7), words(3, seed=8)]
    live = [bench.sequence() for _ in prompts]
    for sequence, ids in zip(live, prompts, strict=True):
        sequence.prefill(ids)
    assert live[1].reused >= 1472
    for turn in range(3):
        found = step(bench.runner, [(sequence, [[turn + place]], (-1,)) for place, sequence in enumerate(live)])
        for row, sequence in zip(found, live, strict=True):
            assert (row - bench.truth(sequence.ids)[-1]).abs().max() < CLOSE


@pytest.mark.parametrize("sizes", [(1300, 1100), (200, 70, 3)])
def test_sequences_that_are_all_long_or_all_short_in_one_step(sizes: tuple[int, ...]) -> None:
    bench = Bench(pages=60, max_position_embeddings=4096)
    live = [bench.sequence() for _ in sizes]
    for sequence, size in zip(live, sizes, strict=True):
        sequence.prefill(words(size, seed=size))
    found = step(bench.runner, [(sequence, [[place]], (-1,)) for place, sequence in enumerate(live)])
    for row, sequence in zip(found, live, strict=True):
        assert (row - bench.truth(sequence.ids)[-1]).abs().max() < CLOSE


def test_what_is_written_to_after_a_fork_is_copied(bench: Bench) -> None:
    begin = words(100, 3)
    with bench.sequence() as stem, stem.fork() as empty:
        assert empty.length == 0
        stem.prefill(begin)
        with stem.fork() as fork:
            fork.append([1, 2, 3])
            stem.append([4])
            assert (stem.append([5]) - bench.truth([*begin, 4, 5])[-1]).abs().max() < CLOSE
            assert (fork.append([6]) - bench.truth([*begin, 1, 2, 3, 6])[-1]).abs().max() < CLOSE


def test_truncating_and_going_on_leaves_what_others_keep(bench: Bench) -> None:
    ids = words(200, 4)
    with bench.sequence() as first:
        first.prefill(ids)
        first.truncate(90)
        assert (first.append([3]) - bench.truth([*ids[:90], 3])[-1]).abs().max() < CLOSE
    with bench.sequence() as second:
        assert (second.prefill(ids) - bench.truth(ids)[-1]).abs().max() < CLOSE
        with pytest.raises(ValueError, match="can't be cut to 201"):
            second.truncate(201)


def test_embeddings_stand_for_their_tokens_and_are_found_again(bench: Bench) -> None:
    ids = words(400, 5)
    embed = bench.plain.get_input_embeddings()
    soft = Soft(embed(torch.tensor(ids[50:250])).detach(), b"segment 7")
    with bench.sequence() as first:
        found = first.prefill(ids[:50], soft, ids[250:])
    assert (found - bench.truth(ids)[-1]).abs().max() < CLOSE
    with bench.sequence() as second, bench.sequence() as third:
        assert bench.residency.resident("m", [*ids[:50], *soft.ids, *ids[250:]]) == 400 // PAGE * PAGE
        assert (second.prefill(ids[:50], soft, ids[250:]) - found).abs().max() < CLOSE
        other = Soft(soft.values + 1, b"segment 8")
        assert (third.prefill(ids[:50], other, ids[250:]) - found).abs().max() > CLOSE


def test_attention_rows_are_those_of_eager_attention(bench: Bench) -> None:
    ids = words(150, 6)
    bench.plain.set_attn_implementation("eager")
    with torch.inference_mode():
        eager = bench.plain(torch.tensor([ids]), output_attentions=True).attentions[1][0]
    with bench.sequence() as sequence:
        sequence.prefill(ids[:100])
        rows = sequence.attention_rows(1, ids[100:])
    assert rows.shape == (4, 50, 150)
    assert (rows - eager[:, 100:]).abs().max() < CLOSE


def test_log_probabilities_of_a_continuation(bench: Bench) -> None:
    ids = words(120, 7)
    with bench.sequence() as sequence:
        found = sequence.log_probabilities(ids[100:], sequence.prefill(ids[:100]))
    truth = torch.log_softmax(bench.truth(ids)[99:-1], -1)
    assert found == pytest.approx([float(truth[i, token]) for i, token in enumerate(ids[100:])], abs=CLOSE)


def test_chosen_columns(bench: Bench) -> None:
    with bench.sequence() as sequence:
        found = sequence.append([1, 2, 3], logits=[0, -1], columns=[9, 4])
    assert (found - bench.truth([1, 2, 3])[[0, 2]][:, [9, 4]]).abs().max() < CLOSE


def test_a_prompt_that_has_no_room_is_refused_and_leaves_nothing() -> None:
    bench = Bench(pages=4)
    with bench.sequence() as sequence, pytest.raises(MemoryLimitError, match="5 pages"):
        sequence.prefill(words(5 * PAGE))
    assert bench.pool.free == 4


def test_attention_without_a_plan_says_so() -> None:
    attention.register()
    model = kv.network()
    model.set_attn_implementation(attention.NAME)
    with pytest.raises(EngineError, match="without a plan"):
        model(torch.tensor([[1, 2]]))


def test_wrong_arguments_are_named(bench: Bench) -> None:
    with bench.sequence() as sequence:
        sequence.prefill(words(70))
        with pytest.raises(ValueError, match="logits after token 5 are wanted, of 3 new ones"):
            sequence.append([1, 2, 3], logits=[5])
        with pytest.raises(ValueError, match="without a token"):
            sequence.append([])
        with pytest.raises(ValueError, match="layer 2 is not one of the model's 2"):
            sequence.attention_rows(2, [1])
        assert sequence.log_probabilities([], sequence.append([1])[0]) == []
        assert sequence.length == 71


def test_a_prompt_tried_again_loses_no_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    free = bench.residency.available()
    sequence = bench.sequence()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(bench.runner, "step", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no memory")))
        sequence.prefill(words(300, seed=77))
    sequence.prefill(words(300, seed=77))
    sequence.close()
    assert bench.residency.available() == free


def test_a_sequence_that_is_not_kept_leaves_nothing(bench: Bench) -> None:
    sequence = bench.sequence()
    sequence.prefill(words(200, seed=78))
    sequence.truncate(0)
    sequence.append(words(200, seed=79))
    sequence.close(keep=False)
    assert bench.residency.resident("m", words(200, seed=79)) == 0


def test_what_was_read_in_int8_is_not_found_as_a_prompt() -> None:
    model, ids = kv.network(), words(300)
    pool = PagePool(kv.shape(model), 32, torch.float32, "cpu")
    runner, residency = Runner(model, pool, "cpu", int8=True), Residency(pool)
    with KvSequence(runner, residency, "m") as sequence:
        sequence.prefill(ids[:130])
        with sequence.fork() as fork:
            for token in ids[130:280]:
                fork.append([token])
        assert residency.resident("m", ids) == 128
        sequence.append(ids[130:280])
    assert residency.resident("m", ids) == 128


def test_a_save_that_fails_gives_the_pages_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    free = bench.residency.available()
    sequence = bench.sequence()
    sequence.prefill(words(300, seed=80))
    monkeypatch.setattr(bench.residency, "save", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        sequence.close()
    assert bench.residency.available() == free


def test_what_is_pretended_takes_pages_and_is_found_by_nobody() -> None:
    bench = Bench()
    with bench.sequence() as sequence:
        with pytest.raises(ValueError, match="no keys and values"):
            sequence.pretend(64)
        sequence.append(words(70), is_prompt=True)
        sequence.pretend(5 * PAGE)
        assert sequence.length == 70 + 5 * PAGE
        assert sequence.append([1]).isfinite().all()
        with pytest.raises(MemoryLimitError):
            sequence.pretend(100 * PAGE)
        ids = list(sequence.ids)
    assert bench.sequence().resident(ids) == PAGE, "what was read, in whole pages"
