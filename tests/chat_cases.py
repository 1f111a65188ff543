"""Chats on tiny models in the worker's own loop: what they are asked, and how they are answered."""

from worker_bench import WorkerBench

from offgrid.types import Sampling

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
    "additionalProperties": False,
}
CLOCK = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}
SCHEMAS = {"get_weather": WEATHER, "get_time": CLOCK}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"Use {name}", "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
ASK = [{"role": "user", "content": "Weather in Paris?"}]
THOUGHT = ["<think>", "Hmm, ", "so it is.\n", "</think>", "\n\n", "Hello"]


def drawn(seed: int) -> Sampling:
    return Sampling(temperature=1.0, seed=seed, top_k=0, top_p=1.0, min_p=0.0)


def answered(bench: WorkerBench, **fields) -> int:
    """The id of a request that runs alone, and does not fail."""
    id = bench.submit(messages=ASK, **fields)
    bench.run()
    assert not isinstance(bench.channel.ends[id], dict), bench.channel.ends[id]
    return id
