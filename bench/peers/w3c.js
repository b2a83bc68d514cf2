// One end of a data channel over any stack with the browsers' interface.

import { LOW, listen, offering, opened, signal } from './end.js';

function use(channel) {
  const tellsOfLow = 'bufferedAmountLowThreshold' in channel;
  channel.binaryType = 'arraybuffer';
  channel.bufferedAmountLowThreshold = LOW;
  const start = () => {
    const end = opened((data) => channel.send(data), () => channel.bufferedAmount);
    if (tellsOfLow) channel.addEventListener('bufferedamountlow', () => end.low());
    else setInterval(() => channel.bufferedAmount <= LOW && end.low(), 1); // @roamhq/wrtc
    channel.onmessage = ({ data }) => {
      if (typeof data === 'string') end.text(data);
      else end.binary(Buffer.isBuffer(data) ? data : Buffer.from(data));
    };
  };
  if (channel.readyState === 'open') start();
  else channel.onopen = start;
}

/** Connect and be measured, over a peer connection that asks no ICE server. */
export function run(connection) {
  let described = false;
  connection.onicecandidate = ({ candidate }) => {
    if (candidate?.candidate || described) return;
    described = true;
    signal(connection.localDescription); // with all candidates
  };
  if (offering) {
    use(connection.createDataChannel('bench'));
    connection.createOffer().then((offer) => connection.setLocalDescription(offer));
  } else {
    connection.ondatachannel = ({ channel }) => use(channel);
  }
  listen(async (description) => {
    await connection.setRemoteDescription(description);
    if (!offering) await connection.setLocalDescription(await connection.createAnswer());
  });
}
