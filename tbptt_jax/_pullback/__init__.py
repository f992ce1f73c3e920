"""The pullbacks of steps: many at once, linearised, in less work, elementwise or not."""
