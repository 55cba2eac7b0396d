# Serves a model by the llmster of an account: a unit, and an answer as the proof. UNIT, TEXT, ACCOUNT, HOME_OF, PORT,
# ALIAS, SECONDS_TO_START.
lock
file=/etc/systemd/system/$UNIT
are_ours "$file"
id -u -- "$ACCOUNT" >/dev/null 2>&1 || fail "there is no account $ACCOUNT; name the one that has LM Studio in its home"
[ "$(id -u -- "$ACCOUNT")" != 0 ] || fail "$ACCOUNT is root; name another account"
[ "$(getent passwd "$ACCOUNT" | cut -d: -f6)" = "$HOME_OF" ] || fail "the home of $ACCOUNT is not $HOME_OF"
[ -x "$HOME_OF/.lmstudio/bin/lms" ] ||
  fail "$ACCOUNT has no LM Studio; its installer has no checksum, so none is run here: install llmster as $ACCOUNT, run again"
command -v curl >/dev/null || fail "there is no curl, by which the answer is asked for; install it"
had='' before=''
if [ -f "$file" ]; then had=yes before=$(cat -- "$file"; echo .) before=${before%.}; fi
go_back() {
  systemctl stop "$UNIT" || :
  if [ "$had" ]; then
    own_unit "$UNIT" "$before"
    if systemctl restart "$UNIT"; then why "the unit before is back"; fi
  else
    rm -f -- "$file" "/etc/systemd/system/multi-user.target.wants/$UNIT"
    systemctl daemon-reload
  fi
  fail "$*"
}
own_unit "$UNIT" "$TEXT"
say "loading the model, which may take $SECONDS_TO_START s"
systemctl restart "$UNIT" || go_back "LM Studio did not start, see journalctl -u $UNIT"
ask="{\"model\": \"$ALIAS\", \"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}]}"
curl -q -sf --noproxy '*' -m 120 -H 'Content-Type: application/json' -d "$ask" \
  "http://127.0.0.1:$PORT/v1/chat/completions" | grep -q '"completion_tokens"' || go_back "LM Studio completes nothing"
say "$ALIAS serves on 127.0.0.1:$PORT"
