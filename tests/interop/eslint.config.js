// Whether the browsers that src/peerfetch_fast/web/package.json names have what the browser client uses.

import compat from "eslint-plugin-compat";

export default [
  {
    ...compat.configs["flat/recommended"],
    files: ["**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    // Used only where they are there; docs/browser.md says what happens elsewhere.
    settings: { polyfills: ["BarcodeDetector", "navigator.connection", "navigator.wakeLock", "VideoDecoder", "EncodedVideoChunk", "AudioDecoder", "EncodedAudioChunk"] },
  },
];
