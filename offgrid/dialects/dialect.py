"""Which dialect a model speaks, by its chat template."""

from dataclasses import replace

from offgrid.dialects.formats import GENERIC, SIGNATURES, THINKING
from offgrid.dialects.syntax import Dialect

__all__ = ["Dialect", "dialect_of"]


def dialect_of(template_source: str) -> Dialect:
    """The dialect that a chat template is written for; GENERIC where it tells of none that is known."""
    dialect = next((known.dialect for known in SIGNATURES if known.is_met_by(template_source)), GENERIC)
    if dialect.thinking is not None:
        return dialect
    thinking = next((pair for pair, sign in THINKING if sign in template_source), None)
    return replace(dialect, thinking=thinking)
