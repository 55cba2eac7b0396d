# Where archives arrive. What an installation of another release left that was cut goes, unless it is still at work.
lock
install -d -m 755 "$WORK"
for old in "${WORK%/*}"/*; do
  [ "$old" != "$WORK" ] && [ -z "$(find "$old" -mmin -60 -print -quit 2>/dev/null)" ] || continue
  say "$old goes, an installation was cut there"
  rm -rf -- "$old"
done
