# dnf behind the names that packages.sh and remove.sh use.
installed() { rpm -qa --qf '%{NAME}\n' | sort -u; }
# rpm keeps changed settings aside by itself, and gives them back to nobody.
leftovers() { :; }
by_hand() { dnf -q repoquery --userinstalled --qf '%{name}\n' 2>/dev/null | sort -u; }
# dnf waits for its own locks.
locked() { :; }
reason() { grep -m3 -iE '^error|problem|nothing provides|no match' "$log" | tr -s '\n ' '  ' | sed 's/ $//' | cut -c1-500; }
# It leaves out by itself what it cannot read.
readable() { :; }
repair() { :; }
refresh() {
  broken=
  watched dnf -q -y makecache || {
    broken=$(grep -m1 -iE '^error' "$log" || tail -n1 "$log")
    say "a package source does not work, going on without it: $broken"
  }
}
hint() { if [ -n "$broken" ]; then echo "$broken; check the rig's network and repositories"; else echo "mend it with dnf on the rig"; fi; }
# The table of what it would do, a package a line with one blank before it; --assumeno ends as if it had failed.
may=
coming() {
  # shellcheck disable=SC2086 # options, one word each
  dnf --assumeno --setopt=install_weak_deps=False $may install "$@" >"$log" 2>&1 </dev/null || :
  awk '/^[^ ]/ { new = /^Installing/ } new && /^ [^ ]/ { print $1 }' "$log" | sort -u >"$work/list"
}
# shellcheck disable=SC2034 # packages.sh reads $failure
add() {
  # shellcheck disable=SC2086 # options, one word each
  watched dnf -y --setopt=install_weak_deps=False $may install "$@" || failure="dnf install failed: $(reason); $(hint)"
  installed | comm -12 "$work/new" - >"$work/done"
}
# rpm names what would lack something; what it lacks stays, until nobody lacks anything.
unneeded() {
  printf '%s\n' "$@" | sort -u >"$work/going"
  # shellcheck disable=SC2046 # names, one word each
  while [ -s "$work/going" ] && ! rpm -e --test $(cat "$work/going") >"$log" 2>&1; do
    sed -nE 's/^[[:space:]]+(.+) is needed by \(installed\) .*/\1/p' "$log" | sed -E 's/ [<>=].*//' | while read -r lacking; do
      rpm -q --whatprovides --qf '%{NAME}\n' "$lacking" 2>/dev/null || :
    done | sort -u | comm -12 "$work/going" - >"$work/needed"
    [ -s "$work/needed" ] || fail "rpm -e --test failed: $(tail -n1 "$log"); mend it with dnf on the rig"
    comm -23 "$work/going" "$work/needed" >"$work/rest"
    mv -f "$work/rest" "$work/going"
  done
  mv -f "$work/going" "$work/list"
}
drop() { watched dnf -q -y --setopt=clean_requirements_on_remove=False remove "$@"; }
clean() { :; }
