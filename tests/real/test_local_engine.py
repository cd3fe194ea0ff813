"""The default model, as pulled: right tokens, sensible answers, and the figures that are predicted of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_models import text_of

from turnout.config import Settings
from turnout.documents import Span
from turnout.engines import models, open_engine
from turnout.engines.local import LocalEngine
from turnout.engines.probe import measure
from turnout.types import Context, GenerationParams, Part

pytestmark = pytest.mark.real

TEXT = (
    "The lighthouse of Saint-Clair was built in 1871 by the engineer Marie Duval. It is 42 metres high. "
    "Since 1990 it has worked without a keeper."
)


@pytest.fixture
def settings(real_home: Path) -> Settings:
    return Settings(home=real_home, device="cpu")


@pytest.fixture
def engine(settings: Settings) -> LocalEngine:
    return open_engine(settings)


def asked(question: str, text: str = TEXT) -> Context:
    return Context((Part(text, Span("doc", 0, len(text))),), question)


def test_the_pulled_files_are_whole(settings: Settings):
    states = {entry.name: (entry.state, entry.licence) for entry in models.verify(settings)}
    assert states == {
        "smollm2-135m": ("present", "Apache-2.0"),
        "all-minilm-l6-v2": ("present", "Apache-2.0"),
    }


def test_the_model_is_what_it_should_be(engine: LocalEngine):
    assert engine.model.window == 8192
    assert engine.model.parameters == 134_515_008
    assert engine.model.is_demonstration
    assert engine.prompt_format.name == "numbered"  # as its adapter was trained


def test_tokens_are_those_that_the_model_was_trained_on(engine: LocalEngine):
    # Every digit apart, and what stands before a number is not torn by it.
    tokenizer = engine.tokenizer
    names = {token: tokenizer.id_of(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")}
    assert names == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert engine.count_text("1871") == 4
    assert engine.count_text("a\n\n12") == 4
    assert tokenizer.special("eos_token") == "<|im_end|>"


def test_encoding_equals_the_tokenizer_of_transformers(engine: LocalEngine, settings: Settings):
    from transformers import AutoTokenizer

    from turnout.engines.prompt import pieces

    theirs = AutoTokenizer.from_pretrained(settings.models / "smollm2-135m", local_files_only=True)
    chat = [{"role": m.role, "content": m.text} for m in pieces(asked("How high is it?"), engine.prompt_format)]
    expected = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    # Pieces are encoded apart, so the text is equal and the tokens are at most a few more.
    ours = engine.encode(asked("How high is it?"))
    assert theirs.decode(ours) == theirs.decode(expected)
    assert 0 <= len(ours) - len(expected) <= 4


@pytest.mark.parametrize(
    ("question", "answer"), [("How high is the lighthouse?", "42"), ("Who built the lighthouse?", "Duval")]
)
def test_it_answers_from_a_short_text(engine: LocalEngine, question: str, answer: str):
    assert answer in text_of(engine.generate(asked(question), GenerationParams(max_tokens=40)))


def test_peak_memory_is_predicted_within_a_fifth(engine: LocalEngine):
    long = asked("How high is it?", TEXT * 60)
    engine.open()
    events = list(engine.generate(long, GenerationParams(max_tokens=8)))
    predicted = engine.memory_bytes(events[-1].prompt_tokens, 8)
    assert events[-1].prompt_tokens > 2000
    assert 0.8 < predicted / events[-1].peak_memory_bytes < 1.25


def test_the_probe_keeps_to_its_budget(engine: LocalEngine):
    samples = measure(engine, budget_s=1.0)
    assert len(samples.prefill) >= 2
    *near, last, far = samples.prefill
    assert len(near) == 1 or sum(seconds for _, _, seconds in near) < 1.0
    assert last[2] > 0
    assert far[0] > 5000, "near the end of the window"
    assert 2 <= len(samples.decode) <= 1 + len(samples.prefill)


def test_nothing_is_asked_of_the_network(settings: Settings):
    code = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('network')\n"
        "socket.socket.connect = refuse\n"
        "from turnout.config import Settings\n"
        "from turnout.engines import open_engine\n"
        "open_engine(Settings.load(device='cpu')).open()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_the_folder_holds_no_pickle_and_no_code(settings: Settings):
    names = {path.name for path in (settings.models / "smollm2-135m").iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    manifest = json.loads((settings.models / "smollm2-135m" / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
