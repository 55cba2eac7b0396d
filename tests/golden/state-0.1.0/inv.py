from rigwright.lab.inventory import lab_hosts
rigs = (lab_hosts(), {"rig": {"services": [
 {"name": "demo", "model": "tiny.gguf", "port": 8080, "context": 2048},
 {"name": "open", "model": "tiny.gguf", "port": 8081, "context": 1024, "host": "0.0.0.0", "api_key_file": "chat.key", "alias": "the-model"}],
 "llamacpp": {"archive": "pinned"}}})
