#!/bin/sh
# Installs this checkout as a systemd service. Running it again upgrades the program and leaves
# settings, keys and journals as they are.
#   sudo deploy/install.sh ETH
set -eu

ticker=${1:-}
case $ticker in
  "" | *[!A-Za-z0-9]*) echo "usage: sudo deploy/install.sh TICKER (for example ETH)" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "install.sh: needs root; type: sudo deploy/install.sh $ticker" >&2; exit 1; }
command -v systemctl >/dev/null || { echo "install.sh: needs systemd" >&2; exit 1; }

here=$(cd "$(dirname "$0")/.." && pwd)
target=/opt/hedged

if systemctl is-active --quiet 'hedged@*.service'; then
  echo "install.sh: a hedged service is running; stop it first: systemctl stop 'hedged@*'" >&2
  exit 1
fi

mkdir -p "$target"
if [ "$here" != "$target" ]; then
  for part in daemon exchanges strategy safety deploy docs; do
    rm -rf "${target:?}/$part"
    cp -R "$here/$part" "$target/$part"
  done
  cp "$here/pyproject.toml" "$here/requirements.lock" "$here/Makefile" "$here/README.md" \
    "$here/LICENSE" "$here/CHANGELOG.md" "$target/"
fi
make -C "$target" setup
chmod -R go+rX "$target"

# The service reads its settings itself, so that a reload sees them; the keys stay readable by root only.
install -d -m 0755 /etc/hedged
[ -e "/etc/hedged/$ticker.toml" ] || install -m 0644 "$here/deploy/config.example.toml" "/etc/hedged/$ticker.toml"
chmod 0644 "/etc/hedged/$ticker.toml"
[ -e "/etc/hedged/$ticker.env" ] || install -m 0600 "$here/deploy/env.example" "/etc/hedged/$ticker.env"

install -m 0644 "$here/deploy/hedged@.service" /etc/systemd/system/hedged@.service
install -m 0644 "$here/deploy/hedged-guard@.service" /etc/systemd/system/hedged-guard@.service
[ ! -d /etc/logrotate.d ] || install -m 0644 "$here/deploy/hedged.logrotate" /etc/logrotate.d/hedged
systemctl daemon-reload

cat <<EOF
installed. Next:
  1. settings: /etc/hedged/$ticker.toml (starts simulated; venues = "live" trades real money)
  2. keys:     /etc/hedged/$ticker.env
  3. start:    systemctl enable --now hedged@$ticker hedged-guard@$ticker
  4. watch:    journalctl -fu hedged@$ticker
EOF
