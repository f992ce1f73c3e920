"""Text of any size and origin as tokens, and these as sequences."""
