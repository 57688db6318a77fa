"""The pages' templates, which are files of the package; what they show is escaped, and every character can be seen."""

from functools import cache
from typing import TYPE_CHECKING, Any

from retrograd.reports.words import visible

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str) -> "Template":
    """By its path in the package: "reports/page.html.j2"."""
    from importlib.resources import files

    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FunctionLoader(lambda name: files("retrograd").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
