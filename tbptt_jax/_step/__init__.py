"""A user's step: what it is given, what it must return, and what wraps it."""
