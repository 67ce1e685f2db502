#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The least that the same services cost: one shell script on the bare machine, without checks, sandboxes or a second
# run in mind. bench/deploy sends it with the files beside it (shop/, bugsink/, flower.txt, bugsink.txt, perhaps ca.pem)
# and runs it as root in one SSH session. It prints 'step SECONDS NAME' after each step.
set -euo pipefail
cd "$(dirname "$0")"
uv_version=$1 # the one that the collection uses
password='password-of-a-benchmark'
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 UV_CACHE_DIR=/opt/cache UV_PYTHON_DOWNLOADS=never
if [ -e ca.pem ]; then export PIP_CERT=$PWD/ca.pem SSL_CERT_FILE=$PWD/ca.pem; fi

start=${EPOCHREALTIME/./}
step() { awk -v us=$((${EPOCHREALTIME/./} - start)) -v name="$1" 'BEGIN { printf "step %.1f %s\n", us / 1e6, name }'; start=${EPOCHREALTIME/./}; }

[ -n "$(find /var/lib/apt/lists -maxdepth 0 -mmin -60)" ] || apt-get update -qq
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 0755 /usr/sbin/policy-rc.d
apt-get install -y -qq --no-install-recommends rabbitmq-server redis-server python3-venv tzdata >/dev/null
rm /usr/sbin/policy-rc.d
step "Debian packages"

python3 -m venv /opt/tools
/opt/tools/bin/pip install --quiet "uv==$uv_version"
step "uv"

# venv NAME ARGUMENTS...: /opt/NAME/venv with what is listed
venv() {
  /opt/tools/bin/uv venv --quiet --no-project --python=/usr/bin/python3 "/opt/$1/venv"
  /opt/tools/bin/uv pip install --quiet --compile-bytecode --python="/opt/$1/venv/bin/python" "${@:2}"
}
mkdir -p /opt/shop /opt/flower /opt/bugsink /etc/bugsink
cp -r shop /opt/shop/src
venv shop --requirements=shop/requirements.txt
/opt/tools/bin/uv pip install --quiet --compile-bytecode --python=/opt/shop/venv/bin/python --no-deps ./shop
step "environment of the shop"
venv flower --no-deps --requirements=flower.txt
step "environment of Flower"
venv bugsink --no-deps --requirements=bugsink.txt
step "environment of Bugsink"

useradd --system --home-dir /var/lib/celery celery
useradd --system --home-dir /var/lib/bugsink bugsink
echo "requirepass $password" >>/etc/redis/redis.conf
echo '[rabbitmq_management].' >/etc/rabbitmq/enabled_plugins
echo 'load_definitions = /etc/rabbitmq/definitions.json' >/etc/rabbitmq/rabbitmq.conf
cat >/etc/rabbitmq/definitions.json <<EOF
{"vhosts": [{"name": "celery"}],
 "users": [{"name": "celery", "password": "$password", "tags": "administrator"}],
 "permissions": [{"user": "celery", "vhost": "celery", "configure": ".*", "read": ".*", "write": ".*"}]}
EOF
cat >/etc/celery.env <<EOF
BROKER_URL=amqp://celery:$password@127.0.0.1/celery
CELERY_BROKER_URL=amqp://celery:$password@127.0.0.1/celery
RESULT_BACKEND=redis://:$password@127.0.0.1/0
FLOWER_BASIC_AUTH=demo:$password
EOF
cp -r bugsink /opt/bugsink/lib
cat >/etc/bugsink/bugsink.json <<EOF
{"secret_key": "9b1f0c52e7d84a6fb3c9215de08a7f64c1d3e95b72a84f06", "base_url": "http://127.0.0.1:8000",
 "address": "127.0.0.1", "title": "Errors", "time_zone": "UTC", "max_events": 10000,
 "admin_email": "admin@example.org", "admin_password": "$password", "team": "team", "project": "celery",
 "project_id": 1, "project_key": "7e19c4d2b8a35f60916fd3a27c84be05",
 "api_token": "c52d8e7f1a9046b3b7de20f4a8613c95e47f0ad1"}
EOF

# unit NAME USER FOLDER LINE...: a service that does no more than run
unit() {
  cat >"/etc/systemd/system/$1.service" <<EOF
[Unit]
After=rabbitmq-server.service redis-server.service
[Service]
User=$2
StateDirectory=$2
WorkingDirectory=$3
$(printf '%s\n' "${@:4}")
[Install]
WantedBy=multi-user.target
EOF
}
celery="ExecStart=/opt/shop/venv/bin/celery --app=shop.celery:app"
for worker in critical=2 default=2 bulk=1; do
  unit "celery-${worker%=*}" celery /opt/shop/src EnvironmentFile=/etc/celery.env \
    "$celery worker --hostname=${worker%=*}@%H --queues=${worker%=*} --concurrency=${worker#*=} --loglevel=INFO"
done
unit celery-beat celery /opt/shop/src EnvironmentFile=/etc/celery.env "$celery beat --schedule=/var/lib/celery/schedule --loglevel=INFO"
unit flower celery /var/lib/celery EnvironmentFile=/etc/celery.env "ExecStart=/opt/flower/venv/bin/celery flower --port=5555"
bugsink=(
  "Environment=DJANGO_SETTINGS_MODULE=bugsink_conf PYTHONPATH=/opt/bugsink/lib CREDENTIALS_DIRECTORY=/etc/bugsink"
  "Environment=PYTHONDONTWRITEBYTECODE=1"
)
unit bugsink bugsink /var/lib/bugsink "${bugsink[@]}" Type=notify NotifyAccess=all \
  "ExecStartPre=/opt/bugsink/venv/bin/python /opt/bugsink/lib/bootstrap.py" \
  "ExecStart=/opt/bugsink/venv/bin/gunicorn bugsink.wsgi --bind=127.0.0.1:8000 --workers=2 --no-control-socket"
unit bugsink-snappea bugsink /var/lib/bugsink "${bugsink[@]}" ExecStart=/opt/bugsink/venv/bin/bugsink-runsnappea
sed -i 's/^After=/After=bugsink.service /' /etc/systemd/system/bugsink-snappea.service
step "configuration"

systemctl daemon-reload
systemctl enable --quiet --now rabbitmq-server redis-server celery-critical celery-default celery-bulk celery-beat \
  flower bugsink bugsink-snappea

# await NAME COMMAND...: until it succeeds
await() {
  local deadline=$((SECONDS + 60))
  until "${@:2}" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "$1 does not answer" >&2; journalctl -n 20 -u "$1" >&2; exit 1; }
    sleep 0.1
  done
}
says() { journalctl --quiet --output=cat --unit="$1" --grep="$2"; }
answers() ( exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && read -r line <&3 && [[ $line == HTTP/* ]] )
await redis-server redis-cli -a "$password" ping
for worker in critical default bulk; do await "celery-$worker" says "celery-$worker" ready; done
await celery-beat says celery-beat Starting
await flower answers 5555
await bugsink answers 8000
await bugsink-snappea systemctl is-active bugsink-snappea
step "services, until each answers"
