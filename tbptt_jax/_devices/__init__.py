"""Time over several devices."""
