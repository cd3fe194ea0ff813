"""The repository's shape: what the import system, the wheel and a newcomer rely on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AREAS = ("compression", "engines", "kernels", "retrieval", "router")


@pytest.mark.parametrize("area", AREAS)
def test_areas_are_links(area: str) -> None:
    link = ROOT / "src/turnout" / area
    assert link.is_symlink(), (
        f"{link} is not a link: this checkout was made without link support, and a wheel built from it would lack "
        f"turnout.{area}. On Windows switch on developer mode, then: git config core.symlinks true; git checkout ."
    )
    assert link.readlink() == Path("../..") / area
    assert link.resolve() == ROOT / area


def test_kernels_has_no_init() -> None:
    assert not (ROOT / "kernels/__init__.py").exists(), "see kernels/README.md"


def test_every_other_package_has_an_init() -> None:
    for area in set(AREAS) - {"kernels"}:
        for path in (ROOT / area).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path.parent


def test_no_file_is_too_long_to_read() -> None:
    for path in source_files():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = 600 if "kernels" in path.parts else 500
        assert lines <= limit, f"{path} has {lines} lines"


def test_the_readme_maps_every_top_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([a-z]+)/", readme, re.MULTILINE))
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    folders = {line.split("/")[0] for line in tracked if "/" in line}
    assert listed == {folder for folder in folders if not folder.startswith(".")}


def test_the_pages_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_no_machine_paths_and_no_pickle() -> None:
    for path in source_files():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(root|work|home)/", text), path
        assert not re.search(r"^\s*(import|from) (pickle|shelve|dill|joblib)\b", text, re.MULTILINE), path
        assert "trust_remote_code=True" not in text, path


def source_files() -> list[Path]:
    folders = [ROOT / area for area in AREAS] + [ROOT / "src/turnout", ROOT / "examples", ROOT / "benchmarks"]
    return [p for folder in folders for p in folder.rglob("*.py") if "__pycache__" not in p.parts and p.is_file()]
