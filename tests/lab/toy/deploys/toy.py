"""The toy engine alone."""

from toychat.engine import ENGINE

from rigwright.roles.service.deploy import serve

serve(ENGINE)
