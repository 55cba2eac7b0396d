"""Serve the models of the inventory with llama.cpp: pyinfra INVENTORY deploys/llamacpp.py"""

from rigwright.roles.llamacpp.deploy import deploy

deploy()
