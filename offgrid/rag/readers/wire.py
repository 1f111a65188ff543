"""A Parsed as one frame: its few values as JSON, its blocks as numbers and its text as UTF-8 in the blob."""

import struct
from dataclasses import astuple

from offgrid.rag.parsed import KINDS, Block, Parsed

BLOCK = struct.Struct("<IIBBi")  # start, end, kind, level, page (0: none)


def pack(parsed: Parsed) -> tuple[dict, bytes]:
    message = {
        "content_type": parsed.content_type,
        "metadata": parsed.metadata,
        "n_pages": parsed.n_pages,
        "n_blocks": len(parsed.blocks),
    }
    rows = (astuple(block) for block in parsed.blocks)
    blocks = [BLOCK.pack(start, end, KINDS.index(kind), level, page or 0) for start, end, kind, level, page in rows]
    return message, b"".join([*blocks, parsed.text.encode()])


def unpack(message: dict, blob: bytes) -> Parsed:
    size = message["n_blocks"] * BLOCK.size
    blocks = tuple(
        Block(start, end, KINDS[kind], level, page or None)
        for start, end, kind, level, page in BLOCK.iter_unpack(memoryview(blob)[:size])
    )
    text = str(memoryview(blob)[size:], "utf-8")
    return Parsed(text, blocks, message["content_type"], message["metadata"], message["n_pages"])
