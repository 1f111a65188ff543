"""What a chat model's text means (thoughts, content, calls), which grammar holds its calls, how tools are told of."""
