# Brings the driver of $BRANCH: $FIRST, what everything else goes by; $HEADERS, what modules are compiled with; then $DRIVER,
# in one step with what leaves for it, $GOING. What fails leaves the rig as it was.
lock
mkdir -p "$STATE"
readable
mend
say "reading package lists"
refresh
let_go
keep_before
{ libraries || :; } >"$work/version"
[ -s "$work/version" ] || echo nothing >"$work/version"
is_first=
[ -e "$STATE/unproven" ] || { is_first=yes; write "$STATE/unproven" 644 <"$work/version"; }
# What this run brought goes again, and what stood before comes back.
undo() {
  reasons=$(build_errors)
  # By itself, as it may fail: there is more to be done and to be said.
  (mend) || :
  if [ -s "$BEFORE/packages" ]; then
    # shellcheck disable=SC2034 # go_back reads it
    CAME="$FIRST $DRIVER $REPLACED $(tr '\n' ' ' <"$work/brought")"
    go_back "$1" || :
  else
    installed >"$work/there"
    sort -u "$work/brought" | comm -12 - "$work/there" >"$work/undo"
    # shellcheck disable=SC2046 # names, one word each
    [ ! -s "$work/undo" ] || drop $(cat "$work/undo") || why "what came could not be taken away again: $(reason)"
    [ -z "$is_first" ] || rm -f "$STATE/unproven"
    why "$1"
  fi
  printf '%s\n' "$reasons" | grep . | while IFS= read -r line; do why "$line"; done
  exit 1
}
: >"$work/brought"
step() { # step NAME …: these come, and nothing leaves for them but what the plan names
  would_leave "$@" || undo "the driver cannot be installed: $(reason); $(hint)"
  only "$GOING"
  say "installing $*"
  bring "$@"
  cat "$work/ours" >>"$work/brought"
  [ -z "$failure" ] || undo "$failure"
}
# only GOING: nothing but what the plan names may leave, and a pin of NVIDIA's makes room for another one.
only() {
  while read -r name; do
    case " $1 " in *" ${name%%:*} "*) continue ;; esac
    case $name in nvidia-driver-pinning-*) ;; *) undo "installing driver $BRANCH would take away $name, which the plan does not; nothing was changed" ;; esac
  done <"$work/leaving"
}
# shellcheck disable=SC2086 # names, one word each
[ -z "$HEADERS" ] || step $HEADERS
may=$MAY
# shellcheck disable=SC2086 # names, one word each
[ -z "$FIRST" ] || step $FIRST
# shellcheck disable=SC2086 # names, one word each
leaving=$(leave $GOING | tr '\n' ' ')
if [ -n "$DRIVER$GOING" ]; then
  # shellcheck disable=SC2086 # names, one word each
  would_leave $DRIVER $leaving || undo "the driver cannot be installed: $(reason); $(hint)"
  only "$GOING"
  # shellcheck disable=SC2086 # names, one word each
  clear_away $GOING || undo "$GOING cannot be taken away: $(reason)"
  # shellcheck disable=SC2086 # names, one word each
  step $DRIVER $leaving
fi
if [ -n "$IS_BUILT" ]; then
  for kernel in $(kernels); do
    ! is_built "$kernel" || continue
    say "compiling the modules for $kernel"
    watched dkms autoinstall -k "$kernel" || :
    is_built "$kernel" || undo "the modules are not there for $kernel: dkms says $(dkms status 2>/dev/null | grep '^nvidia' | head -n 1)"
  done
fi
found=$(libraries)
[ "${found%%.*}" = "$BRANCH" ] || undo "branch $BRANCH was asked for, and ${found:-nothing} came"
# CUDA itself is asked whether it works; a minimal python cannot.
python3 -I -c 'import ctypes' 2>/dev/null || {
  if would_leave python3; then bring python3; else failure=$(reason); fi
  [ -z "$failure" ] || say "python3 cannot be installed, so that nobody can ask CUDA: $failure"
}
# Its package started it before there was anything for it; the script that loads the driver does so again.
systemctl reset-failed nvidia-persistenced 2>/dev/null || :
say "driver $found is installed"
