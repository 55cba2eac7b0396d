# Proves the driver by CUDA itself: $COUNT GPUs are on the PCI bus. What fails brings the driver before it back, where there
# was one.
lock
[ -e "$STATE/unproven" ] || exit 0
cuda() { # "ERROR COUNT" as the driver's own library says them; nothing where nobody can ask it
  printf '%s\n' 'import ctypes' 'cuda, n = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()' 'code = cuda.cuInit(0)' \
    'code = code or cuda.cuDeviceGetCount(ctypes.byref(n))' 'print(code, n.value)' >"$work/ask.py"
  timeout 120 python3 -I "$work/ask.py" 2>/dev/null && return
  command -v cc >/dev/null || return 0
  printf '%s\n' '#include <dlfcn.h>' '#include <stdio.h>' 'int main(void) {' '  void *so = dlopen("libcuda.so.1", RTLD_NOW); int n = 0, code;' \
    '  if (!so) { puts("-1 0"); return 0; }' '  int (*init)(unsigned) = dlsym(so, "cuInit"); int (*count)(int *) = dlsym(so, "cuDeviceGetCount");' \
    '  code = init(0); if (!code) code = count(&n); printf("%d %d\n", code, n); return 0; }' >"$work/ask.c"
  cc -o "$work/ask" "$work/ask.c" -ldl 2>/dev/null && timeout 120 "$work/ask" || :
}
is=$(running) have=$(libraries)
bad() { go_back "$*" || exit 1; }
[ -n "$is" ] || bad "no driver is loaded: $(modprobe nvidia 2>&1 | tail -n 1)"
[ "$is" = "$have" ] || bad "module $is runs, and the libraries are $have"
said=$(cuda)
if [ -z "$said" ]; then
  why "neither python3 with ctypes nor a compiler is here to ask CUDA: what nvidia-smi counts is taken"
  said="0 $(timeout 120 nvidia-smi -L 2>/dev/null | grep -c '^GPU')"
fi
[ "${said% *}" = 0 ] || bad "driver $is is loaded, and cuInit says ${said% *}"
[ "${said#* }" = "$COUNT" ] || bad "$COUNT GPUs are on the PCI bus, and CUDA counts ${said#* }: see \`rigwright hardware\`"
if [ -n "$FABRIC" ]; then
  for _ in $(seq 60); do
    state=$(nvidia-smi -q 2>/dev/null | sed -n '/^ *Fabric/,/State/s/^ *State *: //p' | sort -u)
    [ "$state" != Completed ] || break
    say "waiting for Fabric Manager: ${state:-no answer}"
    sleep 5
  done
  [ "$state" = Completed ] || bad "Fabric Manager does not come to an end: ${state:-no answer}; see journalctl -u nvidia-fabricmanager"
fi
rm -f "$STATE/unproven"
rm -rf "$BEFORE"
say "driver $is computes: CUDA counts $COUNT"
