"""What a user can mend."""


class UserError(Exception):
    """A wrong flag, a missing file, a run that diverged: one line that says what to do."""
