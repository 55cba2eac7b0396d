# Runs on the rig as the builder, in the unit that build.sh starts.
set -eu
began=$(date +%s)
if [ -z "$GIT" ]; then
  [ -e src/.unpacked ] || { rm -rf src; mkdir src; tar -xzf "$ARCHIVE" -C src --no-same-owner; touch src/.unpacked; }
elif [ "$(git -C src rev-parse HEAD 2>/dev/null)" != "$COMMIT" ]; then
  rm -rf src
  git init -q src
  git -C src fetch -q --depth 1 "$GIT" "$REF"
  git -C src -c advice.detachedHead=false checkout -q --detach FETCH_HEAD
  [ "$(git -C src rev-parse HEAD)" = "$COMMIT" ] || { echo "fatal: $REF is not $COMMIT any more"; exit 1; }
fi
while IFS= read -r option; do set -- "$@" "$option"; done <../options
cmake -S src -B build -G Ninja "$@"
# shellcheck disable=SC2086 # target names, one word each
cmake --build build -j "$JOBS" --target $TARGETS
# CUDA's libraries travel with what was built by a toolkit of ours; the packages of others have told the system of theirs.
for name in ${TOOLKIT:+cudart cublas cublasLt}; do cp "$TOOLKIT/lib/lib$name".so.[0-9]* build/bin/; done
if grep -q "default arch is used" ../log; then echo "error: nvcc saw no GPU architecture"; exit 1; fi
# It is run here once, as what it is: somebody else's program. What it says is read later.
build/bin/llama-server --version >version 2>&1 || { tail -n1 version; echo "error: the new llama-server does not start"; exit 1; }
build/bin/llama-server --help >help 2>/dev/null || :
cat >receipt <<END
seconds $(($(date +%s) - began))
compiler $(c++ --version | head -n1)
cmake $(cmake --version | head -n1)
${TOOLKIT:+cuda $("$TOOLKIT/bin/nvcc" --version | tail -n2 | head -n1)}
version $(head -n1 version)
END
touch 'done'
