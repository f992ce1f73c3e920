"""Tasks that were made for a study."""
