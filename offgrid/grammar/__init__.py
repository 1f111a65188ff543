"""Grammars that hold a model to a form: JSON Schemas written as GBNF, and GBNF checked before llama.cpp reads it."""
