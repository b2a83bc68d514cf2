"""The clock of the test picture, as a page shows it."""

from __future__ import annotations

__all__ = ["PLAYING", "SMALL", "age_of"]

SMALL = "test:?width=320&height=180&rate=15"

PLAYING = "--autoplay-policy=no-user-gesture-required"
"""The option by which Chromium plays sound though nobody has touched the page."""

_AGE = """(() => {
  const shown = %s;
  const [width, height] = [shown.videoWidth || shown.width, shown.videoHeight || shown.height];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  const side = Math.floor(width / 32);
  context.drawImage(shown, 0, 0);
  const { data } = context.getImageData(0, height - Math.ceil(side / 2), side * 32, 1);
  let clock = 0;
  for (let bit = 0; bit < 32; bit++) {
    clock = clock * 2 + (data[(bit * side + (side >> 1)) * 4] > 128 ? 1 : 0);
  }
  return Date.now() %% 2 ** 32 - clock;
})()"""


def age_of(element: str) -> str:
    """The script that reads the clock back from its squares: the milliseconds since what is shown.

    :param element: the script that gives the video or canvas.
    """
    return _AGE % element
