"""/v1/responses: OpenAI's newer way to ask, with items instead of messages, and answers that are kept."""
