"""Commands that train and measure with tbptt_jax; this listing is what can be run."""
