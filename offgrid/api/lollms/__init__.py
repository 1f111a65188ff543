"""/lollms/v1, its other names under /v1, and /api/api-keys: what only LoLLMs has, as its clients know it."""
