# prove NVCC: it is of $VERSION, makes code for each of $TARGETS, and compiles and links three lines for them; `undo TEXT`
# refuses. No GPU is asked. It runs shut in, as nobody, and leaves nothing.
prove() {
  say "trying nvcc of CUDA $VERSION${TARGETS:+ for sm_$(echo "$TARGETS" | sed 's/ /, sm_/g')}"
  see=
  # /opt/rigwright may be a link to a disk under /home, which the unit does not see.
  case $1 in /opt/rigwright/*) see="-p BindReadOnlyPaths=${1%/bin/nvcc}" ;; esac
  # shellcheck disable=SC2016 # the inner shell fills in
  try='
    nvcc=$1
    shift
    "$nvcc" --version && "$nvcc" --list-gpu-code && at=$(mktemp -d) && cd "$at" || exit
    trap "rm -rf \"$at\"" EXIT
    printf "%s\n" "#include <cstdio>" "__global__ void three(int *at) { *at = 3; }" \
      "int main() { three<<<1, 1>>>(nullptr); return printf(\"%d\\n\", (int)cudaGetLastError()) < 0; }" >three.cu
    for one; do set -- "$@" -gencode "arch=compute_$one,code=sm_$one"; shift; done
    "$nvcc" ${HOST:+-ccbin "$HOST"} "$@" -o three three.cu && echo compiled'
  host=$(host_compiler "$1")
  # shellcheck disable=SC2086 # an option and its value; targets, one word each
  said=$(shut_in $see --setenv=HOST="$host" -p DynamicUser=yes --pipe --wait --collect --description="rigwright tries nvcc" \
    -p RuntimeMaxSec=300 -- sh -c "$try" sh "$1" $TARGETS 2>&1) || :
  release=$(printf '%s\n' "$said" | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  [ -n "$release" ] || undo "$1 does not start: $(printf '%s\n' "$said" | tail -n1 | cut -c1-300)"
  [ "$release" = "$VERSION" ] || undo "$1 is CUDA $release, not $VERSION"
  for one in $TARGETS; do
    printf '%s\n' "$said" | grep -qx "sm_$one" || undo "$1 makes no code for sm_$one"
  done
  case $said in
    *compiled) ;;
    *) undo "$1 does not compile three lines: $(printf '%s\n' "$said" | grep -m2 -iE 'error|fatal|cannot|not found|no such' | tr '\n' ' ' | cut -c1-400)" ;;
  esac
}
# proven NVCC: written down, so that the next run asks nothing.
proven() {
  install -d -m 755 "$STATE"
  printf '%s %s %s\n' "$1" "$VERSION" "$TARGETS" | write "$STATE/proven" 644
}
