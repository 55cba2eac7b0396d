"""vLLM in plans: ways to serve, memory, flags, environment."""
