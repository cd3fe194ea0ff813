"""Blocks in host memory and on disk, and beginnings that come back from them."""

import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from turnout.engines.paged.pages import PAGE, PagePool  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402
from turnout.engines.paged.sequence import KvSequence  # noqa: E402
from turnout.engines.paged.tiers import BLOCK, Block, DiskTier, HostTier, Tier, names  # noqa: E402

SHAPE = (2, BLOCK, 2, 8)
SIZE = Block((), torch.zeros(SHAPE), torch.zeros(SHAPE)).size


def block(seed: int = 0) -> Block:
    draw = torch.Generator().manual_seed(seed)  # its own: threads make blocks at once
    return Block(tuple(range(BLOCK)), torch.randn(SHAPE, generator=draw), torch.randn(SHAPE, generator=draw))


def tier_of(kind: str, folder: Path, blocks: int = 3) -> Tier:
    return (
        HostTier(blocks * SIZE)
        if kind == "host"
        else DiskTier(folder / "kv", "tiny-float32", blocks * (SIZE + 3000) + 100)
    )


@pytest.fixture(params=["host", "disk"])
def tier(request: pytest.FixtureRequest, tmp_path: Path) -> Tier:
    return tier_of(request.param, tmp_path)


def test_a_block_comes_back_bit_by_bit(tier: Tier) -> None:
    tier.put("a", block())
    found = tier.get("a")
    assert found is not None and tier.has("a")
    assert found.ids == block().ids
    assert torch.equal(found.keys, block().keys) and torch.equal(found.values, block().values)
    assert tier.get("b") is None and not tier.has("b")


def test_the_least_recently_used_block_goes_first(tier: Tier) -> None:
    for name in "abc":
        tier.put(name, block())
    tier.touch("a")
    tier.put("d", block())
    assert [tier.has(name) for name in "abcd"] == [True, False, True, True]


def test_a_block_over_the_limit_is_not_kept(tmp_path: Path) -> None:
    for kind in ("host", "disk"):
        small = HostTier(SIZE - 1) if kind == "host" else DiskTier(tmp_path / "kv", "tiny", SIZE - 1)
        small.put("a", block())
        assert not small.has("a")


def test_names_chain(tmp_path: Path) -> None:
    ids = list(range(2 * BLOCK + 5))
    first, second = (name for name, _ in names("m", ids))
    assert [name for name, _ in names("m", ids[:BLOCK])] == [first]
    other = [9, *ids[1:]]
    assert [name for name, _ in names("m", other)][1] != second, "the second block depends on the first"
    assert next(names("n", ids))[0] != first


@pytest.mark.parametrize("grid", [PAGE, 2 * BLOCK, BLOCK + PAGE])
def test_a_block_is_named_by_all_tokens_that_were_computed_with_it(grid: int) -> None:
    ids = list(range(4 * BLOCK))
    found = [name for name, _ in names("m", ids, grid)]
    assert len(set(found)) == len(found) == len(ids) // grid * grid // BLOCK
    other = [*ids[:BLOCK], 9999, *ids[BLOCK + 1 :]]
    assert (next(names("m", other, grid))[0] == found[0]) == (grid == PAGE)


def test_another_process_finds_the_files(tmp_path: Path) -> None:
    tier_of("disk", tmp_path).put("a", block())
    assert tier_of("disk", tmp_path).get("a") is not None
    (file,) = (tmp_path / "kv").glob("*/*.safetensors")
    assert not list((tmp_path / "kv").glob("*/*.partial"))
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


DAMAGE = {
    "empty": lambda good: b"",
    "zeros": lambda good: b"\0" * 100,
    "cut off": lambda good: good[:-9],
    "one bit": lambda good: good[:-5000] + bytes([good[-5000] ^ 1]) + good[-4999:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_counts_as_not_there(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    tier = tier_of("disk", tmp_path)
    tier.put("a", block())
    (file,) = (tmp_path / "kv").glob("*/*.safetensors")
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    assert tier.get("a") is None
    assert file.name in caplog.text
    assert not tier.has("a"), "it is removed"
    tier.put("a", block())
    assert tier.get("a") is not None


@pytest.mark.parametrize("manifest", ['{"schema": 0}', "{", '{"schema": 1, "kind": "other", "block": 256}'])
def test_a_folder_of_another_kind_is_emptied_when_it_is_written_to(tmp_path: Path, manifest: str) -> None:
    tier_of("disk", tmp_path).put("a", block())
    folder = tmp_path / "kv/tiny-float32"
    (folder / "manifest.json").write_text(manifest)
    tier = tier_of("disk", tmp_path)
    assert tier.get("a") is None and not tier.has("a")
    tier.put("b", block())
    assert tier.has("b") and not tier.has("a")
    assert json.loads((folder / "manifest.json").read_text())["kind"] == "tiny-float32"


def test_one_limit_holds_for_all_kinds(tmp_path: Path) -> None:
    tier_of("disk", tmp_path).put("a", block())
    left = tmp_path / "kv/tiny-float32/b.1.partial"
    left.write_bytes(b"0")
    os.utime(left, (1, 1))
    other = DiskTier(tmp_path / "kv", "other", 3 * (SIZE + 3000) + 100)
    for name in "bcd":
        other.put(name, block())
    assert not tier_of("disk", tmp_path).has("a") and all(other.has(name) for name in "bcd")
    assert not left.exists(), "nobody finishes it"


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kv").write_text("in the way")
    tier = tier_of("disk", tmp_path)
    for name in "ab":
        tier.put(name, block())
    assert not tier.has("a") and tier.get("a") is None
    assert caplog.text.count("not kept on disk") == 1


def test_writers_at_once_leave_whole_files(tmp_path: Path) -> None:
    """Two tiers of two threads each, over one folder with room for three blocks, and readers meanwhile."""

    def work(seed: int) -> int:
        tier, draw, read = tier_of("disk", tmp_path), random.Random(seed), 0
        for _ in range(30):
            name = draw.choice("abcdef")
            tier.put(name, block(ord(name)))
            found = tier.get(draw.choice("abcdef"))
            read += found is not None
        return read

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) > 0
    tier = tier_of("disk", tmp_path)
    for name in "abcdef":
        found = tier.get(name)
        assert found is None or torch.equal(found.keys, block(ord(name)).keys)
    assert not list((tmp_path / "kv").glob("*/*.partial"))


class Bench:
    def __init__(self, *tiers: Tier, root: str = "m", pages: int = 64) -> None:
        self.model: Any = kv.network()
        self.pool = PagePool(kv.shape(self.model), pages, torch.float32, "cpu")
        self.residency = Residency(self.pool, tiers)
        self.root = root
        self.runner = Runner(self.model, self.pool, "cpu")

    def read(self, ids: list[int]) -> tuple[Any, int]:
        """(logits, tokens that were not read again)"""
        with KvSequence(self.runner, self.residency, self.root) as sequence:
            return sequence.prefill(ids), sequence.reused


IDS = random.Random(1).choices(range(400), k=3 * BLOCK + 100)


@pytest.mark.parametrize("kind", ["host", "disk"])
def test_a_document_is_read_once_across_engines(tmp_path: Path, kind: str) -> None:
    shared = tier_of(kind, tmp_path, blocks=9)
    cold, begun = Bench(shared).read(IDS)
    assert begun == 0
    second = Bench(shared if kind == "host" else tier_of(kind, tmp_path, blocks=9))
    assert second.residency.resident("m", IDS) == 3 * BLOCK
    warm, begun = second.read(IDS)
    assert begun == 3 * BLOCK
    assert torch.allclose(cold, warm, atol=1e-4)
    changed = [*IDS[: BLOCK + 5], 3, *IDS[BLOCK + 6 :]]
    assert second.read(changed)[1] >= BLOCK
    assert Bench(shared, root="other").read(IDS)[1] == 0


@pytest.mark.parametrize("kind", ["host", "disk"])
def test_of_a_document_over_the_limit_the_beginning_is_kept(tmp_path: Path, kind: str) -> None:
    tier = tier_of(kind, tmp_path, blocks=2)
    Bench(tier).read(IDS)
    again = Bench(tier)
    assert again.residency.resident("m", IDS) == 2 * BLOCK
    assert again.read(IDS)[1] == 2 * BLOCK
    other = random.Random(9).choices(range(400), k=BLOCK + 10)
    Bench(tier).read(other)
    assert Bench(tier).residency.resident("m", IDS) == BLOCK, "the last block went first"
    assert Bench(tier).residency.resident("m", other) == BLOCK


def test_what_the_pool_lost_comes_back_from_a_tier() -> None:
    bench = Bench(tier_of("host", Path(), blocks=9), pages=16)
    cold, _ = bench.read(IDS)
    bench.read(random.Random(2).choices(range(400), k=3 * BLOCK))
    assert bench.residency.resident("m", IDS) == 3 * BLOCK
    warm, begun = bench.read(IDS)
    assert begun == 3 * BLOCK and torch.allclose(cold, warm, atol=1e-4)
    assert bench.residency.available() == 16


def test_blocks_of_other_tokens_or_shapes_are_not_taken() -> None:
    tier = tier_of("host", Path(), blocks=9)
    name, tokens = next(names("m", IDS))
    tier.put(name, Block(tuple(reversed(tokens)), torch.zeros(SHAPE), torch.zeros(SHAPE)))
    assert Bench(tier).read(IDS)[1] == 0
    wrong = HostTier(9 * SIZE)
    wrong.put(name, Block(tokens, torch.zeros(2, BLOCK, 2, 4), torch.zeros(2, BLOCK, 2, 4)))
    assert Bench(wrong).read(IDS)[1] == 0
