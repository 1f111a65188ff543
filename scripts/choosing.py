"""The tables of docs/choosing.md, computed by the server's own estimator: `python scripts/choosing.py --write`.

Shapes are the published ones of each model; weights are the sizes of usual Q4_K_M files, rounded.
"""

import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offgrid.engine import memory  # noqa: E402
from offgrid.engine.gguf import GgufInfo  # noqa: E402
from offgrid.procs import budget  # noqa: E402

PAGE = ROOT / "docs" / "choosing.md"
GB = 1e9
PARALLEL = 4
SYSTEM_BYTES = 300_000_000  # a Linux without a desktop
MACHINES_GB = (1, 2, 4, 8, 16)
CONTEXTS = ((4096, "f16"), (16_384, "f16"), (16_384, "q8_0"), (16_384, "q4_0"))
MOST_CELLS = 32_768  # longer prompts take minutes on such machines


@dataclass(frozen=True)
class Shape:
    name: str
    weight_mb: int
    n_layer: int
    n_embd: int
    n_ff: int
    n_head_kv: int
    head_length: int
    n_vocab: int
    n_ctx_train: int


SHAPES = (
    Shape("SmolLM2-135M", 105, 30, 576, 1536, 3, 64, 49_152, 8192),
    Shape("SmolLM2-360M", 271, 32, 960, 2560, 5, 64, 49_152, 8192),
    Shape("Qwen2.5-0.5B", 398, 24, 896, 4864, 2, 64, 151_936, 32_768),
    Shape("Llama-3.2-1B", 808, 16, 2048, 8192, 8, 64, 128_256, 131_072),
    Shape("Qwen2.5-1.5B", 986, 28, 1536, 8960, 2, 128, 151_936, 32_768),
    Shape("SmolLM2-1.7B", 1060, 24, 2048, 8192, 32, 64, 49_152, 8192),
    Shape("Gemma-2-2B", 1710, 26, 2304, 9216, 4, 256, 256_000, 8192),
    Shape("Llama-3.2-3B", 2020, 28, 3072, 8192, 8, 128, 128_256, 131_072),
    Shape("Phi-3.5-mini", 2390, 32, 3072, 8192, 32, 96, 32_064, 131_072),
    Shape("Qwen2.5-7B", 4680, 28, 3584, 18_944, 4, 128, 152_064, 131_072),
    Shape("Llama-3.1-8B", 4920, 32, 4096, 14_336, 8, 128, 128_256, 131_072),
)


def info_of(shape: Shape) -> GgufInfo:
    return GgufInfo(
        architecture="llama",
        kind="chat",
        name=shape.name,
        license="",
        quantization="Q4_K_M",
        size_bytes=shape.weight_mb * 10**6,
        weight_bytes=shape.weight_mb * 10**6,
        n_params=0,
        split_index=0,
        split_count=1,
        templates=(),
        metadata={"llama.feed_forward_length": shape.n_ff},
        n_ctx_train=shape.n_ctx_train,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head_kv=(shape.n_head_kv,) * shape.n_layer,
        key_length=shape.head_length,
        value_length=shape.head_length,
        n_vocab=shape.n_vocab,
    )


def needs_table() -> str:
    heads = " | ".join(f"{n_ctx} tokens, {kv_type}" for n_ctx, kv_type in CONTEXTS)
    lines = [f"| model (Q4_K_M) | weights | {heads} |", "|---|---|" + "---|" * len(CONTEXTS)]
    for shape in SHAPES:
        info = info_of(shape)
        needs = [memory.estimate_bytes(info, n_ctx, kind, PARALLEL + 1).total / GB for n_ctx, kind in CONTEXTS]
        lines.append(f"| {shape.name} | {shape.weight_mb / 1e3:.2f} | " + " | ".join(f"{n:.2f}" for n in needs) + " |")
    return "\n".join(lines)


def contexts_table() -> str:
    heads = " | ".join(f"{n} GB" for n in MACHINES_GB)
    lines = [f"| model (Q4_K_M) | {heads} |", "|---|" + "---|" * len(MACHINES_GB)]
    for shape in SHAPES:
        cells = (_largest(shape, given_bytes(n)) for n in MACHINES_GB)
        lines.append(f"| {shape.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def given_bytes(machine_gb: int) -> int:
    """What models get on a machine that does nothing else."""
    total = machine_gb << 30
    reserve = min(max(total // 16, budget.LEAST_RESERVE_BYTES), budget.MOST_RESERVE_BYTES)
    return total - SYSTEM_BYTES - reserve


def _largest(shape: Shape, most_bytes: int) -> str:
    info = info_of(shape)
    estimate = partial(memory.estimate_bytes, info, n_seq_max=PARALLEL + 1)
    n_most = min(shape.n_ctx_train * PARALLEL, MOST_CELLS)
    found = [memory.largest_n_ctx(estimate, most_bytes, kind, n_most) for kind in ("f16", "q8_0")]
    if not any(found):
        return "–"
    return str(found[0]) if found[0] == n_most else f"{found[0] or '–'} / {found[1]}"


def page(text: str) -> str:
    """The page with its tables computed afresh."""
    for name, table in (("needs", needs_table()), ("contexts", contexts_table())):
        marks = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
        text, n = re.subn(pattern, lambda _, t=table, m=marks: f"{m[0]}{t}\n{m[1]}", text, flags=re.DOTALL)
        assert n == 1, f"{PAGE} has no place for the table {name}"
    return text


if __name__ == "__main__":
    fresh = page(PAGE.read_text(encoding="utf-8"))
    if "--write" in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    else:
        print(fresh)
