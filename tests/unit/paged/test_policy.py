"""What a policy says, and that prompts read with one compute what its mask written out does."""

import json
import random
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged.kinds import rooted  # noqa: E402
from turnout.engines.paged.pages import KvShape  # noqa: E402
from turnout.engines.paged.patterns import (  # noqa: E402
    Antidiagonal,
    Lines,
    Mass,
    Observed,
    Pattern,
    Pooled,
    Span,
    Top,
)
from turnout.engines.paged.policy import (  # noqa: E402
    HEAD_SIZES,
    AttentionPolicy,
    Band,
    everywhere,
    split,
)
from turnout.engines.paged.session import Session  # noqa: E402
from turnout.engines.paged.tiers import HostTier  # noqa: E402
from turnout.errors import ConfigurationError, ModelError  # noqa: E402
from turnout.kernels.shared import masks  # noqa: E402
from turnout.kernels.shared.checks import DIMS  # noqa: E402

CLOSE = 1e-4
CHUNK = 128
SHAPE = KvShape(2, 2, 16)
XATTENTION = Pattern(Mass(0.6), Antidiagonal(8), block=64)
LINES = Pattern(Lines(3, 2, sinks=1, newest=2), Observed(32, 16))
SHARE = Pattern(Lines(64, 64, sinks=1, newest=2, share=0.2), Observed(0, 32))
SPAN = Pattern(Span(4, 40))
WHOLE = {
    "mass": Pattern(Mass(1.0), Antidiagonal(8), block=64),
    "group": Pattern(Mass(1.0), Antidiagonal(16), "group", 64),
    "top": Pattern(Top(99), Pooled(), block=64),
    "lines": Pattern(Lines(9999, 9999), Observed(64, 64)),
    "lines of all mass": Pattern(Lines(9999, 9999, share=1.0), Observed(64, 64)),
    "span": Pattern(Span(0, 9999)),
}
SPARSE = {
    "blocks": XATTENTION,
    "pooled": Pattern(Top(2), Pooled(), block=64),
    "lines": LINES,
    "share": SHARE,
    "span": SPAN,
}


def network() -> Any:
    return kv.network("llama", hidden_size=64, initializer_range=0.3)


@pytest.fixture(scope="module")
def plain() -> Any:
    return network()


@pytest.fixture(scope="module")
def session() -> Session:
    return made()


def made(chunk: int = CHUNK, tiers: tuple = ()) -> Session:
    return Session(network(), SHAPE, 100 * SHAPE.page_bytes(4), "cpu", "m", tiers, chunk=chunk)


def words(count: int, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


def read(session: Session, ids: list[int], policy: AttentionPolicy | None, name: str = "cold") -> Any:
    """Logits after a prompt that leaves nothing behind."""
    sequence = session.sequence(name, policy=policy)
    found = sequence.prefill(ids)
    sequence.close(keep=False)
    session.forget()
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_a_budget_that_covers_everything_is_dense(session: Session, plain: Any, name: str) -> None:
    ids = words(430)
    assert (read(session, ids, everywhere(WHOLE[name])) - kv.logits(plain, ids)[-1]).abs().max() < CLOSE


@pytest.mark.parametrize("name", SPARSE)
def test_a_small_budget_is_not(session: Session, plain: Any, name: str) -> None:
    ids = words(430)
    found = read(session, ids, everywhere(SPARSE[name]))
    assert found.isfinite().all() and (found - kv.logits(plain, ids)[-1]).abs().max() > 100 * CLOSE


def truth(plain: Any, ids: list[int], windows: list[list[int]], sink: int) -> Any:
    """Logits after a prompt of which each query head [layers][heads] sees the first tokens and its window."""
    from transformers import AttentionInterface

    rows = torch.arange(len(ids))

    def naive(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> Any:
        shown = masks.visible(
            rows, rows, torch.tensor(windows[module.layer_idx]), kv_len=len(ids), causal=True, sink=sink
        )
        output, _ = masks.attention(*(part[0].transpose(0, 1).double() for part in (query, key, value)), shown, scaling)
        return output[None].float(), None

    AttentionInterface.register("naive", naive)
    before = plain.config._attn_implementation
    plain.set_attn_implementation("naive")
    try:
        return kv.logits(plain, ids)[-1]
    finally:
        plain.set_attn_implementation(before)


def test_streaming_is_the_mask_written_out(session: Session, plain: Any) -> None:
    ids = words(400)
    wanted = truth(plain, ids, [[40] * 4] * 2, 4)
    assert (read(session, ids, everywhere(SPAN)) - wanted).abs().max() < CLOSE


def test_heads_stream_or_look_at_everything_layer_by_layer(session: Session, plain: Any) -> None:
    ids = words(400)
    policy = split([[True, False], [False, True]], Span(4, 40))
    wanted = truth(plain, ids, [[40, 40, 999, 999], [999, 999, 40, 40]], 4)
    assert (read(session, ids, policy) - wanted).abs().max() < CLOSE
    none = split([[False, False]] * 2, Span(4, 40))
    assert none.is_dense is False and none.at(0) is not None
    assert (read(session, ids, none) - kv.logits(plain, ids)[-1]).abs().max() < CLOSE


def test_query_heads_may_differ_within_a_group(session: Session, plain: Any) -> None:
    """Four query heads share two key heads."""
    ids = words(400)
    other = Pattern(Span(4, 90))
    band = Band(0, (None, SPAN, other), ((1, 1, 1, 2), (0, 1, 2, 2)))
    wanted = truth(plain, ids, [[40, 40, 40, 90], [999, 40, 90, 90]], 4)
    assert (read(session, ids, AttentionPolicy((band,))) - wanted).abs().max() < CLOSE
    parts = [
        [(each[0].start, each[0].stop, each[1].start, each[1].stop) for each in band.of(at, 4, 2)] for at in (0, 1)
    ]
    assert parts == [[(0, 2, 0, 1), (2, 3, 1, 2), (3, 4, 1, 2)], [(0, 1, 0, 1), (1, 2, 0, 1), (2, 4, 1, 2)]]
    assert [each[:2] for each in Band(0, (SPAN,)).of(0, 4, 2)] == [(slice(0, 4), slice(0, 2))]
    with pytest.raises(ConfigurationError, match="names 6 heads, the model has 4 that share 2"):
        read(session, ids, AttentionPolicy((Band(0, (SPAN,), ((0,) * 6,) * 2),)))
    with pytest.raises(ConfigurationError, match=r"of \[6\] heads"):
        AttentionPolicy((Band(0, (SPAN,), ((0,) * 6,) * 2),)).check(SHAPE, CHUNK, 4)


@pytest.mark.parametrize("name", ["blocks", "pooled", "span"])
def test_what_blocks_and_spans_choose_does_not_depend_on_the_grid(session: Session, name: str) -> None:
    ids, policy = words(500), everywhere(SPARSE[name])
    wanted = read(session, ids, policy)
    for chunk in (64, 256, 512):
        assert (read(made(chunk), ids, policy) - wanted).abs().max() < CLOSE


def test_a_band_holds_from_its_start_on(session: Session, plain: Any) -> None:
    ids, late = words(500), everywhere(SPAN, start=384)
    assert (read(session, ids[:384], late) - kv.logits(plain, ids[:384])[-1]).abs().max() < CLOSE
    assert (read(session, ids, late) - kv.logits(plain, ids)[-1]).abs().max() > CLOSE
    ended = AttentionPolicy((Band(0, (SPAN,)), Band(128, (None,))))
    assert ended.at(127) is not None and ended.at(128) is None and everywhere(SPAN, start=64).at(63) is None


@pytest.mark.parametrize("name", SPARSE)
def test_what_was_read_with_a_policy_is_found_in_whole_chunks_and_by_it_alone(name: str) -> None:
    session, ids, policy = made(), words(430), everywhere(SPARSE[name])
    with session.sequence(policy=policy) as first:
        cold = first.prefill(ids)
    assert session.resident(ids, policy=policy) == 3 * CHUNK
    assert session.resident(ids) == 0 and session.resident(ids, policy=everywhere(WHOLE["span"])) == 0
    with session.sequence(policy=policy) as again:
        assert (again.prefill(ids) - cold).abs().max() < CLOSE and again.reused == 3 * CHUNK
    other = [*ids[:300], *words(100, 2)]
    with session.sequence(policy=policy) as third:
        warm = third.prefill(other)
        assert third.reused == 2 * CHUNK
    assert (warm - read(made(), other, policy)).abs().max() < CLOSE


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("tiered", [False, True])
def test_chunks_that_begin_alike_and_end_otherwise_are_kept_apart(name: str, tiered: bool) -> None:
    chunk = 128 if not tiered else 512  # half of a block of a tier, or two of them
    host = (HostTier(1 << 24),) if tiered else ()
    session, policy, begin = made(chunk, host), everywhere(SPARSE[name]), words(chunk // 2)
    one, other = ([*begin, *words(chunk, seed)] for seed in (5, 6))
    for ids in (one, other):
        with session.sequence(policy=policy) as sequence:
            sequence.prefill(ids)
            assert sequence.reused == 0
    if tiered:
        session.forget()
    for ids in (one, other):
        with session.sequence(policy=policy) as again:
            warm = again.prefill(ids)
            assert again.reused == chunk
        assert (warm - read(made(chunk), ids, policy)).abs().max() < CLOSE


def test_dense_keys_are_not_found_by_a_policy() -> None:
    session, ids = made(), words(300)
    with session.sequence() as dense:
        dense.prefill(ids)
    assert session.resident(ids) == 256 and session.resident(ids, policy=everywhere(SPAN)) == 0
    with session.sequence(policy=everywhere(SPAN)) as sparse:
        sparse.prefill(ids)
        assert sparse.reused == 0


def test_what_is_appended_looks_at_everything_and_is_not_kept(session: Session) -> None:
    ids, policy = words(300), everywhere(SPAN)
    with session.sequence("appended", policy=policy) as stem:
        stem.prefill(ids)
        fork = stem.fork()
        alone = stem.append(words(150, 3))
        # The last chunk of the prompt is full now, but half of it looked at everything.
        together = fork.append(words(150, 3))
        assert (alone - together).abs().max() < CLOSE
        fork.truncate(200)
        fork.append(words(100, 4))
        fork.close()
        stem.truncate(290)
        stem.append([5])
    assert session.resident([*ids, *words(150, 3)], "appended", policy=policy) == 2 * CHUNK
    assert session.resident([*ids[:200], *words(100, 4)], "appended", policy=policy) == CHUNK


def test_a_fork_that_goes_back_reads_on_as_if_it_had_not_been_there(session: Session) -> None:
    ids, policy = words(300), everywhere(XATTENTION)
    with session.sequence("fork", policy=policy) as stem:
        stem.prefill(ids)
        wanted = stem.fork().append([1, 2, 3])
        branch = stem.fork()
        branch.append([9, 9])
        branch.truncate(300)
        assert (branch.append([1, 2, 3]) - wanted).abs().max() < CLOSE
        branch.close()


def test_the_fingerprint_is_of_the_settings() -> None:
    policies = [everywhere(pattern) for pattern in (*WHOLE.values(), *SPARSE.values())]
    policies += [everywhere(SPAN, start=64), split([[True, False]] * 2, Span(4, 40)), AttentionPolicy()]
    assert len({policy.fingerprint for policy in policies}) == len(policies)
    for policy in policies:
        copy = AttentionPolicy.from_dict(json.loads(json.dumps(policy.to_dict())))
        assert copy == policy and copy.fingerprint == policy.fingerprint
    assert everywhere(SPAN, "a name").fingerprint == everywhere(SPAN).fingerprint == "1566c2c143ec82b3"
    assert everywhere(SPAN).key(128) != everywhere(SPAN).key(256)
    assert AttentionPolicy().is_dense and everywhere(None).is_dense and not everywhere(SPAN).is_dense
    assert rooted("m", "a") != rooted("m", "a", attention="x") != rooted("m", "a", attention="y")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Antidiagonal(12), "stride is 12"),
        (lambda: Observed(100, 100), "100 last and 100 strided"),
        (lambda: Mass(0.0), "share of 0.0"),
        (lambda: Mass(float("nan")), "share of nan"),
        (lambda: Top(0), "blocks is 0"),
        (lambda: Lines(newest=0), "newest is 0"),
        (lambda: Lines(share=1.5), "share of 1.5"),
        (lambda: Span(local=0), "local is 0"),
        (lambda: Span(local=1.5), "local is 1.5"),
        (lambda: Pattern(Mass(0.9), Observed()), "can't be chosen by"),
        (lambda: Pattern(Span(), Pooled()), "can't be chosen by"),
        (lambda: Pattern("mass"), "can't be chosen by"),
        (lambda: Pattern(Mass(), Antidiagonal(128), block=64), "stride of 128"),
        (lambda: Pattern(Mass(), Pooled(), block=256), "block is 256"),
        (lambda: Pattern(Mass(), Pooled(), "layer"), "'layer' shares nothing"),
        (lambda: Band(-1, (SPAN,)), "start is -1"),
        (lambda: Band(0, ()), "no pattern"),
        (lambda: Band(0, (SPAN,), ((1,),)), "pattern 1, of 1"),
        (lambda: AttentionPolicy((Band(64, (SPAN,)), Band(64, (None,)))), "start at 64, 64"),
        (lambda: AttentionPolicy.from_dict({}), "no attention policy"),
        (lambda: AttentionPolicy.from_dict({"bands": [{"start": 0, "patterns": ["x"], "heads": []}]}), "no attention"),
    ],
)
def test_what_can_not_be_is_refused_with_its_value(make: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        make()
    assert caught.value.hint


def test_a_policy_of_another_model_is_refused_before_it_reads(session: Session) -> None:
    with pytest.raises(ConfigurationError, match="names 3 layers of \\[2\\] heads, the model has 2 of 2 key"):
        session.sequence(policy=split([[True, False]] * 3, Span()))
    with pytest.raises(ConfigurationError, match="chunks of 64 tokens"):
        made(64).sequence(policy=everywhere(Pattern(Mass(), Pooled(), block=128)))
    with pytest.raises(ModelError, match="heads of 96 numbers"):
        everywhere(SPAN).check(KvShape(2, 2, 96), CHUNK)
    assert HEAD_SIZES == DIMS
