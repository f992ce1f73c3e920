"""Sequences without end, chunk by chunk, exact at the seams."""
