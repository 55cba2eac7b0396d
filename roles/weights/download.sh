# Downloads $URL to $DEST in a unit of its own, so that a dropped connection costs nothing; a second run picks it up.
PART=$DEST.part
UNIT=rigwright-download-$(printf %s "$DEST" | sha256sum | cut -c1-12)
mkdir -p "${DEST%/*}"
head=$(curl -sSfIL --retry 3 --max-time 60 -- "$URL" 2>&1) || fail "$URL cannot be downloaded: $(echo "$head" | tail -n1); check the address and the rig's network"
header() { echo "$head" | tr -d '\r' | awk -F': *' -v k="$1" 'tolower($1) == k { v = $2 } END { print v }'; }
size=$(header x-linked-size)
size=${size:-$(header content-length)}
# Hugging Face names the sha256 of a large file in x-linked-etag.
linked=$(header x-linked-etag | tr -d '"W/')
case $linked in *[!0-9a-f]*) ;; ????????????????????????????????????????????????????????????????) SHA256=${SHA256:-$linked} ;; esac
have() { stat -c %s -- "$PART" 2>/dev/null || echo 0; }
if [ -n "$size" ] && [ "$(have)" -gt "$size" ]; then rm -f -- "$PART"; fi
if [ -n "$size" ]; then
  need=$((size - $(have) + RESERVE))
  free=$(free_bytes "$DEST")
  [ "$free" -ge "$need" ] || fail "$DEST needs $(human "$need") ($(human "$RESERVE") of it to stay free), the disk has $(human "$free"); free some, or set rig.weights.directory"
fi
progress() {
  if [ -n "$size" ]; then echo "${DEST##*/}: $(($(have) * 100 / size / 5 * 5)) % of $(human "$size")"
  else echo "${DEST##*/}: $(human "$(have)")"; fi
}
if [ -z "$size" ] || [ "$(have)" -lt "$size" ]; then
  if systemctl is-active -q "$UNIT"; then
    say "attaching to the download that is running"
  else
    systemctl reset-failed "$UNIT" 2>/dev/null || :
    touch "$PART"
    chown "$BUILDER" "$PART"
    systemd-run -q --unit="$UNIT" --uid="$BUILDER" -p Nice=5 -- \
      curl -sSfL -C - --retry 8 --retry-delay 2 --speed-limit 1 --speed-time 60 -o "$PART" -- "$URL" ||
      fail "systemd-run could not start the download; see journalctl on the rig"
  fi
  follow "$UNIT"
  case $(systemctl show -P Result -- "$UNIT") in
    success) ;;
    *)
      said=$(journalctl -u "$UNIT" -n 20 -o cat --no-pager | grep curl: | tail -n1)
      case $said in *"(33)"*) rm -f -- "$PART" ;; esac # the server cannot continue: the next run starts over
      why "downloading $URL failed: $said; run again, it continues there"
      systemctl reset-failed "$UNIT" 2>/dev/null || :
      exit 1
      ;;
  esac
fi
lock
# The script of a dropped connection waits for the same download, and may have been quicker.
if [ ! -e "$PART" ] && read -r known_sum known_size known_time known_origin 2>/dev/null <"$STAMP" &&
  [ "$known_size $known_time" = "$(stat -c '%s %Y' -- "$DEST" 2>/dev/null)" ] &&
  [ "${SHA256:-$ORIGIN}" = "$([ -n "$SHA256" ] && echo "$known_sum" || echo "$known_origin")" ]; then
  exit 0
fi
[ -z "$size" ] || [ "$(have)" = "$size" ] || fail "$DEST: $(have) of $size bytes arrived; run again, it continues there"
accept "$PART"
chown root:root "$PART"
chmod 644 "$PART"
mv -f -- "$PART" "$DEST"
stamp
