"""Ollama's own API, below /api and /ollama/api, for its clients: OLLAMA_HOST is all that they need."""
