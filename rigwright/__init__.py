"""Rigwright: bare machines with GPUs into planned, built, pinned and verified LLM servers, over SSH."""

__version__ = "0.1.0"
