# What becomes of the model files on this rig: $BROUGHT lists those that rigwright brought, and the stamps of those that it found.
unit_files() { printf '%s\n' "/etc/systemd/system/rigwright-$1.service" "/var/lib/rigwright/services/$1/"*.service; }
wanted() { # wanted UNIT …: lines "SUM PATH" of the model files that these units name
  for at; do
    [ ! -f "$at" ] || named <"$at"
  done | sort -u
}
# is_wanted PATH SUM UNIT …: whether one of these names it, of a content that waits or is kept with its sum.
is_wanted() (
  path=$1 sum=$2
  shift 2
  wanted "$@" | while read -r has at; do
    case $has in "$sum"*) ;; *) continue ;; esac
    if [ "$at" = "$path" ] || [ "$(readlink -f -- "$at")" = "$path" ]; then echo yes; fi
  done | grep yes >/dev/null
)
services() { # services PATH SUM: those that run on it as " chat=OWNER", and in $later those that would go back to it
  now='' later=''
  for one in $instances; do
    if is_wanted "$1" "$2" "/etc/systemd/system/rigwright-$one.service"; then now="$now $one=$(owner_of "$one")"
    elif is_wanted "$1" "$2" "/var/lib/rigwright/services/$one/"*.service; then later="$later $one=$(owner_of "$one")"; fi
  done
}
# is_mentioned TEXT …: whether a unit or a drop-in of anybody has one of these texts.
is_mentioned() {
  for text; do
    if grep -rqsF -- "$text" /etc/systemd /run/systemd/system /etc/containers /var/lib/rigwright/services; then return 0; fi
  done
  return 1
}
# stays FILE SUM: why a file that no service of ours names stays all the same; nothing where it may go.
stays() {
  case $(stat -f -c %T -- "$1") in nfs* | cifs | smb* | ceph | fuse* | lustre | gfs* | ocfs2 | 9p | v9fs | afs | gpfs) echo shared; return ;; esac
  # Also a program that has no unit.
  if printf '%s\n' "$held" | grep -qxF -- "$(stat -Lc %d:%i -- "$1")"; then echo open; return; fi
  case $1 in *.part | *.part.of) return ;; esac
  content=$(stamped "$1")
  if [ -z "$content" ]; then echo changed; return; fi
  # The other parts of a model that a version before named by its first one alone.
  # A whole repository is named by its directory.
  case $2$1 in /*--*/*/*) if is_mentioned "${1%/*}"; then echo used; return; fi ;; esac
  case $2 in '') set -- "$1" "$(printf %s "$1" | sed 's/-[0-9]\{5\}\(-of-[0-9]\{5\}\.gguf\)$/-00001\1/')" ;; *) set -- "$(printf %.16s "$content")" ;; esac
  if is_mentioned "$@"; then echo used; fi
}
# model_files: a line `STATE|BYTES|SERVICES|PATH` for each. STATE: `used`, `kept` for a way back, `spare`, or why it stays.
model_files() (
  [ -f "$BROUGHT" ] || return 0
  instances=$(units)
  # What a process has open, or has in its memory; root alone sees all of it.
  held=$(find -L /proc/[0-9]*/fd /proc/[0-9]*/map_files -maxdepth 1 -type f -printf '%D:%i\n' 2>/dev/null | sort -u)
  # shellcheck disable=SC2046 # names of units, one word each
  loose=$(unnamed "$(wanted $(for one in $instances; do unit_files "$one"; done))" '')
  while IFS= read -r file; do
    origin=
    case ${file##*/} in .*.rigwright)
      { read -r _ _ _ origin <"$file"; } 2>/dev/null || continue
      [ "$origin" = found ] || continue
      at=${file##*/.}
      file=${file%/*}/${at%.rigwright} ;;
    esac
    [ -f "$file" ] || continue
    path=$file sum='' name=${file##*/}
    case $file in */.rigwright/????????-*) path=${file%/.rigwright/*}/${name#*-} sum=${name%%-*} ;; esac
    services "$path" "$sum"
    if [ "$origin" = found ]; then state=found
    elif [ -n "$now" ]; then state=used
    elif [ -n "$later" ]; then state=kept
    elif printf '%s\n' "$loose" | grep -qxF -- "$file"; then
      state=$(stays "$file" "$sum")
      state=${state:-spare}
    else state=young; fi
    printf '%s|%s|%s|%s\n' "$state" "$(stat -c %s -- "$file")" "${now# }${now:+ }${later# }" "$file"
  done <"$BROUGHT"
)
