"""Segments that were read each by itself: what comes after them computes what the formula says, in any order."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged.attention import Layer  # noqa: E402
from turnout.engines.paged.pages import PAGE, KvShape, PagePool  # noqa: E402
from turnout.engines.paged.parallel import Kept, ParallelPrompt, ParallelSequence  # noqa: E402
from turnout.engines.paged.plan import Parallel, Run, cut, plan  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402

CLOSE = 1e-4
"""Largest difference of logits around 10, in float32."""

BEFORE = list(range(20, 31))
AFTER = list(range(40, 80))


class Bench:
    def __init__(self) -> None:
        self.plain = kv.network()
        self.pool = PagePool(kv.shape(self.plain), 64, torch.float32, "cpu")
        self.runner = Runner(kv.network(), self.pool, "cpu")
        self.residency = Residency(self.pool)

    def sequence(self, root: str = "m") -> ParallelSequence:
        return ParallelSequence(self.runner, self.residency, root, chunk=128)

    def kept(self, ids: list[int]) -> Kept:
        with self.sequence() as sequence:
            sequence.prefill([*BEFORE, *ids])
            value = sequence.taken(len(BEFORE))
        return Kept(len(ids), value, bytes(str(ids), "ascii"))

    def read(self, prompt: ParallelPrompt, root: str = "p") -> tuple[ParallelSequence, Any]:
        sequence = self.sequence(root)
        sequence.begin_prompt(prompt, more=8)
        (*_, (_, logits)) = sequence.read_prompt(prompt)
        return sequence, logits


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def words(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


def prompt(bench: Bench, *texts: list[int], temperature: float = 1.0, scale: float = 1.0) -> ParallelPrompt:
    return ParallelPrompt(BEFORE, [bench.kept(ids) for ids in texts], AFTER, temperature, scale)


def reference(network: Any, texts: Sequence[list[int]], after: list[int]) -> Any:
    """Logits after each of `after`, by transformers: the keys and values of all texts in one cache."""
    from transformers import DynamicCache

    from turnout.engines.loading import cache_argument

    argument = cache_argument(network)
    with torch.inference_mode():
        read = [DynamicCache() for _ in texts]
        for one, ids in zip(read, texts, strict=True):
            network(torch.tensor([[*BEFORE, *ids]]), **{argument: one})
        cache = DynamicCache()
        for layer in range(network.config.num_hidden_layers):
            both = []
            for name in ("keys", "values"):
                each = [getattr(one.layers[layer], name) for one in read]
                both.append(torch.cat([each[0][:, :, : len(BEFORE)], *(one[:, :, len(BEFORE) :] for one in each)], 2))
            cache.update(*both, layer)
        first = len(BEFORE) + max(map(len, texts))
        positions = torch.arange(first, first + len(after))[None]
        return network(torch.tensor([after]), position_ids=positions, **{argument: cache}).logits[0]


def test_it_computes_what_transformers_does_over_the_same_keys_and_values(bench: Bench) -> None:
    texts = [words(90, 1), words(150, 2), words(7, 3)]
    sequence, logits = bench.read(prompt(bench, *texts))
    truth = reference(bench.plain, texts, [*AFTER, 5, 6])
    assert (logits - truth[len(AFTER) - 1]).abs().max() < CLOSE
    for at, token in enumerate((5, 6), len(AFTER)):
        assert (sequence.append([token])[0] - truth[at]).abs().max() < CLOSE
    assert sequence.reused == 247
    sequence.close()


def test_one_segment_that_counts_as_any_text_is_the_prompt_itself(bench: Bench) -> None:
    text = words(200, 4)
    sequence, logits = bench.read(prompt(bench, text))
    truth = kv.logits(bench.plain, [*BEFORE, *text, *AFTER, 5])
    assert (logits - truth[-2]).abs().max() < CLOSE
    assert (sequence.append([5])[0] - truth[-1]).abs().max() < CLOSE
    sequence.close()


def test_the_order_of_segments_changes_nothing(bench: Bench) -> None:
    given = prompt(bench, words(90, 1), words(150, 2), words(7, 3), temperature=0.9, scale=0.9)
    turned = replace(given, segments=given.segments[::-1])
    found = []
    for each in (given, turned):
        sequence, logits = bench.read(each)
        found.append(torch.stack([logits, sequence.append([5])[0]]))
        sequence.close()
    assert (found[0] - found[1]).abs().max() < CLOSE
    plain, logits = bench.read(replace(given, temperature=1.0, scale=1.0), "p1")
    assert (logits - found[0][0]).abs().max() > 0.01
    plain.close()


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(("temperature", "scale"), [(0.9, 0.9), (0.5, 1.0), (1.0, 0.8)])
def test_the_parts_merge_as_two_softmaxes_of_which_one_is_weighed(rows: int, temperature: float, scale: float) -> None:
    torch.manual_seed(0)
    heads, dim, begin, end, past = 2, 8, 10, 10 + 3 * PAGE, 20 + 3 * PAGE
    pool = PagePool(KvShape(1, heads, dim), 12, torch.float32, "cpu")
    for tensor in (*pool.keys, *pool.values):
        tensor.normal_()
    pages = [7, 2, 3, 9]
    how = Parallel(begin, end, PAGE, temperature, scale)
    step = plan(pool, [(pages, past, rows, None)], "cpu", parallels={0: how})
    query = torch.randn(4, rows, dim)
    slots = torch.tensor([pages[at // PAGE] * PAGE + at % PAGE for at in range(past + rows)])
    key, value = (tensor[slots].transpose(0, 1) for tensor in (pool.keys[0], pool.values[0]))
    found = Layer(step, 0, query, key[:, past:], value[:, past:], dim**-0.5, None).output()

    scores = query.double() @ key.double().repeat_interleave(2, 0).transpose(1, 2) * dim**-0.5
    ahead = torch.arange(past + rows) > torch.arange(past, past + rows)[:, None]
    scores = scores.masked_fill(ahead, -torch.inf)
    inside, outside = scores[..., begin:end] / temperature, torch.cat([scores[..., :begin], scores[..., end:]], -1)
    weight = torch.sigmoid(scale * temperature * inside.logsumexp(-1) - outside.logsumexp(-1))[..., None]
    values = value.double().repeat_interleave(2, 0)
    around = torch.cat([values[:, :begin], values[:, end:]], 1)
    truth = weight * (inside.softmax(-1) @ values[:, begin:end]) + (1 - weight) * (outside.softmax(-1) @ around)
    assert (found - truth.transpose(0, 1)).abs().max() < 1e-5


def test_what_was_put_in_place_is_found_again_by_prompts_that_look_at_it_alike(bench: Bench) -> None:
    given = prompt(bench, words(90, 1), words(150, 2), temperature=0.9, scale=0.9)
    first, logits = bench.read(given, "q")
    first.close()
    again, found = bench.read(given, "q")
    assert (logits - found).abs().max() < CLOSE
    assert again.reused > len(BEFORE) + 240 - PAGE
    again.close()
    other = bench.sequence("another")
    other.begin_prompt(given)
    assert other.reused == 0
    other.close()
    swapped = replace(given, segments=given.segments[::-1])
    turned = bench.sequence("q")
    turned.begin_prompt(swapped)
    assert turned.reused == 0
    turned.close()


def test_several_are_written_in_one_step_beside_one_that_reads_as_ever(bench: Bench) -> None:
    from turnout.engines.paged.sequence import step

    given = prompt(bench, words(90, 1), words(30, 2), temperature=0.9, scale=0.9)
    one, _ = bench.read(given, "r")
    two = one.fork()
    with bench.sequence() as plain:
        plain.prefill(words(70, 9))
        together = step(bench.runner, [(one, [[5]], (-1,)), (plain, [[6]], (-1,)), (two, [[7]], (-1,))])
        alone, _ = bench.read(given, "alone")
        assert (together[0] - alone.append([5])[0]).abs().max() < CLOSE
        alone.truncate(alone.length - 1)
        assert (together[2] - alone.append([7])[0]).abs().max() < CLOSE
        assert (together[1] - kv.logits(bench.plain, [*words(70, 9), 6])[-1]).abs().max() < CLOSE
    for each in (one, two, alone):
        each.close()


def test_graphs_that_know_one_softmax_are_not_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def step(self, *args: Any, **options: Any) -> None:
            raise AssertionError("a graph was used")

    given = prompt(bench, words(90, 1), words(30, 2))
    sequence, _ = bench.read(given, "g")
    plain = bench.sequence("g2")
    plain.prefill(words(70, 9))
    monkeypatch.setattr(bench.runner, "_graphs", Refusing())
    sequence.append([5])
    with pytest.raises(AssertionError, match="was used"):
        plain.append([5])
    sequence.close()
    plain.close()


def test_runs_are_cut_where_tokens_begin_and_end() -> None:
    runs = (Run(100, 10), Run(300, 5), Run(0, 64))
    assert list(cut(runs, 0)) == list(runs)
    assert list(cut(runs, 4, 12)) == [Run(104, 6), Run(300, 2)]
    assert list(cut(runs, 15, 15)) == [] == list(cut(runs, 90))
    assert list(cut(runs, 12, 400)) == [Run(302, 3), Run(0, 64)]
