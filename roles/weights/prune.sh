# Removes the model files that rigwright brought and that no service of any inventory wants, as spare.sh judges them now.
[ "$(id -u)" = 0 ] || fail "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"
lock
spare=$(model_files | grep '^spare|' || :)
[ -n "$spare" ] || { say "no model file is spare"; exit 0; }
printf '%s\n' "$spare" | while IFS='|' read -r _ bytes _ file; do say "$file goes, $(human "$bytes")"; done
discard_brought <<END
$(printf '%s\n' "$spare" | cut -d'|' -f4-)
END
[ -z "$failed" ]
