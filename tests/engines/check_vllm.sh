#!/bin/sh
# Golden plans through the parser of the vLLM that the catalogue pins, in an environment of its own.
set -eu
version=$(sed -n 's/^  pypi: vllm==//p' rigwright/catalogue/engines.yml)
python=.venv-vllm/bin/python
if [ "$($python -c 'import importlib.metadata as m; print(m.version("vllm"))' 2>/dev/null)" != "$version" ]; then
  "$1" -m venv .venv-vllm
  $python -m pip install -q --disable-pip-version-check uv
  # vLLM 0.33.0 asks for a certifi newer than some indexes have: any will do to parse a command line.
  echo certifi >.venv-vllm/overrides.txt
  .venv-vllm/bin/uv pip install -q --python $python --override .venv-vllm/overrides.txt "vllm==$version"
fi
exec $python tests/engines/vllm_parser.py tests/golden/plans/*.json
