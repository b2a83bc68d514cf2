// Send files from one page to another as FilePizza does: by npm's PeerJS and its binary serialization,
// in messages of 256 KiB that are acknowledged, and here kept on the disk by the browser.

const CHUNK = 256 * 1024;
/** Messages on their way: FilePizza itself sends on without bound, and holds what is not sent yet. */
const AHEAD = 16;

const serverAt = (port) => ({ host: '127.0.0.1', port, path: '/', secure: false, debug: 0 });

function opened(emitter) {
  return new Promise((resolve, reject) => {
    emitter.once('open', resolve);
    emitter.once('error', reject);
  });
}

/** Offer the files that were picked: the id of this page. */
globalThis.offer = async (port) => {
  const peer = new Peer(serverAt(port));
  const id = await opened(peer);
  peer.on('connection', (connection) => connection.on('open', () => send(connection)));
  return id;
};

async function send(connection) {
  let [onTheWay, wake] = [0, () => {}];
  connection.on('data', () => {
    onTheWay -= 1;
    wake();
  });
  for (const file of document.querySelector('input').files) {
    let offset = 0;
    do {
      while (onTheWay >= AHEAD) await new Promise((resolve) => { wake = resolve; });
      const bytes = await file.slice(offset, offset + CHUNK).arrayBuffer();
      const final = offset + bytes.byteLength >= file.size;
      onTheWay += 1;
      await connection.send({ type: 'Chunk', fileName: file.name, offset, bytes, final });
      offset += bytes.byteLength;
    } while (offset < file.size);
  }
}

/** Receive so many files from that page: their bytes. */
globalThis.receive = async (port, id, files) => {
  const peer = new Peer(serverAt(port));
  await opened(peer);
  const connection = peer.connect(id, { serialization: 'binary', reliable: true });
  const folder = await navigator.storage.getDirectory();
  let [received, left, writable] = [0, files, null];
  const keep = async ({ fileName, offset, bytes, final }) => {
    if (offset === 0) writable = await (await folder.getFileHandle(fileName, { create: true })).createWritable();
    await writable.write(bytes);
    connection.send({ type: 'ChunkAck', fileName, offset, bytesReceived: bytes.byteLength });
    received += bytes.byteLength;
    if (!final) return;
    await writable.close();
    left -= 1;
  };
  return new Promise((resolve, reject) => {
    let keeping = Promise.resolve();
    connection.on('error', reject);
    connection.on('data', (chunk) => {
      keeping = keeping.then(() => keep(chunk)).then(() => left === 0 && resolve(received)).catch(reject);
    });
  });
};
