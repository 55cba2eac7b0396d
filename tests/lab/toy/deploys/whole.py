"""The toy of whole repositories alone."""

from toychat.whole import ENGINE

from rigwright.roles.service.deploy import serve

serve(ENGINE)
