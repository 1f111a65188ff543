"""Agents: models that use tools until a task is done."""
