"""The virtual rigs of `rigwright lab up`: the main job on a machine without a GPU.

rigwright lab up
rigwright tiny-model models/tiny.gguf
pyinfra inventories/lab.py deploys/llamacpp.py
"""

from rigwright.lab.inventory import lab_hosts

rigs = (
    lab_hosts(),
    {
        "rig": {
            "services": [{"name": "demo", "model": "models/tiny.gguf", "port": 8080, "context": 4096}],
            # A lab reaches PyPI, but perhaps no git host.
            "llamacpp": {"archive": "pinned"},
        },
    },
)
