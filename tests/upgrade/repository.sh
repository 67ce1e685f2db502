# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# A repository of our own making, signed: the installed package under a newer version ($MARK), with a feature flag that
# the old one does not have, and what is only offered. Prints the key.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/root/gnupg
apt-get -qq update && apt-get -qq install gnupg >/dev/null
mkdir -p /srv/repository /root/gnupg && chmod 700 /root/gnupg && cd /srv/repository
old=$(dpkg-query -W -f '${Version}' rabbitmq-server) new=${old%%+celeryops*}$MARK
apt-get -qq download rabbitmq-server="$old"
rm -rf /root/package && dpkg-deb -R rabbitmq-server_*.deb /root/package && rm rabbitmq-server_*.deb
sed -i "s/^Version: .*/Version: $new/" /root/package/DEBIAN/control

cd /root/package/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbit-[0-9]*/ebin
echo "-module($FLAG). -rabbit_feature_flag({$FLAG, #{desc => \"Of a test\", stability => stable}})." > /root/"$FLAG".erl
erlc /root/"$FLAG".erl
sed -i "s/{modules, *\[/&$FLAG,/" rabbit.app && grep -q "$FLAG" rabbit.app

cd /srv/repository
dpkg-deb -Znone -b /root/package rabbitmq-server.deb >/dev/null
offer() {
  dpkg-deb -f rabbitmq-server.deb | sed "s/^Version: .*/Version: $1/"
  echo "Filename: ./rabbitmq-server.deb"
  echo "Size: $(stat -c %s rabbitmq-server.deb)"
  echo "SHA256: $(sha256sum rabbitmq-server.deb | cut -d' ' -f1)"
  echo
}
for version in "$new" $OFFERED; do offer "$version"; done > Packages
{
  echo "Date: $(LC_ALL=C date -Ru)"
  echo SHA256:
  echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"
} > Release
gpg --list-keys tests@example.org >/dev/null 2>&1 ||
  gpg --batch --quiet --passphrase '' --quick-generate-key tests@example.org default default never
gpg --batch --quiet --yes --clearsign --output InRelease Release
systemctl is-active --quiet repository ||
  systemd-run --quiet --unit=repository --working-directory="$PWD" python3 -m http.server "$PORT"
gpg --batch --armor --export tests@example.org
