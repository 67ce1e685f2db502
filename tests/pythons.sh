# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later

# python_of 3.12: the path of that interpreter, as it was installed, whether it is on PATH or kept by pyenv or uv
python_of() {
  local candidate
  for candidate in "python$1" "$(pyenv root 2>/dev/null)/versions/$1".*/bin/python "$(uv python find --system "$1" 2>/dev/null)"; do
    if [ -n "$candidate" ] &&
      "$candidate" -c 'import sys; print(sys._base_executable)' 2>/dev/null; then return; fi
  done
  return 1
}
