"""Training and testing runs: what is checked before them, and what they must not lose."""
