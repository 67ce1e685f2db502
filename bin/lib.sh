# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What bin/demo and bin/test share: the controller's Python environment, the container engine, the images of the hosts.
# Every function is idempotent and says what it installs or starts.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
cache=$root/.cache
read -ra docker <<<"${DOCKER:-docker}"
export PATH="$venv/bin:$PATH" DOCKER_BUILDKIT=0 # the classic builder: buildx is not everywhere
mkdir -p "$cache"

say() { printf '%4ds  %s\n' "$SECONDS" "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || die "'$*' needs root: install sudo or run this as root"
  sudo "$@"
}

apt_install() {
  command -v apt-get >/dev/null || die "install these yourself, there is no apt here: $*"
  say "installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# --- the controller -------------------------------------------------------------------------------------------------

find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$python" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

# ensure_controller controller|test: .venv holds requirements/$1.txt
ensure_controller() {
  local stamp python
  command -v ssh >/dev/null || apt_install openssh-client
  stamp=$(cat "$root"/requirements/*.txt | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.$1" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then return; fi

  python=$(find_python) || { apt_install python3 python3-venv; python=$(find_python); } ||
    die "Python 3.11 or newer is needed on this machine; there is only $(python3 --version 2>&1)"
  say "installing requirements/$1.txt into .venv (about a minute, the first time)"
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    make_venv "$python" "$venv" || { apt_install python3-venv; make_venv "$python" "$venv"; }
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$root/requirements/$1.txt"
  echo "$stamp" > "$venv/.$1"
  if [ "$1" = test ]; then echo "$stamp" > "$venv/.controller"; fi # test.txt contains controller.txt
}

make_venv() { "$1" -m venv --clear "$2" >/dev/null 2>&1; }

# --- the container engine -------------------------------------------------------------------------------------------

engine_answers() {
  command -v docker >/dev/null || return 1
  if docker info >/dev/null 2>&1; then
    docker=(docker)
  elif [ "$(id -u)" != 0 ] && command -v sudo >/dev/null && sudo docker info >/dev/null 2>&1; then
    docker=(sudo env DOCKER_BUILDKIT=0 docker) # sudo drops the environment
  else
    return 1
  fi
  export DOCKER="${docker[*]}"
}

ensure_engine() {
  engine_answers && return
  command -v dockerd >/dev/null || apt_install docker.io iptables
  command -v docker >/dev/null || apt_install docker-cli # its own package since Debian 13
  if grep -qsx dockerd /proc/[0-9]*/comm; then
    say "waiting for the Docker engine that is running"
  elif [ -d /run/systemd/system ]; then
    say "starting the Docker engine: systemctl start docker"
    as_root systemctl start docker
  else
    start_engine
  fi
  for _ in $(seq 120); do
    if engine_answers; then return; fi
    sleep 0.5
  done
  die "the Docker engine does not answer: see 'docker info'$([ ! -e "$cache/dockerd.log" ] || echo " and $cache/dockerd.log")"
}

# Without systemd the engine is a child of nobody; stop_engine ends it.
start_engine() {
  local pidfile
  say "starting a Docker engine of our own, as there is no systemd here (log: .cache/dockerd.log)"
  for pidfile in /run/docker.pid /run/docker/containerd/containerd.pid; do # left by an engine that was killed
    as_root rm -f "$pidfile"
  done
  if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && ! mountpoint -q /sys/fs/cgroup/systemd; then
    say "mounting /sys/fs/cgroup/systemd, which systemd in a container needs on a host with cgroup v1"
    as_root mkdir -p /sys/fs/cgroup/systemd
    as_root mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
  fi
  as_root setsid dockerd >"$cache/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 120); do
    if [ -s /run/docker.pid ]; then break; fi
    sleep 0.5
  done
  cp /run/docker.pid "$cache/dockerd.pid" || die "the Docker engine did not start: see $cache/dockerd.log"
}

# Ends the engine that start_engine started; any other is left alone.
stop_engine() {
  local pid
  [ -e "$cache/dockerd.pid" ] || return 0
  pid=$(cat "$cache/dockerd.pid")
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && [ "$(cat /run/docker.pid 2>/dev/null)" = "$pid" ]; then
    say "stopping the Docker engine that was started here"
    as_root kill "$pid"
    while [ -e "/proc/$pid" ]; do sleep 0.2; done
  fi
  rm -f "$cache/dockerd.pid" "$cache/dockerd.log"
}

# --- the hosts' images ----------------------------------------------------------------------------------------------

# ensure_image celeryops/host:SUITE|celeryops/host-ready:SUITE
ensure_image() {
  local suite=${1##*:} target=host stamp
  case $1 in celeryops/host-ready:*) target=ready ;; esac
  stamp=$(cd "$root/tests/hosts" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
  [ "$("${docker[@]}" image inspect --format '{{index .Config.Labels "celeryops.stamp"}}' "$1" 2>/dev/null)" != "$stamp" ] ||
    return 0
  ensure_base "$suite"
  say "building the image $1"
  "${docker[@]}" build --quiet --target "$target" --build-arg "BASE=celeryops/base:$suite" \
    --label "celeryops.stamp=$stamp" --tag "$1" "$root/tests/hosts" >"$cache/build.$suite.log" 2>&1 ||
    { cat "$cache/build.$suite.log" >&2; die "could not build the image $1"; }
  rm -f "$cache/build.$suite.log"
}

# celeryops/base:SUITE, from the registry, or from Debian's mirror where no registry answers
ensure_base() {
  "${docker[@]}" image inspect "celeryops/base:$1" >/dev/null 2>&1 && return
  if timeout 60 "${docker[@]}" pull --quiet "debian:$1" >/dev/null 2>&1; then
    "${docker[@]}" tag "debian:$1" "celeryops/base:$1"
    return
  fi
  command -v mmdebstrap >/dev/null || apt_install mmdebstrap debian-archive-keyring
  say "no container registry answers: making Debian $1 with mmdebstrap (about half a minute)"
  as_root mmdebstrap --quiet --variant=apt --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$1" - | "${docker[@]}" import - "celeryops/base:$1" >/dev/null
}
