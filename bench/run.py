"""Measure OffGrid beside llama-server and llama.cpp's own limit, and write the report.

    python bench/run.py                      everything, three rounds: about half an hour
    python bench/run.py --quick              everything in small, one round: does it all work?
    python bench/run.py --only clients       one scenario; may be said several times
    python bench/run.py --only clients --add --out docs   measures one again and leaves the others as they were

The figures go to benchmarks.json in --out, and beside it the report that `report.py` makes of them.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import secrets
import signal
import sys
import time
from pathlib import Path

import build_llama
import report
from lab import QUICK, SHORT_TOKENS, WIDTHS, Lab, Sizes
from scenarios import SCENARIOS
from servers import LLAMA_SERVER, OFFGRID, RAW, REPO, MeasurementFailed, Settings, command, raw_command

MODEL = Path("models/SmolLM2-135M-Instruct.Q4_1.gguf")
MOST_LOAD = 0.5  # processes waiting for a core on average over the last minute; a quiet machine is far below


def main() -> int:
    options = _options()
    os.chdir(REPO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of the `finally`s that end the servers
    settings = Settings(options.model, n_threads=options.threads)
    if not options.model.exists():
        print(f"There is no {options.model}. `make models` fetches it.", file=sys.stderr)
        return 1
    load = os.getloadavg()[0]
    if load > MOST_LOAD:
        print("Something else is running on this machine: the figures will be lower, and the ratios will vary.")
    try:
        build_llama.build()
        about, earlier = _about(settings, options, load), {}
        if options.add:
            about, earlier = _earlier(options.out, about)
        figures = _measure(Lab(settings, QUICK if options.quick else Sizes(), secrets.token_hex(4)), options)
    except (build_llama.BuildFailed, MeasurementFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"about": about, "figures": earlier | figures}, indent=1, ensure_ascii=False) + "\n"
    (options.out / report.DATA).write_text(data, encoding="utf-8")
    report.write(options.out)
    print(f"The report is {options.out / report.PAGE}.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure OffGrid beside llama-server; write a report.")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    parser.add_argument("--rounds", type=int, help="default 3, and 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="little work: the figures mean nothing")
    parser.add_argument("--add", action="store_true", help="to what --out holds already, measured on this machine")
    parser.add_argument("--model", type=Path, default=MODEL, help="GGUF file, from the checkout's folder (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one for each core")
    parser.add_argument("--out", type=Path, default=Path("bench/build/report"), help="folder (%(default)s)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _earlier(folder: Path, about: dict) -> tuple[dict, dict]:
    """What an earlier run in this folder says about itself, and its figures. Raises MeasurementFailed."""
    try:
        data = json.loads((folder / report.DATA).read_text(encoding="utf-8"))
    except OSError as error:
        raise MeasurementFailed(f"There is nothing to add to: {error}.") from error
    sizes = about["sizes"]
    data["about"]["sizes"] = sizes | data["about"]["sizes"]  # a size that is new belongs to a scenario that is new
    for name in ("is_quick", "model", "machine", "versions", "sizes"):
        if data["about"][name] != about[name]:
            raise MeasurementFailed(
                f"The figures in {folder} were measured with another {name}: {data['about'][name]}."
            )
    return data["about"] | {"scenarios": about["scenarios"]}, data["figures"]


def _measure(lab: Lab, options: argparse.Namespace) -> dict:
    """{scenario: {variant: {program: [figures of round 1, …]}}}; every scenario once in each round."""
    found: dict = {}
    for turn in range(options.rounds):
        for name in options.only or SCENARIOS:
            began = time.monotonic()
            for finding in SCENARIOS[name](lab, turn):
                programs = found.setdefault(name, {}).setdefault(finding.variant, {})
                programs.setdefault(finding.program, []).append(finding.figures)
                print(f"  {name} {finding.variant} {finding.program}: {json.dumps(finding.figures)}", flush=True)
            print(f"round {turn + 1} of {options.rounds}, {name}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def _about(settings: Settings, options: argparse.Namespace, load: float) -> dict:
    """What a reader must know about the machine, the programs and the work. No names or paths of the machine."""
    sizes = QUICK if options.quick else Sizes()
    commands = {name: command(name, settings, "PORT", "FOLDER") for name in (OFFGRID, LLAMA_SERVER)}
    commands[RAW] = raw_command(settings, SHORT_TOKENS, sizes.answer_tokens, ",".join(map(str, WIDTHS)))
    return {
        "is_quick": options.quick,
        "rounds": options.rounds,
        "scenarios": {name: scenario.__doc__ for name, scenario in SCENARIOS.items()},
        "sizes": {name: getattr(sizes, name) for name in Sizes.__dataclass_fields__},
        "model": settings.model.name,
        "machine": _machine(),
        "load_at_start": round(load, 2),
        "versions": {
            "OffGrid": re.search(r'__version__ = "(.+?)"', Path("offgrid/__init__.py").read_text())[1],
            "llama-cpp-python": importlib.metadata.version(build_llama.PACKAGE),
        },
        "commands": {name: " ".join(words).replace(sys.executable, "python") for name, words in commands.items()},
    }


def _machine() -> dict:
    cpu = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    ram_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gb": round(ram_bytes / 1e9, 1),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
