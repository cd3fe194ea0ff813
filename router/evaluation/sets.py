"""Which questions a run asks: a drawn sample, or a committed list of ids."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import chain, zip_longest
from pathlib import Path

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.evaluation.json_lines import Malformed, OnBad
from turnout.router.evaluation.schema import Item


def select(items: Iterable[Item], limit: int | None, seed: int) -> list[Item]:
    """Draws a sample of each dataset: core questions first, tasks in turn, drawn by the seed within a task.

    The order of drawing is by a hash of the seed and the id, so it does not depend on the order of the files, and the
    first n of a larger sample are the sample of n.

    Args:
        limit: questions per dataset, all of them where it has fewer; None takes all.

    Returns:
        The questions, by dataset and id.

    Raises:
        ConfigurationError: the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"a limit of {limit} leaves no questions", hint="give a limit of 1 or more")
    datasets: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        datasets[item.dataset].append(item)
    chosen = chain.from_iterable(_drawn(group, seed)[:limit] for group in datasets.values())
    return sorted(chosen, key=lambda item: (item.dataset, item.id))


def load_set(name_or_path: str | Path) -> tuple[str, ...]:
    """The ids of a committed list, by its name, or of a text file with one id a line ("#" begins a comment line).

    Raises:
        UnknownNameError: neither a list's name nor a file.
        ConfigurationError: the file can't be read or holds no ids.
    """
    folder = resources.files("turnout") / "question_sets"
    path = Path(name_or_path)
    try:
        if str(name_or_path) in set_names():
            text = (folder / f"{name_or_path}.txt").read_text(encoding="utf-8")
        elif path.is_file():
            text = path.read_text(encoding="utf-8-sig")
        else:
            raise UnknownNameError("question set", str(name_or_path), set_names())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the question set {name_or_path} can't be read: {error}", hint="give a text file with one id a line"
        ) from error
    lines = (line.strip() for line in text.splitlines())
    ids = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not ids:
        raise ConfigurationError(f"the question set {name_or_path} holds no ids", hint="write one id a line")
    return ids


def set_names() -> tuple[str, ...]:
    """The names of the committed lists."""
    folder = resources.files("turnout") / "question_sets"
    return tuple(sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".txt")))


def pick(items: Iterable[Item], ids: Sequence[str], on_bad: OnBad | None = None) -> list[Item]:
    """The questions with these ids, in the order of the ids.

    Args:
        on_bad: called for each id that is missing; without it a missing id is an error.

    Raises:
        ConfigurationError: some ids are not among the questions.
    """
    by_id = {item.id: item for item in items}
    missing = [name for name in ids if name not in by_id]
    if on_bad is not None and len(missing) < len(ids):
        for name in missing:
            on_bad(Malformed("the question set", ids.index(name) + 1, f"{name!r} is not among the readable questions"))
        missing = []
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigurationError(
            f"{len(missing)} of {len(ids)} questions of the set are not in the files given: {first}",
            hint="give the files that hold them: the whole folder of questions",
        )
    return [by_id[name] for name in ids if name in by_id]


def _drawn(items: Iterable[Item], seed: int) -> list[Item]:
    """All questions of a dataset in the order of drawing."""
    strata: dict[tuple[bool, str], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: _lot(seed, item.id)):
        strata[not item.core, item.task].append(item)
    order: list[Item] = []
    for rest in (False, True):
        # By the first question's lot: were it the task's name, one task would come first in every dataset.
        groups = sorted(
            (group for (other, _), group in strata.items() if other is rest), key=lambda g: _lot(seed, g[0].id)
        )
        rounds = zip_longest(*groups)
        order += [item for turn in rounds for item in turn if item is not None]
    return order


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
