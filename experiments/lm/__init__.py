"""The language model: model, training, runs and grids of runs."""
