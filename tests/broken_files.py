"""Files that are called *.gguf and are no models: what people and bad copies leave in a models folder."""

import os
import struct
from pathlib import Path


def write_broken_files(folder: Path, good: Path) -> dict[str, str]:
    """Write a file of each broken sort, most of them made from `good`: {file name: what its reason must say}."""
    whole = good.read_bytes()
    text = _packed_text

    def head(*keys: bytes, version: int = 3, n_tensors: int = 0, n_keys: int | None = None) -> bytes:
        n_keys = len(keys) if n_keys is None else n_keys
        return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys) + bytes(64)

    def number(key: bytes, value: int) -> bytes:
        return text(key) + struct.pack("<II", 4, value)

    def tensor(name: bytes, *shape: int, type: int = 0, offset: int = 0) -> bytes:
        return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type, offset)

    contents = {
        "empty": (b"", "is empty"),
        "one-byte": (b"G", "is not a GGUF file"),
        "other-magic": (b"ABCD" + whole[4:], "it begins with b'ABCD'"),
        "web-page": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "lfs-pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        "safetensors": (struct.pack("<Q", 2) + b"{}", "safetensors"),
        "archive": (b"PK\x03\x04" + bytes(100), "zip"),
        "zeros": (bytes(4096), "zeros"),
        "version-0": (head(version=0), "version 0, which is too old"),
        "version-1": (head(version=1), "version 1, which is too old"),
        "version-99": (head(version=99), "version 99, which is too new"),
        "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        "cut-in-the-counts": (whole[:10], "is truncated or damaged"),
        "cut-in-the-keys": (whole[:300], "is truncated or damaged"),
        "cut-in-the-weights": (whole[:-1], f"is truncated: {len(whole) - 1:,} of {len(whole):,} bytes are there"),
        "many-keys": (head(n_keys=2**62), "claims"),
        "many-tensors": (head(n_tensors=2**63), "claims"),
        "long-key": (head(struct.pack("<Q", 2**40), n_keys=1), "claims"),
        "long-text": (head(text(b"a") + struct.pack("<IQ", 8, 2**64 - 1)), "claims"),
        "long-list": (head(text(b"a") + struct.pack("<IIQ", 9, 10, 2**61)), "claims"),
        "long-word-in-a-list": (head(text(b"a") + struct.pack("<IIQQ", 9, 8, 5, 2**64 - 1)), "claims"),
        "list-of-lists": (head(text(b"a") + struct.pack("<IIQ", 9, 9, 1)), "a list of lists"),
        "unknown-type": (head(text(b"a") + struct.pack("<I", 77)), "unknown type 77"),
        "same-key-twice": (head(number(b"a", 1), number(b"a", 1)), "'a' twice"),
        "key-not-utf-8": (head(number(b"\xff", 1)), "not UTF-8"),
        "odd-alignment": (head(number(b"general.alignment", 3)), "alignment"),
        "five-dimensions": (head(tensor(b"t", 1, 1, 1, 1, 1), n_tensors=1, n_keys=0), "5 dimensions"),
        "endless-tensor": (head(tensor(b"t", 2**63, 2**63), n_tensors=1, n_keys=0), "larger than any disk"),
        "crooked-tensor": (head(tensor(b"t", 1, offset=7), n_tensors=1, n_keys=0), "stands where none can"),
        "same-tensor-twice": (head(tensor(b"t", 1), tensor(b"t", 1), n_tensors=2, n_keys=0), "two tensors of one name"),
    }
    for name, (content, _) in contents.items():
        (folder / f"{name}.gguf").write_bytes(content)
    (folder / "directory.gguf").mkdir()
    os.mkfifo(folder / "fifo.gguf")
    (folder / "dangling.gguf").symlink_to("nowhere")
    (folder / "loop.gguf").symlink_to("loop.gguf")
    others = {"directory": "is a directory", "fifo": "FIFO", "dangling": "cannot be read", "loop": "cannot be read"}
    return {f"{name}.gguf": reason for name, (_, reason) in contents.items()} | {
        f"{n}.gguf": r for n, r in others.items()
    }


def _packed_text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw
