"""The knowledge base: documents read, cut, indexed and searched. Knows nothing of HTTP."""
