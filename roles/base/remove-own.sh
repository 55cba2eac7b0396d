# A removal beside services of other inventories: it takes those of its own, and what these alone used.
units() { # the instances that have a unit of ours
  for at in /etc/systemd/system/rigwright-*.service; do
    [ -f "$at" ] || continue
    head -n1 -- "$at" | grep -q '^# Written by rigwright' || continue
    at=${at##*/rigwright-}
    echo "${at%.service}"
  done
}
others() { for one in $(units); do if is_anothers "$one"; then echo "$one"; fi; done; }
named_in() { # named_in INSTANCE …: the model files that these run on, and those of the way back: a line "SUM PATH" each
  for one; do
    cat -- "/etc/systemd/system/rigwright-$one.service" "/var/lib/rigwright/services/$one/"*.service 2>/dev/null || :
  done | sed -n 's/^# weights \([0-9a-f]\{64\} \/\)/\1/p' | sort -u
}
# spare_files: of the model files that were brought those that no service of others names.
spare_files() (
  theirs=$(others) mine=$(units | grep -vxF -- "$theirs" || :)
  # shellcheck disable=SC2086 # names, one word each
  unnamed "$(named_in $theirs)" "$(named_in $mine)"
)
# unnamed THEIRS MINE: of the model files that were brought those that are none of THEIRS, lines "SUM PATH". What is none of
# MINE either may be what another run has just brought: it stays for a day.
unnamed() (
  [ -f "$BROUGHT" ] || return 0
  theirs=$1 mine=$(printf '%s\n' "$2" | cut -d' ' -f2-)
  # One of them may be a link to another.
  theirs=$(printf '%s\n' "$theirs"; printf '%s\n' "$theirs" | while read -r sum path; do echo "$sum $(readlink -f -- "${path:-/}")"; done)
  while IFS= read -r file; do
    name=${file##*/}
    case $name in .*.rigwright) continue ;; esac
    [ -f "$file" ] || continue
    path=$file sum=
    case $file in */.rigwright/????????-*) path=${file%/.rigwright/*}/${name#*-} sum=${name%%-*} ;; esac
    if printf '%s\n' "$theirs" | grep "^$sum" | cut -d' ' -f2- | grep -qxF -- "$path"; then continue; fi
    stamp=${file%/*}/.$name.rigwright
    [ -e "$stamp" ] || stamp=$file
    printf '%s\n' "$mine" | grep -qxF -- "$path" || [ -z "$(find "$stamp" -mmin -1440)" ] || continue
    printf '%s\n' "$file"
  done <"$BROUGHT"
)
remove_own() {
  theirs=$(others)
  for one in $theirs; do say "rigwright-$one.service stays, it is of the inventory $(owner_of "$one")"; done
  spare_files >"$work/spare"
  for one in $(units | grep -vxF -- "$theirs" || :); do
    remove_watch "$one"
    drain "rigwright-$one.service" || say "what it has under way is cut"
    remove_unit "rigwright-$one.service"
    rm -f -- "$CONFIG/$one.json" "$CONFIG/$one.key"
    rm -rf -- "/opt/rigwright/services/$one" "$STATE/services/$one"
    say "rigwright-$one.service removed"
  done
  systemctl daemon-reload
  if [ -z "$WEIGHTS" ]; then keep_weights
  else
    discard_brought <"$work/spare"
  fi
  say "what services of other inventories need stays: packages, the builder's account, their releases and model files"
  [ -z "$failed" ]
}
