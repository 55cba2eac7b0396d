# Written by rigwright. What plans ask of the machine itself: `tuning.sh apply FILE` sets it, `tuning.sh reset` gives back
# what was there before. A line of FILE is NAME VALUE: `governor performance`, `swappiness 10`. What the owner of the machine
# has set, or another tool looks after, stays and is said: nothing depends on it, so that it never fails.
# In $memory: `before`, a line FILE VALUE each, and `applied`, a line NAME VALUE, `-` for what stays as it is.
set -u
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
memory=/run/rigwright.tuning cpus=/sys/devices/system/cpu/cpufreq swappiness=/proc/sys/vm/swappiness
# The kernel's own: who has another one wants it. Source: vm_swappiness in mm/vmscan.c.
own_swappiness=60
value() { { read -r found <"$1"; } 2>/dev/null && printf '%s' "$found"; }
# change FILE VALUE: as it was before is kept, once.
change() {
  was=$(value "$1")
  grep -qs "^$1 " "$memory/before" || printf '%s %s\n' "$1" "$was" >>"$memory/before"
  (printf '%s\n' "$2" >"$1") 2>/dev/null && [ "$(value "$1")" = "$2" ]
}
# Other programs that set the governor, each by a profile of its own.
keeper() {
  for tool in tuned power-profiles-daemon tlp auto-cpufreq cpupower cpufrequtils; do
    if systemctl is-active -q "$tool.service" 2>/dev/null; then echo "$tool"; return 0; fi
  done
  return 1
}
governor() { # governor VALUE
  if tool=$(keeper); then echo "$tool looks after the CPU's governor: it stays as $tool has it"; return 1; fi
  now='' refused=''
  for at in "$cpus"/policy*/scaling_governor; do
    [ -e "$at" ] || continue
    case " $(value "${at%/*}/scaling_available_governors") " in *" $1 "*) ;; *) continue ;; esac
    now=$(value "$at")
    [ "$now" = "$1" ] || change "$at" "$1" || refused=$now
  done
  [ -z "$refused" ] || { echo "the kernel does not take the governor $1: $refused stays"; return 1; }
  [ -n "$now" ] || { echo "no CPU here has the governor $1"; return 1; }
}
swappiness() { # swappiness VALUE
  now=$(value "$swappiness")
  [ "$now" != "$1" ] || return 0
  [ "$now" = "$own_swappiness" ] || { echo "vm.swappiness is $now, which is not the kernel's own $own_swappiness: it stays"; return 1; }
  change "$swappiness" "$1" || { echo "the kernel does not take vm.swappiness $1: $now stays"; return 1; }
}
# undo NAME: where it is still as it was set here; who changed it since keeps that.
undo() {
  set=$(sed -n "s/^$1 //p" "$memory/applied" 2>/dev/null)
  case $1 in governor) place=$cpus/ ;; *) place=$swappiness ;; esac
  [ -f "$memory/before" ] || return 0
  while read -r at was; do
    case $at in "$place"*) ;; *) printf '%s %s\n' "$at" "$was"; continue ;; esac
    [ "$(value "$at")" != "$set" ] || (printf '%s\n' "$was" >"$at") 2>/dev/null
  done <"$memory/before" >"$memory/before.new"
  mv -f "$memory/before.new" "$memory/before"
}
# Kept for root alone: what is written back later comes from here.
umask 077
mkdir -p "$memory"
case $1 in
  apply)
    while read -r name _; do grep -q "^$name " "$2" || undo "$name"; done <<END
$(cat "$memory/applied" 2>/dev/null)
END
    while read -r name wanted; do
      case $name in governor | swappiness) ;; *) continue ;; esac
      if "$name" "$wanted"; then echo "$name $wanted" >&3; else echo "$name -" >&3; fi
    done <"$2" 3>"$memory/applied.new"
    mv -f "$memory/applied.new" "$memory/applied"
    ;;
  reset)
    for name in governor swappiness; do undo "$name"; done
    rm -rf "$memory"
    ;;
esac
exit 0
