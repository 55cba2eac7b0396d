# The way to each directory of model files, a line each on standard input: who may write and enter it, and where a disk belongs.
ways() {
  while IFS= read -r directory; do
    ls -d -- "$directory/." >/dev/null 2>&1 || : # mounts what is mounted when it is wanted
    real=$(readlink -m -- "$directory")
    printf 'real|%s|%s\n' "$real" "$directory"
    set --
    for at in "$directory" "$real"; do
      while [ -n "$at" ]; do
        set -- "$@" "$at"
        at=${at%/*}
      done
    done
    stat -Lc 'way|%a|%U|%n' -- / "$@" 2>/dev/null
    # shellcheck disable=SC2046 # names of units have no blanks
    systemctl show -p Where,LoadState,ActiveState -- $(systemd-escape -p --suffix=mount -- "$@") 2>/dev/null |
      awk -F= '{ said[$1] = substr($0, length($1) + 2) }
        !NF || $1 == "" { if (said["LoadState"] == "loaded" && said["ActiveState"] != "active") print "mount|" said["ActiveState"] "|" said["Where"]; split("", said) }
        END { if (said["LoadState"] == "loaded" && said["ActiveState"] != "active") print "mount|" said["ActiveState"] "|" said["Where"] }'
  done
  :
}
