"""llama.cpp in plans: candidates, memory, flags, environment, builds."""
