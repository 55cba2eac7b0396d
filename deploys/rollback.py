"""Bring back the release that each service ran before: pyinfra INVENTORY deploys/rollback.py"""

from rigwright.roles.service.rollback import rollback

rollback()
