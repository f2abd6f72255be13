# shellcheck shell=sh
# Installs what the other scripts need, each part only if it is missing. They source this file in the repository's root.

bun_version=1.4.5

# Puts Bun, at least the pinned version, into PATH: Bun is there, in .tools of an earlier run, or comes from npm or its installer.
need_bun() {
  is_new_enough "$(command -v bun || true)" && return
  use_own_bun && return
  if command -v npm > /dev/null; then
    echo "installing bun $bun_version (PATH has no bun that is this new) with npm into .tools"
    npm install --prefix .tools --no-save --no-audit --no-fund --loglevel error "bun@$bun_version" > /dev/null
  else
    install_bun_by_itself
  fi
  use_own_bun && return
  echo "bun was installed into .tools, but does not run here; install bun $bun_version or newer by hand and put it in PATH" >&2
  exit 1
}

# Arguments are pairs: a command (or a file, if it has a slash) that must be there, and the Debian package that has it.
need_packages() {
  missing='' announcement=''
  while [ $# -gt 0 ]; do
    if ! is_there "$1"; then
      missing="$missing $2"
      announcement="${announcement}installing $2 ($1 is missing) with apt
"
    fi
    shift 2
  done
  [ -n "$missing" ] || return 0
  as_root=$(root_prefix) || refuse_packages "this needs root"
  command -v apt-get > /dev/null || refuse_packages "this system has no apt-get; its own packages may have other names"
  printf %s "$announcement" >&2
  apt_log=$(mktemp)
  # shellcheck disable=SC2086  # both are lists of words
  if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --no-install-recommends -y $missing; } > "$apt_log" 2>&1; then
    cat "$apt_log" >&2
    rm -f "$apt_log"
    refuse_packages "apt-get failed"
  fi
  rm -f "$apt_log"
}

# Installs the modules that bun.lock names. A copy of bun.lock beside the modules tells whether these are there.
need_modules() {
  cmp -s bun.lock node_modules/.installed-lock && return
  echo "installing the modules that bun.lock names"
  bun install --frozen-lockfile --silent
  cp bun.lock node_modules/.installed-lock
}

# --- internal ---

is_new_enough() {
  [ -x "$1" ] && found=$("$1" --version 2> /dev/null) || return 1
  [ "$(printf '%s\n' "$bun_version" "$found" | sort -V | head -n 1)" = "$bun_version" ]
}

# Where npm runs no install scripts, Bun's program is still in the package of its platform. Builds for another libc or a newer
# CPU may lie beside it; they do not run here.
use_own_bun() {
  modules=$PWD/.tools/node_modules
  for candidate in "$PWD/.tools/bin/bun" "$modules/.bin/bun" "$modules"/@oven/bun-linux-*/bin/bun; do
    if is_new_enough "$candidate"; then
      PATH=${candidate%/bun}:$PATH
      export PATH
      return 0
    fi
  done
  return 1
}

install_bun_by_itself() {
  need_packages curl curl unzip unzip bash bash /etc/ssl/certs/ca-certificates.crt ca-certificates
  echo "installing bun $bun_version (PATH has no bun that is this new) with its own installer into .tools"
  mkdir -p .tools
  curl -fsSL https://bun.com/install -o .tools/install-bun
  # SHELL is emptied because the installer would write to the startup file of the shell it names.
  SHELL='' BUN_INSTALL="$PWD/.tools" bash .tools/install-bun "bun-v$bun_version" > /dev/null
}

is_there() {
  case $1 in
    */*) [ -e "$1" ] ;;
    *) command -v "$1" > /dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
  esac
}

root_prefix() {
  [ "$(id -u)" -ne 0 ] || return 0
  sudo -n true 2> /dev/null && echo sudo -n
}

refuse_packages() {
  echo "$1, so these packages are still missing:$missing" >&2
  echo "run this, then the script again: sudo apt-get install --no-install-recommends$missing" >&2
  exit 1
}
