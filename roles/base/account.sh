# The builder's account and the directories; what exists is left as it is.
if ! getent passwd "$BUILDER" >/dev/null; then
  useradd --system --user-group --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin "$BUILDER"
  mkdir -p "$STATE"
  touch "$STATE/account.created"
fi
install -d -m 755 "$STATE" "$STATE/build" "$CONFIG" /opt/rigwright
install -d -m 755 -o "$BUILDER" -g "$BUILDER" "$STATE/ccache"
