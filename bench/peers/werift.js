// One end of a data channel over werift, WebRTC in TypeScript.

import { RTCPeerConnection } from 'werift';
import { host } from './node.js';
import { run } from './w3c.js';

// A DTLS record adds 37 bytes to an SCTP packet (RFC 5246 §6.2.1, RFC 5288 §3).
run(new RTCPeerConnection({ iceServers: [], sctp: { mtu: host.DATAGRAM - 37 } }), host);
