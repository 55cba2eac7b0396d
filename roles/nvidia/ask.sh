# Asks what repositories offer, and what installing $NAMES would bring and cost, with sources and pins that the rig does not
# have yet: in a folder that is gone afterwards, so that nothing of the rig's own apt is touched. Others may ask as well.
trap 'rm -rf "$work" "$place"' EXIT
find /var/lib/apt -maxdepth 1 -name 'rigwright-ask.*' -mmin +60 -exec rm -rf {} + # of one that was killed
place=$(mktemp -d /var/lib/apt/rigwright-ask.XXXXXX)
chmod 755 "$place"
mkdir "$place/sources" "$place/preferences" "$place/conf"
# The lists that are here already are not fetched again.
cp -al /var/lib/apt/lists "$place/lists" 2>/dev/null || { rm -rf "$place/lists"; cp -a /var/lib/apt/lists "$place/lists"; }
mkdir -p "$place/lists/partial"
for kind in sources.list:sources preferences:preferences apt.conf:conf; do
  cp -L "/etc/apt/${kind%:*}.d"/* "$place/${kind#*:}" 2>/dev/null || :
done
# apt reads what the environment names first, and then what may say otherwise: so that comes from here as well. What the
# rig has apt do after reading lists would note them as the rig's own.
{
  cat "${APT_CONFIG:-/dev/null}"
  printf '\nDir::Etc::Parts "%s/conf";\nDir::Etc::Main "%s/none";\n' "$place" "$place"
} >"$place/apt.conf"
{
  cat /etc/apt/apt.conf 2>/dev/null || :
  printf '\nDir::Etc::SourceParts "%s/sources";\nDir::Etc::PreferencesParts "%s/preferences";\n' "$place" "$place"
  printf 'Dir::State::Lists "%s/lists";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nDebug::NoLocking "1";\n' "$place"
  # Names that a deploy holds it lets go of for a change; those that the owner holds stay.
  if [ -s "$STATE/held" ]; then
    awk 'NR == FNR { ours[$1]; next } /^Package: / { mine = $2 in ours } mine && /^Status: hold / { sub(/hold/, "install") } { print }' \
      "$STATE/held" /var/lib/dpkg/status >"$place/status"
    printf 'Dir::State::status "%s/status";\n' "$place"
  fi
  printf '#clear APT::Update::%s;\n' Pre-Invoke Post-Invoke Post-Invoke-Success
} >"$place/conf/zzzz-rigwright"
section() { printf '@rigwright %s\n' "$*"; }
tell() { section "$1"; tr '\200-\377' '?' | sed 's/^/|/'; }
if ! sources_to "$place/sources"; then echo "$refusal" | tell "asked refusal"; REPO=; fi
[ -z "$PREFERENCES" ] || printf %s "$PREFERENCES" >"$place/preferences/rigwright-nvidia"
export APT_CONFIG="$place/apt.conf"
parts=$place/sources
readable >/dev/null
apt-get -q update >"$log" 2>&1 </dev/null || :
said=$(complaint)
[ -z "$said" ] || echo "$said" | tell "asked refusal"
complaints | grep "^[EW]:" | grep -vxF -e "$said" | head -n 20 | tell "asked update" || :
# shellcheck disable=SC2034 # policy_text reads it
installed=$(dpkg-query -W -f='${Package}\n' | grep -E "$RELEVANT" || :)
policy_text 2>/dev/null | tell "source apt-policy.txt"
if [ -n "$NAMES" ]; then
  # Quieter, it would not say why.
  # shellcheck disable=SC2086 # names, one word each
  if apt-get -q -s $MAY --no-install-recommends install $NAMES >"$log" 2>&1 </dev/null; then
    awk '$1 == "Inst" { gsub(/[()]/, ""); print $2, ($3 ~ /^\[/ ? $4 : $3) } $1 == "Remv" { print "-" $2 }' "$log" | tee "$work/coming" | tell "asked coming"
    # shellcheck disable=SC2086 # names, one word each
    apt-get -qq $MAY --print-uris --no-install-recommends install $NAMES 2>/dev/null </dev/null |
      awk '{ total += $3 } END { print "download=" total + 0 }' | tell "asked download"
    # shellcheck disable=SC2046 # names, one word each
    apt-cache show $(awk '!/^-/ { print $1 "=" $2 }' "$work/coming") 2>/dev/null |
      awk '$1 == "Installed-Size:" { total += $2 } END { print "disk=" total * 1024 }' | tell "asked disk"
  else
    { grep -E '^E:|Depends:|Conflicts:|Breaks:|^ +([0-9]+\.|\[|-) ' "$log" | head -n 12; apt-mark showhold | sed 's/^/held: /'; } | tell "asked failure"
  fi
fi
section end
