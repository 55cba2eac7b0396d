"""vLLM: from a choice to the arguments of `vllm serve` and the environment of each copy.

The model is the first word, before all flags. A key for the API never stands on the command line: the unit reads
VLLM_API_KEY, a single key, from a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.hardware.values import Link
from rigwright.plan.choice import Choice
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.vllm.environment import environments, is_tensor_linked
from rigwright.plan.engines.vllm.flags import flags_of, remarks
from rigwright.plan.engines.vllm.overrides import apply_overrides


def render(choice: Choice, target: RenderContext, version: str, *, links: Sequence[Link] = ()) -> Rendered:
    """What vLLM is started with. `links` are the rig's, which know more than the layout's one link.

    Raises:
        WrongSpec: a flag of the inventory is not one of this version.
    """
    ours = flags_of(choice, target, is_linked=is_tensor_linked(choice, links))
    flags, dropped = apply_overrides(choice.wish, ours, version)
    copies, reasons = environments(choice, target, version, links)
    return Rendered(flags=flags, environments=copies, reasons=(*remarks(choice, target), *reasons, *dropped))
