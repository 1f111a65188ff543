"""The catalog: which models there are, found without a restart, and what a client's name for one means.

Knows folders, files and the variants of them; what is in a file is `gguf.py`'s. Reads in place and never writes.
Must stay true: a file that rests is read once, whether it is good or broken; a file that changes, or is still being
copied in, is looked at again by the next call, so it becomes good by itself.
"""

import difflib
import functools
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from offgrid.engine import gguf
from offgrid.engine.gguf import BrokenModel, GgufInfo
from offgrid.engine.variants import shares_worker
from offgrid.errors import AmbiguousModel, ModelNotFound
from offgrid.types import Variant

log = logging.getLogger(__name__)

SUFFIX = ".gguf"
LOCAL = "local/"  # this binding's prefix, with which clients may name any model of ours
LATEST = ":latest"  # Ollama's tag of a model without one
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})", re.DOTALL)
QUANTISATION = r"[-._](UD-)?(I?Q\d\w*|TQ\d\w*|B?F16|F32|MXFP4\w*|NVFP4)"
# A time stamp can stand still while a file changes twice: what was read so soon after a change is not remembered.
SETTLED_S = 2.0
N_NAMED = 5  # candidates in a message


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model in a folder, a split one is one model; or a variant of one. Either `info` or `broken` is given."""

    id: str
    path: Path  # of a split model: its first part
    size_bytes: int
    created: int  # seconds since 1970
    info: GgufInfo | None = None
    broken: str | None = None  # why it is unusable, going on from its name: "is truncated: …"
    paths: tuple[Path, ...] = ()  # of all its files that are there
    variant: Variant | None = None
    shares: "ModelFile | None" = None  # the model whose worker answers for this one; None: its own

    @property
    def worker(self) -> "ModelFile":
        """The model under whose id its worker runs."""
        return self.shares or self

    @property
    def kind(self) -> str:
        return self.info.kind if self.info else "broken"


class Catalog:
    """The models in `models_dirs`; of two with one id, that of the first folder counts. Safe for any thread.

    `aliases` maps names that clients use to names that `resolve` understands; `variants` gives those there are, under
    any keys.
    """

    def __init__(
        self,
        models_dirs: list[Path],
        aliases: dict[str, str] | None = None,
        variants: Callable[[], Mapping[str, Variant]] = dict,
    ):
        self.models_dirs = [Path(folder) for folder in models_dirs]
        self.aliases = dict(aliases or {})
        self._variants = variants
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple, GgufInfo | str]] = {}  # the file's state when it was read, what came of it

    def scan(self) -> list[ModelFile]:
        """Every model now, broken ones too, ordered by id. A missing folder is an empty one."""
        with self._lock:
            found = list(_walk(self.models_dirs))
            self._known = {path: self._known[path] for _, path in found if path in self._known}
            models = [self._model(id, parts) for id, parts in _sets(found)]
        models += _made(models, self._variants().values())
        return sorted(_hide_duplicates(models), key=lambda model: (model.id.casefold(), model.id))

    def forget(self) -> None:
        """Read every file again at the next look."""
        with self._lock:
            self._known.clear()

    def resolve(self, name: str) -> ModelFile:
        """The model that a client means by `name`: the first of these rules that finds one.

        Its id; its id in any case; either after `local/`, before `.gguf` or before `:latest`; an alias; its id without
        the quantisation, when one model alone fits. Raises ModelNotFound: unknown, AmbiguousModel, or (`model_broken`)
        unusable.
        """
        models = self.scan()
        found = _by_id(models, name) or self._by_alias(models, name) or _by_quantisation(models, name)
        if not found:
            raise ModelNotFound(f"There is no model {name[:200]!r}. {self._what_there_is(models, name)}")
        if len(found) > 1:
            raise AmbiguousModel(f"The name {name[:200]!r} could mean {_listed(found)}: use one of these ids.")
        model = found[0]
        if model.broken:
            message = f"The model {model.id!r} cannot be used: {_printable(model.path.name)} {model.broken}."
            raise ModelNotFound(message, code="model_broken")
        return model

    def default(self, kind: str, preferred: str | None = None) -> ModelFile:
        """The model for a client that names none: `preferred` as `resolve` has it, else the first of that kind."""
        if preferred:
            model = self.resolve(preferred)
            if model.kind != kind:
                raise ModelNotFound(f"The preferred model {preferred!r} is for {model.kind}; one for {kind} is needed.")
            return model
        models = self.scan()
        for model in models:
            if model.kind == kind and model.variant is None:  # what somebody made is for who asks for it
                return model
        raise ModelNotFound(f"There is no model for {kind}. {self._what_there_is(models)}")

    def _by_alias(self, models: list[ModelFile], name: str) -> list[ModelFile]:
        alias = next((alias for alias in self.aliases if alias.casefold() in _spellings(name.casefold())), None)
        if alias is None:
            return []
        target = self.aliases[alias]
        found = _by_id(models, target) or _by_quantisation(models, target)
        if not found:
            message = f"{alias!r} is an alias of {target!r}, which is not there. {self._what_there_is(models, target)}"
            raise ModelNotFound(message)
        return found

    def _what_there_is(self, models: list[ModelFile], name: str = "") -> str:
        """The second half of a message: the nearest models, all of them, or how to get one."""
        usable = {model.id.casefold(): model for model in models if not model.broken}
        if not usable:
            folders = ", ".join(str(folder) for folder in self.models_dirs)
            return f"{folders} holds none: run `python offgrid.py models starter`, or put a .gguf file there."
        near = difflib.get_close_matches(name[:200].casefold(), usable, n=N_NAMED, cutoff=0.5)
        return f"There is {_listed([usable[id] for id in near or usable])}."

    def _model(self, id: str, parts: list[Path | None]) -> ModelFile:
        """`parts` has None where one is missing."""
        there = [part for part in parts if part]
        sizes, times = zip(*(_size_and_time(part) for part in there), strict=True)
        try:
            info, broken = self._info(parts), None
        except BrokenModel as e:
            info, broken = None, e.reason
        return ModelFile(id, there[0], sum(sizes), times[0], info, broken, tuple(there))

    def _info(self, parts: list[Path | None]) -> GgufInfo:
        """What all the parts are together. Raises BrokenModel."""
        count = len(parts)
        if None in parts:
            raise BrokenModel(f"is incomplete: part {parts.index(None) + 1} of {count} is missing")
        infos = []
        for number, part in enumerate(parts, 1):
            try:
                infos.append(self._read(part))
            except BrokenModel as e:
                which = f"is incomplete: part {number} of {count} " if count > 1 else ""
                raise BrokenModel(which + e.reason) from e
        if [(info.split_index, info.split_count) for info in infos] != [(number, count) for number in range(count)]:
            raise BrokenModel("is split otherwise than its name says: the parts are called NAME-00001-of-00003.gguf …")
        if count == 1:
            return infos[0]
        return replace(
            infos[0],
            size_bytes=sum(info.size_bytes for info in infos),
            weight_bytes=sum(info.weight_bytes for info in infos),
            n_params=sum(info.n_params for info in infos),
        )

    def _read(self, path: Path) -> GgufInfo:
        try:
            status = os.stat(path)
        except OSError as e:
            raise BrokenModel(f"cannot be read: {e.strerror}") from e
        # ctime too: copying with the old time stamp, and mending permissions, change nothing else.
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known_state, result = self._known.get(path, (None, None))
        if known_state != state:
            try:
                result = gguf.read(path)
            except BrokenModel as e:
                result = e.reason
            if abs(time.time() - max(status.st_mtime, status.st_ctime)) > SETTLED_S:
                self._known[path] = (state, result)
        if isinstance(result, str):
            raise BrokenModel(result)
        return result


def _walk(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """(id, path) of everything called *.gguf; links to folders are followed, and no folder is entered twice."""
    entered = set()
    for top in folders:
        pending = [(top, "")]
        while pending:
            folder, prefix = pending.pop()
            try:
                status = os.stat(folder)
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as e:
                # A folder that is not there is as good as empty: nothing needs to exist before the first start.
                if not isinstance(e, FileNotFoundError):
                    _warn_once(folder, e.strerror)
                continue
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            for entry in entries:
                if entry.name.startswith("."):  # a half-written file of ours or of rsync, the bin of a file manager
                    continue
                if entry.name.lower().endswith(SUFFIX):
                    yield prefix + _printable(entry.name[: -len(SUFFIX)]), Path(entry.path)
                elif entry.is_dir():
                    pending.append((Path(entry.path), f"{prefix}{_printable(entry.name)}/"))


@functools.lru_cache(maxsize=256)  # once, because `scan` runs for every request
def _warn_once(folder: Path, reason: str) -> None:
    log.warning("The models folder %s cannot be read: %s", _printable(str(folder)), reason)


def _sets(found: list[tuple[str, Path]]) -> Iterator[tuple[str, list[Path | None]]]:
    """(id, parts) of each model: a split one, name-00001-of-00003, is one model called `name`."""
    splits: dict[tuple, dict[int, Path]] = {}
    for id, path in found:
        part = PART.fullmatch(id)
        number, count = (int(part["number"]), int(part["count"])) if part else (0, 0)
        if not 1 <= number <= count:
            yield id, [path]
            continue
        splits.setdefault((part["stem"], count, path.parent), {})[number] = path
    for (id, count, _), parts in splits.items():
        yield id, [parts.get(number) for number in range(1, count + 1)]


def _made(files: list[ModelFile], variants: Iterable[Variant]) -> Iterator[ModelFile]:
    """The variants as models; not those that are only the settings of a file's own name."""
    by_id = {file.id: file for file in reversed(files)}
    for variant in variants:
        base, created = by_id.get(variant.base), int(variant.created_at)
        if variant.name.casefold() == variant.base.casefold():
            continue
        if base is None:
            broken = f"is made of {variant.base!r}, which is not there any more"
            yield ModelFile(variant.name, Path(variant.name), 0, created, broken=broken, variant=variant)
            continue
        shares = base if shares_worker(variant) else None
        yield replace(base, id=variant.name, created=created, variant=variant, shares=shares)


def _hide_duplicates(models: list[ModelFile]) -> Iterator[ModelFile]:
    """Of several models with one id the first is usable; the others are shown as broken, for the reason."""
    first: dict[str, ModelFile] = {}
    for model in models:
        other = first.setdefault(model.id, model)
        if other is model:
            yield model
        else:
            yield replace(model, info=None, broken=f"is hidden by {_printable(str(other.path))}: rename one of them")


def _spellings(name: str) -> list[str]:
    """The ids that a client may mean literally, likeliest first."""
    bare = name.removeprefix(LOCAL)
    without_suffix = bare[: -len(SUFFIX)] if bare.lower().endswith(SUFFIX) else bare
    return list(dict.fromkeys([name, bare, without_suffix, bare.removesuffix(LATEST)]))


def _by_id(models: list[ModelFile], name: str) -> list[ModelFile]:
    for spelling in _spellings(name):
        exact = [model for model in models if model.id == spelling][:1]  # the others are hidden by the first
        if exact:
            return exact
        any_case = {model.id: model for model in reversed(models) if model.id.casefold() == spelling.casefold()}
        if any_case:
            return list(any_case.values())
    return []


def _by_quantisation(models: list[ModelFile], name: str) -> list[ModelFile]:
    """The models whose id is `name` and a quantisation: working ones if there are any."""
    for spelling in _spellings(name):
        pattern = re.compile(re.escape(spelling) + QUANTISATION, re.IGNORECASE)
        found = [model for model in models if pattern.fullmatch(model.id)]
        if found:
            return [model for model in found if not model.broken] or found
    return []


def _listed(models: list[ModelFile]) -> str:
    names = [repr(model.id) for model in models[:N_NAMED]]
    more = f" and {len(models) - N_NAMED} more" if len(models) > N_NAMED else ""
    return ", ".join(names) + more


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, int(status.st_mtime)


def _printable(text: str) -> str:
    """A file's name, safe for JSON and a terminal: control characters and bytes that are not UTF-8 as \\x07."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
