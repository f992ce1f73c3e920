"""One file for each peer, runnable as a worker in the environment that has its framework."""
