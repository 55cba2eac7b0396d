"""A house with four unlike rigs, documented: which machine serves what, with which engine, and how each is rebuilt.

rigwright plan   inventories/homelab.py                  # what would run where, and why; --write keeps it
pyinfra          inventories/homelab.py deploys/site.py  # make it so, from bare systems; --limit quad for one rig
rigwright verify inventories/homelab.py
rigwright seed   inventories/homelab.py --limit quad     # for the stick that installs it anew, see docs/rebuild.md

What all rigs share lies in group_data/homelab.py, which belongs to this file by its name. Secrets lie in secrets/,
which git ignores; make them once, or take them from where you keep such things:

mkdir -m 700 secrets && (umask 077; openssl rand -hex 32 >secrets/chat.key)
(umask 077; op read op://house/chat/key >secrets/chat.key)     # or: pass show house/chat; sops -d keys.yml
"""

# Each rig is a host: how it is reached, and under `rig` what it shall be.
_LAN = ["192.168.1.0/24"]

# Four RTX 3090 in two pairs, each joined by an NVLink bridge: the family's chat, for several people at once.
_quad = {
    "ssh_hostname": "192.168.1.50",
    "rig": {
        "services": [
            {
                "name": "chat",
                "model": "qwen3.5-35b-a3b",
                "engine": "vllm",  # many requests at the same time are what it is good at
                "users": 8,
                "context": 65536,
                "host": "0.0.0.0",
                "api_key_file": "secrets/chat.key",
                "allow_from": _LAN,
            },
        ],
        # Four cards at 350 W are too much for one socket; at 280 W they answer almost as fast.
        "nvidia": {"reboot": "auto", "power_watts": 280},
        "seed": {
            "disk": "nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456",
            "address": "192.168.1.50/24",
            "mac": "3c:ec:ef:12:34:56",
            "gateway": "192.168.1.1",
        },
    },
}

# A desktop with an RTX 5090, whose owner plays in the evening: 6 GiB stay free.
_desk = {
    "ssh_hostname": "192.168.1.51",
    "rig": {
        "services": [{"name": "code", "model": "gpt-oss-20b", "engine": "ollama", "port": 11434}],
        "reserve": "6G",
        "nvidia": {"reboot": "report"},  # somebody sits in front of it
        "seed": {"disk": "nvme-WD_BLACK_SN850X_1000GB_23456A800123"},
    },
}

# Two old Tesla P40: much memory for little money. llama.cpp is the engine that still serves them.
_attic = {
    "ssh_hostname": "192.168.1.52",
    "rig": {
        "services": [{"name": "long", "model": "qwen3.5-27b", "engine": "llamacpp", "goal": "context"}],
        "nvidia": {"reboot": "auto"},
        "seed": {"disk": "ata-Samsung_SSD_870_EVO_500GB_S62BNJ0R123456X"},
    },
}

# No GPU at all: a small model that is always there.
_shelf = {
    "ssh_hostname": "192.168.1.53",
    "rig": {
        "services": [{"name": "small", "model": "qwen3.5-4b", "gpu": "none", "context": 16384}],
        "seed": {"disk": "ata-CT500MX500SSD1_2012E29A1234"},
    },
}

# Groups are for --limit: `--limit gpus`. A rig may be in several, and groups may have data of their own beside them.
gpus = [("quad", _quad), ("desk", _desk), ("attic", _attic)]
cpus = [("shelf", _shelf)]
