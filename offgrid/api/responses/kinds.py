"""Shapes that this family has beside those of `api/shapes.py`: objects of named kinds, some of them refused by name."""

from typing import Any

from offgrid.api.fields import Asked, Object, Variants
from offgrid.api.shapes import Shape, wrong
from offgrid.errors import BadRequest


class Kinds(Variants):
    """Objects told apart by `type`. `refused`: kinds that OpenAI has and this server does not → why not."""

    def __init__(self, kinds: dict[str, Object], refused: dict[str, str], usual: str | None = None):
        super().__init__("type", kinds, usual)
        self.refused = refused

    def read(self, value: Any, path: str) -> Asked:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in self.refused:
            raise BadRequest(f"{path}.type is {kind!r}: {self.refused[kind]}", param=f"{path}.type")
        return super().read(value, path)


class Metadata(Shape):
    """OpenAI's: a few texts under short names."""

    most, max_name_chars, max_chars = 16, 64, 512
    wanted = f"an object of at most {most} texts of up to {max_chars} characters, names up to {max_name_chars}"

    def read(self, value: Any, path: str) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > self.most:
            raise wrong(path, self.wanted, value)
        for name, text in value.items():
            if len(name) > self.max_name_chars or not isinstance(text, str) or len(text) > self.max_chars:
                raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        text = {"type": "string", "maxLength": self.max_chars}
        names = {"maxLength": self.max_name_chars}
        return {
            "type": "object",
            "maxProperties": self.most,
            "propertyNames": names,
            "additionalProperties": text,
        }
