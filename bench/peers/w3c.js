// One end of a data channel over any stack with the browsers' interface.

import { listen, opened, signal } from './end.js';

function use(host, channel) {
  const tellsOfLow = 'bufferedAmountLowThreshold' in channel;
  channel.binaryType = 'arraybuffer';
  channel.bufferedAmountLowThreshold = host.LOW;
  const start = () => {
    const end = opened(host, (data) => channel.send(data), () => channel.bufferedAmount);
    if (tellsOfLow) channel.addEventListener('bufferedamountlow', () => end.low());
    else setInterval(() => channel.bufferedAmount <= host.LOW && end.low(), 1); // @roamhq/wrtc
    channel.onmessage = ({ data }) => {
      if (typeof data === 'string') end.text(data);
      else end.binary(data instanceof Uint8Array ? data : new Uint8Array(data));
    };
  };
  if (channel.readyState === 'open') start();
  else channel.onopen = start;
}

/** Connect and be measured, over a peer connection that asks no ICE server. */
export function run(connection, host) {
  let described = false;
  connection.onicecandidate = ({ candidate }) => {
    if (candidate?.candidate || described) return;
    described = true;
    signal(host, connection.localDescription); // with all candidates
  };
  if (host.offering) {
    use(host, connection.createDataChannel('bench', { ordered: false }));
    connection.createOffer().then((offer) => connection.setLocalDescription(offer));
  } else {
    connection.ondatachannel = ({ channel }) => use(host, channel);
  }
  listen(host, async (description) => {
    await connection.setRemoteDescription(description);
    if (!host.offering) await connection.setLocalDescription(await connection.createAnswer());
  });
}
