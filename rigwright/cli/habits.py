"""What people type who know other tools: the word that does the same here, for commands and for options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import click

_FIND = "rigwright recommend --gpu 4x3090 says which models suit a machine, docs/models.md lists them"
_ASK = "rigwright verify INVENTORY asks each service whether it serves as planned"
_FLAG = "is the engine's, and the plan chooses it; your own stand under flags in a file of wishes: docs/spec.md"


def _by_word(advices: Mapping[str, str]) -> Mapping[str, str]:
    """The advice for each of the words that stand beside it."""
    return {word: advice for advice, words in advices.items() for word in words.split()}


# Words of Ollama, Docker, Terraform, Ansible, Kamal, Hugging Face and their like.
_COMMANDS = _by_word({
    "deploys are pyinfra's: pyinfra INVENTORY deploy.py": (
        "deploy apply up install run serve provision converge pull download push load"
    ),
    "change the inventory, then: pyinfra INVENTORY deploy.py": "update upgrade sync setup build",
    "deploys are pyinfra's: pyinfra INVENTORY remove.py": (
        "remove uninstall destroy down delete rm purge undeploy"
    ),
    "rigwright weights INVENTORY lists model files, with --prune it removes those that no service wants": (
        "prune gc cleanup clean files du df"
    ),
    _FIND: "list ls models model search tags catalogue catalog suggest",
    _ASK: "ps status health check test state top monitor ping",
    "logs are on the rig: journalctl -u rigwright-NAME": "logs log tail",
    "rigwright hardware INVENTORY reads each rig, or @local, this machine": (
        "gpus gpu devices device info scan detect inspect doctor facts probe topo nvidia-smi rigs hosts "
        "diagnose discover machine"
    ),
    "rigwright size MODEL says what a model takes in memory; rigwright plan --gpu 4x3090 MODEL, how it fits": (
        "estimate calc calculate vram memory fit show params"
    ),
    (
        "rigwright size MODEL --speed --gpu NAME estimates; llama-bench -o json measures, and plan "
        "--results DIR reads that"
    ): "bench benchmark perf speed",
    "rigwright plan INVENTORY shows what a deploy would change, and changes nothing": (
        "validate lint diff preview dry-run simulate what-if"
    ),
    "write an inventory, rig.py: rigwright plan --gpu 4x3090 MODEL prints one, docs/spec.md has every key": (
        "init new create add config configure edit quickstart"
    ),
    "rigwright rollback INVENTORY brings back the release before": "undo revert restore back",
    "a service has the API of OpenAI: curl http://RIG:8080/v1/chat/completions": "chat ask prompt complete generate",
    "pyinfra INVENTORY exec -- COMMAND runs a command on each rig": "ssh exec shell",
    "the version is an option: rigwright --version": "version ver",
    "help is an option: rigwright --help, rigwright plan --help": "help",
    "docs/plan.md says how shells complete": "completion completions autocomplete",
})  # fmt: skip
_ON_RIG = "a service is a unit of systemd on its rig: systemctl {} rigwright-NAME"
_UNIT = {"start", "stop", "restart", "reload", "enable", "disable"}
# Options without their dashes, capitals and underscores.
_OPTIONS = _by_word({
    "write --context 64K": "c ctxsize maxmodellen numctx nctx contextlength ctx contextsize maxcontext maxlen tokens",
    "the model stands by itself, without an option: rigwright plan --gpu 4x3090 NAME": (
        "m model modelid modelname modelpath hf hfr hfrepo repo repoid"
    ),
    "write the quant behind the model: NAME:Q4_K_M": "hffile quant quantization q dtype",
    "write --gpu 4x3090, count and name of the cards": (
        "gpus gpucount numgpu numgpus ngpu ngpus device devices card cards g cudavisibledevices"
    ),
    "the name of a GPU says its memory: --gpu 3090, or --gpu '2080 Ti 22GB'": "vram gpumemory gpuram vramgb",
    "write --ram 64G": "memory mem systemram hostmemory cpuram",
    "write --gpu none": "cpu cpuonly nogpu",
    "write --users 4": "parallel np nparallel concurrency maxnumseqs slots concurrent batch",
    _FLAG: (
        "ngl gpulayers ngpulayers tensorsplit ts splitmode sm maingpu mg flashattn fa ncpumoe cmoe cpumoe ot "
        "overridetensor batchsize b ubatchsize ub threads t nommap mlock cachetypek ctk cachetypev ctv jinja "
        "gpumemoryutilization tensorparallelsize tp pipelineparallelsize pp kvcachedtype enforceeager "
        "trustremotecode temp temperature topp topk minp chattemplate reasoningbudget speculativeconfig "
        "draftmax mmproj modeldraft md ropescaling swap maxnumbatchedtokens enableexpertparallel "
        "servedmodelname alias"
    ),
    "it is a key of a service, in a file of --spec: docs/spec.md": (
        "mode mincontext vision cachetype draft quants replicas flags sha256"
    ),
    "host, port and api_key_file are keys of a service: docs/spec.md": "host port apikey p listen",
    "the inventory stands by itself: rigwright {} rig.py": "i inventory inventoryfile",
    "wishes are a file of --spec; an inventory stands by itself: rigwright plan rig.py": (
        "f file config filename varfile e extravars values"
    ),
    "write --json for programs; without it the answer is for people": "o output format outputformat",
    "plan changes nothing, and ends with what a deploy would change": "dryrun check diff n dry simulate",
    "plan changes nothing, and asks nothing": "y yes force autoapprove",
    "write --why for every flag with its reason": "verbose vv vvv debug explain reason reasons",
    "write --engine vllm": "vllm",
    "write --engine llamacpp": "llamacpp llama llamaserver gguf",
    "write --engine ollama": "ollama",
    "write --limit PATTERN": "l target hosts only group",
    "links and slots stand behind the cards: --gpu 4x3090:nvlink=0-1,2-3:x16,x8,x8,x4": "nvlink pcie lanes",
    "write --for coding": "usecase purpose task",
    "write --top 5": "limitmodels max count head",
})  # fmt: skip
# Commands to which advice about plans applies, and those that take an inventory.
_PLANNING = {"plan", "recommend", "size"}
_WITH_INVENTORY = {"plan", "recommend", "hardware", "verify", "rollback", "weights"}


def other_command(name: str) -> str | None:
    """What does here what a command of other tools does; None where none is known."""
    return _ON_RIG.format(name.lower()) if name.lower() in _UNIT else _COMMANDS.get(name.lower())


def other_option(words: Sequence[str], unknown: str, *, command: str, own: Sequence[str]) -> str | None:
    """What to write instead of an option that is none: `--ctx-size: write --context 64K`; None where nothing is known.

    Args:
        words: The command line.
        unknown: What click makes of the option: of `-ngl` only `-n`.
        command: The command that has no such option.
        own: The options that it has; an advice to write another is none.
    """
    typed = next((word for word in words if word[:1] == "-" and word not in own and _holds(word, unknown)), unknown)
    name = typed.partition("=")[0]
    advice = _OPTIONS.get(re.sub(r"[\W_]", "", name.lower()), "")
    if name == "--gpu" and command in ("hardware", "verify"):
        return f"--gpu: {command} asks real machines; plan and recommend take cards in words"
    needed = re.search(r"^write (--[a-z]+)", advice)
    if not advice or (needed and needed[1] not in own):
        return None
    if not needed and command not in (_WITH_INVENTORY if "{}" in advice else _PLANNING):
        return None
    return f"{name} {advice}" if advice is _FLAG else f"{name}: {advice.format(command)}"


def _holds(word: str, unknown: str) -> bool:
    return word.partition("=")[0] == unknown or (word[:2] != "--" and len(unknown) == 2 and unknown[1] in word)


def told(error: click.UsageError, words: Sequence[str]) -> click.UsageError:
    """The error with the right word, where one is known."""
    command = error.ctx.command if error.ctx else None
    is_unknown = isinstance(error, click.NoSuchOption)
    if (is_unknown or "unexpected extra argument" in error.message) and (pasted := _pasted(words)):
        return click.UsageError(f"a command goes between quotes, as one word: '{pasted}'", error.ctx)
    if "unexpected extra argument" in error.message:
        advice = error.message.removeprefix("Got ") + "; put a name with blanks between quotes"
        return click.UsageError(advice, error.ctx)
    if not isinstance(error, click.NoSuchOption):
        return error
    own = [name for param in (command.params if command else ()) for name in (*param.opts, *param.secondary_opts)]
    if error.option_name in ("-v", "-V") and "--version" in own:
        return click.UsageError(f"{error.option_name}: the version is an option: rigwright --version", error.ctx)
    advice = other_option(words, error.option_name, command=(command.name if command else None) or "", own=own) or ""
    return click.UsageError(advice, error.ctx) if advice else error


def _pasted(words: Sequence[str]) -> str | None:
    """The command of another program that stands among the words of ours: `ollama run qwen3.5:9b`."""
    from rigwright.models.command_line import is_program

    for place, word in enumerate(words[1:-1], 1):
        if is_program(word, words[place + 1]) and not words[place - 1].startswith("-"):
            return " ".join(words[place:])
    return None
