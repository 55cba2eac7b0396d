"""vLLM in plans: candidates, memory, flags, environment."""
