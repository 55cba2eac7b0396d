# Which content a model file has. A unit names its contents, "# weights SUM PATH" each; another content of the same name
# waits in .rigwright/ beside it for the switch to the unit that names it, or is kept there for the way back.
stamp_of() { printf '%s\n' "${1%/*}/.${1##*/}.rigwright"; }
kept_at() { printf '%s/.rigwright/%.8s-%s\n' "${1%/*}" "$2" "${1##*/}"; } # kept_at PATH SUM
stamped() { # stamped PATH [STAMP]: the sum of what lies there; nothing where it changed since it was checked
  { read -r was length time _ <"${2:-$(stamp_of "$1")}"; } 2>/dev/null || return 0
  [ "$length $time" != "$(stat -Lc '%s %Y' -- "$1" 2>/dev/null)" ] || printf '%s\n' "$was"
}
named() { # standard input: a unit; what it names as "SUM PATH", its sum cut to 16 digits where it is of 0.1
  sed -n -e 's/^# weights \([0-9a-f]\{64\} \/\)/\1/p' \
    -e 's/^Environment=RIGWRIGHT_WEIGHTS=\([0-9a-f]\{16\}\)$/mark \1/p' -e 's/^  --model \(\/[^" ]*\) \\$/path \1/p' |
    awk '$1 == "mark" { mark = $2 } $1 == "path" { path = $2 } $1 !~ /^(mark|path)$/ { found = 1; print }
      END { if (!found && mark != "" && path != "") print mark " " path }'
}
place() { # standard input: a unit; each of its model files gets the content that it names. 1, and why, where one is gone
  named | while IFS= read -r line; do
    wanted=${line%% *} path=${line#* }
    now=$(stamped "$path") next=$(kept_at "$path" "${line%% *}")
    case $now in "$wanted"*) continue ;; esac
    if [ ! -e "$next" ]; then
      [ -n "$(stamped "$path" "$(stamp_of "$next")")" ] || { gone=${path##*/} && printf '%s\n' "$gone"; continue; }
    else
      if [ -e "$path" ]; then
        # What nobody checked is nobody's to move.
        { read -r _ _ _ origin <"$(stamp_of "$path")"; } 2>/dev/null || origin=found
        if [ -z "$now" ] || [ "$origin" = found ]; then printf '%s\n' "${path##*/}"; continue; fi
        old=$(kept_at "$path" "$now")
        install -d -m 755 -- "${old%/*}" && write "$(stamp_of "$old")" 644 <"$(stamp_of "$path")" || return 1
        printf '%s\n' "$old" "$(stamp_of "$old")" >>/var/lib/rigwright/weights.brought && mv -fT -- "$path" "$old" || return 1
      fi
      mv -fT -- "$next" "$path" || return 1
    fi
    write "$(stamp_of "$path")" 644 <"$(stamp_of "$next")" && sync -- "${path%/*}" || return 1
  done
}
forget_kept() { # standard input: a unit; of its files, other contents that no unit names or would come back to are deleted
  named | while IFS= read -r line; do
    path=${line#* }
    for kept in "${path%/*}/.rigwright/"????????"-${path##*/}"; do
      mark=$(stamped "$kept")
      # A young one may be what another run is about to switch to.
      if [ -z "$mark" ] || [ -n "$(find "$(stamp_of "$kept")" -mmin -60)" ]; then continue; fi
      grep -qsF -- "$(printf %.16s "$mark")" /etc/systemd/system/rigwright-*.service /var/lib/rigwright/services/*/*.service && continue
      rm -f -- "$kept" "$(stamp_of "$kept")"
    done
  done
}
