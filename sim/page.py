"""HTML pages that need no other file and no network: `page.html.j2` is their common frame."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """The page that ``template``, a path within this package, makes of ``values``; text in them is escaped."""
    environment = Environment(
        loader=PackageLoader("sim", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
