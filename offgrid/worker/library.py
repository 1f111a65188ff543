"""llama.cpp's C interface, loaded quickly and kept quiet.

`import llama_cpp` pulls in numpy, jinja2 and diskcache for its high-level classes (120 ms, 39 MB); with an empty
parent module in its place only the ctypes bindings load (27 ms, 17 MB).
"""

import ctypes
import importlib.util
import os
import sys
import types

# Without a debugger at hand ggml would fork one to print a backtrace: 0.7 s in which nothing is answered.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")


def _bindings():
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        raise ImportError("llama-cpp-python is not installed")
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules.setdefault("llama_cpp", package)
    import llama_cpp.llama_cpp

    return llama_cpp.llama_cpp


L = _bindings()

LOG_WARN, LOG_ERROR, LOG_CONTINUES = 3, 4, 5  # ggml_log_level; the package's own table is off by one
last_errors: list[str] = []  # what llama.cpp said at level ERROR, newest last: the reason of a failed load
_is_shown = False


@L.llama_log_callback
def _log(level, text, _user_data):
    global _is_shown
    if level != LOG_CONTINUES:
        _is_shown = level >= LOG_WARN
    if _is_shown:
        line = text.decode("utf-8", "replace")
        sys.stderr.write(line)
        if level == LOG_ERROR:
            last_errors.append(line.strip())
            del last_errors[:-5]


def set_up() -> None:
    """Once per process, before anything else of the library is called."""
    L.llama_log_set(_log, None)
    L.llama_backend_init()


def override_false(model_params, key: bytes) -> None:
    """Make a model load as if `key` of its metadata were false."""
    overrides = (L.llama_model_kv_override * 2)()  # the second, all zeros, ends the list
    overrides[0].tag, overrides[0].key = L.LLAMA_KV_OVERRIDE_TYPE_BOOL, key
    model_params.kv_overrides = overrides


def add_rpc_server(address: str) -> None:
    """Let a machine at host:port compute layers too, as llama.cpp's own --rpc does; its build must have RPC."""
    ggml = L._lib  # which passes lookups on to ggml; loading that by itself would make a second copy
    ggml.ggml_backend_reg_by_name.restype = ggml.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    backend = ctypes.c_void_p(ggml.ggml_backend_reg_by_name(b"RPC"))
    found = ggml.ggml_backend_reg_get_proc_address(backend, b"ggml_backend_rpc_add_server")
    add_server = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(found)
    ggml.ggml_backend_register(ctypes.c_void_p(add_server(address.encode())))


def set_fields(params, **fields):
    """Set fields of a ctypes structure. ctypes would take a misspelt name in silence, so that is an AttributeError."""
    for name, value in fields.items():
        if not hasattr(params, name):
            raise AttributeError(f"{type(params).__name__} has no field {name}")
        setattr(params, name, value)
    return params
