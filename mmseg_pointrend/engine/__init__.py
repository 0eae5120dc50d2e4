"""Training, testing and retrofits: what a run needs around MMEngine."""
