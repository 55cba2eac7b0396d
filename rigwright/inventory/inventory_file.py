"""What is wrong with a file that should be an inventory of pyinfra, told before pyinfra reads it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

A_GROUP = 'rigs = ([("rig1", {"ssh_hostname": "192.168.1.50", "ssh_user": "ada"})], {})'
_WAY = (
    f"pyinfra's inventories are Python: {A_GROUP}; "
    "what Ansible calls ansible_host, ansible_user, ansible_port is ssh_hostname, ssh_user, ssh_port there"
)
# A page of inventory; what is larger is something else.
_LARGEST_BYTES = 4 << 20
# What Ansible and others call the data of pyinfra's connector.
_OTHER_KEYS = {
    "ansible_host": "ssh_hostname",
    "ansible_ssh_host": "ssh_hostname",
    "ansible_user": "ssh_user",
    "ansible_ssh_user": "ssh_user",
    "ansible_port": "ssh_port",
    "ansible_ssh_port": "ssh_port",
    "ansible_password": "ssh_password",
    "ansible_ssh_pass": "ssh_password",
    "ansible_ssh_private_key_file": "ssh_key",
    "ansible_private_key_file": "ssh_key",
    "ansible_become": "_sudo",
    "ansible_become_password": "_sudo_password",
    "ansible_become_pass": "_sudo_password",
    "ansible_become_user": "_sudo_user",
    "ansible_connection": "the name of the host, like @local",
    "ssh_host": "ssh_hostname",
    "ssh_address": "ssh_hostname",
    "ssh_ip": "ssh_hostname",
    "ssh_username": "ssh_user",
    "ssh_private_key": "ssh_key",
    "ssh_key_file": "ssh_key",
    "ssh_identity_file": "ssh_key",
}
_WORDS_OF_YAML = {
    "true": "True",
    "false": "False",
    "null": "None",
    "yes": "True",
    "no": "False",
    "on": "True",
    "off": "False",
}


def problem_of(path: Path) -> str | None:
    """Why a file is no inventory, to be put behind its name: `:3: …`; None where nothing speaks against it."""
    try:
        text = path.read_bytes()[:_LARGEST_BYTES].decode("utf-8")
    except OSError as error:
        return f": cannot be read: {error.strerror}; check the path"
    except UnicodeDecodeError:
        return ": is no text; name an inventory"
    if path.suffix.lower() in (".yml", ".yaml", ".ini", ".json", ".toml"):
        return _foreign(path, text)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        if path.suffix != ".py":
            return _foreign(path, text)
        return f":{error.lineno or 1}: {error.msg}; correct the Python"
    except (ValueError, RecursionError, MemoryError):
        return ": is no Python that can be read; correct it"
    if names := next(
        (f":{node.lineno}: {node.id}: Python writes {_WORDS_OF_YAML[node.id]}" for node in _unknown(tree)), None
    ):
        return names
    groups = [node for node in tree.body if isinstance(node, ast.Assign)]
    return _deploy(tree, groups) or next(filter(None, map(_letters, groups)), None)


def _foreign(path: Path, text: str) -> str:
    """What a file is that is no Python."""
    from rigwright.spec.other_tools import kind_of  # which reads YAML; what starts pyinfra is light

    kind = kind_of(text)
    if kind and kind != "an inventory of Ansible":
        return f": is {kind}, and no inventory; {_WAY}"
    if re.search(r"^(?:rig|services)\s*:|^\s*\{\s*\"services\"", text, re.MULTILINE):
        return f": holds wishes, and names no rig; it goes behind --spec: rigwright plan --gpu 4x3090 --spec {path}"
    return f": is no Python; {_WAY}"


def _unknown(tree: ast.Module) -> Iterator[ast.Name]:
    """Words of YAML that nothing in the file gives a meaning to."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    given |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    given |= {node.asname or node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
    yield from (node for node in names if node.id in _WORDS_OF_YAML and node.id not in given)


def _deploy(tree: ast.Module, groups: list[ast.Assign]) -> str | None:
    """A deploy in the place of the inventory."""
    modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    if not groups and any(module.startswith(("rigwright.roles", "pyinfra.operations")) for module in modules):
        return ": is a deploy, which comes second: pyinfra INVENTORY DEPLOY"
    return None


def _letters(group: ast.Assign) -> str | None:
    """A group whose hosts are a text: pyinfra takes its letters for hosts."""
    hosts, name = group.value, getattr(group.targets[0], "id", "")
    if isinstance(hosts, ast.Tuple) and hosts.elts and any(isinstance(one, ast.Dict) for one in hosts.elts[1:]):
        hosts = hosts.elts[0]
    if (
        isinstance(hosts, ast.Constant)
        and isinstance(hosts.value, str)
        and name
        and not name.startswith("_")
        and isinstance(group.value, ast.Tuple)
    ):
        return f":{group.lineno}: {name}: its hosts are a text; put them in a list: {name} = ([{hosts.value!r}], {{…}})"
    return None


def foreign_keys(data: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of a host that another program would understand, and pyinfra passes by."""
    for key in data:
        if own := _OTHER_KEYS.get(key):
            yield f"{key}: pyinfra does not know it; write {own}"
