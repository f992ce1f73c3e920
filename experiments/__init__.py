"""Mains that train and measure; the library they use is tbptt_jax."""
