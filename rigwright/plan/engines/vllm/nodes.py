"""What vLLM is told where several rigs serve one model: its own way, `--nnodes`, without Ray.

Source: vLLM 0.33.0, docs/serving/parallelism_scaling.md and `vllm serve --help=all`; run over two rigs with 0.32.0.
NCCL 2.30, "Environment variables": `=` before the name of an interface takes that one alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.errors import WrongSpec
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ClusterPart, Flag

# What the cluster's own data says.
_OURS = ("--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless", "--distributed-executor-backend")
# What a rig that answers no requests has no use for.
_OF_THE_API = ("--served-model-name", "--host", "--port", "--disable-access-log-for-endpoints", "--shutdown-timeout")


def check_flags(part_of: str, flags: Sequence[str]) -> None:
    """Refuse flags of an inventory that contradict its cluster.

    Raises:
        WrongSpec: one is the cluster's to say.
    """
    if name := next((one for one in flags if one in _OURS), None):
        raise WrongSpec(f"cluster.service.flags: {name} is not set through flags; the cluster {part_of} says it")


def member_flags(flags: Sequence[Flag], part: ClusterPart) -> tuple[Flag, ...]:
    """The flags of a rig, from those of the whole service."""
    kept = [flag for flag in flags if flag.name not in _OURS and not (part.rank and flag.name in _OF_THE_API)]
    place = 1 + max(
        (at for at, flag in enumerate(kept) if flag.name in ("--tensor-parallel-size", "--pipeline-parallel-size")),
        default=len(kept) - 1,
    )
    is_on_cpus = all(flag.name != "--tensor-parallel-size" for flag in kept)
    return (*kept[:place], *_of_the_group(part, is_on_cpus=is_on_cpus), *kept[place:])


def member_environment(part: ClusterPart) -> tuple[tuple[tuple[str, str], Reason], ...]:
    """The environment by which a rig finds the others, each with its reason."""
    interface, why = part.own.interface, f"{part.name} talks over the private network alone"
    pairs = [
        ("VLLM_HOST_IP", part.own.address, "what this rig tells the others that it is called"),
        ("NCCL_SOCKET_IFNAME", f"={interface}", why),
        ("GLOO_SOCKET_IFNAME", interface, why),
    ]
    if not part.has_rdma:
        because = "NCCL goes by TCP: InfiniBand or RoCE were not named (rdma), and half of one hangs"
        pairs.append(("NCCL_IB_DISABLE", "1", because))
    return tuple(((name, value), Reason(choice=f"{name}={value}", because=because)) for name, value, because in pairs)


def _of_the_group(part: ClusterPart, *, is_on_cpus: bool) -> Iterator[Flag]:
    count = len(part.members)
    if is_on_cpus:
        yield _flag("--tensor-parallel-size", str(count), "each layer on the CPUs of all rigs")
    yield _flag("--distributed-executor-backend", "mp", "vLLM's own way for several rigs: no Ray beside it")
    yield _flag("--nnodes", str(count), f"the rigs of {part.name}: {', '.join(one.rig for one in part.members)}")
    yield _flag("--node-rank", str(part.rank), "the place of this rig among them")
    yield _flag("--master-addr", part.head.address, f"{part.head.rig}, at which the others meet")
    yield _flag("--master-port", str(part.port), "the port of that; open to the rigs of the cluster alone")
    if part.rank:
        yield _flag("--headless", None, f"requests go to {part.head.rig}")


def _flag(name: str, value: str | None, because: str) -> Flag:
    return Flag(
        name=name, value=value, reason=Reason(choice=name if value is None else f"{name} {value}", because=because)
    )
