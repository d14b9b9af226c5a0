"""From MLflow runs to a decision; imports neither torch nor ray."""
