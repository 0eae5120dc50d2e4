"""Files of weights: reading them without running code, their layouts, where they come from."""
