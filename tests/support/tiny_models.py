"""A tiny random llama with a tokenizer and a chat template, made from a configuration: no files, no network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from turnout.documents import Span
from turnout.types import Context, EngineEvent, Part, Token

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WINDOW = 512


def build(
    folder: Path,
    *,
    seed: int = 0,
    chat_template: str | None = CHAT_TEMPLATE,
    architecture: str = "llama",
    **config: Any,
) -> Path:
    """Writes config.json, model.safetensors, generation_config.json and the tokenizer into `folder`.

    Args:
        architecture: model type of transformers.
        config: replaces fields of the configuration, for example `num_hidden_layers=4`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = _write_tokenizer(folder, chat_template)
    fields = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": WINDOW,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "tie_word_embeddings": True,
        "initializer_range": 0.5,
        **config,
    }
    torch.manual_seed(seed)
    made = AutoConfig.for_model(architecture, **fields)
    AutoModelForCausalLM.from_config(made, dtype=torch.float32).save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path, chat_template: str | None) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the light stands on the island and shines at night over the sea"] * 8, trainer)
    # As reasoning models have them: added, but not flagged as special.
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    return tokenizer


def context(*texts: str, question: str = "Where does the light stand?", task: str = "location") -> Context:
    """A context of one part a text, each of a document of its own."""
    given = texts or ("the light stands on the island",)
    parts = tuple(Part(text, Span(f"doc{i}", 0, len(text)), f"Title {i}") for i, text in enumerate(given))
    return Context(parts, question, task=task)


def text_of(events: Iterable[EngineEvent]) -> str:
    """The text that an engine streamed."""
    return "".join(event.text for event in events if isinstance(event, Token))
