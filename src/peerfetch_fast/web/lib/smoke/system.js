/** How long a node has run, and what its connections are. */

export class System {
  #network;
  started = new Date();

  constructor(network) {
    this.#network = network;
  }

  /** Milliseconds since the node was made. */
  uptime() {
    return Date.now() - this.started.getTime();
  }

  /** One object for each connection, with all fields of its getStats(). */
  async netstat() {
    const peers = [...this.#network.getPeers().values()];
    return Promise.all(peers.map((peer) => statistics(peer)));
  }
}

async function statistics({ connection, loopback, local, remote, peer }) {
  const found = { local, remote, loopback, transceivers: 0, senders: 0, ...peer.statistics };
  if (!connection) return found;
  found.transceivers = connection.getTransceivers().length;
  found.senders = connection.getSenders().length;
  try {
    for (const report of (await connection.getStats()).values()) Object.assign(found, report);
  } catch {
    // It is closed already.
  }
  return found;
}
