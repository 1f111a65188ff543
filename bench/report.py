"""Make the report of a benchmark run: a page and a chart, from its JSON and nothing else.

    python bench/report.py docs

reads docs/benchmarks.json and writes benchmarks.md and benchmarks.svg beside it. The same JSON always gives the same
bytes, which a test holds the committed files to.
"""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import chart
import rag_report

DATA, PAGE, CHART = "benchmarks.json", "benchmarks.md", "benchmarks.svg"
OURS, THEIRS, RAW, PLAIN = "OffGrid", "llama-server", "llama.cpp", "OffGrid without speculation"
WIDTHS = (1, 4, 8, 16)


class Run:
    """The figures of a run, asked for by name; what was not measured is None."""

    def __init__(self, data: dict):
        self.about = data["about"]
        self._figures = data["figures"]

    def rounds(self, scenario: str, variant: str, program: str, figure: str) -> list[float]:
        measured = self._figures.get(scenario, {}).get(variant, {}).get(program, [])
        return [figures[figure] for figures in measured if figure in figures]

    def variants(self, scenario: str) -> list[str]:
        return list(self._figures.get(scenario, {}))

    def n_rounds(self, scenario: str) -> int:
        programs = (p for variant in self._figures.get(scenario, {}).values() for p in variant.values())
        return max(map(len, programs), default=0)

    def median(self, scenario: str, variant: str, program: str, figure: str) -> float | None:
        values = self.rounds(scenario, variant, program, figure)
        return statistics.median(values) if values else None

    def ratio(self, one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> float | None:
        """The median of each round's `one` ÷ `other`, which were measured within the same minutes."""
        ones, others = self.rounds(*one), self.rounds(*other)
        if not ones or not others:
            return None
        ratios = [a / b for a, b in zip(ones, others, strict=True) if b]
        return statistics.median(ratios) if ratios else None

    def lead(self, scenario: str, variant: str, figure: str, over: str = THEIRS) -> float | None:
        """OffGrid ÷ another program."""
        return self.ratio((scenario, variant, OURS, figure), (scenario, variant, over, figure))


@dataclass(frozen=True, slots=True)
class Target:
    """One figure that OffGrid set out to reach."""

    text: str
    limit: float
    is_upper: bool  # reached when at most, else when at least, the limit
    value: Callable[[Run], float | None]
    unit: str = ""

    def row(self, run: Run) -> list[str]:
        value = self.value(run)
        if value is None:
            return [self.text, self._wanted, "not measured", ""]
        is_reached = value <= self.limit if self.is_upper else value >= self.limit
        return [self.text, self._wanted, f"{value:.2f}{self.unit}", "yes" if is_reached else "**no**"]

    @property
    def _wanted(self) -> str:
        return f"{'≤' if self.is_upper else '≥'} {self.limit:.2f}{self.unit}"


def _speed_over(other: str, width: int) -> Callable[[Run], float | None]:
    return lambda run: run.lead("clients", str(width), "tokens_per_s", other)


def _full_to_empty(width: int) -> Callable[[Run], float | None]:
    full, empty = ((("idle_cache", f"{width} {state}", OURS, "tokens_per_s")) for state in ("full", "empty"))
    return lambda run: run.ratio(full, empty)


def _scaling(run: Run) -> float | None:
    return run.ratio(*(("clients", str(width), OURS, "tokens_per_s") for width in (8, 1)))


def _after_restart(run: Run) -> float | None:
    return run.ratio(*(("restart", variant, OURS, "ttft_s") for variant in ("known", "computed")))


def _speculation_gain(variant: str) -> Callable[[Run], float | None]:
    figure = "answer_tokens_per_s" if variant == "copy" else "tokens_per_s"
    return lambda run: run.lead("copying", variant, figure, PLAIN)


def _cost_of_schema(width: int) -> Callable[[Run], float | None]:
    """The time of a token held to it ÷ that of a free one, where speculation does not hide it."""
    free, held = (("constrained", f"{form}, {width}", PLAIN, "answer_tokens_per_s") for form in ("free", "schema"))
    return lambda run: run.ratio(free, held)


def _two_models_errors(run: Run) -> float | None:
    counts = [run.rounds("two_models", variant, OURS, "errors") for variant in ("in turns", "at once")]
    return max(map(max, counts)) if all(counts) else None


def _worst_estimate(run: Run) -> float | None:
    ratios = [run.median("estimates", setting, OURS, "estimated_to_used") for setting in run.variants("estimates")]
    return max((abs(ratio - 1) * 100 for ratio in ratios if ratio), default=None)


TARGETS = (
    *(Target(f"tokens/s ÷ {THEIRS}'s, {_clients}", _least, False, _speed_over(THEIRS, _width))
      for _width, _clients, _least in ((1, "1 client", 1.0), (4, "4", 1.05), (8, "8", 1.05), (16, "16", 1.05))),
    *(Target(f"tokens/s ÷ {RAW}'s own limit, {_width}", 0.85, False, _speed_over(RAW, _width)) for _width in WIDTHS),
    Target("tokens/s with 8 clients ÷ with 1", 1.3, False, _scaling),
    Target(f"8 clients, shared prefix seen once: time ÷ {THEIRS}'s", 0.2, True,
           lambda run: run.lead("shared_prefix", "warm", "wall_s")),
    Target("the same prefix never seen, all at once", 0.35, True,
           lambda run: run.lead("shared_prefix", "cold", "wall_s")),
    Target("known prefix after a restart: time to first token ÷ computing it", 0.25, True, _after_restart),
    Target(f"24 requests over 8 clients, every slot warm: time ÷ {THEIRS}'s", 0.9, True,
           lambda run: run.lead("turnover", "24", "wall_s")),
    Target(f"short prompt beside a long one: time to first token ÷ {THEIRS}'s", 0.5, True,
           lambda run: run.lead("long_prompt", "1", "short_ttft_s")),
    Target("running answers meanwhile: longest gap ÷ usual gap", 3.0, True,
           lambda run: run.median("long_prompt", "1", OURS, "gap_max_to_usual")),
    *(Target(f"tokens/s with the context full of idle texts ÷ empty, {_width}", 0.95, False, _full_to_empty(_width))
      for _width in WIDTHS),
    Target("start → `/health`", 0.3, True, lambda run: run.median("start_up", "1", OURS, "health_s"), " s"),
    Target("start → first token", 1.5, True, lambda run: run.median("start_up", "1", OURS, "first_token_s"), " s"),
    Target(f"memory ÷ {THEIRS}'s", 1.15, True, lambda run: run.lead("memory", "8", "pss_mb")),
    *(Target(f"{_text}: tokens/s with speculation ÷ without", _least, False, _speculation_gain(_variant))
      for _text, _variant, _least in (
          ("copying a table", "copy", 1.25),
          ("text without repeats, 1 client", "free 1", 0.97),
          ("text without repeats, 8 clients", "free 8", 0.97),
      )),
    *(Target(f"time of a token held to a JSON schema ÷ free, {_clients}", 1.15, True, _cost_of_schema(_width))
      for _width, _clients in ((1, "1 client"), (8, "8 clients"))),
    Target("two models in a budget for one and a half: errors", 0, True, _two_models_errors),
    Target("memory that was expected, off what was used, the worst setting", 10, True, _worst_estimate, " %"),
    Target("processor while idle, of one core", 0.5, True,
           lambda run: run.median("idle_cpu", "1", OURS, "cpu_percent"), " %"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: the same figure of all programs."""

    text: str
    variant: str
    figure: str
    n_digits: int = 2


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    scenario: str
    rows: tuple[Row, ...]
    programs: tuple[str, ...] = (OURS, THEIRS)
    over: str = THEIRS  # the program that OffGrid is compared with

    def lines(self, run: Run) -> list[str]:
        about = run.about["scenarios"].get(self.scenario)  # none in a run from before the scenario was written
        head = [f"## {self.title}", "", *([about, ""] if about else [])]
        table = [self._cells(run, row) for row in self.rows]
        if not any(cell != "–" for row in table for cell in row[1:]):
            return [*head, "Not measured in this run.", ""]
        if (n_rounds := run.n_rounds(self.scenario)) != run.about["rounds"]:
            head += [f"Measured by itself; rounds: {n_rounds}.", ""]
        return [*head, *_table(["", *self.programs, f"{OURS} ÷ {self.over}"], table), ""]

    def _cells(self, run: Run, row: Row) -> list[str]:
        values = [run.median(self.scenario, row.variant, program, row.figure) for program in self.programs]
        ratio = run.lead(self.scenario, row.variant, row.figure, self.over)
        return [row.text, *(_number(value, row.n_digits) for value in values), _number(ratio, 2)]


SECTIONS = (
    Section("Clients at once", "clients", (
        *(Row(f"tokens/s, {_w}", str(_w), "tokens_per_s", 1) for _w in WIDTHS),
        *(Row(f"without reading the prompts, {_w}", str(_w), "decode_tokens_per_s", 1) for _w in WIDTHS),
        *(Row(f"time to first token, {_w} (s)", str(_w), "ttft_s") for _w in WIDTHS),
        *(Row(f"longest gap in an answer, {_w} (s)", str(_w), "gap_max_s") for _w in WIDTHS),
    ), (OURS, THEIRS, RAW)),
    Section("A shared prefix", "shared_prefix", (
        Row("never seen: time for all (s)", "cold", "wall_s"),
        Row("never seen: time to first token (s)", "cold", "ttft_s"),
        Row("seen once: time for all (s)", "warm", "wall_s"),
        Row("seen once: time to first token (s)", "warm", "ttft_s"),
        Row("prompt tokens", "warm", "prompt_tokens", 0),
        Row("of these taken from the cache, never seen", "cold", "cached_tokens", 0),
        Row("of these taken from the cache, seen once", "warm", "cached_tokens", 0),
    )),
    Section("A prefix that was known before a restart", "restart", (
        Row("time to first token (s)", "known", "ttft_s", 3),
        Row("the same, computed (s)", "computed", "ttft_s", 3),
        Row("prompt tokens", "known", "prompt_tokens", 0),
        Row("of these taken from the cache", "known", "cached_tokens", 0),
    ), (OURS,)),
    Section("Longer prompts without anything in common", "distinct", (
        Row("time for all (s)", "8", "wall_s"),
        Row("time to first token, median (s)", "8", "ttft_s"),
        Row("time to first token, the last one (s)", "8", "ttft_max_s"),
        Row("prompt tokens", "8", "prompt_tokens", 0),
    )),
    Section("Requests coming and going", "turnover", (
        Row("time for all (s)", "24", "wall_s"),
        Row("tokens/s", "24", "tokens_per_s", 1),
        Row("time to first token (s)", "24", "ttft_s"),
    )),
    Section("Beside a very long prompt", "long_prompt", (
        Row("short prompt: time to first token (s)", "1", "short_ttft_s"),
        Row("long prompt: time to first token (s)", "1", "long_ttft_s"),
        Row("running answers: usual gap before (s)", "1", "usual_gap_s", 3),
        Row("running answers: usual gap after (s)", "1", "usual_gap_after_s", 3),
        Row("running answers: median gap meanwhile (s)", "1", "meanwhile_gap_s", 3),
        Row("running answers: longest gap meanwhile (s)", "1", "gap_max_s", 3),
        Row("longest gap ÷ usual gap", "1", "gap_max_to_usual", 1),
        Row("tokens of the long prompt", "1", "long_prompt_tokens", 0),
    )),
    Section("A context full of idle texts", "idle_cache", tuple(
        Row(f"tokens/s, {_width}, {_state}", f"{_width} {_state}", "tokens_per_s", 1)
        for _width in WIDTHS for _state in ("empty", "full")
    )),
    Section("Starting", "start_up", (
        Row("`/health` is answered (s)", "1", "health_s"),
        Row("first token (s)", "1", "first_token_s"),
    )),
    Section("Memory", "memory", (Row("all processes, PSS (MB)", "8", "pss_mb", 0),)),
    Section("Doing nothing", "idle_cpu", (Row("of one core (%)", "1", "cpu_percent", 3),)),
    Section("Text that repeats itself", "copying", (
        Row("copying a table: tokens/s after the first", "copy", "answer_tokens_per_s", 1),
        Row("the same, reading the prompt included", "copy", "tokens_per_s", 1),
        Row("tokens drafted", "copy", "drafted", 0),
        Row("of these accepted", "copy", "accepted", 0),
        Row("text without repeats, 1 client: tokens/s", "free 1", "tokens_per_s", 1),
        Row("tokens drafted", "free 1", "drafted", 0),
        Row("text without repeats, 8 clients: tokens/s", "free 8", "tokens_per_s", 1),
        Row("tokens drafted", "free 8", "drafted", 0),
    ), (OURS, PLAIN), PLAIN),
    Section("Answers of a form", "constrained", tuple(
        Row(f"{_text}, {_form}, {_width}", f"{_form}, {_width}", _figure, _digits)
        for _width in (1, 8)
        for _text, _figure, _digits in (
            ("tokens/s", "tokens_per_s", 1), ("time to first token (s)", "ttft_s", 3),
        )
        for _form in ("free", "any text", "schema")
    ), (OURS, PLAIN, THEIRS)),
    Section("Two models in a budget for one and a half", "two_models", (
        *(Row(f"{_text}, {_variant}{_unit}", _variant, _figure, _digits)
          for _variant in ("in turns", "at once")
          for _text, _figure, _unit, _digits in (
              ("requests", "requests", "", 0), ("errors", "errors", "", 0), ("time for all", "wall_s", " (s)", 1),
              ("time to first token, median", "ttft_s", " (s)", 2),
              ("time to first token, longest", "ttft_max_s", " (s)", 2),
          )),
        Row("budget (MB)", "in turns", "budget_mb", 0),
        Row("one model needs (MB)", "in turns", "need_mb", 0),
        Row("memory before any was loaded (MB)", "unloaded", "own_mb", 0),
        Row("memory after both were unloaded (MB)", "unloaded", "after_mb", 0),
    ), (OURS,)),
    Section("What a model was expected to take", "estimates", tuple(
        Row(f"{_text}{_setting} (MB)", _setting, _figure, 0)
        for _setting in (
            "context of 1,024 tokens", "of 4,096", "of 8,192", "of 4,096, q8_0", "of 8,192, q4_0",
            "of 4,096, batches of 128 tokens", "embedding model",
        )
        for _text, _figure in (("expected: ", "estimated_mb"), ("used: ", "used_mb"))
    ), (OURS,)),
)  # fmt: skip


METHOD = """\
## How it was measured

- Machine: {processor}, {cores} cores, {ram_gb} GB; {system}, Python {python}.
  Load average before the run: {load_at_start}.
- Programs: {all_versions}. llama-server and llama-batched-bench are built from the
  llama.cpp source in the llama-cpp-python package, with the same compiler options as OffGrid's engine.
- Model: {model}.
- Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, another seed for every request. The end-of-text token is ignored:
  answers have {answer_tokens} tokens in "Clients at once", "Answers of a form" and "A context full of idle texts",
  {turnover_tokens} in "Requests coming and going", else {brief_tokens}. Tokens are counted from the usage that each
  server reports.
- Rounds: {rounds}. In each, both servers get the same prompts, which nobody has seen before, one server after the other
  and in turns the first; every scenario begins with fresh servers. A figure is the median of the rounds, a ratio the
  median of each round's ratio.
- Not equal: each server keeps its own defaults for what the command lines do not say. llama-server may keep up to 8 GiB
  of prompts in host memory. Both fall far behind when other programs want the processor: measure on a quiet machine.
- The limit of llama.cpp counts the reading of prompts of 32 tokens, about what the servers have to read of a short
  prompt beyond the cached beginning of the chat template. The rows "without reading the prompts" leave that out.
- A token arrives when its bytes reach the client, which runs on the same machine.

The command lines, from the checkout's folder:
"""


def page(run: Run) -> str:
    """The report as Markdown."""
    about = run.about
    lines = ["# Benchmarks", ""]
    if about["is_quick"]:
        lines += ["**A quick run, with little work, to see that everything works: its figures mean nothing.**", ""]
    lines += [
        f"OffGrid beside `llama-server` on the same machine, model, prompts and settings; `{RAW}` is what llama.cpp's",
        "own `llama-batched-bench` reaches at the same work without sampling, text or HTTP: the limit of them all.",
        "To make these figures again: `make bench`.",
        "",
        f"![Chart of the main figures]({CHART})",
        "",
        "## What was to be reached",
        "",
        *_table(["figure", "to reach", "measured", "reached"], [target.row(run) for target in TARGETS]),
        "",
    ]
    for section in SECTIONS:
        lines += section.lines(run)
    return "\n".join([*lines, *_profile(run), *_method(about)]) + "\n"


def _profile(run: Run) -> list[str]:
    """Where the processor time of a token goes, from the runs of "Clients at once"."""
    parts = (
        ("OffGrid's router", OURS, "main_cpu_us"),
        ("OffGrid's worker", OURS, "children_cpu_us"),
        ("llama-server", THEIRS, "main_cpu_us"),
        ("the client that measures", OURS, "client_cpu_us"),
    )
    rows = [
        [text, *(_number(run.median("clients", str(width), program, figure), 0) for width in WIDTHS)]
        for text, program, figure in parts
    ]
    return ["## Processor time of a token", "", "In µs, prompts included, by the number of clients.", "",
            *_table(["", *map(str, WIDTHS)], rows), ""]  # fmt: skip


def _method(about: dict) -> list[str]:
    text = METHOD.format(**about, **about["sizes"], **about["machine"], all_versions=_listed(about["versions"]))
    return [*text.splitlines(), "", "```sh", *about["commands"].values(), "```"]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    aligned = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (head, aligned, *rows)]


def _number(value: float | None, n_digits: int) -> str:
    return "–" if value is None else f"{value:.{n_digits}f}"


def _panels(run: Run) -> list[chart.Panel]:
    programs = (OURS, THEIRS, RAW)
    speed = chart.Panel("Tokens per second: more is better", "", [
        chart.Group(f"{w} client{'s' if w > 1 else ''}",
                    [(p, run.median("clients", str(w), p, "tokens_per_s")) for p in programs])
        for w in WIDTHS
    ])  # fmt: skip
    waits = (
        ("8 clients, shared prefix, seen once", "shared_prefix", "warm", "wall_s"),
        ("the same, never seen", "shared_prefix", "cold", "wall_s"),
        ("24 requests over 8 clients", "turnover", "24", "wall_s"),
        ("first token beside a long prompt", "long_prompt", "1", "short_ttft_s"),
    )
    wait = chart.Panel("Seconds to wait: less is better", " s", [
        chart.Group(text, [(p, run.median(scenario, variant, p, figure)) for p in (OURS, THEIRS)])
        for text, scenario, variant, figure in waits
    ])  # fmt: skip
    return [speed, wait]


def write(folder: Path) -> None:
    """Write the page and the chart beside the JSON in `folder`."""
    run = Run(json.loads((folder / DATA).read_text(encoding="utf-8")))
    text = page(run)
    if more := rag_report.read(folder):
        text += "\n" + "\n".join(more)
    (folder / PAGE).write_text(text, encoding="utf-8")
    (folder / CHART).write_text(chart.svg(_panels(run)), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
