# Installs $PACKAGES of $ARCHIVE, a tar of files and of apt's list of them that was sent; $RECORD is that of packages.sh. Each
# file is held to its line of $SUMS. They are a source for this script alone: the rig's own are not asked, nor their lists renewed.
lock
mkdir -p "$(dirname "$RECORD")"
sent=${ARCHIVE%.tar}
trap 'rm -rf -- "$work" "$sent" "$ARCHIVE"' EXIT
rm -rf -- "$sent"
install -d -m 700 "$sent" "$sent/lists" "$sent/lists/partial"
size=$(stat -c %s -- "$ARCHIVE")
free=$(free_bytes "$sent")
[ "$free" -ge "$size" ] || fail "packages need $(human "$size") in ${sent%/*}, the disk has $(human "$free"); free some"
# An upload is continued by size alone: a damaged one shows here.
if ! tar -xf "$ARCHIVE" -C "$sent" --no-same-owner 2>"$log" || ! (cd "$sent" && printf '%s\n' "$SUMS" | sha256sum -c --strict >"$log" 2>&1); then
  fail "packages arrived damaged and were thrown away: $(tail -n1 "$log"); run again"
fi
# These files alone: sums of others say nothing.
[ "$(find "$sent" -type f | wc -l)" = "$(printf '%s\n' "$SUMS" | wc -l)" ] || fail "more was sent than packages; run again"
echo "deb [trusted=yes] file:$sent ./" >"$sent/sources.list"
settings=$sent/apt.conf
cat >"$settings" <<END
Dir::Etc::SourceList "$sent/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$sent/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Default-Release "";
APT::Sandbox::User "root";
END
repair
# shellcheck disable=SC2034 # hint and lacks of apt.sh read them
broken='' advice='the bundle has none that fit what is installed here; make it anew, or bring this rig up to date'
patiently watched apt update || fail "apt cannot read what was sent: ${held:-$(reason)}; run again"
say "installing $PACKAGES"
# shellcheck disable=SC2086 # names, one word each
bring $PACKAGES
[ -z "$failure" ] || fail "$failure"
