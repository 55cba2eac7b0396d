# The builder's account and the directories; what exists is left as it is. The account's comment says whose it is.
lock
getent passwd "$BUILDER" >/dev/null ||
  useradd --system --user-group --comment "$COMMENT" --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin "$BUILDER"
install -d -m 755 "$STATE" "$STATE/build" "$CONFIG" "$INSTALLED"
[ "$(getent passwd "$BUILDER" | cut -d: -f5)" != "$COMMENT" ] || touch "$STATE/account.created"
install -d -m 755 -o "$BUILDER" -g "$BUILDER" "$STATE/ccache"
