"""An error caused by user input."""


class UserError(Exception):
    """A wrong flag, a missing file, a run that diverged: one line that says what to do."""
