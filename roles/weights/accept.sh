# What arrives at $PART becomes $DEST, with what was checked of it in $STAMP; $RECORD lists what removal may take away.
# sum_of FILE: its sha256 in $sum. What cannot be read to the end has none, and is never taken for the right one.
sum_of() {
  sum=$(sha256sum <"$1") || sum=
  sum=${sum%% *}
  [ ${#sum} -eq 64 ] || fail "$1 cannot be read to its end; check the disk"
}
# is_kind FILE: whether it may be a model, before its sum is computed. Of a whole repository, $WHOLE, each sum is known.
is_kind() {
  if [ -n "${WHOLE-}" ]; then [ -n "$SHA256" ]; else [ "$(head -c 4 -- "$1")" = GGUF ]; fi
}
# accept FILE [OTHERS]: refuse what is no model or not the file that $SHA256 names; leaves its sum in $sum. What others than
# its source had a hand in is thrown away, and 1 says so.
accept() {
  is_kind "$1" || { rm -f -- "$PART"; [ -z "${2-}" ] || return 1; fail "$DEST: what arrived is no GGUF file; check the source"; }
  say "checking ${DEST##*/}"
  sum_of "$1"
  [ -z "$SHA256" ] || [ "$sum" = "$SHA256" ] || {
    rm -f -- "$PART"
    [ -z "${2-}" ] || return 1
    fail "$DEST: sha256 is $sum, expected $SHA256; the file was not installed, correct the source or the sum"
  }
}
settle() { # what accept has checked takes its name; where another file of ours has it, it waits beside it for the switch
  at=$DEST stamp=$STAMP
  if [ -e "$DEST" ] || [ -L "$DEST" ]; then
    there=$(stamped "$DEST")
    [ "$there" != "$sum" ] || { rm -f -- "$PART"; claim "$sum"; return; } # another run was quicker, or another address
    [ -n "$there" ] || fail "$DEST appeared or changed while it was brought; run again"
    at=$(kept_at "$DEST" "$sum")
    stamp=$(stamp_of "$at")
    install -d -m 755 -- "${at%/*}"
  fi
  chown -h root:root -- "$PART"
  chmod 644 -- "$PART"
  # First what is told of it, then its name: nothing lies there that a later run takes for somebody else's.
  sync -- "$PART" || fail "$PART cannot be written to the disk; see dmesg on the rig"
  record "$at" "$stamp" "$PART"
  stamp "$PART" "$ORIGIN" "$stamp"
  mv -fT -- "$PART" "$at"
  [ -z "${SHARE_AT-}" ] || point_to "$at"
  sync -- "${at%/*}"
}
claim() { # claim SUM: what is there with this content is what $ORIGIN gives too: the next run knows it, and the unit names it
  for at in "$DEST" "$(kept_at "$DEST" "$1")"; do
    { read -r sum _ _ known <"$(stamp_of "$at")"; } 2>/dev/null || continue
    case $known in found | "$ORIGIN") continue ;; esac
    [ "$(stamped "$at")" != "$1" ] || stamp "$at" "$ORIGIN" "$(stamp_of "$at")"
  done
}
stamp() { # stamp FILE ORIGIN STAMP: remember what was checked
  said=$(printf '%s %s %s\n' "$sum" "$(stat -Lc '%s %Y' -- "$1")" "$2" | write "$3" 644 2>&1) ||
    fail "${3%/*}: nothing can be written there, where the sum of ${1##*/} is kept: ${said##*: }; let root write, or copy the file elsewhere"
}
record() { # record FILE ...: removal may take them away; without a $RECORD somebody else does
  [ -n "$RECORD" ] || return 0
  mkdir -p "${RECORD%/*}"
  { cat "$RECORD" 2>/dev/null || :; printf '%s\n' "$@"; } | sort -u | write "$RECORD" 644
}
