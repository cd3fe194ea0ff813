"""Which files a path stands for, and what is said of the others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.documents import PNG, archive, pdf

from turnout.retrieval.walk import find


def _write(root: Path, *names: str, content: str | bytes = "some text") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _names(root: Path, *paths: str | Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find(paths or [root]).files]


def test_a_folder_gives_its_files_sorted_and_once(tmp_path: Path) -> None:
    _write(tmp_path, "b.md", "a/z.py", "a/x.txt")
    assert _names(tmp_path) == ["a/x.txt", "a/z.py", "b.md"]
    assert _names(tmp_path, tmp_path, tmp_path / "a", tmp_path / "b.md") == ["a/x.txt", "a/z.py", "b.md"]


def test_binaries_in_a_folder_are_counted_and_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, "text.dat", "main")
    _write(tmp_path, "x.png", content=PNG)
    _write(tmp_path, "program", content=b"\x7fELF" + bytes(50))
    _write(tmp_path, "data.bin", content=b"abc\x00def")
    _write(tmp_path, "sheet.xlsx", content=archive({"xl/workbook.xml": b"<x/>"}))
    _write(tmp_path, "report", content=pdf("text"))
    _write(tmp_path, "package/__init__.py", content=b"")
    _write(tmp_path, "windows.txt", content="text".encode("utf-16"))
    found = find([tmp_path])
    assert [path.name for path in found.files] == ["main", "report", "text.dat", "windows.txt"]
    assert found.skipped == {"binary": 3, "empty": 1, "not a known format": 1}
    assert found.failed == []


def test_a_binary_that_is_named_is_left_to_the_reader_to_refuse(tmp_path: Path) -> None:
    _write(tmp_path, "x.png", content=PNG)
    found = find([tmp_path / "x.png"])
    assert [path.name for path in found.files] == ["x.png"]
    assert found.skipped == {}


def test_hidden_files_and_installed_packages_are_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", ".env", ".git/config", ".cache/x.md", "node_modules/p/readme.md", "__pycache__/x.txt")
    _write(tmp_path, "environment/pyvenv.cfg", "environment/lib/x.py")
    found = find([tmp_path])
    assert [path.name for path in found.files] == ["a.md"]
    assert found.skipped == {"hidden": 3, "installed packages or caches": 3}


def test_a_hidden_file_or_folder_that_is_named_is_read(tmp_path: Path) -> None:
    _write(tmp_path, ".notes.md", ".store/a.md")
    assert _names(tmp_path, tmp_path / ".notes.md", tmp_path / ".store") == [".notes.md", ".store/a.md"]


def test_gitignore_is_honoured_like_git_does(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "a.log", "keep.log", "build/x.md", "docs/build/y.md", "docs/old/z.md", "docs/new.md")
    _write(tmp_path, "top.md", "docs/top.md", "docs/deep/b.tmp", "docs/deep/c.tmp", "space name.md")
    _write(tmp_path, ".gitignore", content="*.log\n!keep.log\nbuild/\n/top.md\n!\nspace\\ name.md\n# a.md\n*.tmp\n")
    _write(tmp_path, "docs/.gitignore", content="old\n")
    _write(tmp_path, "docs/deep/.gitignore", content="!c.tmp\n")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, env=environment)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout.split("\0")
    assert _names(tmp_path) == sorted(name for name in listed if name and ".gitignore" not in name)
    assert find([tmp_path]).skipped["ignored by .gitignore"] == 7


def test_rules_above_the_folder_hold_up_to_the_repository_root(tmp_path: Path) -> None:
    _write(tmp_path, ".gitignore", content="*.md\n")
    _write(tmp_path, "repository/.gitignore", content="*.log\n")
    _write(tmp_path, "repository/docs/a.log", "repository/docs/a.md")
    assert _names(tmp_path, tmp_path / "repository" / "docs") == [
        "repository/docs/a.log",
        "repository/docs/a.md",
    ], "no repository: only rules at and below the folder hold"
    (tmp_path / "repository" / ".git").mkdir()
    assert _names(tmp_path, tmp_path / "repository" / "docs") == ["repository/docs/a.md"]


def test_an_ignored_folder_that_is_named_is_read(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    _write(tmp_path, ".gitignore", content="build/\n")
    _write(tmp_path, "build/a.md", "build/b/c.md")
    assert _names(tmp_path, tmp_path / "build") == ["build/a.md", "build/b/c.md"]


def test_links_do_not_lead_out_or_around(tmp_path: Path) -> None:
    _write(tmp_path, "outside/secret.md", "inside/a.md", "inside/sub/b.md")
    inside = tmp_path / "inside"
    (inside / "sub" / "loop").symlink_to(inside)
    (inside / "self").symlink_to(inside / "self")
    (inside / "out").symlink_to(tmp_path / "outside")
    (inside / "out.md").symlink_to(tmp_path / "outside" / "secret.md")
    (inside / "0-alias.md").symlink_to(inside / "a.md")
    (inside / "broken.md").symlink_to(inside / "nothing")
    found = find([inside])
    assert [path.relative_to(inside).as_posix() for path in found.files] == ["a.md", "sub/b.md"]
    assert found.skipped == {"link out of the folder": 2, "not a file": 2}


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    _write(tmp_path, "outside/a.md")
    (tmp_path / "folder").symlink_to(tmp_path / "outside")
    assert _names(tmp_path, tmp_path / "folder") == ["folder/a.md"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "docs/b.md", "docs/deep/c.md"]),
        ("docs/*", ["docs/b.md", "docs/d.txt", "docs/deep/c.md"]),
        ("docs/**", ["docs/b.md", "docs/d.txt", "docs/deep/c.md"]),
        ("docs/?.txt", ["docs/d.txt"]),
        ("docs/[a-c].*", ["docs/b.md"]),
        ("d*/*/*.md", ["docs/deep/c.md"]),
        ("**/deep/*", ["docs/deep/c.md"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    _write(tmp_path, "a.md", "docs/b.md", "docs/d.txt", "docs/deep/c.md", ".hidden/e.md", "docs/node_modules/f.md")
    _write(tmp_path, "docs/deep/x.png", content=PNG)
    assert _names(tmp_path, str(tmp_path / pattern)) == expected


def test_globs_and_names_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a.md", "docs/b.md")
    monkeypatch.chdir(tmp_path)
    assert find(["*.md", "docs", "./a.md"]).files == [Path("a.md"), Path("docs/b.md")]


def test_a_name_with_wildcard_characters_is_a_name_first(tmp_path: Path) -> None:
    _write(tmp_path, "a[1].md", "a1.md")
    assert _names(tmp_path, str(tmp_path / "a[1].md")) == ["a[1].md"]


def test_what_leads_nowhere_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    _write(tmp_path, "contract.pdf", "good.md")
    (tmp_path / "empty").mkdir()
    _write(tmp_path, "pictures/x.png", content=PNG)
    given = ["contrct.pdf", "no/such/x.md", "*.docx", "empty", "pictures", "good.md", "missing/*.md", "nul\0.md"]
    found = find([*(tmp_path / name for name in given), "~nobody-of-this-name/a.md"])
    assert [path.name for path in found.files] == ["good.md"]
    reasons = [(error.source.removeprefix(f"{tmp_path}/"), error.reason) for error in found.failed]
    assert reasons == [
        ("contrct.pdf", "does not exist"),
        ("no/such/x.md", "does not exist"),
        ("*.docx", "matches nothing"),
        ("empty", "holds no file that can be read"),
        ("pictures", "holds no file that can be read (1 binary skipped)"),
        ("missing/*.md", "does not exist"),
        ("nul\0.md", "can't be read: embedded null byte"),
        ("~nobody-of-this-name/a.md", "does not exist"),
    ]
    assert found.failed[0].hint == f"did you mean {tmp_path / 'contract.pdf'}?"
    assert found.failed[1].hint == f"there is no folder {tmp_path / 'no/such'} either"


def test_a_pipe_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    _write(tmp_path, "a.md")
    assert find([tmp_path]).skipped == {"not a file": 1}
    (failure,) = find([tmp_path / "pipe"]).failed
    assert failure.reason == "is not a regular file"


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a.md", "locked.md")
    plain_open = Path.open

    def guarded(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "locked.md":
            raise PermissionError(13, "Permission denied", str(path))
        return plain_open(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", guarded)
    for given in ([tmp_path], [tmp_path / "a.md", tmp_path / "locked.md"]):
        found = find(given)
        assert [path.name for path in found.files] == ["a.md"]
        assert [error.reason for error in found.failed] == ["can't be read: permission denied"]


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a.md", "locked/b.md")
    plain_scandir = os.scandir

    def guarded(folder: str) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", folder)
        return plain_scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    found = find([tmp_path])
    assert [path.name for path in found.files] == ["a.md"]
    assert [(error.source, error.reason) for error in found.failed] == [
        (str(tmp_path / "locked"), "can't be read: permission denied")
    ]
