"""Anthropic's API: /v1/messages and what its clients ask beside it."""
