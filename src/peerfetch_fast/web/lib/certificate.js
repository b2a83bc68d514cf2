/** This side's certificate: one that the browser keeps, so that others can pin it. */

import { ConnectError } from "./errors.js";
import { pinOf } from "./identity.js";

const DATABASE = "~peerfetch";
const STORE = "certificates";
/** Milliseconds that a new certificate is valid: as long as browsers allow (WebRTC §4.9.1). */
const VALID = 365 * 86_400_000;
/** Milliseconds that one must still be valid to be used. */
const LEAST = 60_000;

/** Whether connections can be made with a certificate. */
export const isUsable = (certificate) => certificate?.expires > Date.now() + LEAST;

/** A new certificate, whose key no script can read. */
export function newCertificate() {
  return RTCPeerConnection.generateCertificate({ name: "ECDSA", namedCurve: "P-256", expires: VALID });
}

/**
 * The certificate that this browser keeps for this origin under `name`; a new one if there is none, or
 * if it has expired. Throws ConnectError where nothing can be kept.
 */
export async function keptCertificate(name) {
  let database;
  try {
    database = await openDatabase();
    const kept = await transact(database, "readonly", (store) => store.get(name));
    if (isUsable(kept)) return kept;
    const made = await newCertificate();
    // Another tab may have been faster, and all shall have the same.
    return await transact(database, "readwrite", (store, settle) => {
      const again = store.get(name);
      again.onsuccess = () => {
        if (isUsable(again.result)) return settle(again.result);
        store.put(made, name).onsuccess = () => settle(made);
      };
    });
  } catch (error) {
    throw new ConnectError("identity", `This browser keeps no certificate for this page: ${error}`);
  } finally {
    database?.close();
  }
}


function openDatabase() {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  return new Promise((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

/** The value that `work` settles with, or the result of the request that it returns, once that is on record. */
function transact(database, mode, work) {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    let found;
    const request = work(transaction.objectStore(STORE), (value) => (found = value));
    transaction.oncomplete = () => resolve(request ? request.result : found);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** The fingerprint of a certificate, as a pin. */
export async function pinOfCertificate(certificate) {
  const known = certificate.getFingerprints?.().find(({ algorithm }) => algorithm.toLowerCase() === "sha-256");
  if (known) return pinOf(`a=fingerprint:sha-256 ${known.value.toUpperCase()}\r\n`);
  // Not every browser tells, and connections are few in a page.
  const connection = new RTCPeerConnection({ certificates: [certificate] });
  try {
    connection.createDataChannel("");
    return pinOf((await connection.createOffer()).sdp);
  } finally {
    connection.close();
  }
}
