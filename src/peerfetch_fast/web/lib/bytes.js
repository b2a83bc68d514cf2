/** Bytes joined, as hexadecimal digits, and as text of one character an octet, as which fields of HTTP are seen. */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** All of `parts`, one behind the other. */
export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** One character an octet; what TextDecoder calls latin1 is windows-1252. */
export function octets(bytes) {
  let wire = "";
  for (let at = 0; at < bytes.length; at += 8192) wire += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return wire;
}

/** The bytes of what octets() gave. */
export const fromOctets = (wire) => Uint8Array.from(wire, (octet) => octet.charCodeAt(0));

/** Text in UTF-8, one character an octet, and back. */
export const toWire = (text) => octets(encoder.encode(text));
export const fromWire = (wire) => decoder.decode(fromOctets(wire));
