"""Pages for people: files, no code. Each is whole in itself, as nothing may be fetched from elsewhere."""
