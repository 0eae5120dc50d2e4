"""Pictures of predictions and of where their points fell."""
