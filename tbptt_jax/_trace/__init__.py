"""The eligibility trace: how a carry depends on the parameters before it."""
