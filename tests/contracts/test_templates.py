"""Templates place what the view computed: a lint on Jinja's own syntax tree."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

PLACING = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.For,
    nodes.If,
    nodes.Not,
    nodes.Const,
    nodes.Macro,
    nodes.FromImport,
    nodes.Call,
)


def complaints(source: str) -> list[str]:
    """What in a template belongs in the view."""
    found = []
    tree = jinja2.Environment(autoescape=False).parse(source)
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    for imports in tree.find_all(nodes.FromImport):
        macros |= {name if isinstance(name, str) else name[1] for name in imports.names}
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, PLACING):
            found.append(f"line {node.lineno}: {type(node).__name__}")
        if isinstance(node, nodes.Call) and not (
            isinstance(node.node, nodes.Name) and node.node.name in macros
        ):
            found.append(f"line {node.lineno}: a call that is no macro's")
        if isinstance(node, nodes.If):
            test = node.test.node if isinstance(node.test, nodes.Not) else node.test
            if not isinstance(test, nodes.Name | nodes.Getattr):
                found.append(f"line {node.lineno}: a condition that is no flag of the view")
        if isinstance(node, nodes.Not) and not isinstance(node.node, nodes.Name | nodes.Getattr):
            found.append(f"line {node.lineno}: logic")
    return found


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.j2")), ids=lambda path: path.name)
def test_a_template_computes_nothing(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert complaints(source) == []
    assert len(source.splitlines()) <= 200
    for number, line in enumerate(source.splitlines(), start=1):
        assert "{%" not in line or line.startswith("{%"), f"line {number}: a tag stands alone"


@pytest.mark.parametrize(
    "source",
    [
        "{{ m.n + 1 }}",
        "{{ m.n * 2 }}",
        "{% if m.n > 1 %}x{% endif %}",
        "{% if m.a and m.b %}x{% endif %}",
        "{{ m.name|upper }}",
        "{{ m.name.upper() }}",
        "{% set x = m.n %}",
        "{{ m['name'] }}",
        "{{ m.a ~ m.b }}",
        "{% if m.n is even %}x{% endif %}",
        "{{ 'a' if m.flag else 'b' }}",
        "{{ [1, 2] }}",
        "{% if not m.n == 2 %}x{% endif %}",
        "{% for x in range(3) %}{% endfor %}",
    ],
)
def test_a_template_that_computes_is_found(source: str) -> None:
    assert complaints(source) != []
