# dnf behind the names that packages.sh and remove.sh use.
installed() { rpm -qa --qf '%{NAME}\n' | sort -u; }
repair() { :; }
refresh() {
  watched dnf -q -y makecache ||
    fail "dnf makecache failed: $(grep -m1 -iE '^error' "$log" || tail -n1 "$log"); check the rig's network and repositories"
}
add() {
  watched dnf -y --setopt=install_weak_deps=False install "$@" ||
    fail "dnf install failed: $(grep -m3 -iE '^error|problem|nothing provides|no match' "$log" | tr '\n' ' '); mend it with dnf on the rig"
}
unneeded() {
  # dnf 5 says `mark dependency` for what dnf 4 calls `mark remove`.
  dnf -q -y mark dependency "$@" >/dev/null 2>&1 || dnf -q -y mark remove "$@" >/dev/null 2>&1 || :
  dnf -q repoquery --unneeded --qf '%{name}\n' 2>/dev/null | sort -u
}
drop() { dnf -q -y remove --noautoremove "$@" >/dev/null 2>&1 </dev/null || why "dnf remove failed; run dnf autoremove on the rig"; }
