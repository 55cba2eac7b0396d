# Runs on the rig as the builder, in the unit that install.sh starts. What was fetched and unpacked stays in .cache until all is
# done: a cut costs no second download. It lies on the same disk, so that installing is a matter of links.
set -eu
umask 022
began=$(date +%s)
find . -mindepth 1 -maxdepth 1 ! -name .cache -exec rm -rf -- {} +
mkdir -p .cache/home
export UV_CACHE_DIR="$RELEASE/.cache" UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=120 UV_NATIVE_TLS=1 PATH="$WORK:$PATH"
uv venv --quiet --no-project --no-config --allow-existing --python "$PYTHON" .
set -- --require-hashes --no-deps --no-build --compile-bytecode --requirement "$WORK/requirements.txt"
if [ -n "$OFFLINE" ]; then set -- "$@" --no-config --no-index --offline --find-links "$WORK/wheels"
elif [ -n "$INDEX" ]; then set -- "$@" --no-config --default-index "$INDEX"; fi
uv pip install --python bin/python "$@"
# A build of another name has to be known as vllm too: by that name it looks for its own version.
if [ -n "$STUB" ]; then
  info=$(bin/python -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$STUB.dist-info
  mkdir "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$STUB" >"$info/METADATA"
  : >"$info/RECORD"
fi
# It is run here once, as what it is: somebody else's program. Without a GPU it wants to be told what it is for.
echo ":: asking vLLM for its version, $(($(date +%s) - began)) s"
said=$(VLLM_TARGET_DEVICE=cpu VLLM_LOGGING_LEVEL=ERROR PYTHONDONTWRITEBYTECODE=1 bin/vllm --version 2>.cache/said) || {
  tail -n 3 .cache/said
  echo "error: the new vLLM does not start"
  exit 1
}
said=$(printf '%s\n' "$said" | tail -n1)
case $said in "$VERSION" | "$VERSION"+* | "$VERSION".*) ;; *) echo "error: vllm --version says $said, not $VERSION" && exit 1 ;; esac
if [ -n "$KERNELS" ] && [ -z "$OFFLINE" ]; then
  echo ":: fetching FlashInfer's kernels"
  VLLM_TARGET_DEVICE=cpu timeout 1800 bin/vllm download-kernels >.cache/kernels 2>&1 || tail -n 1 .cache/kernels >.kernels
elif [ -n "$KERNELS" ] && ! grep -q '^flashinfer-\(cubin\|jit-cache\)==' "$WORK/requirements.txt"; then
  echo "they are not among its wheels" >.kernels
fi
rm -rf .cache
touch .done
