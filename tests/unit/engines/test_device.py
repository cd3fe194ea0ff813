"""Devices and number formats are looked up, never assumed."""

from pathlib import Path

import pytest

from turnout.engines import device
from turnout.errors import ConfigurationError, UnknownNameError


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu amx_bf16 sse", True), ("avx512_bf16", True), ("avx512f avx512bw", False), ("xamx_bf16", False)],
)
def test_fast_bf16_is_read_from_the_processor_flags(tmp_path: Path, monkeypatch, flags: str, fast: bool):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    device.has_fast_bf16.cache_clear()
    try:
        assert device.has_fast_bf16() is fast
        assert device.pick_dtype("cpu") == ("bfloat16" if fast else "float32")
    finally:
        device.has_fast_bf16.cache_clear()


def test_without_cpuinfo_nothing_is_assumed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "nowhere")
    device.has_fast_bf16.cache_clear()
    try:
        assert device.has_fast_bf16() is False
    finally:
        device.has_fast_bf16.cache_clear()


def test_mps_is_refused_by_name_and_nonsense_is_unknown():
    with pytest.raises(ConfigurationError, match="mps") as caught:
        device.pick_device("mps")
    assert "--device cpu" in caught.value.hint
    with pytest.raises(UnknownNameError, match="tpu"):
        device.pick_device("tpu")
    with pytest.raises(ConfigurationError, match="cuda:99"):
        device.pick_device("cuda:99")


def test_cpu_is_taken_where_there_is_no_cuda_driver(monkeypatch):
    monkeypatch.setattr(device, "_nvidia_driver_here", lambda: False)
    assert device.pick_device(None) == "cpu"


def test_free_memory_is_a_plausible_figure():
    import psutil

    assert 0 < device.available_memory_bytes() <= psutil.virtual_memory().total
