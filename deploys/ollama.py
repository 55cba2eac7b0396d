"""Serve the models of the inventory with Ollama: pyinfra INVENTORY deploys/ollama.py"""

from rigwright.roles.ollama.deploy import deploy

deploy()
