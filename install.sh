#!/bin/sh
# Installs banger: curl -fsSL RELEASES/latest/download/install.sh | sh
# Options come after `sh -s --`; --help lists them. Everything is in functions, and only the last line calls one: so a script
# that was cut short while it was downloaded does nothing.
set -eu
umask 022

# scripts/release.ts fills these in for a release: where releases are, and the Ed25519 key that signs them, as OpenSSH and as
# OpenSSL write the key.
default_releases=''
ssh_key=''
pem_key=''

usage() {
  cat << 'END'
usage: install.sh [--prefix DIR] [--version VERSION] [--dry-run]
       install.sh --uninstall [--purge] [--prefix DIR] [--dry-run]

Installs banger into DIR/bin: /usr/local/bin as root, ~/.local/bin otherwise.

  --prefix DIR       install below DIR
  --version VERSION  install this release instead of the latest
  --dry-run          say what would be done, and do nothing
  --uninstall        remove banger; running VMs keep running, records and logs stay
  --purge            with --uninstall: remove the records, logs and downloads too; refused while a VM runs

BANGER_RELEASES      where the releases are: an https URL, or file:///DIR (http is for loopback alone)
BANGER_TIMEOUT       give a download up after so many seconds without any progress (default 30)
END
}

# These variables make a program that was built with Bun run other code.
unset BUN_OPTIONS BUN_BE_BUN

# Prints without control characters: the text may come from a server, and must not command the terminal.
say() { printf '%s\n' "$*" | tr -d '\001-\010\013-\037\177' >&2; }

# Arguments: what happened, then what to do next.
die() {
  say "install.sh: $1"
  shift
  for hint in "$@"; do say "$hint"; done
  exit 1
}

has() { command -v "$1" > /dev/null 2>&1; }

main() {
  prefix='' version='' dry_run='' uninstall='' purge=''
  tmp='' staged=''
  releases=${BANGER_RELEASES:-$default_releases}
  stall=${BANGER_TIMEOUT:-30}
  parse "$@"
  case $stall in '' | *[!0-9]* | 0*) die "BANGER_TIMEOUT is '$stall'; it takes seconds: a whole number above 0" ;; esac
  [ "$(uname -s)" = Linux ] || die "banger runs on Linux; this is $(uname -s)"
  leave_others_home
  choose_directory
  trap clean EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [ -n "$uninstall" ]; then uninstall; else install; fi
}

# curl and wget obey files in HOME. Under sudo HOME can be another user's.
leave_others_home() {
  [ "$(id -u)" -eq 0 ] && [ "$(stat -L -c %u "${HOME:-/}" 2> /dev/null)" != 0 ] || return 0
  HOME=/
  export HOME
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix | --version)
        [ $# -ge 2 ] || misused "$1 needs a value"
        set_option "$1" "$2"
        shift
        ;;
      --prefix=* | --version=*) set_option "${1%%=*}" "${1#*=}" ;;
      --dry-run) dry_run=1 ;;
      --uninstall) uninstall=1 ;;
      --purge) purge=1 ;;
      --help | -h) usage && exit 0 ;;
      *) misused "there is no option $1" ;;
    esac
    shift
  done
  [ -z "$purge" ] || [ -n "$uninstall" ] || misused "--purge goes with --uninstall"
}

set_option() {
  [ -n "$2" ] || misused "$1 needs a value"
  if [ "$1" = --prefix ]; then
    prefix=$2
    return
  fi
  version=${2#v}
  # The version becomes part of a URL.
  case $version in '' | -* | .* | *[!0-9A-Za-z.+-]*) misused "--version $2 is no version" ;; esac
}

misused() {
  say "install.sh: $1"
  usage >&2
  exit 2
}

choose_directory() {
  if [ -n "$prefix" ]; then
    case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
    bin=$prefix/bin
  elif [ "$(id -u)" -eq 0 ]; then
    bin=/usr/local/bin
  else
    [ -n "${HOME:-}" ] || die "HOME is not set" "say where to install: --prefix DIR"
    bin=$HOME/.local/bin
  fi
}

clean() {
  status=$?
  trap - EXIT
  [ -z "$tmp" ] || rm -rf "$tmp"
  [ -z "$staged" ] || rm -f "$staged"
  exit "$status"
}

# --- install ---

install() {
  # The largest downloads, in blocks of 512 bytes.
  small=2048 large=2097152
  [ -n "$releases" ] || die "this script does not know where the releases are" \
    "set BANGER_RELEASES to the project's releases page"
  releases=${releases%/}
  choose_downloader
  choose_target
  if [ -n "$version" ]; then from=$releases/download/v$version; else from=$releases/latest/download; fi
  if [ -n "$dry_run" ]; then
    say "would download $from/SHA256SUMS and banger-$target.tar.gz with $downloader, check them, and install $bin/banger"
    return
  fi
  prepare_directory
  tmp=$(mktemp -d) || die "cannot make a temporary directory" "free some space in ${TMPDIR:-/tmp}, or set TMPDIR"
  fetch "$from/SHA256SUMS" "$tmp/SHA256SUMS" "$small"
  learn_version
  # From here on use the version: the latest release may change at any moment.
  from=$releases/download/v$found
  verify_signature
  if is_there; then
    say "banger $found is installed already: $bin/banger; to install it once more: --version $found"
    return
  fi
  say "downloading banger $found for $target"
  fetch "$from/banger-$target.tar.gz" "$tmp/archive" "$large"
  verify_sum
  unpack
  put_in_place
}

choose_downloader() {
  case $releases in
    https://*) allowed=https ;;
    http://*) is_loopback ;;
    file:///*) downloader='cp' && return ;;
    *) die "BANGER_RELEASES is $releases" "give an https URL, or file:///DIR" ;;
  esac
  if has curl; then
    downloader=curl
  elif has wget; then
    downloader=wget
    # Other wgets, such as busybox's, check no certificates and have no option against plain http.
    wget --version 2> /dev/null | grep -q 'GNU Wget' || downloader=plain-wget
  else
    die "neither curl nor wget is there" "install curl, then run this again"
  fi
}

# Rejects `http://localhost.example.org` and `http://127.0.0.1@example.org`.
is_loopback() {
  host=${releases#http://}
  host=${host%%/*}
  case $host in
    127.0.0.1 | localhost | '[::1]') allowed=http ;;
    127.0.0.1:* | localhost:* | '[::1]':*)
      case ${host##*:} in *[!0-9]*) die "BANGER_RELEASES is $releases" "give an https URL" ;; esac
      allowed=http
      ;;
    *) die "BANGER_RELEASES is $releases" "give an https URL: http is for loopback alone" ;;
  esac
}

choose_target() {
  case $(uname -m) in
    x86_64 | amd64) target=linux-x64 ;;
    aarch64 | arm64) target=linux-arm64 ;;
    *) die "there is no banger for $(uname -m), only for x86-64 and arm64" ;;
  esac
  if [ "$target" = linux-x64 ] && ! has_new_cpu; then target=linux-x64-baseline; fi
  if has_musl; then target=$target-musl; fi
}

# The faster build needs these flags. If they cannot be read, take the other build: it runs on every processor.
has_new_cpu() {
  flags=" $(sed -n 's/^flags[[:space:]]*: //p' /proc/cpuinfo 2> /dev/null | head -n 1) "
  for flag in avx2 bmi1 bmi2 fma f16c movbe; do
    case $flags in *" $flag "*) ;; *) return 1 ;; esac
  done
}

# musl's ldd says what it is. Without ldd: musl's loader is there and glibc's is not.
has_musl() {
  if has ldd; then
    case $(ldd --version 2>&1 || true) in *musl*) return 0 ;; *GLIBC* | *GNU*) return 1 ;; esac
  fi
  for loader in /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1; do
    [ ! -e "$loader" ] || return 1
  done
  for loader in /lib/ld-musl-*.so.1; do
    [ ! -e "$loader" ] || return 0
  done
  return 1
}

prepare_directory() {
  mkdir -p "$bin" 2> /dev/null || die "cannot make $bin" "$(other_place)"
  remove_leftovers
  # Try it: access(2) tells root that it may write even where it cannot.
  staged=$(mktemp "$bin/.banger.new.$$.XXXXXX" 2> /dev/null) || die "cannot write to $bin" "$(other_place)"
}

other_place() {
  if [ "$(id -u)" -eq 0 ]; then echo "name a place that can be written: --prefix DIR"; else
    echo "run this as root, or name a place of your own: --prefix DIR"
  fi
}

# Removes what a killed install left, but not what a running install is writing. Without /proc it cannot tell them apart.
remove_leftovers() {
  [ -d "/proc/$$" ] || return 0
  for leftover in "$bin"/.banger.new.*; do
    pid=${leftover##*/.banger.new.}
    pid=${pid%%.*}
    case $pid in '' | *[!0-9]*) continue ;; esac
    [ -d "/proc/$pid" ] || rm -f "$leftover"
  done
}

# Whether this release is what is installed, as that tells itself. Who names a version wants it downloaded and checked.
is_there() {
  [ -z "$version" ] && [ -x "$bin/banger" ] || return 1
  case $("$bin/banger" --version 2> /dev/null < /dev/null) in "banger $found "*) ;; *) return 1 ;; esac
}

# Arguments: URL, file, largest size. A server that sends without end must not fill the disk.
fetch() {
  status=0
  (
    ulimit -f "$3"
    case $downloader in
      curl) fetch_curl "$1" "$2" ;;
      wget) fetch_wget "$1" "$2" ;;
      plain-wget) wget -q -T "$stall" -O "$2" "$1" 2> "$tmp/log" ;;
      cp) cp "${1#file://}" "$2" 2> "$tmp/log" ;;
    esac
  ) || status=$?
  [ "$status" -eq 0 ] || download_failed "$1" "$status"
}

# curl's exit codes: 1 another protocol (a redirect to http), 23 cannot write, 28 stalled.
fetch_curl() {
  if [ -t 2 ]; then
    download_by_curl "$@" --progress-bar
  else
    download_by_curl "$@" -s 2> "$tmp/log"
  fi
}

download_by_curl() {
  curl "$3" --proto "=$allowed" --proto-redir '=https' --tlsv1.2 -fSL --retry 1 --connect-timeout "$stall" \
    --speed-limit 1024 --speed-time "$stall" -o "$2" "$1"
}

# wget would follow a redirect to http. So follow redirects one by one, and check each.
fetch_wget() {
  url=$1 hops=0
  while :; do
    failed=0
    wget -nv -S --max-redirect=0 --tries=2 --timeout="$stall" -O "$2" "$url" 2> "$tmp/log" || failed=$?
    [ "$failed" -ne 0 ] || return 0
    location=$(sed -n 's/^ *[Ll]ocation: *\([^[:space:]]*\).*/\1/p' "$tmp/log" | tail -n 1)
    [ -n "$location" ] || return "$failed"
    case $location in
      https://*) url=$location ;;
      /[!/]*) url=$(printf '%s\n' "$url" | sed 's|^\([a-z]*://[^/]*\).*|\1|')$location ;;
      *) echo "it redirects to $location, which is not https" > "$tmp/log" && return 1 ;;
    esac
    hops=$((hops + 1))
    [ "$hops" -le 10 ] || { echo "it redirects without end" > "$tmp/log" && return 1; }
  done
}

download_failed() {
  detail=$(said_in_log)
  case $2:$downloader in
    23:curl | 3:wget) die "cannot write what was downloaded: $detail" "free some space in ${TMPDIR:-/tmp}, or set TMPDIR" ;;
    153:*) die "$1 is larger than it may be" "look at what is there: it is not a release of banger" ;;
    28:curl | 4:wget) die "$1 stalled, or its server cannot be reached (waited $stall s)" "try again, or give it longer: BANGER_TIMEOUT=120" ;;
  esac
  if no_space; then die "no space is left in ${TMPDIR:-/tmp}" "free some, or set TMPDIR to another directory"; fi
  die "cannot download $1: ${detail:-$downloader failed ($2)}" "look whether this release is there, and try again"
}

# The error without the headers that wget shows. Of curl only the first line: the rest explains it at length.
said_in_log() {
  [ -f "$tmp/log" ] || return 0
  sed -n '/^curl: (/p' "$tmp/log" | head -n 1 | grep . || sed '/^  [A-Za-z]/d; /^http.*:$/d; /^$/d' "$tmp/log" | tail -n 3
}

no_space() { ! { head -c 65536 /dev/zero > "$tmp/space"; } 2> /dev/null; }

# Where neither tool knows Ed25519 only the sum is checked, and the script says so.
verify_signature() {
  if [ -z "$ssh_key" ]; then
    how='its sum'
  elif verified_by_ssh || verified_by_openssl; then
    how='its signature and sum'
    return
  else
    how='its sum alone: neither ssh-keygen nor openssl here can check the signature'
  fi
  [ "$downloader" != plain-wget ] || [ "$allowed" = http ] \
    || die "this wget does not check whom it downloads from, and there is no signature to make up for that" \
      "install curl, then run this again"
}

# OpenSSH 8.1 and newer.
verified_by_ssh() {
  has ssh-keygen || return 1
  case $(ssh-keygen -Y 2>&1 < /dev/null || true) in *'-Y verify'*) ;; *) return 1 ;; esac
  fetch "$from/SHA256SUMS.sshsig" "$tmp/SHA256SUMS.sshsig" "$small"
  printf 'banger ssh-ed25519 %s\n' "$ssh_key" > "$tmp/signers" || cannot_note
  ssh-keygen -Y verify -f "$tmp/signers" -I banger -n banger-release -s "$tmp/SHA256SUMS.sshsig" \
    < "$tmp/SHA256SUMS" > /dev/null 2>&1 || bad_signature
}

# OpenSSL 3 and newer.
verified_by_openssl() {
  has openssl || return 1
  case $(openssl pkeyutl -help 2>&1 < /dev/null || true) in *-rawin*) ;; *) return 1 ;; esac
  fetch "$from/SHA256SUMS.sig" "$tmp/SHA256SUMS.sig" "$small"
  printf -- '-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n' "$pem_key" > "$tmp/key" || cannot_note
  openssl pkeyutl -verify -pubin -inkey "$tmp/key" -rawin -in "$tmp/SHA256SUMS" -sigfile "$tmp/SHA256SUMS.sig" \
    > /dev/null 2>&1 < /dev/null || bad_signature
}

cannot_note() { die "cannot write to $tmp" "free some space in ${TMPDIR:-/tmp}, or set TMPDIR"; }

bad_signature() {
  die "the signature of $from/SHA256SUMS is not the project's: what is there was altered, or is not banger" \
    "nothing was installed; tell the project where you got it from"
}

# The list of sums names the version by its list of components: so nobody can pass a signed list off as another version's. The
# list is not verified yet, so take only what looks like a version.
learn_version() {
  found=$(sed -n 's/^[0-9a-f]\{64\}  banger-\([0-9][0-9A-Za-z.+-]*\)\.cdx\.json$/\1/p' "$tmp/SHA256SUMS" | head -n 1)
  [ -n "$found" ] || die "$from/SHA256SUMS is no list of a release's sums" "look at what BANGER_RELEASES names"
  [ -z "$version" ] || [ "$version" = "$found" ] || die "$from is the release $found, not $version" \
    "nothing was installed; tell the project where you got it from"
}

verify_sum() {
  wanted=$(sed -n "s/^\([0-9a-f]\{64\}\)  banger-$target\.tar\.gz\$/\1/p" "$tmp/SHA256SUMS" | head -n 1)
  [ -n "$wanted" ] || die "banger $found has no build for $target"
  if has sha256sum; then
    sum=$(sha256sum < "$tmp/archive")
  elif has shasum; then
    sum=$(shasum -a 256 < "$tmp/archive")
  elif has openssl; then
    sum=$(openssl dgst -sha256 -r < "$tmp/archive")
  else
    die "nothing here can check a sum" "install sha256sum (coreutils), then run this again"
  fi
  [ "${sum%% *}" = "$wanted" ] || die "banger-$target.tar.gz is not what the release has: its sha256 is ${sum%% *}, not $wanted" \
    "nothing was installed; try again, in case the download was damaged"
}

unpack() {
  # Take only the content: this script sets owner and mode.
  tar -xzOf "$tmp/archive" banger 2> "$tmp/log" > "$staged" \
    || die "cannot unpack banger into $bin: $(tail -n 1 "$tmp/log")" "look whether there is space: df $bin"
  chmod 755 "$staged"
  # Write it to the disk before it gets the name: after a loss of power there is the old banger or the new one.
  sync "$staged" 2> /dev/null || sync
  if ! told=$("$staged" --version 2>&1 < /dev/null); then
    hint="nothing was installed; look whether $bin is mounted noexec"
    case $target in *-musl) hint="nothing was installed; banger needs libstdc++ here: apk add libstdc++" ;; esac
    die "banger for $target does not run here: $(printf '%s\n' "$told" | head -n 1)" "$hint"
  fi
  case $told in "banger $found "*) ;; *) die "the release $found holds '$told'" "nothing was installed; tell the project" ;; esac
}

put_in_place() {
  target_file=$bin/banger
  [ ! -d "$target_file" ] || die "$target_file is a directory" "move it away"
  if [ -e "$target_file" ] && cmp -s "$staged" "$target_file"; then
    say "$told is installed already: $target_file"
    return
  fi
  refuse_downgrade
  if [ -e "$target_file" ]; then
    # A second name for the old one: so there is a banger at every moment.
    ln -f "$target_file" "$target_file.old" 2> /dev/null || cp -p "$target_file" "$target_file.old" \
      || die "cannot keep the old banger as $target_file.old"
    kept=" (the one before is $target_file.old)"
  fi
  mv -f "$staged" "$target_file" || die "cannot put banger in $bin"
  staged=''
  say "$told is installed: $target_file, checked by $how${kept:-}"
  say_path
  say "look whether this host can run VMs: banger doctor"
}

# A release that claims to be the latest, but is older than the installed one, may be an old copy that somebody passes off.
refuse_downgrade() {
  [ -z "$version" ] && [ -x "$target_file" ] || return 0
  installed=$("$target_file" --version 2> /dev/null < /dev/null | sed -n 's/^banger \([0-9][^ ]*\) .*/\1/p') || return 0
  [ -n "$installed" ] && [ "$installed" != "$found" ] || return 0
  is_older "$found" "$installed" || return 0
  die "the latest release there is $found, older than what is installed ($installed)" \
    "to go back to it all the same: --version $found"
}

# Whether the first version is older: by its numbers, and with equal numbers, because it is a pre-release (1.0.0-rc.1).
is_older() {
  left=${1%%[-+]*}. right=${2%%[-+]*}.
  while [ -n "$left" ] && [ -n "$right" ]; do
    [ "${left%%.*}" -eq "${right%%.*}" ] || { [ "${left%%.*}" -lt "${right%%.*}" ] && return 0 || return 1; }
    left=${left#*.} right=${right#*.}
  done
  case ${1%%+*}:${2%%+*} in *-*:*-*) return 1 ;; *-*:*) return 0 ;; *) return 1 ;; esac
}

say_path() {
  case :$PATH: in
    *:"$bin":*) ;;
    *) say "$bin is not in PATH; add it, in your shell's startup file too: export PATH=\"$bin:\$PATH\"" ;;
  esac
}

# --- uninstall ---

uninstall() {
  if [ "$(id -u)" -eq 0 ]; then
    state=/var/lib/banger runtime=/run/banger config=/etc/banger
  else
    home=${HOME:-}
    state=${XDG_STATE_HOME:-$home/.local/state}/banger config=${XDG_CONFIG_HOME:-$home/.config}/banger
    runtime=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/banger}
    runtime=${runtime:-/tmp/banger-runtime-$(id -u)}
  fi
  state=${BANGER_STATE_DIR:-$state} runtime=${BANGER_RUNTIME_DIR:-$runtime}
  [ -z "$purge" ] || refuse_in_use
  for file in "$bin/banger" "$bin/banger.old" "$bin"/.banger.new.*; do
    if [ -e "$file" ] || [ -L "$file" ]; then remove -f "$file"; fi
  done
  for place in "$state" "$runtime" "$config"; do
    [ -d "$place" ] || continue
    if [ -n "$purge" ]; then remove -rf "$place"; else say "$place stays; with --purge it goes too"; fi
  done
}

remove() {
  if [ -n "$dry_run" ]; then
    say "would remove $2"
    return
  fi
  rm "$@" || die "cannot remove $2" "$(other_place)"
  say "removed $2"
}

# A running VM has a directory in the runtime directory. A jail has mounts, and rm would descend into them; and its VM can
# swap files in the jail while rm runs.
refuse_in_use() {
  for vm in "$runtime"/* "$state"/jail/*/* "$state"/jail/.stage-* "$state"/jail/.grave/*; do
    # This directory has only the locks of sweeps.
    [ "$vm" != "$runtime/sweep" ] || continue
    [ ! -d "$vm" ] || die "a VM runs, or one that crashed left $vm" "see what it is: banger ps; banger sweep"
  done
  [ -r /proc/self/mountinfo ] || die "without /proc it cannot be told whether something is mounted in $state" \
    "mount it, then run this again: mount -t proc proc /proc"
  for place in "$state" "$runtime" "$config"; do
    [ ! -L "$place" ] || die "$place is a symlink" "remove by hand what it leads to"
    [ -d "$place" ] || continue
    place=$(cd "$place" && pwd -P)
    case $place in
      *[!0-9A-Za-z/._-]*) die "$place has odd characters" "remove it by hand" ;;
      /*/*) ;;
      *) die "$place does not look like a directory of banger's" "remove by hand what is banger's in it" ;;
    esac
    refuse_others "$place"
    while read -r _ _ _ _ point _; do
      case $point/ in "$place"/*) die "something is mounted at $point" "stop the VMs first: banger ps" ;; esac
    done < /proc/self/mountinfo
  done
}

# A variable named any other directory, perhaps by mistake: so everything in it must be known to be banger's.
refuse_others() {
  case ${1##*/} in banger | banger-runtime-*) return ;; esac
  for entry in "$1"/* "$1"/.[!.]*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    case ${entry##*/} in
      jail | kernels | images | vms | sweep | state.db | state.db-wal | state.db-shm | *.lock | config.toml) ;;
      *) die "$entry is not known to be banger's" "remove by hand what is banger's in $1" ;;
    esac
  done
}

# With the braces half of this line is not a command. `&&` instead would switch `set -e` off in all of main.
{ main "$@"; }
