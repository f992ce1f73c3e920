"""One chart for each main, drawn from the numbers that it has found."""
