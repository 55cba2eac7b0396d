"""Ollama: its own archive, one systemd unit with a store of its own for each service."""
