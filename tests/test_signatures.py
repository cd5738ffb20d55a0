"""What the signatures of the two packages promise."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("mmd_ddm", "tune") for file in (ROOT / package).rglob("*.py"))


def signatures(file: Path) -> Iterator[tuple[str, bool]]:
    """The functions of a file: where each is, and whether any of its annotations mentions `Any`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            annotated = [each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg)]
            names = (name for each in (*annotated, node.returns) if each for name in ast.walk(each))
            vague = any(isinstance(name, ast.Name) and name.id == "Any" for name in names)
            yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", vague


def test_hardly_any_signature_gives_up_on_types() -> None:
    found = [each for file in FILES for each in signatures(file)]
    vague = [place for place, mentions in found if mentions]
    assert len(vague) <= 0.02 * len(found), "\n".join(vague)
