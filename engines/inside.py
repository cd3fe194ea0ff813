"""What a local engine shows of the inside of its model: how likely texts are to it, and what it looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from turnout.engines import attending, importance, likelihood, locating, surprise, weighing
from turnout.engines.admission import Admission
from turnout.engines.paged.kinds import MODEL_TYPES, Adapted
from turnout.engines.paged.policy import AttentionPolicy
from turnout.engines.prompt import PromptFormat
from turnout.engines.surprise import Asked
from turnout.engines.tokenizer import ChatTokenizer
from turnout.errors import ConfigurationError, ModelError
from turnout.progress import Watch
from turnout.types import Context

if TYPE_CHECKING:
    from turnout.engines.loaded import Loaded
    from turnout.engines.paged.recall import Looked
    from turnout.engines.paged.sequence import KvSequence
    from turnout.engines.paged.session import Session


class Inside(ABC):
    """The part of `LocalEngine` that writes nothing. Scores are those of the model as it is, without an adapter; but
    `likelihood` is that of the answers of `generate`, and `locate` has an adapter of its own where one is given."""

    _name: str

    @property
    @abstractmethod
    def admission(self) -> Admission:
        """What fits the memory."""

    @property
    @abstractmethod
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""

    @property
    @abstractmethod
    def tokenizer(self) -> ChatTokenizer: ...

    @property
    @abstractmethod
    def prompt_format(self) -> PromptFormat: ...

    @abstractmethod
    def prompts(self, context: Context) -> list[list[int]]:
        """Token ids of the prompt for a context, or of several, where it is read apart."""

    @abstractmethod
    def is_adapted(self, context: Context) -> bool:
        """Whether a context is read with the adapter."""

    @property
    @abstractmethod
    def points_with(self) -> Adapted:
        """The adapter that `locate` reads with."""

    @abstractmethod
    def sequence(self, namespace: str | None = None, *, adapted: bool = True) -> Any:
        """An empty sequence on the loaded model."""

    @abstractmethod
    def _opened(self) -> Loaded:
        """The model, which is loaded if it is not yet."""

    def weigh(
        self, text: str, questions: Sequence[str], answers: Sequence[str], watch: Watch | None = None
    ) -> list[list[float]]:
        """[questions][answers]: the shares of 1 that given answers have as what the model would say to each question
        about a text, by their first tokens. The text is read once, and nothing is written.

        Raises:
            EngineError: text and question are over the window.
            ModelError: the model's keys and values do not lie in pages.
            ConfigurationError: two answers begin alike.
            Cancelled: the watch said so after a step.
        """
        columns = weighing.first_tokens(self.tokenizer, answers)
        asked = weighing.prompts(self.tokenizer, text, questions)
        for ids in asked:
            self.admission.check(len(ids), 0)
        tokens = max(map(len, asked), default=0) + weighing.STEP_TOKENS
        with self._with_pages("weigh answers", tokens, watch) as session:
            return weighing.weigh(session, asked, columns, watch) if asked else []

    def surprise(self, texts: Sequence[str], continuation: str, watch: Watch | None = None) -> list[float]:
        """[texts]: how unlikely a continuation is after each text, and without any after "": the mean negative natural
        logarithm of the probability of its tokens.

        Raises:
            EngineError: a text and the continuation are over the window.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a step.
        """
        asked = surprise.continued(self.tokenizer, texts, continuation)
        return [surprise.mean(losses) for losses in self._losses(asked, watch)]

    def line_surprises(self, text: str, lines: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[float]:
        """[lines]: the same of each line of one text; what stands after the last of them is not read.

        Args:
            lines: characters [start, end), in order.

        Raises:
            EngineError: the text is over the window.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a step.
        """
        asked, places = surprise.lined(self.tokenizer, text, lines)
        (losses,) = self._losses([asked], watch)
        return [surprise.mean(losses[start:end]) for start, end in places]

    def likelihood(self, contexts: Sequence[Context], answer: str, watch: Watch | None = None) -> list[float]:
        """[contexts]: how likely an answer is, word for word, where each context is read as `generate` reads it: the
        mean natural logarithm of the probability of its tokens. What the model would write after it does not count.

        Raises:
            ConfigurationError: the answer is empty.
            EngineError: a context and the answer are over the window, or the model foretells no numbers.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a step.
        """
        wanted = self.tokenizer.encode_text(answer)
        if not wanted:
            raise ConfigurationError("the answer is empty", hint="say which answer is asked for")
        asked = [self.prompts(context) for context in contexts]
        for ids in (ids for prompts in asked for ids in prompts):
            self.admission.check(len(ids), len(wanted))
        (refusal, *_) = self.tokenizer.encode_text(self.prompt_format.refusal)
        # One more prompt stays in memory: the surest so far.
        most = max((2 * max(map(len, prompts)) for prompts in asked), default=0) + len(wanted)
        found = []
        with self._with_pages("say how likely an answer is", most, watch):
            for context, prompts in zip(contexts, asked, strict=True):

                def new(adapted: bool = self.is_adapted(context)) -> KvSequence:
                    sequence: KvSequence = self.sequence(adapted=adapted)
                    return sequence

                found.append(likelihood.likelihood(prompts, wanted, refusal, new, watch or Watch()))
        return found

    def attend(
        self, texts: Sequence[str], question: str, layer: int | None = None, watch: Watch | None = None
    ) -> list[list[float]]:
        """[texts][tokens]: how much a question looks at each token of the texts, which are read one after the other:
        attention in one layer, summed over the question's tokens and the layer's heads. What is no part of a word has
        0.

        Args:
            layer: from 0; the one in the middle by default.

        Raises:
            ConfigurationError: no question, or the model has no such layer.
            EngineError: texts and question are over the window.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a step.
        """
        ids, places = attending.prompt(self.tokenizer, texts, question)
        asked = places.pop()
        if asked[0] == asked[1]:
            raise ConfigurationError("the question is empty", hint="ask for something")
        self.admission.check(len(ids), 0)
        layers = self.admission.footprint.kv_shape.layers
        if layer is None:
            layer = layers // 2
        elif not 0 <= layer < layers:
            raise ConfigurationError(f"layer {layer} is not one of the model's {layers}", hint=f"0 to {layers - 1}")
        with self._with_pages("show its attention", len(ids), watch) as session:
            found = attending.weights(session, ids, asked, layer, watch or Watch())
        words = attending.words(self.tokenizer, ids[: asked[0]])
        return [[found[at] if ids[at] in words else 0.0 for at in range(*place)] for place in places]

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and the characters [start, end) of each."""
        return self.tokenizer.encode_text(text), self.tokenizer.offsets(text)

    def importance(self, ids: Sequence[int], question: str, watch: Watch | None = None) -> list[float]:
        """[ids]: how much each token of a text is looked at where the answer to a question begins (see module).

        Raises:
            ConfigurationError: the question is empty.
            EngineError: text and question are over the window.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a step.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask for something")
        asked, begin = importance.prompt(self.tokenizer, ids, question)
        self.admission.check(len(asked), 1)
        layers = self.admission.footprint.kv_shape.layers
        end = begin + len(ids)
        with self._with_pages("show its attention", len(asked) + 1, watch) as session:
            return importance.importance(session, self.tokenizer, asked, begin, end, layers, watch or Watch())

    def locate(
        self,
        sentences: Sequence[str],
        question: str,
        limit: int,
        longest: int,
        namespace: str | None = None,
        watch: Watch | None = None,
    ) -> list[locating.Stretch]:
        """At most `limit` stretches of a text, likeliest first: sentences that the model would begin to copy in answer
        to a question, and those after them up to where it would stop, at most `longest` tokens of several. The text is
        read once for all questions of a namespace.

        Args:
            sentences: the text, without gaps.

        Raises:
            ConfigurationError: no question.
            EngineError: text and question are over the window, or the model foretells no numbers.
            ModelError: the model's keys and values do not lie in pages, or nothing ends its answers.
            Cancelled: the watch said so after a step.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask for something")
        asked = locating.asked(self.tokenizer, sentences, question)
        self.admission.check(len(asked.ids), max(longest, locating.OPENING_TOKENS))
        ends = sorted(self.end_tokens)
        tokens = len(asked.ids) + longest + locating.STEP_TOKENS
        with self._with_pages("point at sentences", tokens, watch) as session:
            if not ends:
                raise ModelError(f"{self._name} names no token that ends an answer", hint="use another model")
            turn = self.tokenizer.turn_end(ends)
            ends.sort(key=lambda token: token != turn)
            text = session.sequence(namespace, adapted=self.points_with)
            return locating.located(session, text, asked, ends, limit, longest, watch or Watch())

    def _losses(self, asked: Sequence[Asked], watch: Watch | None) -> list[list[float]]:
        for ids, _ in asked:
            self.admission.check(len(ids), 0)
        tokens = max((len(ids) for ids, _ in asked), default=0) + surprise.STEP_TOKENS
        with self._with_pages("tell how unlikely a text is", tokens, watch) as session:
            return surprise.losses(session, asked, watch)

    def look(self, ids: Sequence[int], policies: Sequence[AttentionPolicy], *args: Any, **options: Any) -> list[Looked]:
        """What attention policies would look at in a prompt that is read densely; see `paged.recall.measure`."""
        self.admission.check(len(ids), 0)
        with self._with_pages("show its attention", len(ids)) as session:
            from turnout.engines.paged import recall

            return recall.measure(session, ids, policies, *args, **options)

    @contextmanager
    def _with_pages(self, doing: str, tokens: int, watch: Watch | None = None) -> Iterator[Session]:
        """The pages of the model, once there is room for so many tokens beside the requests that run.

        Raises:
            ModelError: what is to be done needs keys and values in pages.
            Cancelled: the watch said so meanwhile.
        """
        loaded, session = self._in_pages(doing)
        with loaded.scheduler.visiting(tokens, (watch or Watch()).go_on):
            yield session

    def _in_pages(self, doing: str) -> tuple[Loaded, Session]:
        """The model, and its pages.

        Raises:
            ModelError: what is to be done needs keys and values in pages.
        """
        loaded = self._opened()
        if loaded.session is None:
            raise ModelError(
                f"{self._name} can't {doing}: its keys and values do not lie in pages",
                hint=f"use a model of the types {', '.join(sorted(MODEL_TYPES))}",
            )
        return loaded, loaded.session
