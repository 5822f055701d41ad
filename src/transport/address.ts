/** Addresses and close reasons, as every network reads and writes them. */
import { StoreError } from "../base/errors.ts";

export interface Address {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** Under TLS. */
  readonly secure: boolean;
}

/** "ws://host:port"; etcd's "http://host:port" means the same. Throws `BAD_CONFIG`. */
export function parseAddress(url: string): Address {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const secure = parsed?.protocol === "wss:" || parsed?.protocol === "https:";
  if (parsed === undefined || parsed.hostname === "" || (!secure && !/^(ws|http):$/.test(parsed.protocol))) {
    throw new StoreError("BAD_CONFIG", { message: `quorate: not an address: ${url} (expected ws://host:port)` });
  }
  return {
    host: parsed.hostname.replace(/^\[|\]$/g, ""),
    port: parsed.port === "" ? (secure ? 443 : 80) : Number(parsed.port),
    secure,
  };
}

/** An address to listen on. Throws `BAD_CONFIG`, also for TLS, which a proxy in front has to end. */
export function parseListenAddress(url: string): Address {
  const address = parseAddress(url);
  if (address.secure) {
    throw new StoreError("BAD_CONFIG", {
      message: `quorate: cannot listen on ${url}: TLS is not supported, use ws://`,
    });
  }
  return address;
}

export function formatAddress(host: string, port: number): string {
  return `ws://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** A WebSocket's close frame has room for 123 bytes. */
const REASON_BYTES = 120;
const encoder = new TextEncoder();
const scratch = new Uint8Array(REASON_BYTES);

/** The text, cut to what every network carries, at the end of a character. */
export function closeReason(text: string): string {
  return text.slice(0, encoder.encodeInto(text, scratch).read);
}
