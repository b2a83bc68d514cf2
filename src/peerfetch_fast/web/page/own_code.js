/** A code that a device makes for whom it has let in by name: by it, another browser of theirs is let in. */

/**
 * `{code, minutes}`, or `{refused}`, the reason why there is none, in words. Throws as fetch().
 * @param peer a Peer
 */
export async function ownCode(peer) {
  const response = await peer.fetch("/~peerfetch/code", { method: "POST" });
  if (response.status === 429) return { refused: (await response.text()).slice(0, 200) };
  if (!response.ok) {
    return { refused: "The device has not let this browser in by name: use its link there, or ask for an invitation." };
  }
  const { code, seconds } = await response.json();
  return { code: String(code), minutes: Math.round(seconds / 60) };
}
