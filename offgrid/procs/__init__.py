"""Child processes: how one is started, spoken to, and ended. Knows nothing of what the child does."""
