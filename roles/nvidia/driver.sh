# What the scripts of this role share, on top of manager.sh and apt.sh or dnf.sh. $STATE is /var/lib/rigwright/nvidia:
#   unproven   a change of the driver is under way: what stood before it, the first line its version or "nothing"
#   previous/  the packages of that version, the way back
#   held       names that this role held, and nobody else
#   taken-out  modules that did not compile: what needs them is being taken out as well
# Names go as words, of a version too: `nvidia-open-580.*` names no file here.
cd "$work"
BEFORE=$STATE/previous
PINNED=/etc/apt/preferences.d/rigwright-nvidia
# What dkms says, the lines of a build that failed.
build_errors() {
  grep -hE 'error:|ERROR:|\*\*\* ' /var/lib/dkms/nvidia*/*/build/make.log 2>/dev/null | grep -v 'recipe for\|Error [0-9]$' | head -n 5 | cut -c1-300
}
# The kernels that must have a module: the running one, where its modules can be on the disk at all, and the one that boots
# next.
# shellcheck disable=SC2012 # names of kernels are plain, and -v sorts them by version
kernels() {
  {
    [ ! -d "/lib/modules/$(uname -r)" ] || uname -r
    ls -dv /boot/vmlinuz-* 2>/dev/null | tail -n 1 | sed 's|.*/vmlinuz-||'
  } | sort -u
}
# on_disk KERNEL: the version of the module that it would load.
on_disk() {
  for name in nvidia nvidia-current nvidia-current-open; do
    version=$(modinfo -k "$1" -F version "$name" 2>/dev/null | head -n 1) || continue
    [ -z "$version" ] || { echo "$version"; return; }
  done
}
running() { sed -nE 's/.*Kernel Module( for [a-z0-9_]+)?  *([0-9.]+).*/\2/p' /proc/driver/nvidia/version 2>/dev/null | head -n 1; }
# is_built KERNEL: whether dkms has compiled, for that kernel, the modules of the libraries that are here.
is_built() {
  dkms status -k "$1" 2>/dev/null | grep -E "^nvidia[^ ,/]*[/,] *$(libraries | sed 's/\./\\./g')[^,]*, " | grep -q ': installed'
}
libraries() {
  at=$(ldconfig -p 2>/dev/null | sed -n 's/.*libcuda\.so\.1 .*=> //p' | head -n 1)
  [ -z "$at" ] || readlink -f "$at" | sed -nE 's/.*\.so\.([0-9.]+)$/\1/p'
}
# cuda: "ERROR COUNT" as the driver's own library says them: nvidia-smi may be well where CUDA is not. Nothing where no
# python3 is here that can ask it.
cuda() {
  printf '%s\n' 'import ctypes' 'cuda, n = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()' 'code = cuda.cuInit(0)' \
    'code = code or cuda.cuDeviceGetCount(ctypes.byref(n))' 'print(code, n.value)' >"$work/ask.py"
  timeout 120 python3 -I "$work/ask.py" 2>/dev/null || :
}
# holds, hold, unhold, keep_before, mend, would_leave and bring_back are the package manager's: driver-apt.sh, driver-dnf.sh.
# let_go: the holds of ours, while packages change. What of them is still there at the end is held again, however that comes;
# those too that a run which was cut had let go of.
let_go() {
  holds >"$work/held"
  cat "$STATE/held" 2>/dev/null | sort -u | comm -12 - "$work/held" >>"$work/let_go"
  trap 'hold_again; rm -rf "$work"' EXIT
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$work/let_go" ] || unhold $(cat "$work/let_go") || :
}
hold_again() {
  installed >"$work/there"
  sort -u "$work/let_go" "$STATE/held" 2>/dev/null | comm -12 - "$work/there" >"$work/again"
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$work/again" ] || hold $(cat "$work/again") || :
}
# go_back REASON: the driver that was there before comes back from its own packages, and what replaced it goes.
go_back() {
  if [ ! -s "$BEFORE/packages" ]; then why "$1"; return 1; fi
  say "bringing back driver $(head -n 1 "$STATE/unproven" 2>/dev/null)"
  let_go
  sed 's/=.*//' "$BEFORE/packages" >"$work/back"
  gone=
  installed >"$work/there"
  for name in $CAME; do
    grep -qxF -e "${name%%=*}" "$work/back" || ! grep -qxF -e "${name%%=*}" "$work/there" || gone="$gone ${name%%=*}"
  done
  old=$(head -n 1 "$STATE/unproven" 2>/dev/null)
  # The pin goes back with it.
  [ ! -f "$PINNED" ] || sed "s/^Pin: version [0-9]*\./Pin: version ${old%%.*}./" "$PINNED" | write "$PINNED" 644
  # shellcheck disable=SC2086 # names, one word each
  if bring_back $gone; then
    why "$1; driver $(head -n 1 "$STATE/unproven") is back"
    cat "$BEFORE/held" >>"$work/let_go"
    sort -u "$STATE/held" "$BEFORE/held" 2>/dev/null | write "$STATE/held" 644
    # Whose these packages were then they are now.
    {
      known | awk 'NR == FNR { back[$1]; next } !($1 in back)' "$work/back" -
      awk 'NR == FNR { back[$1]; next } $1 in back' "$work/back" "$BEFORE/record"
    } | sort -u | write "$RECORD" 644
    rm -rf "$BEFORE" "$STATE/unproven"
  else
    why "$1; and the driver before it could not be brought back: ${held:-$(reason)}"
  fi
  return 1
}
