"""What a chat model's text means: thoughts, content, calls; the grammar of its calls; how tools reach a prompt."""
