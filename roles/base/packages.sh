# Installs $PACKAGES. $RECORD gets a line for each package that this run itself brought: `NAME asked|came purge|remove`,
# by name or with another one, and whether its settings go with it: not those that were there before. What is about to be
# brought says `planned`, so that an interrupted installation is accounted for too. A bare name is of 0.1.0.
lock
mkdir -p "$(dirname "$RECORD")"
readable
repair
say "reading package lists"
refresh
say "installing $PACKAGES"
installed >"$work/before"
leftovers >"$work/leftovers"
: >"$work/done"
# shellcheck disable=SC2086 # names, one word each
coming $PACKAGES
comm -23 "$work/list" "$work/before" >"$work/new"
sed 's/$/ planned/' "$work/new" >"$work/planned"
known() { cat "$RECORD" 2>/dev/null || :; }
{
  known | awk 'NR == FNR { there[$1]; next } $1 in there' "$work/before" -
  cat "$work/planned"
} | sort -u | write "$RECORD" 644
failure=
# shellcheck disable=SC2086 # names, one word each
add $PACKAGES
sort -u "$work/done" | comm -12 "$work/new" - >"$work/ours"
{
  known | grep -vxF -f "$work/planned" || :
  while read -r name; do
    how=came way=purge
    case " $PACKAGES " in *" $name "*) how=asked ;; esac
    if grep -qxF -e "$name" "$work/leftovers"; then way=remove; fi
    echo "$name $how $way"
  done <"$work/ours"
} | sort -u | write "$RECORD" 644
rm -f "$RECORD.before"
[ -z "$failure" ] || fail "$failure"
