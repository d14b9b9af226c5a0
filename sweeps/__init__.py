"""One file a question: its search space and nothing else."""
