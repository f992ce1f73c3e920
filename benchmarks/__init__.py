"""The same work beside PyTorch, TensorFlow and plain JAX: gradients compared, steps timed."""
