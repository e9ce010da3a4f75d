"""View to text. The only module that knows Jinja."""

from __future__ import annotations

from functools import cache

import jinja2

from bpgen.data import TEMPLATES


def render(template: str, view: object) -> str:
    """The text of `templates/<template>.j2` for `view`, which it sees as `m`."""
    return _environment().get_template(f"{template}.j2").render(m=view)


@cache
def _environment() -> jinja2.Environment:
    """It keeps templates compiled, as that takes thirty times as long as to fill them in."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(TEMPLATES), encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence="\n",
        autoescape=False,
    )
