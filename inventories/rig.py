"""One machine, documented: copy it, change three lines, and run it.

pyinfra inventories/rig.py deploys/llamacpp.py --dry     # what would change, and why
pyinfra inventories/rig.py deploys/llamacpp.py
rigwright verify inventories/rig.py
"""

rigs = (
    [
        # The name is yours; everything about SSH is pyinfra's: ssh_port, ssh_key, ssh_known_hosts_file …
        ("rig1", {"ssh_hostname": "192.168.1.50", "ssh_user": "ubuntu", "_sudo": True}),
    ],
    {
        "rig": {
            "services": [
                {
                    "name": "chat",
                    # A file here, an https:// address, or a file of a Hugging Face repository at a revision; or a model
                    # of the catalogue, "qwen3.5-35b-a3b" or "auto": then the plan chooses the file for this rig.
                    "model": "hf:unsloth/Qwen3-8B-GGUF@main:Qwen3-8B-Q4_K_M.gguf",
                    "port": 8080,
                    "context": 32768,
                    # Open to the network? Then keys are a must: `openssl rand -hex 32 >chat.key; chmod 600 chat.key`
                    # "host": "0.0.0.0", "api_key_file": "chat.key", "allow_from": ["192.168.1.0/24"],
                },
            ],
        },
    },
)
