// One end of a data channel over libwebrtc. Its datagrams, of 1,225 bytes, are fixed when it is built.

import wrtc from '@roamhq/wrtc';
import { host } from './node.js';
import { run } from './w3c.js';

run(new wrtc.RTCPeerConnection({ iceServers: [] }), host);
