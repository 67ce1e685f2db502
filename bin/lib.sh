# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What bin/demo and bin/test share: the controller's Python environment, the container engine, the images of the hosts.
# Every function is idempotent and says what it installs or starts.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
cache=$root/.cache
read -ra docker <<<"${DOCKER:-docker}"
export PATH="$venv/bin:$PATH" DOCKER_BUILDKIT=0 # the classic builder: buildx is not everywhere
# Molecule keeps a scenario's state in there, by the name of the checkout's directory alone.
export ANSIBLE_HOME=$cache/ansible
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
  say "installing requirements/$1.txt into .venv (up to a minute or two, the first time)"
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    make_venv "$python" "$venv" || { apt_install python3-venv; make_venv "$python" "$venv"; }
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$root/requirements/$1.txt"
  echo "$stamp" > "$venv/.$1"
  if [ "$1" = test ]; then echo "$stamp" > "$venv/.controller"; fi # test.txt contains controller.txt
}

make_venv() { "$1" -m venv --clear "$2" >/dev/null 2>&1; }

# --- the container engine -------------------------------------------------------------------------------------------

# Several checkouts may use one engine at a time: whoever needs it holds a shared lock of the first file until the shell
# ends, and the second one lets only one of them install and start it. The last one to end stops it.
engine_users=/tmp/celeryops-engine.users engine_turn=/tmp/celeryops-engine.turn engine_lock=
engine_pid=/run/docker.pid engine_ours=/run/celeryops-dockerd.pid # of the engine that runs; of one that start_engine started

# Locked files may be another account's, and are only read.
make_file() { [ -e "$1" ] || (umask 022; : >>"$1") 2>/dev/null || [ -e "$1" ]; }

# lock_engine OPTION...: of flock
lock_engine() {
  make_file "$engine_users"
  [ -n "$engine_lock" ] || exec {engine_lock}<"$engine_users"
  flock "$@" "$engine_lock"
}

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

# A zombie keeps its name, but has no command line. (In a trap a bare "return" gives the status from before the trap.)
is_running() {
  local name command
  read -r name 2>/dev/null <"/proc/$1/comm" && [ "$name" = "$2" ] || return 1
  read -r -d '' command 2>/dev/null <"/proc/$1/cmdline" && [ -n "$command" ]
}

engine_runs() {
  local process
  for process in /proc/[0-9]*; do
    if is_running "${process#/proc/}" dockerd; then return; fi
  done
  return 1
}

ensure_engine() {
  local turn
  lock_engine --shared
  engine_answers && return
  make_file "$engine_turn"
  exec {turn}<"$engine_turn"
  flock "$turn"
  make_engine
  exec {turn}<&-
}

make_engine() {
  command -v dockerd >/dev/null || apt_install docker.io iptables apparmor # to build where the kernel has AppArmor on
  command -v docker >/dev/null || apt_install docker-cli # its own package since Debian 13
  if engine_runs; then
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

# Without systemd the engine is a child of nobody; stop_engine ends it. It holds no lock, and nothing open of the caller's:
# a subshell that waited for it would keep a caller's pipe open for as long as the engine runs.
start_engine() {
  say "starting a Docker engine of our own, as there is no systemd here (log: .cache/dockerd.log)"
  remove_stale "$engine_pid" dockerd
  remove_stale /run/docker/containerd/containerd.pid containerd
  if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && ! mountpoint -q /sys/fs/cgroup/systemd; then
    say "mounting /sys/fs/cgroup/systemd, which systemd in a container needs on a host with cgroup v1"
    as_root mkdir -p /sys/fs/cgroup/systemd
    as_root mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
  fi
  as_root setsid --fork dockerd >"$cache/dockerd.log" 2>&1 </dev/null {engine_lock}<&- {turn}<&-
  for _ in $(seq 120); do
    if [ -s "$engine_pid" ]; then break; fi
    sleep 0.5
  done
  as_root cp "$engine_pid" "$engine_ours" || die "the Docker engine did not start: see $cache/dockerd.log"
}

# remove_stale PIDFILE NAME: left by an engine that was killed, it keeps the next one from starting
remove_stale() {
  local pid
  pid=$(as_root cat "$1" 2>/dev/null) || return 0
  is_running "$pid" "$2" || as_root rm -f "$1"
}

# Ends the engine that start_engine started, in this checkout or in another, unless somebody needs it: a run, or machines.
# Any other engine is left alone.
stop_engine() {
  local pid checkouts
  pid=$(cat "$engine_ours" 2>/dev/null) || return 0
  if is_running "$pid" dockerd && [ "$(cat "$engine_pid" 2>/dev/null)" = "$pid" ]; then
    if ! lock_engine --exclusive --nonblock; then
      say "the Docker engine stays: another run uses it"
      return
    fi
    checkouts=$("${docker[@]}" ps --all --filter label=celeryops.scenario \
      --format '{{or (.Label "celeryops.checkout") .Names}}' | sort -u)
    if [ -n "$checkouts" ]; then
      lock_engine --unlock
      say "the Docker engine stays: there are machines of ${checkouts//$'\n'/, }"
      return
    fi
    say "stopping the Docker engine, which was started by bin/test or bin/demo"
    as_root kill "$pid"
    for _ in $(seq 300); do
      is_running "$pid" dockerd || break
      sleep 0.2
    done
    if is_running "$pid" dockerd; then die "the Docker engine, process $pid, does not end"; fi
    lock_engine --unlock
  fi
  as_root rm -f "$engine_ours"
  rm -f "$cache/dockerd.log"
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
    --dpkgopt='path-exclude=/usr/share/locale/*' "$1" - >"$cache/base.$1.tar" ||
    { rm -f "$cache/base.$1.tar"; die "could not make Debian $1"; } # imported half, it would stay
  "${docker[@]}" import - "celeryops/base:$1" <"$cache/base.$1.tar" >/dev/null
  rm -f "$cache/base.$1.tar"
}
