"""The toy engine alone."""

from rigwright.roles.service.deploy import serve
from toychat.engine import ENGINE

serve(ENGINE)
