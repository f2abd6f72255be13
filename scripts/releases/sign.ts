import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto"

/** The namespace of OpenSSH's signatures; install.sh and `banger update` ask for the same. */
const NAMESPACE = "banger-release"

/** A key that signs releases, and its public half in the forms that others check with. */
export interface SigningKey {
  readonly private: KeyObject
  /** The 32 bytes of the public key. */
  readonly raw: Uint8Array
  /** The base64 that stands in an OpenSSH public key after `ssh-ed25519 `. */
  readonly ssh: string
  /** The base64 that stands in a PEM public key. */
  readonly pem: string
}

/** The key of a PEM text (PKCS #8, `openssl genpkey -algorithm ed25519`). Throws when the text is not an Ed25519 key. */
export function readKey(pem: string): SigningKey {
  const key = createPrivateKey(pem)
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`the key is ${key.asymmetricKeyType}, not Ed25519`)
  const spki = createPublicKey(key).export({ format: "der", type: "spki" })
  // RFC 8410: the key is the last 32 bytes.
  const raw = spki.subarray(-32)
  const ssh = Buffer.concat([field("ssh-ed25519"), field(raw)])
  return { private: key, raw, ssh: ssh.toString("base64"), pem: spki.toString("base64") }
}

/** The 64 bytes of an Ed25519 signature: what openssl and node:crypto check. */
export function signRaw(content: Uint8Array, key: SigningKey): Uint8Array {
  return sign(null, content, key.private)
}

/** The same key's signature as `ssh-keygen -Y sign` makes it (OpenSSH's PROTOCOL.sshsig). */
export function signSsh(content: Uint8Array, key: SigningKey): string {
  const digest = createHash("sha512").update(content).digest()
  const about = [field(NAMESPACE), field(""), field("sha512")]
  const signed = sign(null, Buffer.concat([Buffer.from("SSHSIG"), ...about, field(digest)]), key.private)
  const version = Buffer.from([0, 0, 0, 1])
  const publicKey = field(Buffer.from(key.ssh, "base64"))
  const signature = field(Buffer.concat([field("ssh-ed25519"), field(signed)]))
  const blob = Buffer.concat([Buffer.from("SSHSIG"), version, publicKey, ...about, signature]).toString("base64")
  const lines = blob.match(/.{1,70}/g) ?? []
  return ["-----BEGIN SSH SIGNATURE-----", ...lines, "-----END SSH SIGNATURE-----", ""].join("\n")
}

// --- internal ---

/** A string of the SSH protocol (RFC 4251): its length as a u32, then its bytes. */
function field(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
