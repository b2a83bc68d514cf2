// A page of somebody's own: bundled, and run in a browser. What it is to do is called by the test.
import { ConnectError, connect, type Peer } from "peerfetch-fast";

declare global {
  interface Window {
    ask(peer: string, signaling: string, path: string): Promise<[number, string]>;
  }
}

window.ask = async (url, signaling, path) => {
  try {
    const peer: Peer = await connect(url, { signaling });
    const response = await peer.fetch(path);
    const answer: [number, string] = [response.status, await response.text()];
    await peer.close();
    return answer;
  } catch (error) {
    return [0, error instanceof ConnectError ? `${error.reason}: ${error.message}` : String(error)];
  }
};
