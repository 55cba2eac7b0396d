# The parts of a removal. What cannot be taken away is an error, and what is known of it stays for the next run.
failed=
miss() { why "$*"; failed=yes; }
is_stamp() { case ${1##*/} in .*.rigwright) true ;; *) false ;; esac; }
# is_brought FILE: whether a model file is what rigwright brought, to the byte, by its stamp. 0.1.0 listed what was found too.
is_brought() {
  case $1 in *.part | *.part.of) return 0 ;; esac
  read -r sum size modified origin 2>/dev/null <"${1%/*}/.${1##*/}.rigwright" || return 1
  [ "$origin" != found ] && [ "$size" = "$(stat -Lc %s -- "$1")" ] || return 1
  [ "$modified" = "$(stat -Lc %Y -- "$1")" ] || [ "$sum" = "$(sha256sum <"$1" | cut -d' ' -f1)" ]
}
# drop_folder FILE: the folder that it was in, where that is one of ours and empty, and that of a repository around it.
drop_folder() {
  case ${1%/*} in */.rigwright | *--*) rmdir -- "${1%/*}" 2>/dev/null || return 0 ;; *) return 0 ;; esac
  around=${1%/*/*}
  case ${around##*/} in *--*) rmdir -- "$around" 2>/dev/null || : ;; esac
}
discard() { said=$(rm -f -- "$1" 2>&1) || miss "$said"; }
# discard_brought: standard input: model files of the list $BROUGHT, which then no longer has them.
discard_brought() {
  while IFS= read -r file; do
    if is_brought "$file"; then
      discard "$file"
      discard "${file%/*}/.${file##*/}.rigwright"
      drop_folder "$file"
    else say "$file stays, it is not what rigwright brought"; fi
  done
  [ -f "$BROUGHT" ] || return 0
  left=$(while IFS= read -r file; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\n' "$file"; fi
  done <"$BROUGHT")
  { [ -z "$left" ] || printf '%s\n' "$left"; } | write "$BROUGHT" 644
}
# remove_weights: the model files of the list $BROUGHT, and then their stamps.
remove_weights() {
  [ -e "$BROUGHT" ] || return 0
  while IFS= read -r file; do
    if is_stamp "$file"; then continue; fi
    if [ -L "$file" ] && [ ! -e "$file" ]; then discard "$file"; fi # one of ours to one of ours, which is gone
    if [ ! -f "$file" ]; then continue; fi
    if is_brought "$file"; then discard "$file"; else say "$file stays, it is not what rigwright brought"; fi
  done <"$BROUGHT"
  while IFS= read -r file; do
    if is_stamp "$file"; then discard "$file"; fi
  done <"$BROUGHT"
  # Folders of ours, once they are empty: of a repository, of contents that waited.
  while IFS= read -r file; do
    drop_folder "$file"
  done <"$BROUGHT"
  [ -n "$failed" ] || rm -f -- "$BROUGHT"
}
# keep_weights: says where they are.
keep_weights() {
  [ -e "$BROUGHT" ] || return 0
  while IFS= read -r file; do
    if ! is_stamp "$file" && [ -f "$file" ]; then echo "${file%/*}"; fi
  done <"$BROUGHT" | sort | uniq -c | while read -r count folder; do
    say "model files stay in $folder: $count; --data remove_weights=true takes them too"
  done
}
# free_holds: those that came with our driver; who held a package himself finds it held.
free_holds() {
  [ -s "$STATE/nvidia/held" ] || return 0
  # One name that apt does not know would keep it from all.
  if command -v apt-mark >/dev/null; then apt-mark showhold | grep -xF -f "$STATE/nvidia/held" | xargs -r apt-mark -qq unhold >/dev/null 2>&1 || :
  else tr '\n' '\0' <"$STATE/nvidia/held" | xargs -0r dnf -q versionlock delete >/dev/null 2>&1 || :; fi
}
# remove_packages: those of the list $RECORD that are still ours, and that nothing else needs.
remove_packages() {
  [ -s "$RECORD" ] || return 0
  readable
  installed >"$work/installed"
  by_hand >"$work/by_hand"
  # Who installs a package by hand makes it his, and the package manager knows it; but it says the same of those that we
  # asked for by name. A bare name is of 0.1.0, which did not say which those were.
  awk -v asked="$ASKED" 'BEGIN { n = split(asked, a, " "); for (i = 1; i <= n; i++) named[a[i]] }
    FILENAME == ARGV[1] { hand[$1]; next }
    $2 == "asked" || (NF == 1 && $1 in named) || !($1 in hand) { print $1 }' "$work/by_hand" "$RECORD" |
    sort -u | comm -12 - "$work/installed" >"$work/take"
  cut -d' ' -f1 "$RECORD" | sort -u | comm -12 - "$work/installed" | comm -23 - "$work/take" >"$work/stay"
  [ ! -s "$work/stay" ] || say "these packages stay, somebody installed them by hand: $(tr '\n' ' ' <"$work/stay")"
  : >"$work/list"
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$work/take" ] || unneeded $(cat "$work/take")
  comm -12 "$work/take" "$work/list" >"$work/gone"
  if [ -s "$work/gone" ]; then
    say "removing $(wc -l <"$work/gone") packages: $(tr '\n' ' ' <"$work/gone")"
    # Settings go too where all that is known says that they came with us.
    awk '{ lines[$1]++ } $3 == "purge" { ours[$1]++ } END { for (name in lines) if (lines[name] == ours[name]) print name }' "$RECORD" |
      sort | comm -12 "$work/gone" - >"$work/with_settings"
    # shellcheck disable=SC2046 # names, one word each
    if ! drop $(cat "$work/gone") || ! clean $(cat "$work/with_settings"); then
      miss "packages could not be removed: ${held:-$(reason)}; mend it, then run again"
      return 0
    fi
  fi
  rm -f -- "$RECORD"
}
# remove_account: the builder, where we made it. One that somebody else made since, under the same name, is not ours.
remove_account() {
  has=$(getent passwd "$BUILDER" || :)
  case $has in
    *:"$COMMENT":*) ;;
    *:"$STATE":/usr/sbin/nologin) [ -e "$STATE/account.created" ] || return 0 ;;
    "") rm -f -- "$STATE/account.created"; return 0 ;;
    *)
      [ ! -e "$STATE/account.created" ] || say "the account $BUILDER stays, it is another one than rigwright made"
      rm -f -- "$STATE/account.created"
      return 0
      ;;
  esac
  if said=$(userdel "$BUILDER" 2>&1); then rm -f -- "$STATE/account.created"
  else miss "the account $BUILDER could not be removed: $said; mend it, then run again"; fi
}
