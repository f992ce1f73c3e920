"""A gradient taken apart by lag, and the horizons that follow from it."""
