"""vLLM on a rig."""
