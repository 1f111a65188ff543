"""What a test of agents needs: a model that says what the test has written down, and a server with one."""

from offgrid.agents.loop import Loop
from offgrid.agents.steps import Budget, Call, Result, Step, Stopwatch
from offgrid.agents.styles import STYLES, Reply
from offgrid.agents.tools.toolbox import BUILT_IN_TOOLS
from offgrid.types import Finish, Usage

TOOLS = {tool.name: tool for tool in BUILT_IN_TOOLS}
BUDGET = Budget(max_steps=6, max_tokens=100, max_total_tokens=1000, max_s=60)


def act(expression: str, thought: str = "Compute.") -> str:
    return f'Thought: {thought}\nAction: calculator\nAction Input: {{"expression": "{expression}"}}'


def answer(text: str) -> str:
    return f"Thought: I know.\nAnswer: {text}"


class WrittenModel:
    """A word is a token. Says the texts one after the other, the last one again and again."""

    def __init__(self, *texts: str | Reply, n_ctx: int = 2000):
        self.n_ctx = n_ctx
        self.texts = list(texts)
        self.asked: list[tuple[list[dict], dict]] = []

    def lengths(self, texts):
        return [len(text.split()) for text in texts]

    def count(self, messages, fields):
        return sum(len(str(message["content"]).split()) for message in messages)

    def ask(self, messages, fields, max_tokens, time_limit_s):
        self.asked.append((messages, fields))
        said = self.texts[min(len(self.asked), len(self.texts)) - 1]
        if isinstance(said, Reply):
            return said
        n = len(said.split())
        text = said if n <= max_tokens else " ".join(said.split(" ")[:max_tokens])
        end = Finish("stop" if n <= max_tokens else "length", Usage(10, min(n, max_tokens)))
        return Reply(text, "", (), end)


class Bench:
    """A loop over `model`; tools answer what `results` says for the call, else "done"."""

    def __init__(self, model, *, style="react", tools=("calculator", "read_file"), budget=BUDGET, results=None):
        self.calls: list[Call] = []
        self.steps: list[Step] = []
        self.results = results or {}
        chosen = [TOOLS[name] for name in tools]
        clock = Stopwatch(budget.max_s)
        self.model = model
        self.loop = Loop(model, STYLES[style], chosen, self._act, budget, clock, self.steps.append)

    def run(self, task="What is it?", conversation=()):
        return self.loop.run("You are an agent.", conversation, task)

    def _act(self, calls):
        self.calls += calls
        return [Result(self.results.get(call.key, "done")) for call in calls]

    @property
    def types(self):
        return [step.type for step in self.steps]
