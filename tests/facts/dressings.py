"""Ways in which people hand on what a tool printed: terminals, logs, pages, mails, programs."""

from __future__ import annotations

import html
import json
import quopri
import re
from collections.abc import Callable

Dressing = Callable[[str], str]


def prefixed(prefix: Callable[[int], str]) -> Dressing:
    """Each line behind a prefix, as logs do; editors strip what a line ends with."""
    return lambda text: "\n".join(f"{prefix(at)}{line}".rstrip() for at, line in enumerate(_lines(text)))


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def _log(text: str, key: str) -> str:
    return "\n".join(json.dumps({"time": "2026-04-01T08:15:30Z", key: f"{line}\n"}) for line in _lines(text))


def _ansible(text: str) -> str:
    lines = _lines(text)
    return json.dumps({"changed": False, "rc": 0, "stdout": text.rstrip("\n"), "stdout_lines": lines}, indent=1)


def _coloured(esc: str) -> Dressing:
    """The first line underlined, as `nvidia-smi topo -m` does for a terminal."""

    def dress(text: str) -> str:
        first, _, rest = text.partition("\n")
        blanks = first[: len(first) - len(first.lstrip())]
        return f"{blanks}{esc}[4m{first.lstrip()}{esc}[0m\n{rest}"

    return dress


PREFIXES: dict[str, Callable[[int], str]] = {
    "docker compose": lambda at: "llm-1  | ",
    "kubectl --prefix": lambda at: "[pod/llm-0/vllm] ",
    "rfc 3339": lambda at: f"2026-04-01T08:15:{30 + at // 20:02}.{123456789 + at * 7919}Z ",
    "syslog": lambda at: f"Apr  1 08:15:{30 + at // 20:02} rig1 report[{4711}]: ",
    "python logging": lambda at: f"2026-04-01 08:15:30,{100 + at} - INFO - ",
    "glog": lambda at: f"I0401 08:15:30.{100000 + at} 4711 report.cc:{12}] ",
    "vllm": lambda at: "(EngineCore_DP0 pid=4711) ",
    "cat -n": lambda at: f"{at + 1:6}\t",
    "grep -n": lambda at: f"{at + 1}:",
    "grep -H": lambda at: "out/topo.txt:",
    "bat": lambda at: f"{at + 1:4} \u2502 ",
    "editor": lambda at: f"{at + 1:>4}  ",
    "mail": lambda at: "> ",
    "mail twice": lambda at: ">> ",
    "mail in mail": lambda at: "> > ",
    "comment": lambda at: "# ",
    "c comment": lambda at: "// ",
    "diff": lambda at: "+",
    "indented": lambda at: "      ",
    "srun -l": lambda at: "0: ",
    "mpirun": lambda at: "[1,0]<stdout>:",
    "pdsh": lambda at: "rig1: ",
}
ESCAPES = {
    "cat -v": "^[", "dropped": "",
    "bash": r"\e", "c": r"\033", "hex": r"\x1b", "unicode": r"\u001b", "picture": "\u241b",
    "code page 437": "\u2190", "replaced": "\ufffd", "editor": "<ESC>", "less": "<0x1b>", "powershell": "`e",
    "html": "&#27;", "real": "\x1b",
}  # fmt: skip
OTHERS: dict[str, Dressing] = {
    "json string": lambda text: json.dumps(text),
    "ansible": _ansible,
    "ansible console": lambda text: f"rig1 | CHANGED => {_ansible(text)}",
    "docker json-file": lambda text: _log(text, "log"),
    "journalctl -o json": lambda text: _log(text, "MESSAGE"),
    "json of the api": lambda text: json.dumps({"items": [{"status": {"log": text}}]}),
    "python": lambda text: f"b{text!r}",
    "yaml": lambda text: "stdout: |\n" + "\n".join(f"  {line}" for line in _lines(text)),
    "yaml list": lambda text: "lines:\n" + "\n".join(f"  - {json.dumps(line)}" for line in _lines(text)),
    "page": lambda text: f"<pre><code>{html.escape(text)}</code></pre>",
    "whole page": lambda text: (
        "<html><head><title>x</title><script>if (a<b) {}</script></head><body><div class='a'>"
        f"<pre>{html.escape(text)}</pre></div></body></html>"
    ),
    "page of lines": lambda text: "\n".join(f"<span class='line'>{html.escape(line)}</span>" for line in _lines(text)),
    "page of breaks": lambda text: "<p>" + "<br>".join(html.escape(line) for line in _lines(text)) + "</p>",
    "escaped": lambda text: html.escape(text).replace(" ", "&nbsp;"),
    "markdown": lambda text: f"## Topology\n\n```text\n{text}```\n\nThank you!\n",
    "markdown escaped": lambda text: re.sub(r"([_*\[\]])", r"\\\1", text),
    "details": lambda text: f"<details>\n<summary>nvidia-smi</summary>\n\n```\n{text}```\n</details>",
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), quotetabs=True).decode(),
    "cat -A": lambda text: "".join(f"{line}$\n".replace("\t", "^I") for line in _lines(text)),
    "pane": lambda text: "\n".join(f"\u2502{line.expandtabs():<130}\u2502" for line in _lines(text)),
    "pane beside another": lambda text: "\n".join(
        f"{line.expandtabs():<200}\u2502{'~' if at % 3 else 'top - 10:00:00 up'}"
        for at, line in enumerate(_lines(text))
    ),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "chat": lambda text: f"```{text.rstrip()}```",
    "reply": lambda text: (
        "On Wed, Apr 1, 2026 at 8:15 AM Jane Doe wrote:\n>\n"
        + "\n".join(f"> {line}" for line in _lines(text))
        + "\n\nOK\n"
    ),
    "script": lambda text: (
        'Script started on 2026-04-01 08:15:30+00:00 [TERM="xterm" COLUMNS="200"]\r\n\x1b[?2004h\x1b]0;user@rig1: ~\x07'
        "\x1b[01;32muser@rig1\x1b[00m:~$ cat x\r\n\x1b[?2004l\r"
        + text.replace("\n", "\r\n")
        + "\x1b[?2004huser@rig1:~$ "
    ),
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "crlf shown": lambda text: text.replace("\n", "^M\n"),
    "zero width": lambda text: "\u200b" + text.replace("GPU", "GPU\u200b"),
    "prompt": lambda text: f"user@rig1:~$ nvidia-smi\n{text}user@rig1:~$ ",
    "twice": lambda text: text + "\n" + text,
}


def _broken(width: int, *, is_stripped: bool) -> Dressing:
    def dress(text: str) -> str:
        lines = (line.expandtabs() for line in _lines(text))
        parts = (line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width))
        return "\n".join(part.rstrip() if is_stripped else part for part in parts)

    return dress


WRAPS: dict[str, Dressing] = {
    f"broken at {width}{', stripped' if is_stripped else ''}": _broken(width, is_stripped=is_stripped)
    for width in (80, 100, 132)
    for is_stripped in (False, True)
}
DRESSINGS: dict[str, Dressing] = {
    **{f"prefix: {name}": prefixed(prefix) for name, prefix in PREFIXES.items()},
    **{f"escape: {name}": _coloured(esc) for name, esc in ESCAPES.items()},
    **OTHERS,
}
