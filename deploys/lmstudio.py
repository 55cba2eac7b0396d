"""Serve the model of the data `lmstudio` with LM Studio's llmster: pyinfra INVENTORY deploys/lmstudio.py

From its documentation; it was not run with the real program.
"""

from rigwright.roles.lmstudio.deploy import deploy

deploy()
