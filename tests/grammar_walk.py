"""Random grammars, temperatures and seeds on a tiny model, until so many tokens were chosen: `grammar_walk.py FILE N`.

Prints how many tokens and texts there were. Each text that is complete must be one of its grammar.
"""

import json
import random
import re
import sys
from pathlib import Path

GRAMMARS = {
    "json": r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair ("," ws pair)*)? "}"
pair   ::= string ":" ws value
array  ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})?
ws     ::= " "?
""",
    "digits": "root ::= [0-9]{4}",
    "unicode": 'root ::= [α-ωà-ÿ日月]{3,8} "!"',
    "words": 'root ::= (" the" | " hello" | " world" | "é" | "日本")+ "."',
    "negated": r'root ::= [^a-z\n]{1,20} "\n"',
    "optional": 'root ::= "a"? "b"? ("c" | "cc" | "ccc"){0,6} ("x" "y"?)* "."',
    "recursive": 'root ::= "(" root* ")" | "[" root? "]"',
    "token-like": r'root ::= "<|im_end|>" [<|>a-z_]* "</tool_call>"',
    "nothing": 'root ::= ""',
}
PATTERNS = {
    "digits": "[0-9]{4}",
    "unicode": "[α-ωà-ÿ日月]{3,8}!",
    "words": "( the| hello| world|é|日本)+\\.",
    "negated": "[^a-z\n]{1,20}\n",
    "optional": "a?b?(c|cc|ccc){0,6}(xy?)*\\.",
    "token-like": r"<\|im_end\|>[<|>a-z_]*</tool_call>",
    "nothing": "",
}


def is_of(name: str, text: str) -> bool:
    if name == "json":
        return isinstance(json.loads(text.replace("\ufffd", "?")), dict)
    if name == "recursive":
        while (shorter := re.sub(r"\(\)|\[\]", "", text)) != text:
            text = shorter
        return text == ""
    if name == "negated" and "\ufffd" in text:  # llama.cpp takes bytes that are no UTF-8 for characters of such a class
        return re.fullmatch("[^a-z\n]+\n", text) is not None
    return re.fullmatch(PATTERNS[name], text) is not None


def main(path: str, n_steps: int) -> None:
    from worker_bench import WorkerBench

    from offgrid.types import Sampling

    draw = random.Random(n_steps)
    bench = WorkerBench(Path(path), n_slots=8)
    names, n_tokens = {}, 0
    while n_tokens < n_steps:
        for _ in range(8):
            name = draw.choice(list(GRAMMARS))
            sampling = Sampling(
                temperature=draw.choice([0.0, 0.7, 1.0, 2.0]),
                top_k=draw.choice([0, 5, 40]),
                top_p=draw.choice([1.0, 0.9]),
                typical_p=draw.choice([1.0, 1.0, 0.5]),
                mirostat=draw.choice([0, 0, 0, 1, 2]),
                top_n_sigma=draw.choice([-1, -1, 1.0]),
                repeat_penalty=draw.choice([1.0, 1.3]),
                xtc_probability=draw.choice([0.0, 0.0, 0.9]),
                logit_bias=draw.choice([(), ((" the", 20.0), ("0", -50.0))]),
                seed=draw.randrange(2**31),
            )
            prompt = "".join(draw.choices("abc ", k=12))
            names[bench.submit(prompt, grammar=GRAMMARS[name], sampling=sampling, max_tokens=80)] = name
        bench.run()
        n_tokens = sum(end.usage.completion_tokens for end in bench.channel.ends.values() if not isinstance(end, dict))
    for id, name in names.items():
        end, text = bench.channel.ends[id], bench.channel.texts.get(id, "")
        assert not isinstance(end, dict), (name, end)
        assert end.reason == "length" or is_of(name, text), (name, text)
    print(n_tokens, "tokens", len(names), "texts")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(sys.argv[1], int(sys.argv[2]))
