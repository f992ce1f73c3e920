"""How a command runs, and what it leaves: its folder, its numbers, what they depend on."""
