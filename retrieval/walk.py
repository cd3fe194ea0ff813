"""Which files a caller means: files, folders and globs to a sorted list, with a count of what was passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from turnout.errors import DocumentError
from turnout.retrieval.convert.content import HEAD_BYTES, identify_head
from turnout.retrieval.convert.files import absolute, refused, size_of
from turnout.retrieval.convert.formats import READABLE, kind_of
from turnout.retrieval.ignore import IgnoreRules

_TOOL_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})
# Documents that people expect to be read: worth naming apart from other binaries.
_UNREAD_FORMATS = frozenset({".doc", ".epub", ".key", ".msg", ".odp", ".ods", ".odt", ".pages", ".ppt", ".pptx"})
_UNREAD_FORMATS |= {".rtf", ".xls", ".xlsx"}
_LEADS_OUT = "link out of the folder"
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass
class Found:
    """What paths lead to.

    `files` are sorted and each is there once, whatever links lead to it. `skipped` counts what a folder holds beside
    them, by reason (a skipped folder counts once). `failed` are paths that lead nowhere.
    """

    files: list[Path] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    failed: list[DocumentError] = field(default_factory=list)


def find(paths: Sequence[str | os.PathLike[str]]) -> Found:
    """Lists the files to read.

    A file that is named is always listed, so that reading it can say what is wrong with it. Folders are walked, globs
    (`*`, `?`, `[...]`, `**`) walk the folder before their first wildcard: hidden files, what .gitignore excludes,
    tool folders, empty files and binaries are counted and passed over, and no link is followed out of the folder.
    """
    search = _Search()
    for path in paths:
        search.add(_expanded(Path(path)))
    return search.found()


class _Search:
    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._skipped: dict[str, str] = {}
        self._failed: list[DocumentError] = []

    def add(self, path: Path) -> None:
        try:
            if path.is_dir():
                self._add_folder(path, path, ())
            elif path.exists() or not _GLOB_CHARACTERS.intersection(str(path)):
                self._add_file(path)
            else:
                self._add_folder(path, *_split_glob(path))
        except (OSError, ValueError) as error:
            self._failed.append(refused(error, path, str(path)))
        except DocumentError as error:
            self._failed.append(error)

    def found(self) -> Found:
        reasons = Counter(reason for real, reason in self._skipped.items() if real not in self._files)
        return Found(sorted(self._files.values()), dict(sorted(reasons.items())), self._failed)

    def _add_file(self, path: Path) -> None:
        size_of(path, str(path))
        with path.open("rb"):
            self._accept(path)

    def _accept(self, path: Path) -> None:
        real = os.path.realpath(path)
        # Of several names for one file, its own is listed.
        if real not in self._files or absolute(path) == real:
            self._files[real] = path

    def _add_folder(self, named: Path, root: Path, pattern: tuple[str, ...]) -> None:
        if not root.is_dir():
            raise FileNotFoundError
        walk = _Walk(root, pattern)
        walk.run()
        for path in walk.files:
            self._accept(path)
        self._skipped.update(walk.skipped)
        self._failed += walk.failed
        if not walk.files and not walk.failed:
            self._failed.append(_nothing_in(named, walk.skipped, is_glob=bool(pattern)))


class _Walk:
    """One folder, read top down."""

    def __init__(self, root: Path, pattern: tuple[str, ...]) -> None:
        self.files: list[Path] = []
        self.skipped: dict[str, str] = {}
        self.failed: list[DocumentError] = []
        self._root = root
        self._real_root = Path(os.path.realpath(root))
        self._pattern = pattern
        self._ignore = IgnoreRules(self._real_root)

    def run(self) -> None:
        for folder, folders, files in os.walk(self._root, onerror=self._unreadable):
            relative = Path(folder).relative_to(self._root)
            folders[:] = sorted(name for name in folders if self._enters(relative / name))
            for name in files:
                if _matches((relative / name).parts, self._pattern):
                    self._visit(relative / name)

    def _unreadable(self, error: OSError) -> None:
        path = Path(error.filename)
        self.failed.append(refused(error, path, str(path)))

    def _enters(self, relative: Path) -> bool:
        path = self._root / relative
        if not _matches(relative.parts, self._pattern, partly=True):
            return False
        reason = self._passed_over(relative, is_folder=True)
        if reason is None and (path.name in _TOOL_FOLDERS or (path / "pyvenv.cfg").exists()):
            reason = "installed packages or caches"
        if reason is None and path.is_symlink():
            if not self._leads_out(path):
                # What it leads to is met under its own name.
                return False
            reason = _LEADS_OUT
        return self._skip(path, reason) is None

    def _visit(self, relative: Path) -> None:
        path = self._root / relative
        try:
            if self._skip(path, self._passed_over(relative, is_folder=False) or self._unfit(path)) is None:
                self.files.append(path)
        except OSError as error:
            self.failed.append(refused(error, path, str(path)))

    def _leads_out(self, link: Path) -> bool:
        return not Path(os.path.realpath(link)).is_relative_to(self._real_root)

    def _skip(self, path: Path, reason: str | None) -> str | None:
        if reason is not None:
            self.skipped[os.path.realpath(path)] = reason
        return reason

    def _passed_over(self, relative: Path, *, is_folder: bool) -> str | None:
        if relative.name.startswith("."):
            return "hidden"
        if self._ignore.excludes(self._real_root / relative, is_folder=is_folder):
            return "ignored by .gitignore"
        return None

    def _unfit(self, path: Path) -> str | None:
        if path.is_symlink() and self._leads_out(path):
            return _LEADS_OUT
        if not path.is_file():
            return "not a file"
        if path.suffix.lower() in _UNREAD_FORMATS:
            return "not a known format"
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            return "empty"
        # Whether a PDF or DOCX is one is said when it is read: its name raises the expectation.
        readable = kind_of(path.name) in ("pdf", "docx") or identify_head(head).kind is not None
        return None if readable else "binary"


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # no such user: then it is a plain name
        return path


def _split_glob(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder before the first wildcard, and the parts from there on."""
    first = next(i for i, part in enumerate(path.parts) if _GLOB_CHARACTERS.intersection(part))
    return Path(*path.parts[:first]), path.parts[first:]


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...], *, partly: bool = False) -> bool:
    """Whether a path is what a glob names or lies in a folder that it names; `partly`: or may lead there."""
    if not pattern:
        return True
    if not parts:
        return partly or pattern == ("**",)
    if pattern[0] == "**":
        return any(_matches(parts[skip:], pattern[1:], partly=partly) for skip in range(len(parts) + 1))
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:], partly=partly)


def _nothing_in(named: Path, skipped: dict[str, str], *, is_glob: bool) -> DocumentError:
    counts = Counter(skipped.values())
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    if is_glob and not counts:
        return DocumentError(str(named), "matches nothing", hint="* stands for any name, ** for any folders between")
    reason = "matches no file that can be read" if is_glob else "holds no file that can be read"
    return DocumentError(
        str(named), f"{reason} ({listed} skipped)" if listed else reason, hint=f"turnout reads {READABLE}"
    )
