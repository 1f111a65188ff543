"""Readers of documents, one module per family of formats. They run in a child process: see `child.py`.

A reader is a function `(source: Source, draft: Draft) -> None`. What it raises of `errors` speaks of the file without
naming it: "is damaged: …". Whatever else it raises is answered as a damaged file. It trusts no byte, and leaves time
and memory to the limits of its process.
"""
