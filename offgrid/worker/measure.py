"""A dry run: what llama.cpp would allocate for a model with several contexts, without allocating it.

Run in a process of its own (`python -m offgrid _measure`), because some models abort llama.cpp here.
One frame in: {"path", "n_seq_max", "n_batch", "flash_attention", "variants": [[n_ctx, kv_type]…]}.
One frame out: {"sizes": [[kv bytes, compute bytes]…]}, in the order of the variants.
"""

import re

from offgrid.procs import frames, lifeline

MIB = 1 << 20
# The sizes stand nowhere but in what llama.cpp logs while it makes a context.
CACHE = re.compile(r"(?:kv_cache\w*|memory_recurrent): size = +([\d.]+) MiB")
SCRATCH = re.compile(r"(?:output|compute) buffer size = +([\d.]+) MiB")


def main(parent_pid: int) -> int:
    frames_in, frames_out = lifeline.take_pipes()
    lifeline.die_with_parent(parent_pid)
    if (first := frames.read(frames_in)) is None:
        return 0
    frames_out.write(frames.encode({"sizes": measure(**first[0])}))
    frames_out.flush()
    return 0


def measure(path: str, n_seq_max: int, n_batch: int, flash_attention: str, variants: list) -> list[list[int]]:
    """[kv, compute] in bytes for each (n_ctx, kv_type). Raises LoadFailed."""
    from offgrid.worker import library
    from offgrid.worker.library import L
    from offgrid.worker.model import LoadFailed, context_params

    library.set_up()
    lines: list[str] = []

    @L.llama_log_callback
    def collect(_level, text, _user_data):
        lines.append(text.decode("utf-8", "replace"))

    L.llama_log_set(collect, None)
    params = library.set_fields(L.llama_model_default_params(), load_mode=0, n_gpu_layers=0, no_alloc=True)
    model = L.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise LoadFailed("llama.cpp cannot load the file")
    sizes = []
    for n_ctx, kv_type in variants:
        lines.clear()
        params = context_params(
            n_ctx=n_ctx,
            n_batch=min(n_batch, n_ctx),
            n_seq_max=n_seq_max,
            n_threads=1,
            kv_type=kv_type,
            flash_attention=flash_attention,
        )
        if not (context := L.llama_init_from_model(model, params)):
            raise LoadFailed(f"llama.cpp cannot make a context of {n_ctx} tokens")
        log = "".join(lines)
        L.llama_free(context)
        sizes.append([round(MIB * sum(map(float, pattern.findall(log)))) for pattern in (CACHE, SCRATCH)])
    return sizes
