# Runs on the rig as the builder, in the unit that build.sh starts.
set -eu
began=$(date +%s)
if [ -z "$GIT" ]; then
  [ -e src/.unpacked ] || { rm -rf src; mkdir src; tar -xzf "$ARCHIVE" -C src --no-same-owner; touch src/.unpacked; }
elif [ "$(git -C src rev-parse HEAD 2>/dev/null)" != "$COMMIT" ]; then
  rm -rf src
  git init -q src
  [ "$REF" != latest ] || REF=$COMMIT # no name that the server knows
  git -C src fetch -q --depth 1 "$GIT" "$REF"
  git -C src -c advice.detachedHead=false checkout -q --detach FETCH_HEAD
  [ "$(git -C src rev-parse HEAD)" = "$COMMIT" ] || { echo "fatal: $REF is not $COMMIT any more"; exit 1; }
fi
if [ -n "$NCCL" ]; then
  rm -rf nccl
  mkdir nccl
  tar -xzf "$NCCL" -C nccl --no-same-owner
  (cd nccl && sha256sum --quiet -c sums.txt) >/dev/null 2>&1 || { echo "error: NCCL is not as it was packed"; exit 1; }
  set -- "-DNCCL_ROOT=$PWD/nccl"
fi
# An option of the inventory comes later, and wins.
host=
[ -z "$NVCC" ] || host=$(host_compiler "$NVCC")
[ -z "$host" ] || set -- "$@" "-DCMAKE_CUDA_HOST_COMPILER=$host"
while IFS= read -r option; do set -- "$@" "$option"; done <../options
cmake -S src -B build -G Ninja "$@"
# shellcheck disable=SC2086 # target names, one word each
cmake --build build -j "$JOBS" --target $TARGETS
# CUDA's libraries travel with what was built by a toolkit of ours; the packages of others have told the system of theirs.
for name in ${TOOLKIT:+cudart cublas cublasLt}; do cp "$TOOLKIT/lib/lib$name".so.[0-9]* build/bin/; done
[ -z "$NCCL" ] || cp nccl/lib/libnccl.so.[0-9]* build/bin/
# A library that does not name the driver's loads on no rig, and then the CPU serves, green and slow: so it is with one that
# was linked against an empty stub.
cuda=build/bin/libggml-cuda.so
if [ -n "$SASS" ]; then
  [ -e "$cuda" ] || { echo "error: the build has no $cuda"; exit 1; }
  objdump -p "$cuda" | grep -q 'NEEDED *libcuda\.so\.1' || { echo "error: $cuda does not ask for the driver's libcuda.so.1"; exit 1; }
  # cmake only remarks that it found none, and the GPUs tell each other by slower ways then.
  [ -z "$NCCL" ] || objdump -p "$cuda" | grep -q 'NEEDED *libnccl\.so' || { echo "error: $cuda was built without NCCL"; exit 1; }
  cuda_code "$cuda" >code
  for target in $SASS; do
    grep -qx "sass $target" code || { echo "error: $cuda has no code for sm_$target, it has: $(paste -sd, code)"; exit 1; }
  done
fi
# cmake leaves out what it does not find, and says so in a line among hundreds.
for kind in vulkan hip; do
  grep -qix -- "-DGGML_$kind=ON" ../options || continue
  [ -e "build/bin/libggml-$kind.so" ] || { echo "error: the build has no build/bin/libggml-$kind.so"; exit 1; }
done
if grep -q "default arch is used" ../log; then echo "error: nvcc saw no GPU architecture"; exit 1; fi
# It is run here once, as what it is: somebody else's program. What it says is read later.
build/bin/llama-server --version >version 2>&1 || { tail -n1 version; echo "error: the new llama-server does not start"; exit 1; }
build/bin/llama-server --help >help 2>/dev/null || :
cat >receipt <<END
seconds $(($(date +%s) - began))
compiler $(c++ --version | head -n1)
cmake $(cmake --version | head -n1)
${TOOLKIT:+cuda $("$TOOLKIT/bin/nvcc" --version | tail -n2 | head -n1)}
${host:+host $("$host" --version | head -n1)}
${SASS:+code $(paste -sd, code)}
version $(head -n1 version)
END
touch 'done'
