"""Ollama in plans: environment and Modelfile."""
