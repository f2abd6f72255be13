/** What `banger help TOPIC` tells, by topic. */
export const TOPICS: Readonly<Record<string, string>> = {
  "exit-codes": `Exit codes

  0      done
  1      it failed
  2      what was asked for is wrong: the command line, the plugin, the configuration, a file
  75     try later: another banger is busy with it
  124    a wait ran out
  128+n  ended by signal n

  With --json, a command that fails prints one line of JSON last, with a code that says which kind of failure it is.
  docs/errors.md lists the codes.`,

  environment: `Environment variables

  BANGER_STATE_DIR     records, logs, jails and images (root: /var/lib/banger, else ~/.local/state/banger)
  BANGER_RUNTIME_DIR   sockets of running VMs (root: /run/banger, else $XDG_RUNTIME_DIR/banger)
  BANGER_CONFIG        the configuration (root: /etc/banger/config.toml, else ~/.config/banger/config.toml)
  BANGER_RELEASES      where banger update and install.sh download releases from
  BANGER_MIRROR        where banger get downloads from: an https URL or a directory with the files by their names
  BANGER_TIMEOUT       seconds without progress after which a download is given up (30)
  BANGER_NO_PROGRESS   show no progress
  NO_COLOR             no colours

  BUN_OPTIONS and BUN_BE_BUN make banger, as any program made with Bun, run other code: never make it setuid, and do
  not let sudo pass them on.`,

  images: `Images: what banger get gets

  A plugin names an image by get: and its name, for kernel, initrd and the path of a drive:

      kernel: "get:vmlinux-6.1",
      drives: [{ path: "get:ubuntu-24.04", root: true, readonly: true }],

  banger get ls lists what is known and what is here. Downloads are checked by sums that are part of banger; what does not
  match is refused. A Firecracker got so is used where neither the configuration nor PATH has one.

      banger get mine --from ./vmlinux                                  an image of your own
      banger get mine --from https://… --sha256 …                       from elsewhere, by its sum
      BANGER_MIRROR=https://… banger get vmlinux-6.1                    from a mirror`,

  completions: `Completions

  bash, in ~/.bashrc:                                          source <(banger complete bash)
  zsh, in ~/.zshrc after compinit:                             source <(banger complete zsh)
  fish, once:      banger complete fish > ~/.config/fish/completions/banger.fish`,
}

/** A topic's text; undefined when there is no such topic. */
export function topicText(name: string): string | undefined {
  return Object.hasOwn(TOPICS, name) ? TOPICS[name] : undefined
}
