"""A process that adds numbered documents, slowly: `python add_files.py HOME HOW_MANY DELAY_S`.

Prints "ready", waits for a line on its standard input, then prints a line per stored document.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from turnout.database import Database
from turnout.documents import Document
from turnout.retrieval.library import Library, Pending

WORDS = "Osterholm Marta Lindqvist harbour lamp railway signal ferry crown clerk ink coal cart slate market".split()


def numbered(number: int) -> Document:
    rng = random.Random(number)
    text = "".join(" ".join(rng.choices(WORDS, k=12)) + f" {rng.random():.6f}. " for _ in range(50))
    return Document(hashlib.sha256(text.encode()).hexdigest(), f"{number}.txt", text, f"/d/{number}.txt", "text")


def documents(count: int) -> Iterator[Pending]:
    return (Pending(numbered(number), f"hash {number}", "test") for number in range(count))


def main() -> None:
    from support.embedders import WordEmbedder

    home, count, delay_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    library = Library(Database(home / "turnout.db"), home, WordEmbedder(delay_s=delay_s))
    print("ready", flush=True)
    sys.stdin.readline()
    library.add_many(documents(count), added=lambda added: print(added.document.title, flush=True))


if __name__ == "__main__":
    main()
