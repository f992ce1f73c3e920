"""Studies beyond the article; each file is a command."""
