"""The .gitignore files that hold for a folder: its own, those below it, and those above it in the same repository."""

from __future__ import annotations

from pathlib import Path

import pathspec


class IgnoreRules:
    """Answers whether git would ignore a path under `root`.

    The walk asks top down and does not enter what is excluded, so a rule below an excluded folder is never asked. If
    `root` itself is excluded by rules above it, its caller named it on purpose, and those rules are left out.

    Args:
        root: a folder, with links resolved.
    """

    def __init__(self, root: Path) -> None:
        self._specs: dict[Path, pathspec.GitIgnoreSpec | None] = {}
        self._top = root
        top = _repository_of(root)
        if top is not None and not self._excludes(root, top, is_folder=True):
            self._top = top

    def excludes(self, path: Path, *, is_folder: bool) -> bool:
        """Whether the nearest rule that speaks of this path excludes it."""
        return self._excludes(path, self._top, is_folder=is_folder)

    def _excludes(self, path: Path, top: Path, *, is_folder: bool) -> bool:
        for folder in path.parents:
            if not folder.is_relative_to(top):
                break
            spec = self._spec(folder)
            if spec is not None:
                name = path.relative_to(folder).as_posix() + ("/" if is_folder else "")
                verdict = spec.check_file(name).include
                if verdict is not None:
                    return verdict
        return False

    def _spec(self, folder: Path) -> pathspec.GitIgnoreSpec | None:
        if folder not in self._specs:
            self._specs[folder] = _read(folder / ".gitignore")
        return self._specs[folder]


def _repository_of(root: Path) -> Path | None:
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)


def _read(path: Path) -> pathspec.GitIgnoreSpec | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return pathspec.GitIgnoreSpec.from_lines(line for line in lines if _is_valid(line))


def _is_valid(line: str) -> bool:
    # git passes over a pattern that it does not understand; the library would refuse the whole file.
    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
