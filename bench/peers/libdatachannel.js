// One end of a data channel over libdatachannel.

import nodeDataChannel from 'node-datachannel';
import { listen, opened, signal } from './end.js';
import { host } from './node.js';

// libdatachannel takes the MTU of the IP packet and allows for more headers than there are; with these
// 56 bytes its datagrams come closest (bench.datagrams).
const connection = new nodeDataChannel.PeerConnection('bench', { iceServers: [], mtu: host.DATAGRAM + 56 });
connection.onGatheringStateChange((state) => {
  if (state !== 'complete') return;
  const { sdp, type } = connection.localDescription();
  // While the answer is read no check may succeed: DTLS would begin before the fingerprint is known,
  // and fail. So the answerer is not told where to send its own, and waits for the offerer's.
  signal(host, { type, sdp: host.offering ? sdp.replace(/^a=(candidate|end-of-candidates).*\r\n/gm, '') : sdp });
});

function use(channel) {
  const end = opened(
    host,
    (data) => (typeof data === 'string' ? channel.sendMessage(data) : channel.sendMessageBinary(data)),
    () => channel.bufferedAmount(),
  );
  channel.setBufferedAmountLowThreshold(host.LOW);
  channel.onBufferedAmountLow(() => end.low());
  channel.onMessage((data) => (typeof data === 'string' ? end.text(data) : end.binary(data)));
}

if (host.offering) {
  const channel = connection.createDataChannel('bench', { unordered: true });
  channel.onOpen(() => use(channel));
} else {
  connection.onDataChannel(use);
}
listen(host, ({ sdp, type }) => connection.setRemoteDescription(sdp, type));
