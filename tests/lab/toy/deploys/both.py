"""llama.cpp and the toy engine in one run."""

from rigwright.roles.llamacpp.engine import ENGINE as LLAMACPP
from rigwright.roles.service.deploy import serve
from toychat.engine import ENGINE as TOY

serve(LLAMACPP, TOY)
