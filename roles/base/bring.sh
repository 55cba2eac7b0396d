# bring NAME …: installs packages, on top of apt.sh or dnf.sh; $failure says why not. $RECORD gets a line for each package
# that this run itself brought: `NAME asked|came purge|remove`, by name or with another one, and whether its settings go
# with it: not those that were there before. What is about to be brought says `planned`, so that an interrupted
# installation is accounted for too. A bare name is of 0.1.0.
known() { cat "$RECORD" 2>/dev/null || :; }
bring() {
  # shellcheck disable=SC2034 # the caller reads it
  failure=
  installed >"$work/before"
  leftovers >"$work/leftovers"
  : >"$work/done"
  coming "$@"
  comm -23 "$work/list" "$work/before" >"$work/new"
  sed 's/$/ planned/' "$work/new" >"$work/planned"
  {
    known | awk 'NR == FNR { there[$1]; next } $1 in there' "$work/before" -
    cat "$work/planned"
  } | sort -u | write "$RECORD" 644
  add "$@"
  sort -u "$work/done" | comm -12 "$work/new" - >"$work/ours"
  {
    known | grep -vxF -f "$work/planned" || :
    while read -r name; do
      how=came way=purge
      # By a version too: `name=1.2` of apt, `name-1.*` of dnf.
      case " $* " in *" $name "* | *" $name="* | *" $name-"[0-9]*) how=asked ;; esac
      if grep -qxF -e "$name" "$work/leftovers"; then way=remove; fi
      echo "$name $how $way"
    done <"$work/ours"
  } | sort -u | write "$RECORD" 644
  rm -f "$RECORD.before"
}
