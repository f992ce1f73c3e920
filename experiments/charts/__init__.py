"""One chart for each command, drawn from its numbers."""
