"""The language model: text, model, training, runs and grids of runs."""
