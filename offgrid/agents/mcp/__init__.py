"""The client of the Model Context Protocol: servers that bring tools, started and asked."""
