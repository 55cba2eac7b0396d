"""What stands around the name of a model on a page, in a chat, in a file of settings."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rigwright.given import undressed
from rigwright.models.names import quant_called, split_quant
from rigwright.models.quants import quants

HUBS = ("huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com")
OLLAMA = ("ollama.com", "www.ollama.com", "registry.ollama.ai")
# A line of a file of settings or of a program that says which model: `MODEL=…`, `"model": "…"`, `from_pretrained("…")`.
_SETTING = re.compile(
    r"""["']?(?:export |ENV |-e )?["']?(?:[\w.-]*model(?:[_-]?(?:id|name|path|repo))?|repo(?:_id)?)["']?"""
    r"""(?::\s+|\s*=\s*)""",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"""(?:allow_patterns|filename|gguf_file)\s*=\s*\[?\s*["']([^"']+)["']""")
_CALL = re.compile(r"""(?:pretrained\w*\(|(?:model|repo|path)\w*\s*=|LLM\(|\bload\()\s*["']([^"']{1,200})["']""")
_LINK = re.compile(r"\[([^\[\]]*)\]\(<?([^()\s>]+)>?(?:\s[^()]*)?\)")
_IN_BRACKETS = re.compile(r"([^()\[\]]+?)\s*[(\[]([^()\[\]]+)[)\]]")
# What a listing says of a file.
_SIZE_BEHIND = re.compile(r"\s+~?\d+(?:\.\d+)?\s*G(?:i?B)?$", re.IGNORECASE)
# Words that make another model of a name, or say that it is none of this name.
OTHER_MODEL = re.compile(
    r"abliterat|uncensored|heretic|fine-?tun|\btuned|merge|distil|\blora\b|\b(?:base|pt|draft|not|no|but|except|without|vs|or)\b|"
    r"derestrict|\breap|prun|broken",
    re.IGNORECASE,
)
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))


def alone(text: str) -> str:
    """What names the model, of a text with its quotes, its link, its place in a file of settings."""
    text = undressed(text)
    if (link := _LINK.fullmatch(text)) or (link := _LINK.search(text) if text.startswith("[") else None):
        text = link[2] if _is_of_hub(link[2]) else link[1]
    elif call := _CALL.search(text):
        chosen = _CHOSEN.search(text)
        text = f"hf:{call[1]}:{chosen[1]}" if chosen and "/" in call[1] else call[1]
    elif setting := _SETTING.match(text):
        text = text[setting.end() :]
    text = _SIZE_BEHIND.sub("", undressed(text))
    if text.startswith(("/", "./", "../", "~")) or "://" in text:
        return text
    if not re.search(r"\s-{1,2}\w|\s[–—]\w", text):
        text = text.translate(_DASHES)
    if text.endswith((")", "]")) and (said := _IN_BRACKETS.fullmatch(text)) and split_quant(said[1])[0]:
        if quant_called(said[2]) in quants():
            return f"{said[1]}:{said[2].strip()}"
        return text if OTHER_MODEL.search(said[2]) else said[1]
    return text


def _is_of_hub(address: str) -> bool:
    """Whether an address says more than the words that link to it."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or "") in (*HUBS, *OLLAMA) or parts.path.endswith(".gguf")
    except ValueError:
        return False
