"""Bars as SVG, written by hand: the same numbers always give the same bytes, and a dark page is no surprise."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
LABEL_WIDTH, VALUE_WIDTH = 250, 70
BAR_HEIGHT, BAR_STEP, GROUP_GAP, PANEL_GAP = 13, 16, 10, 28

# Colours that stand on white and on black; the text follows the page.
STYLE = """
text { font: 13px sans-serif; fill: #24292f }
.title { font-weight: bold; font-size: 15px }
.value { font-size: 11px }
.a { fill: #1f9d63 } .b { fill: #6f86c6 } .c { fill: #9a9a9a }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One thing measured: (program, value) in drawing order; None was not measured."""

    label: str
    bars: list[tuple[str, float | None]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Groups on one scale that begins at 0."""

    title: str
    unit: str
    groups: list[Group]


def svg(panels: list[Panel]) -> str:
    """The panels below each other, and a legend of the programs (three at most)."""
    programs = list(dict.fromkeys(program for panel in panels for group in panel.groups for program, _ in group.bars))
    colours = dict(zip(programs, "abc", strict=False))
    parts, y = _legend(colours), 44
    for panel in panels:
        y = _draw_panel(parts, panel, colours, y)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


def _legend(colours: dict[str, str]) -> list[str]:
    parts, x = [], LABEL_WIDTH
    for program, colour in colours.items():
        parts.append(f'<rect class="{colour}" x="{x}" y="8" width="13" height="13"/>')
        parts.append(f'<text x="{x + 19}" y="19">{escape(program)}</text>')
        x += 130
    return parts


def _draw_panel(parts: list[str], panel: Panel, colours: dict[str, str], y: int) -> int:
    """Appends to `parts`; returns where the next panel begins."""
    largest = max((value for group in panel.groups for _, value in group.bars if value), default=1)
    parts.append(f'<text class="title" x="8" y="{y + 12}">{escape(panel.title)}</text>')
    y += 24
    for group in panel.groups:
        middle = y + BAR_STEP * len(group.bars) / 2 + 3
        parts.append(f'<text x="{LABEL_WIDTH - 10}" y="{middle:g}" text-anchor="end">{escape(group.label)}</text>')
        for program, value in group.bars:
            length = (value or 0) / largest * (WIDTH - LABEL_WIDTH - VALUE_WIDTH)
            text = "not measured" if value is None else f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
            bar = f'x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}"'
            parts.append(f'<rect class="{colours[program]}" {bar}/>')
            parts.append(
                f'<text class="value" x="{LABEL_WIDTH + length + 6:.1f}" y="{y + 11}">'
                f"{text}{panel.unit if value is not None else ''}</text>"
            )
            y += BAR_STEP
        y += GROUP_GAP
    return y + PANEL_GAP - GROUP_GAP
