"""llama.cpp in plans: ways to serve, memory, flags, environment, builds."""
