PART=$DEST.part
accept "$PART"
chown root:root "$PART"
chmod 644 "$PART"
mv -f -- "$PART" "$DEST"
stamp
