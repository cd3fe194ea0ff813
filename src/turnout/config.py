"""Settings: one frozen object, read from arguments first, then from TURNOUT_* variables."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from turnout.errors import ConfigurationError, StoreError, UnknownNameError

Escalate = Literal["off", "before_text", "always"]
ESCALATE: tuple[Escalate, ...] = ("off", "before_text", "always")
"""When another strategy is asked where the text may not bear an answer: never; before any of its text is shown, which
waits for the check of its evidence; or also after, with `Retracted`."""

LogLevel = Literal["off", "decisions", "full"]
LOG_LEVELS: tuple[LogLevel, ...] = ("off", "decisions", "full")

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
NO_ADAPTER = "none"
DEFAULT_SOFT = "mean:2"
CACHE_SCHEMES = ("redis://", "rediss://", "unix://")
ATTENTION_AUTO, ATTENTION_DENSE = "auto", "dense"
CITE_WORDS, CITE_ATTENTION = "words", "attention"
CITE = (CITE_WORDS, CITE_ATTENTION)
SERVER_TAKES = ("cache_salt", "choices")
SERVER_RETRIES = 2
"""How often a request is sent again that was refused for now or did not get through. The client of OpenAI does it: it
waits as long as the server asks for, else 0.5 s and then twice as long, less a random part."""

SERVER_TIMEOUT_S = 600.0
"""A server that is connected and says nothing for so long is given up: long prompts are read in silence."""

REGRET_MAX_S = 600.0
"""Seconds a day that strategies may run which were not chosen, where that is asked for."""

MAX_FILE_MB = 100.0
"""Files over this size are refused by name: text of this size is about 25 million tokens."""

# Where objects of LangChain hold the name of their model.
_NAMES = ("model_name", "model", "model_id", "deployment_name", "deployment", "repo_id")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how much is kept. See docs/configuration.md.

    Attributes:
        adapter: folder of an adapter for a local model, NO_ADAPTER, or None for the one that comes with the model.
        kv_disk_mb: most of what local models keep on disk of the prompts that they have read; 0 for nothing.
        yarn: how many times its window a local model shall read.
        int8: whether a local model writes with weights in int8; None for where that is faster.
        prices: file with prices of tokens; None where costs are seconds of this machine.
        passage_tokens: most of the passages that `rag` reads; None for its own default.
        attention: how a local model reads prompts: ATTENTION_AUTO as calibrated, where that is faster, ATTENTION_DENSE,
            or by the file of a calibration.
        soft: what makes soft tokens: "mean:RATE", the mean of so many token embeddings, or the folder of what
            `turnout train soft` wrote.
        ldar: folder of what `turnout train ldar` wrote, for `rag:ldar`; None for none.
        chunkfree: folder of what `turnout train chunkfree` wrote, for `rag:chunkfree`; None for the model as it is.
        late_chunking: segments are embedded with what stands around them.
        reranker: folder of a cross-encoder that puts the passages of a search in order, or of a pruner that
            `turnout train pruner` made, which then judges sentences too; None for none.
        sat: folder of a SaT model, which says where sentences end that `extract` keeps or leaves; None for rules.
        cite: what finds a sentence for an answer without a quote of its own, one of CITE.
        cache_url: Redis server that keeps what was computed of segments; None for the data directory.
        cache_mb: most of it, in megabytes.
        cache_ttl_s: seconds after which a server drops what was not used.
        cache_required: a server that can't be used is an error; else it is done without.
        server_window: tokens of prompt and answer of a server's model; None for what the server says.
        server_takes: what a server takes beside OpenAI's fields, of SERVER_TAKES.
        server_timeout_s: seconds that a server may say nothing.
        server_retries: how often a request is sent again before the first word of its answer.
        cache_namespace: prompts that are read here find again only what was read under the same name; None for what
            was read under none.
        share_collections: new collections share what is computed of equal texts, instead of being kept apart.
        escalate: when another strategy is asked after the first, of ESCALATE; None for where that was measured to gain.
        shadow: the strategy that is run whatever the router chooses on paper; None for the router's choice.
        regret: share of questions that the strategies which were not chosen answer too, when nothing else is asked.
        regret_max_s: seconds of a day that they may take.
        regret_max_cost: most that they may cost in a day; None for no limit, which prices don't allow.
    """

    home: Path
    model: str = DEFAULT_MODEL
    model_name: str | None = None
    api_key: str | None = None
    log: LogLevel = "decisions"
    device: str | None = None
    max_file_mb: float = MAX_FILE_MB
    adapter: str | None = None
    kv_disk_mb: float = 0.0
    yarn: float = 1.0
    int8: bool | None = None
    prices: Path | None = None
    passage_tokens: int | None = None
    attention: str = ATTENTION_AUTO
    soft: str = DEFAULT_SOFT
    ldar: Path | None = None
    chunkfree: Path | None = None
    late_chunking: bool = False
    reranker: Path | None = None
    sat: Path | None = None
    cite: str = CITE_WORDS
    cache_url: str | None = None
    cache_mb: float = 512.0
    cache_ttl_s: int = 30 * 86_400
    cache_required: bool = False
    server_window: int | None = None
    server_takes: frozenset[str] = frozenset()
    server_timeout_s: float = SERVER_TIMEOUT_S
    server_retries: int = SERVER_RETRIES
    cache_namespace: str | None = None
    share_collections: bool = False
    escalate: Escalate | None = None
    shadow: str | None = None
    regret: float = 0.0
    regret_max_s: float = REGRET_MAX_S
    regret_max_cost: float | None = None

    @property
    def database(self) -> Path:
        return self.home / "turnout.db"

    @property
    def is_remote(self) -> bool:
        """The model answers on a server."""
        return is_url(self.model)

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def kv(self) -> Path:
        """What local models keep of the prompts that they have read."""
        return self.home / "kv"

    @classmethod
    def load(
        cls,
        *,
        home: str | os.PathLike[str] | None = None,
        model: str | None = None,
        model_name: str | None = None,
        api_key: str | None = None,
        log: str | None = None,
        device: str | None = None,
        max_file_mb: float | None = None,
        adapter: str | os.PathLike[str] | None = None,
        kv_disk_mb: float | None = None,
        yarn: float | None = None,
        int8: bool | None = None,
        prices: str | os.PathLike[str] | None = None,
        passage_tokens: int | None = None,
        attention: str | os.PathLike[str] | None = None,
        soft: str | os.PathLike[str] | None = None,
        ldar: str | os.PathLike[str] | None = None,
        chunkfree: str | os.PathLike[str] | None = None,
        late_chunking: bool | None = None,
        reranker: str | os.PathLike[str] | None = None,
        sat: str | os.PathLike[str] | None = None,
        cite: str | None = None,
        cache_url: str | None = None,
        cache_mb: float | None = None,
        cache_ttl_s: int | None = None,
        cache_required: bool | None = None,
        server_window: int | None = None,
        server_takes: str | Collection[str] | None = None,
        server_timeout_s: float | None = None,
        server_retries: int | None = None,
        cache_namespace: str | None = None,
        share_collections: bool | None = None,
        escalate: str | None = None,
        shadow: str | None = None,
        regret: float | None = None,
        regret_max_s: float | None = None,
        regret_max_cost: float | None = None,
    ) -> Settings:
        """Arguments win over TURNOUT_HOME, TURNOUT_MODEL, TURNOUT_MODEL_NAME, TURNOUT_API_KEY, TURNOUT_LOG,
        TURNOUT_DEVICE, TURNOUT_MAX_FILE_MB, TURNOUT_ADAPTER, TURNOUT_KV_DISK_MB, TURNOUT_YARN, TURNOUT_INT8,
        TURNOUT_PRICES, TURNOUT_ATTENTION, TURNOUT_PASSAGE_TOKENS, TURNOUT_SOFT, TURNOUT_LDAR, TURNOUT_CHUNKFREE,
        TURNOUT_LATE_CHUNKING, TURNOUT_RERANKER, TURNOUT_SAT, TURNOUT_CITE, TURNOUT_CACHE_URL, TURNOUT_CACHE_MB,
        TURNOUT_CACHE_TTL_S, TURNOUT_CACHE_REQUIRED, TURNOUT_SERVER_WINDOW, TURNOUT_SERVER_TAKES,
        TURNOUT_SERVER_TIMEOUT_S, TURNOUT_SERVER_RETRIES, TURNOUT_CACHE_NAMESPACE, TURNOUT_SHARE_COLLECTIONS,
        TURNOUT_ESCALATE, TURNOUT_SHADOW, TURNOUT_REGRET, TURNOUT_REGRET_MAX_S and TURNOUT_REGRET_MAX_COST, which win
        over the defaults. A text that is empty wins too, and means none."""
        env = os.environ
        where = home or env.get("TURNOUT_HOME") or platformdirs.user_data_dir("turnout", appauthor=False)
        level = log or env.get("TURNOUT_LOG") or "decisions"
        if level not in LOG_LEVELS:
            raise UnknownNameError("log level", level, LOG_LEVELS)
        by = (env.get("TURNOUT_CITE") if cite is None else cite) or CITE_WORDS
        if by not in CITE:
            raise UnknownNameError("way to cite", by, CITE)
        mode = (env.get("TURNOUT_ESCALATE") if escalate is None else escalate) or None
        if mode is not None and mode not in ESCALATE:
            raise UnknownNameError("escalate mode", mode, ESCALATE)
        limit = _number("TURNOUT_MAX_FILE_MB", max_file_mb, MAX_FILE_MB, example="500")
        if not 0 < limit < math.inf:
            raise ConfigurationError(f"the largest file is {limit:g} MB", hint="give a positive number of megabytes")
        kept = _number("TURNOUT_KV_DISK_MB", kv_disk_mb, 0.0, example="2000")
        if not 0 <= kept < math.inf:
            raise ConfigurationError(
                f"{kept:g} MB can't be kept on disk", hint="give a number of megabytes, 0 for none"
            )
        stretch = _number("TURNOUT_YARN", yarn, 1.0, example="2")
        if not 1 <= stretch < math.inf:
            raise ConfigurationError(
                f"a window can't be read {stretch:g} times over", hint="give a number above 1, such as 2"
            )
        cached = _number("TURNOUT_CACHE_MB", cache_mb, 512.0, example="2000")
        if not 0 < cached < math.inf:
            raise ConfigurationError(f"a cache of {cached:g} MB keeps nothing", hint="give more megabytes than 0")
        patience = _number("TURNOUT_SERVER_TIMEOUT_S", server_timeout_s, SERVER_TIMEOUT_S, example="60")
        if not 0 < patience < math.inf:
            raise ConfigurationError(
                f"a server can't be given up after {patience:g} s", hint="give a number of seconds above 0"
            )
        share = _number("TURNOUT_REGRET", regret, 0.0, example="0.05")
        if not 0 <= share <= 1:
            raise ConfigurationError(f"regret is {share:g}", hint="give the share of questions to measure, 0 to 1")
        if share and level == "off":
            raise ConfigurationError(
                f"regret {share:g} measures what the ledger keeps, and log is off", hint="set log to decisions or full"
            )
        regret_s = _number("TURNOUT_REGRET_MAX_S", regret_max_s, REGRET_MAX_S, example="600")
        given_cost = os.environ.get("TURNOUT_REGRET_MAX_COST") or None if regret_max_cost is None else regret_max_cost
        regret_cost = None if given_cost is None else _number("TURNOUT_REGRET_MAX_COST", regret_max_cost, 0.0, "0.5")
        for name, most in (("regret_max_s", regret_s), ("regret_max_cost", regret_cost)):
            if most is not None and not 0 < most < math.inf:
                raise ConfigurationError(f"{name} is {most:g}", hint="give a number above 0; regret=0 measures nothing")
        again = _whole("TURNOUT_SERVER_RETRIES", server_retries, "retries", 5, least=0)
        shared = (env.get("TURNOUT_CACHE_URL") if cache_url is None else cache_url) or None
        if shared is not None and not shared.startswith(CACHE_SCHEMES):
            raise ConfigurationError(
                f"the cache's URL begins with {shared.partition(':')[0]!r}, not with one of {', '.join(CACHE_SCHEMES)}",
                hint="for example redis://localhost:6379/0",
            )
        return cls(
            home=Path(where).expanduser().absolute(),
            model=model or env.get("TURNOUT_MODEL") or DEFAULT_MODEL,
            model_name=(env.get("TURNOUT_MODEL_NAME") if model_name is None else model_name) or None,
            api_key=(env.get("TURNOUT_API_KEY") if api_key is None else api_key) or None,
            log=level,
            device=device or env.get("TURNOUT_DEVICE"),
            max_file_mb=limit,
            adapter=(env.get("TURNOUT_ADAPTER") if adapter is None else os.fspath(adapter)) or None,
            kv_disk_mb=kept,
            yarn=stretch,
            int8=int8 if int8 is not None else _choice("TURNOUT_INT8"),
            prices=_path("TURNOUT_PRICES", prices),
            passage_tokens=_whole("TURNOUT_PASSAGE_TOKENS", passage_tokens, "tokens", 1000),
            attention=(env.get("TURNOUT_ATTENTION") if attention is None else os.fspath(attention)) or ATTENTION_AUTO,
            soft=(env.get("TURNOUT_SOFT") if soft is None else os.fspath(soft)) or DEFAULT_SOFT,
            ldar=_path("TURNOUT_LDAR", ldar),
            chunkfree=_path("TURNOUT_CHUNKFREE", chunkfree),
            late_chunking=(late_chunking if late_chunking is not None else _choice("TURNOUT_LATE_CHUNKING") is True),
            reranker=_path("TURNOUT_RERANKER", reranker),
            sat=_path("TURNOUT_SAT", sat),
            cite=by,
            cache_url=shared,
            cache_mb=cached,
            cache_ttl_s=_whole("TURNOUT_CACHE_TTL_S", cache_ttl_s, "seconds", 86_400) or 30 * 86_400,
            cache_required=(
                cache_required if cache_required is not None else _choice("TURNOUT_CACHE_REQUIRED") is True
            ),
            server_window=_whole("TURNOUT_SERVER_WINDOW", server_window, "tokens", 32_768),
            server_takes=_names("TURNOUT_SERVER_TAKES", server_takes, SERVER_TAKES),
            server_timeout_s=patience,
            server_retries=SERVER_RETRIES if again is None else again,
            cache_namespace=(env.get("TURNOUT_CACHE_NAMESPACE") if cache_namespace is None else cache_namespace)
            or None,
            share_collections=(
                share_collections if share_collections is not None else _choice("TURNOUT_SHARE_COLLECTIONS") is True
            ),
            escalate=mode,
            shadow=(env.get("TURNOUT_SHADOW") if shadow is None else shadow) or None,
            regret=share,
            regret_max_s=regret_s,
            regret_max_cost=regret_cost,
        )

    def ensure_home(self) -> Path:
        """Creates the data directory, readable by its owner alone.

        Raises:
            StoreError: it can't be created or written.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.home} can't be created: {error.strerror}",
                hint="set TURNOUT_HOME to a folder that you can write",
            ) from error
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise StoreError(
                f"the data directory {self.home} can't be written",
                hint="set TURNOUT_HOME to a folder that you can write",
            )
        return self.home


def is_url(model: str) -> bool:
    """A model named by the URL of its server."""
    return model.startswith(("http://", "https://"))


def model_name_of(given: object) -> str:
    """What an object of LangChain calls its model; "" where it does not say."""
    named = (getattr(given, name, None) for name in _NAMES)
    return next((value for value in named if isinstance(value, str) and value), "")


def _path(variable: str, given: str | os.PathLike[str] | None) -> Path | None:
    named = (os.environ.get(variable) if given is None else os.fspath(given)) or None
    return None if named is None else Path(named).expanduser().absolute()


def _choice(variable: str) -> bool | None:
    value = os.environ.get(variable) or None
    if value not in (None, "0", "1"):
        raise ConfigurationError(f"{variable} is {value!r}", hint=f"set {variable}=1 or {variable}=0, or leave it out")
    return None if value is None else value == "1"


def _names(variable: str, given: str | Collection[str] | None, known: tuple[str, ...]) -> frozenset[str]:
    names = os.environ.get(variable, "") if given is None else given
    names = names.split(",") if isinstance(names, str) else names
    found = frozenset(name.strip() for name in names) - {""}
    for name in sorted(found - set(known)):
        raise UnknownNameError(variable, name, known)
    return found


def _whole(variable: str, given: int | None, unit: str, example: int, least: int = 1) -> int | None:
    value = given if given is not None else os.environ.get(variable) or None
    if value is None:
        return None
    if not str(value).isdecimal() or int(value) < least:
        raise ConfigurationError(
            f"{value!r} is no number of {unit}",
            hint=f"give a whole number, {least} or more, for example {variable}={example}",
        )
    return int(value)


def _number(variable: str, given: float | None, default: float, example: str) -> float:
    value = given if given is not None else os.environ.get(variable) or default
    try:
        return float(value)
    except ValueError as error:
        raise ConfigurationError(
            f"{variable} is {value!r}, not a number", hint=f"for example {variable}={example}"
        ) from error
