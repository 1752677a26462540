"""Templates to text. HTML is escaped as HTML, markdown as markdown; a name that the context lacks is an error, never an empty place."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from jinja2.nodes import EvalContext

from medtower.domain.disclaimer import DISCLAIMER
from medtower.errors import InvalidInput, NotFound
from medtower.reports import comparison, figures, wording

TEMPLATES = Path(__file__).with_name("templates")
_FILTERS = (
    wording.number,
    wording.estimate,
    wording.interval,
    wording.difference,
    wording.title,
    wording.percent,
    wording.utc,
    wording.seconds,
    wording.fact,
    wording.mark,
    wording.tone,
    wording.passed,
    wording.populations,
    wording.shelves,
)
_MARKDOWN = str.maketrans(
    {"<": "&lt;", "|": "\\|", "[": "\\[", "]": "\\]", "`": "\\`", "*": "\\*", "\n": " ", "\r": " "}
)


def render(template: str, **context: Any) -> str:
    """The page `template` (its name in templates/, `….html.j2` or `….md.j2`) with the disclaimer in it.

    Raises NotFound for a template that is not there, InvalidInput naming a variable that the context lacks.
    """
    try:
        return _environment().get_template(template).render(context)
    except jinja2.TemplateNotFound as problem:
        raise NotFound(f"template {problem.name}", str(TEMPLATES.name)) from None
    except jinja2.UndefinedError as problem:
        raise InvalidInput(f"{template} needs more than it was given: {problem.message}") from None


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        finalize=_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {f.__name__: f for f in _FILTERS}
    environment.globals |= {
        "disclaimer": DISCLAIMER,
        "changes": comparison.changes,
        "promise": wording.promise,
        "forest": figures.forest,
        "bar": figures.bar,
        "calibration_plot": figures.calibration,
    }
    return environment


@jinja2.pass_eval_context
def _markdown(context: EvalContext, value: object) -> object:
    """In markdown, text from outside cannot open a tag, a link, a table cell or a heading. HTML has its own escaping."""
    return value.translate(_MARKDOWN) if isinstance(value, str) and not context.autoescape else value
