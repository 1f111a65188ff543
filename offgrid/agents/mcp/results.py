"""What a tool of an MCP server answered, as text for a model, pictures, and data.

Pure. Must stay true: nothing of an answer is left out in silence; what is neither text nor a picture is named in the
text, with its kind and size.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`is_error`: the tool says that it failed, and the text says why."""

    text: str
    is_error: bool = False
    images: tuple[Image, ...] = ()
    structured: dict[str, Any] | None = None


def read_result(result: dict) -> ToolResult:
    """The result of `tools/call`."""
    texts, images = [], []
    content = result.get("content")
    for block in content if isinstance(content, list) else []:
        text, image = _read_block(block)
        texts.append(text)
        if image is not None:
            images.append(image)
    structured = result.get("structuredContent")
    structured = structured if isinstance(structured, dict) else None
    if not texts and structured is not None:
        texts.append(json.dumps(structured, ensure_ascii=False))
    return ToolResult("\n".join(texts), result.get("isError") is True, tuple(images), structured)


def _read_block(block: Any) -> tuple[str, Image | None]:
    block = block if isinstance(block, dict) else {}
    match block:
        case {"type": "text", "text": str(text)}:
            return text, None
        case {"type": "image", "data": str(data)}:
            image = _image(data, block.get("mimeType"))
            return (
                (f"[a picture, {len(image.data)} bytes of {image.mime_type}]", image)
                if image
                else ("[a broken picture]", None)
            )
        case {"type": "audio", "data": str(data)}:
            return f"[a sound, {_size(data)} of {_text(block, 'mimeType')}]", None
        case {"type": "resource", "resource": dict(resource)}:
            return _read_resource(resource)
        case {"type": "resource_link"}:
            named = [_text(block, key) for key in ("name", "uri", "description")]
            return f"[a link: {', '.join(part for part in named if part)}]", None
    return f"[content of the kind {_text(block, 'type') or 'nothing'}, which is not read here]", None


def _read_resource(resource: dict) -> tuple[str, Image | None]:
    uri, kind = _text(resource, "uri"), _text(resource, "mimeType")
    if isinstance(resource.get("text"), str):
        return f"[{uri}]\n{resource['text']}", None
    blob = resource.get("blob")
    if not isinstance(blob, str):
        return f"[{uri}, without content]", None
    image = _image(blob, kind) if kind.startswith("image/") else None
    return f"[{uri}, {_size(blob)} of {kind or 'an unknown kind'}]", image


def _image(data: str, mime_type: Any) -> Image | None:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Image(mime_type if isinstance(mime_type, str) else "image/png", content)


def _size(data: str) -> str:
    return f"{len(data) * 3 // 4} bytes"


def _text(block: dict, key: str) -> str:
    value = block.get(key)
    return value[:1000] if isinstance(value, str) else ""
