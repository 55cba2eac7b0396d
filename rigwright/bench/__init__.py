"""Measurements: results of llama-bench and vllm bench as values."""
