"""llama.cpp and the toy engine in one run."""

from toychat.engine import ENGINE as TOY

from rigwright.roles.llamacpp.engine import ENGINE as LLAMACPP
from rigwright.roles.service.deploy import serve

serve(LLAMACPP, TOY)
