"""A fake engine whose prompts number their sentences, as those of an adapted reader do."""

from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import NUMBERED, pieces
from turnout.types import Context


class NumberedFake(FakeEngine):
    """Counts the prompt that such a reader would get."""

    prompt_format = NUMBERED

    def prompt(self, context: Context) -> str:
        return "".join(message.text for message in pieces(context, NUMBERED))

    def count(self, context: Context) -> int:
        return self.count_text(self.prompt(context))
