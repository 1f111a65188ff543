"""What a variant is started with, and which settings every model has of its own: those of the yaml and of variants."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from offgrid.sections import EACH_ITS_OWN, ModelSettings
from offgrid.types import Variant

# What a worker is started with: a variant that differs in these cannot share its base's.
LOADED_WITH = EACH_ITS_OWN | {"chat_template"}


def shares_worker(variant: Variant) -> bool:
    """Whether the worker of its base answers for it, so that one copy in memory serves both."""
    return not LOADED_WITH & variant.settings.keys()


class OwnSettings(Mapping[str, ModelSettings]):
    """model id → its own settings, now: a variant's stand before its base's. Iterates over the yaml's ids only."""

    def __init__(self, written: Mapping[str, ModelSettings], variants: Callable[[], Mapping[str, Variant]]):
        self._written = written
        self._variants = variants

    def __getitem__(self, id: str) -> ModelSettings:
        own = self._written.get(id)
        variant = self._variants().get(id.lower())
        if variant is None:
            return self._written[id]
        base = self._written.get(variant.base, ModelSettings())
        made = replace(base, pinned=False, aliases=(), **variant.settings)
        if own is None:
            return made
        # The yaml is the last word on its own machine.
        return replace(made, **{name: value for name in own.__slots__ if (value := getattr(own, name)) is not None})

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)
