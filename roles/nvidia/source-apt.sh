# NVIDIA's repository and the components of the distribution as files of apt, behind key.sh. COMPONENTS: those of the
# distribution that are wanted.
SOURCE=rigwright-nvidia.sources
# What the file of NVIDIA's repository begins with: where this is, nothing has to be done.
source_head() { printf '# Written by rigwright: %s by the key %s.\n' "$REPO" "$FINGERPRINT"; }
# sources_to FOLDER: the files of apt there. 1 where they cannot be written or the key cannot be trusted, with $refusal.
sources_to() {
  refusal="$1 cannot be written to"
  if [ -z "$REPO" ]; then :
  elif is_named; then rm -f -- "$1/$SOURCE" || return 1
  else
    trusted_key "$work/key.asc" || return 1
    refusal="$1 cannot be written to"
    {
      source_head
      printf 'Types: deb\nURIs: %s/\nSuites: /\nSigned-By:\n' "$REPO"
      sed 's/^$/./; s/^/ /' "$work/key.asc"
    } | write "$1/$SOURCE" 644 || return 1
  fi
  [ -z "$COMPONENTS" ] || components_to "$1"
}
# is_named: whether the owner's sources name NVIDIA's repository already. Beside ours, which has its key in itself, apt would
# read nothing at all: his stays alone.
is_named() {
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    case $file in */rigwright-*) continue ;; esac
    [ -f "$file" ] || continue
    # In the one form an entry is a line, in the other a paragraph.
    case $file in *.sources) record= ;; *) record='\n' ;; esac
    awk -v RS="$record" -v repo="$REPO" '
      { gsub(/(^|\n)[ \t]*#[^\n]*/, "") }
      tolower($0) ~ /(^|\n)enabled:[ \t]*(no|false|without|off|disable)/ { next }
      { for (i = 1; i <= NF; i++) if ($i == repo || $i == repo "/") named = 1 }
      END { exit !named }' "$file" && return 0
  done
  return 1
}
# components_to FOLDER: what the owner's sources of the distribution say, for the components that they lack. His files stay
# as they are.
components_to() {
  from=/etc/apt
  # What of the wanted ones is not among these; mawk has no `delete` of a whole array.
  # shellcheck disable=SC2016 # of awk
  functions='
    function lacking(have,   n, m, i, words, own, text) {
      n = split(have, own, " "); m = split(wanted, words, " "); text = ""
      if (!among("main", own, n)) return ""
      for (i = 1; i <= m; i++) if (!among(words[i], own, n)) text = text (text == "" ? "" : " ") words[i]
      return text
    }
    function among(word, own, n,   i) { for (i = 1; i <= n; i++) if (own[i] == word) return 1; return 0 }
    function out(text) { if (!said++) print "# Written by rigwright: further components of the distribution.\n"; print text }'
  set -- "$1" "$from/sources.list" "$from"/sources.list.d/*.list
  # shellcheck disable=SC2016 # of awk
  for file; do
    case $file in */rigwright-*) continue ;; esac
    [ "$file" = "$1" ] || [ ! -f "$file" ] || { cat -- "$file"; echo; }
  done | awk -v wanted="$COMPONENTS" "$functions"'
    { sub(/[ \t]#.*/, "") }
    match($0, /^[ \t]*deb[ \t]+(\[[^]]*\][ \t]*)?[^ \t]+[ \t]+[^ \t]+/) {
      head = substr($0, 1, RLENGTH)
      more = head ~ /debian/ ? lacking(substr($0, RLENGTH + 1)) : ""
      if (more != "") out(head " " more)
    }' >"$work/components.list"
  # A field may go on in further lines, which begin with a blank.
  # shellcheck disable=SC2016 # of awk
  for file in "$from"/sources.list.d/*.sources; do
    case $file in */rigwright-*) continue ;; esac
    [ ! -f "$file" ] || { cat -- "$file"; echo; }
  done | awk -v wanted="$COMPONENTS" "$functions"'
    BEGIN { RS = ""; FS = "\n" }
    {
      count = 0; is_wanted = 1
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^#/) continue
        if ($i !~ /^[ \t]/) { name[++count] = tolower($i); sub(/:.*/, "", name[count]); text[count] = $i }
        else if (count) text[count] = text[count] "\n" $i
      }
      more = uris = types = ""
      for (i = 1; i <= count; i++) {
        value = text[i]; sub(/^[^:]*:/, "", value); gsub(/[ \t\n]+/, " ", value)
        if (name[i] == "types") types = value " "
        if (name[i] == "uris") uris = value
        if (name[i] == "enabled" && tolower(value) ~ /^ *(no|false|without|off|disable) *$/) is_wanted = 0
        if (name[i] == "components") { more = lacking(value); text[i] = "Components: " more }
      }
      if (!is_wanted || more == "" || types !~ / deb / || uris !~ /debian/) next
      all = ""
      for (i = 1; i <= count; i++) all = all text[i] "\n"
      out(all)
    }' >"$work/components.sources"
  for kind in list sources; do
    if [ ! -s "$work/components.$kind" ]; then rm -f -- "$1/rigwright-components.$kind"
    else write "$1/rigwright-components.$kind" 644 <"$work/components.$kind" || return 1; fi
  done
}
# set_up: the files on the rig; 1 with $refusal where they cannot be. take_down: as it was before.
FILES="/etc/apt/sources.list.d/$SOURCE /etc/apt/preferences.d/rigwright-nvidia
  /etc/apt/sources.list.d/rigwright-components.list /etc/apt/sources.list.d/rigwright-components.sources"
# shellcheck disable=SC2086 # paths without blanks
set_up() {
  aside $FILES
  sources_to /etc/apt/sources.list.d || return 1
  if [ -n "$PREFERENCES" ]; then printf %s "$PREFERENCES" | write /etc/apt/preferences.d/rigwright-nvidia 644 || return 1
  else rm -f /etc/apt/preferences.d/rigwright-nvidia; fi
}
# shellcheck disable=SC2086 # paths without blanks
take_down() { put_back $FILES; }
# complaints: what apt finds wrong with sources, a line each: it breaks the reasons of a signature into several.
complaints() {
  awk '/^([EW]|Err):/ { if (said != "") print said; said = $0; next }
    /^[ \t]/ && said != "" { gsub(/^[ \t]+/, ""); said = said " " $0; next }
    { if (said != "") print said; said = "" } END { if (said != "") print said }' "$log" | cut -c1-600
}
# complaint: why NVIDIA's repository cannot be used, one of these; nothing where it can. Others may be broken, and are not
# meant: theirs may begin with the same host.
complaint() {
  [ -n "$REPO" ] || return 0
  complaints | awk -v repo="$REPO" '
    /^(E:|Err:|W: (Failed|GPG error|An error|OpenPGP))/ && (at = index($0, repo)) {
      rest = substr($0, at + length(repo))
      if (rest ~ /^[ \/]*(In)?Release|^[ \/]*Packages|^\/by-hash/) print
    }' >"$work/complaint"
  grep -m1 -E '^W: (GPG|OpenPGP)' "$work/complaint" || grep -m1 '^E:' "$work/complaint" || head -n 1 "$work/complaint"
}
