# NVIDIA's repository and the components of the distribution as files of apt, behind key.sh. COMPONENTS: those of the
# distribution that are wanted.
SOURCE=rigwright-nvidia.sources
# What the file of NVIDIA's repository begins with: where this is, nothing has to be done.
source_head() { printf '# Written by rigwright: %s by the key %s.\n' "$REPO" "$FINGERPRINT"; }
# sources_to FOLDER: the files of apt there. 1 where the key cannot be trusted, with $refusal.
sources_to() {
  [ -z "$REPO" ] || {
    trusted_key "$work/key.asc" || return 1
    {
      source_head
      printf 'Types: deb\nURIs: %s/\nSuites: /\nSigned-By:\n' "$REPO"
      sed 's/^$/./; s/^/ /' "$work/key.asc"
    } | write "$1/$SOURCE" 644
  }
  [ -z "$COMPONENTS" ] || components_to "$1"
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
      for (i = 1; i <= m; i++) if (!among(words[i], own, n)) text = text (text == "" ? "" : " ") words[i]
      return text
    }
    function among(word, own, n,   i) { for (i = 1; i <= n; i++) if (own[i] == word) return 1; return 0 }
    function out(text) { if (!said++) print "# Written by rigwright: further components of the distribution.\n"; print text }'
  # shellcheck disable=SC2016 # of awk
  cat "$from/sources.list" "$from"/sources.list.d/*.list 2>/dev/null | grep -v '^# Written by rigwright' | awk -v wanted="$COMPONENTS" "$functions"'
    /^deb[ \t]/ && /debian/ && match($0, / main( |$)/) {
      more = lacking(substr($0, RSTART))
      if (more != "") out(substr($0, 1, RSTART) more)
    }' >"$work/components.list"
  # shellcheck disable=SC2016 # of awk
  for file in "$from"/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    case $file in */rigwright-*) continue ;; esac
    cat "$file"; echo
  done | awk -v wanted="$COMPONENTS" "$functions"'
    BEGIN { RS = ""; FS = "\n" }
    /(^|\n)Types:[^\n]*deb( |\n|$)/ && /(^|\n)URIs:[^\n]*debian/ && !/(^|\n)Enabled: *no/ {
      text = more = ""; main = 0
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^#/) continue
        if ($i ~ /^Components:/) { main = ($i ~ / main( |$)/); more = lacking(substr($i, 12)); $i = "Components: " more }
        text = text $i "\n"
      }
      if (main && more != "") out(text)
    }' >"$work/components.sources"
  for kind in list sources; do
    [ ! -s "$work/components.$kind" ] || write "$1/rigwright-components.$kind" 644 <"$work/components.$kind"
  done
}
# set_up: the files on the rig; 1 with $refusal where they cannot be. take_down: without them again.
set_up() {
  had=
  [ ! -e "/etc/apt/sources.list.d/$SOURCE" ] || had=yes
  sources_to /etc/apt/sources.list.d || return 1
  if [ -n "$PREFERENCES" ]; then printf %s "$PREFERENCES" | write /etc/apt/preferences.d/rigwright-nvidia 644
  else rm -f /etc/apt/preferences.d/rigwright-nvidia; fi
}
take_down() { [ -n "$had" ] || rm -f "/etc/apt/sources.list.d/$SOURCE" /etc/apt/preferences.d/rigwright-nvidia; }
