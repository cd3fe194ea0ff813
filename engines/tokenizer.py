"""Text to tokens and back, without torch or transformers: counting must work before a model is loaded.

Untrusted text never becomes a control token: the chat template is rendered with a mark where each untrusted piece
stands, and only the template's own text is encoded with control tokens read as such.
"""

from __future__ import annotations

import json
import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from turnout.engines.folder import read_json
from turnout.engines.prompt import ChatMessage, Piece
from turnout.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

CACHED_CHARACTERS = 16_000_000

# Private-use characters: they stand in no template, and the text they stand for is never rendered.
_MARK = re.compile("\ue0f0(\\d+)\ue0f1")
# Marks for training data that transformers' templates may have; they render their body.
_GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


class ChatTokenizer:
    """The tokenizer and chat template of a model folder. Safe to use from several threads.

    Args:
        folder: holds tokenizer.json, and chat_template.jinja or a template in tokenizer_config.json.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, array[int]] = OrderedDict()
        self._cached_characters = 0
        self._tokenizer: Tokenizer | None = None
        self._config: dict[str, Any] = {}
        self._source: str | None = None

    def encode(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids of a chat up to where the assistant's answer begins."""
        return self.encode_placed(messages)[0]

    def encode_placed(self, messages: Sequence[ChatMessage]) -> tuple[list[int], list[tuple[int, int]]]:
        """The same, and which of the ids [start, end) are each untrusted piece's, in order."""
        ids: list[int] = []
        places = []
        for piece in self._render(messages):
            start = len(ids)
            ids.extend(self._trusted(piece.text) if piece.trusted else self._untrusted(piece.text))
            if not piece.trusted:
                places.append((start, len(ids)))
        return ids, places

    def count(self, messages: Sequence[ChatMessage]) -> int:
        """`len(encode(messages))`."""
        return len(self.encode(messages))

    def count_text(self, text: str) -> int:
        """Tokens of untrusted text alone."""
        return len(self._untrusted(text))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of untrusted text alone."""
        return list(self._untrusted(text))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters [start, end) of each of `encode_text(text)`; of a letter that has several tokens each has it
        whole."""
        tokenizer = self._loaded()
        with self._lock:
            tokenizer.encode_special_tokens = True
            try:
                found: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
            finally:
                tokenizer.encode_special_tokens = False
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, control tokens left out."""
        tokenizer = self._loaded()
        with self._lock:
            return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    def id_of(self, token: str) -> int | None:
        """The id of a token's exact name."""
        return self._loaded().token_to_id(token)

    def vocabulary(self) -> dict[str, int]:
        """The ids of all tokens by their names, control tokens included."""
        return self._loaded().get_vocab(with_added_tokens=True)

    def special(self, name: str) -> str:
        """A token by its role ("bos_token", "eos_token"), empty where the model has none."""
        self._loaded()
        value = self._config.get(name) or ""
        return str(value.get("content", "")) if isinstance(value, dict) else str(value)

    def turn_end(self, ends: Collection[int]) -> int | None:
        """Which of the tokens that end an answer the chat template writes after one; None where it writes none."""
        asked, answered = (Piece(text, False) for text in "ab")
        user = ChatMessage("user", (asked,))
        pieces = self._render([user, ChatMessage("assistant", (answered,)), user])
        after = next(place for place, piece in enumerate(pieces) if piece == answered) + 1
        return next((token for token in self._trusted(pieces[after].text)[:2] if token in ends), None)

    def _loaded(self) -> Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _load(self._folder / "tokenizer.json")
                path = self._folder / "tokenizer_config.json"
                self._config = read_json(path) if path.is_file() else {}
                self._source = _template_source(self._folder, self._config)
            return self._tokenizer

    def _start(self) -> str:
        """What the tokenizer puts before every text by itself, such as "<s>"."""
        tokenizer = self._loaded()
        with self._lock:
            return "".join(tokenizer.encode("", add_special_tokens=True).tokens)

    def _trusted(self, text: str) -> list[int]:
        tokenizer = self._loaded()
        with self._lock:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def _untrusted(self, text: str) -> array[int]:
        tokenizer = self._loaded()
        with self._lock:
            if text in self._cache:
                self._cache.move_to_end(text)
                return self._cache[text]
            tokenizer.encode_special_tokens = True
            try:
                ids = array("I", tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)
            finally:
                tokenizer.encode_special_tokens = False
            self._cache[text] = ids
            self._cached_characters += len(text)
            while self._cached_characters > CACHED_CHARACTERS and len(self._cache) > 1:
                self._cached_characters -= len(self._cache.popitem(last=False)[0])
            return ids

    def _render(self, messages: Sequence[ChatMessage]) -> list[Piece]:
        untrusted: list[str] = []
        rendered = self._apply_template([_marked(message, untrusted) for message in messages])
        pieces, end, seen = [], 0, []
        for mark in _MARK.finditer(rendered):
            pieces.append(Piece(rendered[end : mark.start()], True))
            pieces.append(Piece(untrusted[int(mark[1])], False))
            seen.append(int(mark[1]))
            end = mark.end()
        if seen != list(range(len(untrusted))):
            raise ModelError(
                f"the chat template of {self._folder} drops or repeats parts of the conversation",
                hint="use a model whose template keeps earlier turns",
            )
        pieces.append(Piece(rendered[end:], True))
        return [piece for piece in pieces if piece.text or not piece.trusted]

    def _apply_template(self, messages: list[dict[str, str]]) -> str:
        self._loaded()
        if self._source is None:
            return self._start() + "\n\n".join(message["content"] for message in messages) + "\nAnswer:"
        from jinja2 import TemplateError

        variables = {name: self.special(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
        try:
            template = compile_template(self._source)
            try:
                return template.render(**_OPTIONS, **variables, messages=messages)
            except TemplateError:
                # Some templates have no system role: there it goes before the first turn.
                if messages[0]["role"] != "system" or len(messages) < 2:
                    raise
                first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
                return template.render(**_OPTIONS, **variables, messages=[first, *messages[2:]])
        except TemplateError as error:
            raise ModelError(
                f"the chat template of {self._folder} failed: {error}", hint="use a model with a working chat template"
            ) from error


# enable_thinking: the templates of reasoning models answer at once where it is off.
_OPTIONS = {"add_generation_prompt": True, "enable_thinking": False}


@lru_cache(maxsize=8)
def compile_template(source: str) -> Template:
    """A chat template with the options that transformers renders it with; sandboxed, since it is code from outside."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise_template_error
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(_GENERATION_TAG.sub("", source))


def _load(file: Path) -> Tokenizer:
    try:
        from tokenizers import AddedToken, Tokenizer
    except ImportError as error:
        raise MissingExtraError("counting the tokens of a local model", "local") from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception for damaged files
        raise ModelError(f"{file} can't be read: {error}", hint="the file is damaged: get the model again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # Tags that are added tokens but not flagged as special (<think>, [TOOL_CALLS]) would be control tokens in a
    # document too; other added tokens (runs of spaces) are ordinary text.
    added = [token for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
    plain = [token.content for token in added if token.content[:1] in "<[" and token.content[-1:] in ">]"]
    tokenizer.add_special_tokens([AddedToken(content, special=True, normalized=False) for content in plain])
    return tokenizer


def _template_source(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _marked(message: ChatMessage, untrusted: list[str]) -> dict[str, str]:
    content = ""
    for piece in message.pieces:
        if piece.trusted:
            content += piece.text
        else:
            content += f"\ue0f0{len(untrusted)}\ue0f1"
            untrusted.append(piece.text)
    return {"role": message.role, "content": content}


def _raise_template_error(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
