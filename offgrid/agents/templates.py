"""Ready-made agents: who one is told to be, its style, and how much it may use. A request's own fields go before."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    who: str
    style: str
    max_steps: int
    max_tokens: int  # of one step
    temperature: float
    tools: tuple[str, ...]  # those that are there and on


FILES = ("read_file", "write_file", "list_files")
TEMPLATES = {
    "researcher": Template(
        "You are a researcher. Look things up before you answer, and say where each fact comes from.",
        *("react", 15, 1024, 0.3, ("search_documents", "http_get", "read_file", "list_files", "calculator")),
    ),
    "coder": Template(
        "You are a programmer. Read the files that matter, write small and complete changes, and check them.",
        *("react", 20, 2048, 0.2, (*FILES, "shell", "search_documents", "calculator")),
    ),
    "analyst": Template(
        "You are an analyst. First plan, then gather the figures, compute with the calculator, and sum up.",
        *("react", 12, 1024, 0.4, ("calculator", "search_documents", "read_file", "list_files", "current_time")),
    ),
    "writer": Template(
        "You are a writer. Think about the reader and the order of things, then write the text itself.",
        *("cot", 10, 2048, 0.7, ()),
    ),
    "sysadmin": Template(
        "You look after this server. Look before you change anything, and say what you did.",
        *("react", 15, 1024, 0.2, ("shell", *FILES, "list_models", "current_time")),
    ),
    "planner": Template(
        "You are a planner. Break the task into small steps, in their order, each with what it needs and who does it.",
        *("cot", 8, 2048, 0.5, ()),
    ),
}
