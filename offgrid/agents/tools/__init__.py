"""What an agent can do: the built-in tools, and the box that holds them with those of others."""
